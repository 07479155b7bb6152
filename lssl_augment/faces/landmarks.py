"""Landmark layouts: the iBUG 300-W order of 68 points and the dense MediaPipe order of 478 points.

Points are ``(x, y)`` in pixels, x right, y down, pixel centres at integers. Dense points carry a third
coordinate z in the same unit, smaller is nearer to the camera. "Left" and "right" are the viewer's.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "DENSE_COUNT",
    "FACE_OVAL",
    "FLIP68",
    "GROUPS68",
    "INNER_LIPS",
    "OUTER_LIPS",
    "SPARSE_FROM_DENSE",
    "eye_distance_px",
    "flip_points68",
]

DENSE_COUNT = 478

#: Row indices of the 68 points among the 478, in iBUG order.
SPARSE_FROM_DENSE = np.array(
    [127, 234, 93, 132, 58, 172, 136, 150, 152, 379, 365, 397, 288, 361, 323, 454, 356]
    + [70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 75, 97, 2, 326, 305]
    + [33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380]
    + [61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87]
)

#: The lips among the dense points, in order around them: from one corner over the upper lip to the other and back.
OUTER_LIPS = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146]
INNER_LIPS = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95]

#: The face oval among the dense points, in order around it.
FACE_OVAL = (
    [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152]
    + [148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109]
)

#: Named groups of the 68.
GROUPS68 = {
    "jaw": slice(0, 17),
    "brows": slice(17, 27),
    "nose": slice(27, 36),
    "eyes": slice(36, 48),
    "outer_lips": slice(48, 60),
    "inner_lips": slice(60, 68),
}

#: Index of each of the 68 points' mirror partner: ``mirrored = points[FLIP68]`` after x → (W − 1) − x.
FLIP68 = np.array(
    list(range(16, -1, -1))
    + list(range(26, 16, -1))
    + [27, 28, 29, 30, 35, 34, 33, 32, 31]
    + [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    + [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55]
    + [64, 63, 62, 61, 60, 67, 66, 65]
)


def flip_points68(points: np.ndarray, width_px: int) -> np.ndarray:
    """Mirror 68 points, shape ``(..., 68, 2)``, with the image of that width: left and right trade names."""
    mirrored = points[..., FLIP68, :].copy()
    mirrored[..., 0] = (width_px - 1) - mirrored[..., 0]
    return mirrored


def eye_distance_px(points68: np.ndarray) -> np.ndarray:
    """Distance between the two eye centres (means of the six points of each eye), shape ``(...,)``."""
    left = points68[..., 36:42, :2].mean(axis=-2)
    right = points68[..., 42:48, :2].mean(axis=-2)
    return np.linalg.norm(left - right, axis=-1)
