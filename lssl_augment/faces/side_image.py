"""Landmarks drawn as an image: one soft dot (2D Gaussian) per landmark, the side image of the LSSL networks.

A Gaussian is separable, so a whole group of dots is one matrix product, ``Gyᵀ · Gx``: batched, differentiable
in the landmarks, and the same on every device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lssl_augment.errors import DataError
from lssl_augment.faces.landmarks import GROUPS68

__all__ = ["SIDE_GROUPS", "scale_points", "side_image"]

#: Channels of a grouped side image: the rows of the 68 that each one draws.
SIDE_GROUPS: dict[str, tuple[int, ...]] = {
    "jaw_nose": (*range(68)[GROUPS68["jaw"]], *range(68)[GROUPS68["nose"]]),
    "brows": tuple(range(68)[GROUPS68["brows"]]),
    "eyes": tuple(range(68)[GROUPS68["eyes"]]),
    "outer_lips": tuple(range(68)[GROUPS68["outer_lips"]]),
    "inner_lips": tuple(range(68)[GROUPS68["inner_lips"]]),
}


def scale_points(points: Tensor, from_px: int, to_px: int) -> Tensor:
    """Landmarks ``(..., 2)`` of a ``from_px`` square face in pixels of the same face at ``to_px``.

    Pixel centres sit at integers, so scaling happens about the image corner (−0.5, −0.5).
    """
    return (points + 0.5) * (to_px / from_px) - 0.5


def side_image(
    points68: Tensor,
    face_size_px: int,
    size_px: int,
    *,
    sigma_px: float | None = None,
    groups: bool = False,
) -> Tensor:
    """Draw landmarks as sums of Gaussians, clamped to 1.

    Args:
        points68: landmarks in pixels of a ``face_size_px`` square face, shape ``(B, 68, 2)``, floating point.
        face_size_px: size of the face the landmarks belong to.
        size_px: size of the side image.
        sigma_px: standard deviation of a dot in pixels of the side image; default ``size_px / 64``.
        groups: one channel for each of :data:`SIDE_GROUPS` instead of one for all.

    Returns:
        Shape ``(B, C, size_px, size_px)``, C = 1, or 5 with ``groups``; float32 in [0, 1].

    Raises:
        DataError: points of another shape, or sizes that are not positive.
    """
    if points68.ndim != 3 or points68.shape[1:] != (68, 2):
        raise DataError(f"points68 must have shape (B, 68, 2); got {tuple(points68.shape)}")
    sigma = size_px / 64 if sigma_px is None else sigma_px
    if face_size_px < 1 or size_px < 1 or not sigma > 0:
        raise DataError(
            f"face_size_px, size_px and sigma_px must be positive; got {face_size_px}, {size_px} and {sigma}"
        )
    # Gradients pass through .float(), and half precision would displace the dots.
    points = scale_points(points68.float(), face_size_px, size_px)
    axis = torch.arange(size_px, dtype=torch.float32, device=points.device)
    with torch.autocast(points.device.type, enabled=False):
        dots = torch.exp((axis - points[..., None]).square() * (-0.5 / sigma**2))  # (B, 68, 2, size)
        gx, gy = dots[:, :, 0], dots[:, :, 1]
        channels = list(SIDE_GROUPS.values()) if groups else [tuple(range(68))]
        drawn = [gy[:, list(rows)].transpose(1, 2) @ gx[:, list(rows)] for rows in channels]
    return torch.stack(drawn, dim=1).clamp(max=1.0)
