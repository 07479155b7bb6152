"""Which faces a face model is learned from.

Facing the camera, eyes open, mouth closed, sharp, a few a person; without glasses, hats and hands as far as
simple measures tell, since averages over a part of them leave ghosts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ["Selection", "select_faces", "uncovered", "view_angles_deg"]

# Dense points: outer eye corners, left and right face edge, forehead and chin, inner lips, lids.
_EYES, _SIDES, _ENDS, _LIPS = (33, 263), (234, 454), (10, 152), (13, 14)
_LIDS = ((159, 145), (386, 374))


@dataclass(frozen=True)
class Selection:
    """Limits; lengths are shares of the distance between the outer eye corners.

    Attributes:
        yaw_deg, pitch_deg: largest turn and nod, measured from the dense points' depth.
        lips_apart: largest gap between the inner lips. lids_apart: smallest gap between the lids.
        sharpness: smallest standard deviation of the grey face's Laplacian.
        per_subject: most faces of one person, the first in the order given.
        rims: most contrast across the bridge of the nose and under the eyes, where glasses have their rims,
            against the contrast of the whole face.
        forehead: largest difference between the brightness of forehead and cheeks, as |log ratio|.
        eyes: smallest brightness around the eyes, as a share of the cheeks'.
    """

    yaw_deg: float = 24.0
    pitch_deg: tuple[float, float] = (-14.0, 22.0)
    lips_apart: float = 0.07
    lids_apart: float = 0.06
    sharpness: float = 8.0
    per_subject: int = 5
    rims: float = 1.08
    forehead: float = 0.28
    eyes: float = 0.45


def view_angles_deg(dense: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Yaw and pitch of faces with dense landmarks ``(N, 478, 3)``, each ``(N,)``, in degrees; 0 is frontal."""
    across = dense[:, _SIDES[1]] - dense[:, _SIDES[0]]
    down = dense[:, _ENDS[1]] - dense[:, _ENDS[0]]
    return (
        np.degrees(np.arctan2(across[:, 2], across[:, 0])),
        np.degrees(np.arctan2(down[:, 2], down[:, 1])),
    )


def select_faces(images: np.ndarray, dense: np.ndarray, subjects: Sequence[str], limits: Selection) -> np.ndarray:
    """Rows of the faces within the limits, increasing.

    Args:
        images: ``(N, S, S, 3)`` uint8. dense: ``(N, 478, 3)``, face pixels. subjects: N names.
    """
    yaw, pitch = view_angles_deg(dense)
    eyes = _gap(dense, *_EYES)
    lips = _gap(dense, *_LIPS) / eyes
    lids = (_gap(dense, *_LIDS[0]) + _gap(dense, *_LIDS[1])) / (2 * eyes)
    good = (np.abs(yaw) < limits.yaw_deg) & (pitch > limits.pitch_deg[0]) & (pitch < limits.pitch_deg[1])
    good &= (lips < limits.lips_apart) & (lids > limits.lids_apart)
    rows: list[int] = []
    taken: Counter[str] = Counter()
    for row in np.flatnonzero(good).tolist():
        if taken[subjects[row]] < limits.per_subject and _sharpness(images[row]) > limits.sharpness:
            taken[subjects[row]] += 1
            rows.append(row)
    return np.array(rows, np.int64)


def _gap(dense: np.ndarray, a: int, b: int) -> np.ndarray:
    return np.linalg.norm(dense[:, a, :2] - dense[:, b, :2], axis=1)


def _sharpness(image: np.ndarray) -> float:
    size = len(image)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[size // 4 : size * 7 // 8, size // 5 : size * 4 // 5]
    return float(cv2.Laplacian(grey.astype(np.float32), cv2.CV_32F).std())


def uncovered(luma: np.ndarray, limits: Selection) -> np.ndarray:
    """Which faces wear no glasses and no hat, ``(N,)`` bool.

    Args:
        luma: faces warped to the mean shape, ``(N, S, S)`` float in [0, 255].
    """
    size = luma.shape[1]

    def patch(images: np.ndarray, x: tuple[int, int], y: tuple[int, int]) -> np.ndarray:
        # Places are given for faces of 128 pixels.
        (left, right), (top, bottom) = ([round(v * size / 128) for v in side] for side in (x, y))
        return images[:, top:bottom, left:right]

    contrast = patch(luma, (30, 98), (25, 110)).std(axis=(1, 2)) + 8.0
    step = np.zeros_like(luma)
    step[:, 1:-1] = np.abs(luma[:, 2:] - luma[:, :-2])
    bridge = patch(step, (59, 69), (43, 58)).max(axis=1).mean(axis=1)
    under = [patch(step, x, (55, 64)).max(axis=1).mean(axis=1) for x in ((42, 54), (74, 86))]
    rims = (bridge + 0.35 * (under[0] + under[1])) / contrast
    cheeks = sum(patch(luma, x, (62, 74)).mean(axis=(1, 2)) for x in ((40, 52), (76, 88))) / 2 + 10.0
    forehead = np.abs(np.log((patch(luma, (46, 82), (20, 34)).mean(axis=(1, 2)) + 10.0) / cheeks))
    eyes = sum(patch(luma, x, (44, 52)).mean(axis=(1, 2)) for x in ((39, 54), (73, 88))) / 2 + 10.0
    return np.asarray((rims < limits.rims) & (forehead < limits.forehead) & (eyes > limits.eyes * cheeks))
