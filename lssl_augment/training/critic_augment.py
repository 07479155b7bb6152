"""Differentiable augmentation of what the critic sees (Zhao et al. 2020), face and side image in register."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["critic_augment"]


def critic_augment(
    images: Tensor, sides: Tensor, rng: torch.Generator, *, shared: int, keep: float = 0.78
) -> tuple[Tensor, Tensor]:
    """Random light, shift, scale and cut-out of pairs, cropped to the middle where expressions are.

    Args:
        images: ``(G·shared, 3, H, W)``; sides: ``(G·shared, S, H, W)``.
        rng: source of randomness (CPU).
        shared: groups of this many rows get the same augmentations, so that features of a restored face and its
            photograph can be compared.
        keep: share of the side that is kept.

    Returns:
        Pairs of ``(G·shared, ·, h, w)`` with ``h`` the nearest multiple of 16 to ``keep·H``.
    """
    groups, size = len(images) // shared, images.shape[-1]
    out = max(16, round(keep * size / 16) * 16)

    def draw(low: float, high: float) -> Tensor:
        return torch.empty(shared).uniform_(low, high, generator=rng).repeat(groups).to(images.device)

    zoom = keep * torch.exp(draw(-0.12, 0.12))
    # Faces are aligned with the mouth in the lower half: look slightly below the middle.
    cx, cy = draw(-0.08, 0.08), draw(-0.08, 0.08) + 0.12
    zero = torch.zeros_like(zoom)
    theta = torch.stack([torch.stack([zoom, zero, cx], 1), torch.stack([zero, zoom, cy], 1)], 1)
    both = torch.cat([images.float(), sides.float()], dim=1)
    grid = F.affine_grid(theta, [len(both), both.shape[1], out, out], align_corners=False)
    both = F.grid_sample(both, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    faces, drawn = both[:, :3], both[:, 3:]

    gain, shift = torch.exp(draw(-0.25, 0.25)), draw(-0.2, 0.2)
    saturation = draw(0.4, 1.4)
    grey = faces.mean(1, keepdim=True)
    faces = grey + (faces - grey) * saturation[:, None, None, None]
    faces = faces * gain[:, None, None, None] + shift[:, None, None, None]

    hole = out // 4
    ys, xs = draw(0, out), draw(0, out)
    use = (draw(0, 1) < 0.4).float()
    axis = torch.arange(out, device=images.device, dtype=torch.float32)
    inside_y = ((axis - ys[:, None]).abs() < hole / 2).float()
    inside_x = ((axis - xs[:, None]).abs() < hole / 2).float()
    cut = 1 - use[:, None, None, None] * inside_y[:, None, :, None] * inside_x[:, None, None, :]
    return faces * cut, drawn * cut
