"""Photo → aligned face: one similarity transform (rotation, scale, shift) onto one landmark template.

The transform is fitted to the points that expressions hardly move (eye corners, nose, temples), so that an
open mouth does not shrink the face. The template is stored in the package, in every pack and in every card.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

import cv2
import numpy as np

from lssl_augment.errors import DataError

__all__ = ["FACE_SIZE_PX", "align_face", "face_transform", "similarity", "template68", "transform_points"]

FACE_SIZE_PX = 128

#: Weight of each of the 68 points in the fit; zero for brows, lips and lower jaw, which expressions move.
STABLE_WEIGHTS = np.zeros(68, np.float64)
STABLE_WEIGHTS[[36, 39, 42, 45]] = 1.0  # eye corners
STABLE_WEIGHTS[27:36] = 0.3  # nose bridge and base
STABLE_WEIGHTS[[0, 1, 15, 16]] = 0.25  # temples: keep the scale of turned heads in check


@cache
def _template_128() -> np.ndarray:
    text = files("lssl_augment.faces").joinpath("template68.json").read_text(encoding="utf-8")
    points = np.array(json.loads(text)["points68"], np.float64)
    points.setflags(write=False)
    return points


def template68(size_px: int = FACE_SIZE_PX) -> np.ndarray:
    """The alignment template, shape ``(68, 2)`` float64, in pixels of a ``size_px`` square face."""
    # Pixel centres sit at integers, so scaling happens about the image corner (-0.5, -0.5).
    return (_template_128() + 0.5) * (size_px / FACE_SIZE_PX) - 0.5


def similarity(source: np.ndarray, target: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Least-squares similarity transform (Umeyama 1991) in the plane.

    Args:
        source, target: matching points, shape ``(K, 2)``.
        weights: non-negative weight per point, shape ``(K,)``.

    Returns:
        Matrix ``M``, shape ``(2, 3)`` float64, with ``target ≈ source @ M[:, :2].T + M[:, 2]``; never a mirror image.
    """
    source = np.asarray(source, np.float64)
    target = np.asarray(target, np.float64)
    w = np.ones(len(source)) if weights is None else np.asarray(weights, np.float64)
    w = w / w.sum()
    mean_s, mean_t = w @ source, w @ target
    # As complex numbers a similarity is one multiplication: t = a·s with a = scale·exp(i·angle).
    s = (source - mean_s) @ np.array([1, 1j])
    t = (target - mean_t) @ np.array([1, 1j])
    power = float((w * np.abs(s) ** 2).sum())
    if not np.isfinite(power) or power < 1e-12:
        raise DataError("landmarks coincide or are not finite, so no face can be aligned to them")
    a = complex((w * np.conj(s) * t).sum()) / power
    linear = np.array([[a.real, -a.imag], [a.imag, a.real]])
    return np.concatenate([linear, (mean_t - linear @ mean_s)[:, None]], axis=1)


def face_transform(points68: np.ndarray, size_px: int = FACE_SIZE_PX) -> np.ndarray:
    """Matrix, shape ``(2, 3)``, from photo pixels to aligned face pixels, given 68 photo landmarks."""
    if points68.shape != (68, 2):
        raise DataError(f"landmarks must have shape (68, 2); got {points68.shape}")
    return similarity(points68, template68(size_px), STABLE_WEIGHTS)


def transform_points(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply a similarity matrix to points, shape ``(..., 2)`` or ``(..., 3)``; z is scaled only."""
    out = np.empty(points.shape, np.float64)
    out[..., :2] = points[..., :2] @ matrix[:, :2].T + matrix[:, 2]
    if points.shape[-1] == 3:
        out[..., 2] = points[..., 2] * np.hypot(matrix[0, 0], matrix[1, 0])
    return out


def align_face(
    image: np.ndarray, points68: np.ndarray, size_px: int = FACE_SIZE_PX
) -> tuple[np.ndarray, np.ndarray]:
    """Cut the aligned face out of a photo.

    Args:
        image: RGB photo, shape ``(H, W, 3)`` uint8.
        points68: landmarks in photo pixels, shape ``(68, 2)``.

    Returns:
        The face, shape ``(size_px, size_px, 3)`` uint8, and the matrix from photo to face pixels, ``(2, 3)``.
        Beyond the photo's border its edge pixels are mirrored.
    """
    matrix = face_transform(points68, size_px)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.5:
        # Area-average first: bilinear sampling alone would alias when shrinking by more than half.
        shrink = 2.0 * scale
        height, width = image.shape[:2]
        small = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        fx, fy = small[0] / width, small[1] / height
        # photo pixel p ↔ small pixel (p + 0.5)·f − 0.5
        to_photo = np.array([[1 / fx, 0, 0.5 / fx - 0.5], [0, 1 / fy, 0.5 / fy - 0.5], [0, 0, 1]])
        warp = matrix @ to_photo
    else:
        warp = matrix
    face = cv2.warpAffine(
        image, warp, (size_px, size_px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return face, matrix
