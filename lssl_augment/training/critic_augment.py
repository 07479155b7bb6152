"""Differentiable augmentation of what the critic sees (Zhao et al. 2020), face and side image in register."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["critic_augment"]


def critic_augment(
    images: Tensor, sides: Tensor, rng: torch.Generator, *, shared: int, keep: float = 0.75
) -> tuple[Tensor, Tensor]:
    """Random crop around the face, light, saturation and cut-out of pairs.

    Crops are whole pixels: any resampling would blur away the traces by which a critic tells a warp from a photograph.

    Args:
        images: ``(G·shared, 3, H, W)``; sides: ``(G·shared, S, H, W)``.
        rng: source of randomness (CPU).
        shared: groups of this many rows get the same augmentations, so that the features of a restored face and
            of its photograph can be compared.
        keep: share of the side that is kept.

    Returns:
        Pairs of ``(G·shared, ·, h, w)`` with ``h`` the nearest multiple of 16 to ``keep·H``.
    """
    groups, size = len(images) // shared, images.shape[-1]
    out = max(16, round(keep * size / 16) * 16)

    def draw(low: float, high: float) -> Tensor:
        return torch.empty(shared).uniform_(low, high, generator=rng).repeat(groups)

    free = size - out
    left = (draw(0.15, 0.85) * free).round().long().tolist()
    # Faces are aligned with the mouth in the lower half: look below the middle.
    top = (draw(0.4, 1.0) * free).round().long().tolist()
    faces = torch.stack([x[:, t : t + out, s : s + out] for x, t, s in zip(images.float(), top, left, strict=True)])
    drawn = torch.stack([x[:, t : t + out, s : s + out] for x, t, s in zip(sides.float(), top, left, strict=True)])

    def each(low: float, high: float) -> Tensor:
        return draw(low, high).to(images.device)[:, None, None, None]

    grey = faces.mean(1, keepdim=True)
    faces = grey + (faces - grey) * each(0.6, 1.3)
    faces = faces * torch.exp(each(-0.2, 0.2)) + each(-0.15, 0.15)

    axis = torch.arange(out, device=images.device, dtype=torch.float32)
    use, hole = (each(0, 1) < 0.2).float(), out / 5
    inside_y = ((axis[:, None] - each(0, out)).abs() < hole / 2).float()
    inside_x = ((axis - each(0, out)).abs() < hole / 2).float()
    cut = 1 - use * inside_y * inside_x
    return faces * cut, drawn * cut
