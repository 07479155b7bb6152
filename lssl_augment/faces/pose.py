"""How a head is turned, from its landmarks: yaw, pitch and roll in degrees.

Angles are those of ``R = Rz(roll) · Ry(−yaw) · Rx(pitch)``, which turns a frontal head into the one seen (x right,
y down, z away from the viewer; the sign makes yaw positive towards larger x). So turning the photograph changes roll
alone, and a scan that is frontal but for a nod and is then rotated about the vertical by 30 degrees has a yaw of 30.

Dense points know their depth: a similarity transform of a frontal mean shape to points that expressions hardly move
(Umeyama 1991) gives all three angles. The 68 points are flat: their yaw follows from where the tip of the nose lies
between the temples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lssl_augment.errors import DataError
from lssl_augment.faces.dense_flip import DENSE_FLIP
from lssl_augment.faces.landmarks import DENSE_COUNT

__all__ = ["HeadPose", "head_pose", "yaw_deg"]

#: Mean neutral shape of the stable points on the midline and on the viewer's left; the right half is its mirror image.
#: Generalised Procrustes over the 4,117 neutral training faces of ``lfw-expressions``, made symmetric; the unit is a
#: pixel of a 128-pixel face, z away from the viewer.
_MEAN_SHAPE = {
    168: (0.0, 4.3, -11.9),
    6: (0.0, 8.5, -14.3),
    197: (0.0, 12.4, -16.9),
    195: (0.0, 16.2, -19.8),
    10: (0.0, -22.6, -9.3),
    151: (0.0, -13.8, -11.4),
    9: (0.0, -4.2, -12.9),
    8: (0.0, 0.4, -12.3),
    33: (-24.3, 6.0, 0.1),
    133: (-9.7, 6.8, -2.8),
    127: (-39.4, 8.4, 27.1),
    234: (-39.1, 16.6, 29.6),
    21: (-36.9, -6.9, 14.7),
    54: (-33.2, -13.0, 8.0),
    103: (-27.6, -17.9, 1.0),
    67: (-19.2, -21.0, -4.9),
    109: (-10.3, -22.4, -8.4),
    162: (-38.8, -0.1, 21.6),
    193: (-4.1, 4.7, -9.6),
    122: (-3.1, 9.3, -12.9),
    196: (-3.0, 13.2, -16.1),
    116: (-35.0, 15.7, 7.0),
}

#: Of the 68: outermost jaw points (temples), tip of the nose, points of the eyes.
_TEMPLES, _NOSE_TIP = (0, 16), 30
_EYES = (slice(36, 42), slice(42, 48))
#: Width between the temples over the depth from them to the tip of the nose, fitted on the training subjects of
#: ``lfw-expressions`` (the mean shape itself says 1.42).
_WIDTH_PER_DEPTH = 1.3975


class HeadPose(NamedTuple):
    """Angles in degrees, each ``(...,)`` float64.

    Attributes:
        yaw: positive when the nose points to the viewer's right (larger x), in [−90, 90].
        pitch: positive when the nose points down (larger y); 0 is the mean of neutral photographs.
        roll: positive when the head leans clockwise, to the viewer's right.
    """

    yaw: np.ndarray
    pitch: np.ndarray
    roll: np.ndarray


def head_pose(dense: np.ndarray) -> HeadPose:
    """All three angles from dense points.

    Args:
        dense: ``(..., 478, 3)``, of photographs or of aligned faces; z in the unit of x and y.

    Raises:
        DataError: points of another shape, that are not finite, or that coincide.
    """
    points = _checked(dense, (DENSE_COUNT, 3), "dense points")
    rows, shape = _stable()
    seen = points[..., rows, :]
    seen = seen - seen.mean(axis=-2, keepdims=True)
    moment = np.einsum("...ki,kj->...ij", seen, shape)
    u, sizes, vt = np.linalg.svd(moment)
    if not (sizes[..., 1] > 1e-9 * (shape**2).sum()).all():
        raise DataError("landmarks coincide or lie on one line, so the head has no pose")
    u[..., :, 2] *= np.sign(np.linalg.det(u @ vt))[..., None]  # a rotation, never a mirror image
    rotation = u @ vt
    across = rotation[..., :, 0]  # the head's own x axis, as seen
    return HeadPose(
        yaw=np.degrees(np.arctan2(across[..., 2], np.hypot(across[..., 0], across[..., 1]))),
        pitch=np.degrees(np.arctan2(rotation[..., 2, 1], rotation[..., 2, 2])),
        roll=np.degrees(np.arctan2(across[..., 1], across[..., 0])),
    )


def yaw_deg(points: np.ndarray) -> np.ndarray:
    """Turn of the head to the left or right.

    Args:
        points: dense points ``(..., 478, 3)`` (see :func:`head_pose`), or 68 points ``(..., 68, 2)``. From the 68 the
            rule is tan(yaw) = 1.3975 · (nose tip − middle of the temples) / (width between the temples), both along
            the line of the eyes; it takes the points of the jaw for points of the head, which they are where they come
            from a 3D model (MediaPipe, insightface's ``landmark_3d_68``) and not quite where a person drew the visible
            outline. docs/attributes.md tells how far the two are apart.

    Returns:
        ``(...,)`` float64 degrees, positive when the nose points to the viewer's right.

    Raises:
        DataError: points of another shape, that are not finite, or that coincide.
    """
    if np.shape(points)[-2:] == (DENSE_COUNT, 3):
        return head_pose(points).yaw
    flat = _checked(points, (68, 2), "points")
    left, right = (flat[..., eye, :].mean(axis=-2) for eye in _EYES)
    along = right - left
    length = np.linalg.norm(along, axis=-1, keepdims=True)
    # Coordinates along the line of the eyes: what is left of the others is roll and pitch.
    if not (length > 1e-9).all():
        raise DataError("the eyes coincide, so the head has no pose")
    first, last, nose = ((flat[..., i, :] * along / length).sum(axis=-1) for i in (*_TEMPLES, _NOSE_TIP))
    angle: np.ndarray = np.degrees(
        np.arctan2(_WIDTH_PER_DEPTH * (nose - (first + last) / 2), np.maximum(last - first, 0.0))
    )
    return angle


def _stable() -> tuple[np.ndarray, np.ndarray]:
    """Dense rows of the stable points, ``(36,)``, and their mean shape about its centre, ``(36, 3)``."""
    rows, shape = [], []
    for row, (x, y, z) in _MEAN_SHAPE.items():
        rows.append(row)
        shape.append((x, y, z))
        if DENSE_FLIP[row] != row:
            rows.append(int(DENSE_FLIP[row]))
            shape.append((-x, y, z))
    centred = np.array(shape)
    return np.array(rows), centred - centred.mean(axis=0)


def _checked(points: np.ndarray, shape: tuple[int, int], what: str) -> np.ndarray:
    array = np.asarray(points, np.float64)
    if array.shape[-2:] != shape:
        raise DataError(f"points must have shape (..., 478, 3) or (..., 68, 2); got {array.shape}")
    if not np.isfinite(array).all():
        raise DataError(f"{what} must be finite; {int((~np.isfinite(array)).sum())} numbers are not")
    return array
