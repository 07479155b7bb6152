"""Head or background, for the faces that a model is learned from: GrabCut started from the landmarks.

Rother, Kolmogorov, Blake 2004. Single masks are rough; the model keeps only what many of them share.
"""

from __future__ import annotations

import cv2
import numpy as np

from lssl_augment.faces.landmarks import FACE_OVAL

__all__ = ["head_mask", "signed_distance"]

#: GrabCut works on a face of this side (a quarter of the pixels, a fifth of the time) for so many rounds.
_SIDE, _ROUNDS = 64, 4
#: GrabCut's rectangle, which it ignores when it is given a mask.
_UNUSED = (0, 0, 1, 1)
#: The landmarks end at the hairline; from the middle of the face the skull reaches so much higher.
_SKULL = 1.3


def head_mask(image: np.ndarray, dense: np.ndarray) -> np.ndarray:
    """Where head, hair, neck and shoulders are.

    Args:
        image: an aligned face, ``(S, S, 3)`` uint8 RGB. dense: its landmarks, ``(478, 3)``, face pixels.

    Returns:
        ``(S, S)`` bool.
    """
    scale = _SIDE / len(image)
    mask = np.full((_SIDE, _SIDE), cv2.GC_PR_BGD, np.uint8)
    middle = (_SIDE // 2, _SIDE // 2)
    cv2.ellipse(mask, middle, (25, 33), 0, 0, 360, int(cv2.GC_PR_FGD), -1)
    cv2.rectangle(mask, (10, 56), (54, _SIDE - 1), int(cv2.GC_PR_FGD), -1)
    oval = (dense[FACE_OVAL, :2] + 0.5) * scale - 0.5
    cv2.fillPoly(mask, [_skull(oval).round().astype(np.int32)], (int(cv2.GC_FGD),))
    cv2.ellipse(mask, (_SIDE // 2, 62), (9, 7), 0, 0, 360, int(cv2.GC_FGD), -1)  # the neck
    mask[:44, :2] = mask[:44, -2:] = cv2.GC_BGD  # above the shoulders hair hardly ever reaches the border
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)  # GrabCut starts from k-means, which draws from OpenCV's generator
    cv2.grabCut(small, mask, _UNUSED, background, foreground, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    inside = ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.uint8)
    large = cv2.resize(_one_piece(inside).astype(np.float32), image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(large > 0.5)


def _one_piece(inside: np.ndarray) -> np.ndarray:
    """The piece that holds the middle of the face, without what hangs on it by a thread."""
    opened = cv2.morphologyEx(inside, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
    _, pieces = cv2.connectedComponents(opened, connectivity=4)
    return np.asarray(pieces == pieces[_SIDE // 2, _SIDE // 2])


def _skull(oval: np.ndarray) -> np.ndarray:
    """The face oval, a little inside its edge, with the skull that the landmarks leave out on top of it."""
    centre = oval.mean(0)
    grown = (oval - centre) * 0.97
    grown[grown[:, 1] < 0, 1] *= _SKULL
    return np.asarray(grown + centre)


def signed_distance(mask: np.ndarray, side: int, limit_px: float = 14.0) -> np.ndarray:
    """Distance to the edge of a mask ``(S, S)`` bool in pixels, positive inside: ``(side, side)`` float32."""
    inner = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outer = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    distance = np.clip(inner - outer, -limit_px, limit_px)
    return np.asarray(cv2.resize(distance, (side, side), interpolation=cv2.INTER_AREA), np.float32)
