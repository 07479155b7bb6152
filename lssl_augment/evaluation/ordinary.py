"""Ordinary augmentation of a whole batch at once: flip, rotate, scale, shift, colour."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ordinary_augmentation"]

_ROTATE_DEG = 10.0
_SCALE = 0.1
_SHIFT = 0.08
_COLOUR = 0.3
_GREY = 0.1


def ordinary_augmentation(images: Tensor, generator: torch.Generator) -> Tensor:
    """What people do to faces anyway, drawn anew for every row.

    Mirrored with chance ½; rotated by up to 10°, scaled by up to ±10 % and shifted by up to 8 % (so also
    cropped; edges are mirrored outwards); brightness, contrast and saturation times 0.7 to 1.3; grey with
    chance 0.1.

    Args:
        images: shape ``(B, 3, S, S)`` float32 in [0, 1].
        generator: on the CPU; the only source of randomness.

    Returns:
        Shape, dtype and range of ``images``.
    """
    count = len(images)
    device = images.device

    def uniform(low: float, high: float) -> Tensor:
        return (torch.rand(count, generator=generator) * (high - low) + low).to(device)

    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    angle = uniform(-_ROTATE_DEG, _ROTATE_DEG) * (math.pi / 180)
    scale = uniform(1 - _SCALE, 1 + _SCALE)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    across, down = uniform(-2 * _SHIFT, 2 * _SHIFT), uniform(-2 * _SHIFT, 2 * _SHIFT)
    # Output pixel → input pixel, in [-1, 1] units.
    affine = torch.stack(
        [torch.stack([cos * mirror, -sin, across], 1), torch.stack([sin * mirror, cos, down], 1)], 1
    )
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    out = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    brightness, contrast, saturation = (
        uniform(1 - _COLOUR, 1 + _COLOUR)[:, None, None, None] for _ in range(3)
    )
    saturation = torch.where(uniform(0, 1)[:, None, None, None] < _GREY, 0.0, saturation)
    luma = torch.tensor([0.299, 0.587, 0.114], device=device)[None, :, None, None]
    out = out * brightness
    grey = (out * luma).sum(dim=1, keepdim=True)
    out = grey + (out - grey) * saturation
    middle = grey.mean(dim=(2, 3), keepdim=True)
    return (middle + (out - middle) * contrast).clamp(0.0, 1.0)
