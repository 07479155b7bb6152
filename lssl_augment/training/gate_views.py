"""Random views of real faces for the gate's training: drawn from an explicit generator, then applied."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["random_views"]


def random_views(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flip, rotate, scale, shift, re-light, grey, soften and erase each face by its own draw.

    Args:
        images: ``(B, 3, S, S)`` float in [-1, 1].
        generator: a CPU generator; the only source of randomness.

    Returns:
        ``(B, 3, S, S)``, float in [-1, 1], on the images' device.
    """
    count, size = len(images), images.shape[-1]

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        draw = torch.rand(count, *shape, generator=generator)
        return (low + (high - low) * draw).to(images.device)

    def chance(p: float) -> Tensor:
        return uniform(0, 1, 1, 1, 1) < p

    # Geometry: one sampling for flip, rotation (radians), scale and shift (shares of half the width).
    angle, scale = uniform(-0.2, 0.2), uniform(0.88, 1.12)
    flip = torch.where(chance(0.5).flatten(), -1.0, 1.0)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    shift = uniform(-0.12, 0.12, 2)
    theta = torch.stack([flip * cos, -sin, shift[:, 0], flip * sin, cos, shift[:, 1]], 1).view(-1, 2, 3)
    grid = F.affine_grid(theta, [count, 3, size, size], align_corners=False)
    views = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)

    # Synthetic faces can be softer than photographs: sharpness must not tell the classes apart.
    soft = F.interpolate(F.avg_pool2d(views, 2), (size, size), mode="bilinear", align_corners=False)
    views = torch.where(chance(0.25), views.lerp(soft, uniform(0.3, 1.0, 1, 1, 1)), views)

    # Light and colour: per-channel gain and offset, contrast, saturation.
    mean = views.mean((1, 2, 3), keepdim=True)
    views = (views - mean) * uniform(0.65, 1.35, 1, 1, 1) + mean + uniform(-0.3, 0.3, 1, 1, 1)
    views = views + uniform(-0.08, 0.08, 3, 1, 1)
    grey = views.mean(1, keepdim=True)
    saturation = uniform(0.5, 1.4, 1, 1, 1) * ~chance(0.2)
    views = (grey + (views - grey) * saturation).clamp(-1, 1)

    # Erase one rectangle: no class may hang on one feature alone.
    extent, corner = uniform(0.12, 0.4, 2, 1, 1) * size, uniform(-0.1, 0.9, 2, 1, 1) * size
    pixels = torch.arange(size, device=images.device)
    inside_y = (pixels >= corner[:, 0]) & (pixels < corner[:, 0] + extent[:, 0])
    inside_x = (pixels >= corner[:, 1]) & (pixels < corner[:, 1] + extent[:, 1])
    hole = (inside_y[:, 0, :, None] & inside_x[:, 0, None, :])[:, None] & chance(0.5)
    return torch.where(hole, mean.clamp(-1, 1), views)
