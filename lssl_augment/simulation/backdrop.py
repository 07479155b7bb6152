"""Smooth studio-like backdrops, one a person, drawn from a few numbers."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["NUMBERS", "backdrops"]

#: Uniform numbers in [0, 1) that a backdrop is drawn from.
NUMBERS = 8


def backdrops(uniform: Tensor, size_px: int) -> Tensor:
    """Backdrops ``(B, 3, S, S)`` in [0, 255] from uniform numbers ``(B, NUMBERS)``.

    A muted colour, a soft pool of light behind the head and a slow gradient across; never a pattern, so that
    nothing in it can be taken for a part of the face.
    """
    level = 45 + 165 * uniform[:, 0:1]
    # Colour as two chroma axes; the product of two uniforms makes strong colours rare.
    strength = 45 * uniform[:, 1:2] * uniform[:, 2:3]
    angle = 2 * torch.pi * uniform[:, 3:4]
    red, blue = strength * torch.cos(angle), strength * torch.sin(angle)
    colour = torch.cat([level + red, level - 0.4 * red - 0.2 * blue, level + blue], dim=1)
    axis = torch.linspace(-1, 1, size_px)
    ys, xs = torch.meshgrid(axis, axis, indexing="ij")
    direction = 2 * torch.pi * uniform[:, 4]
    across = torch.cos(direction)[:, None, None] * xs + torch.sin(direction)[:, None, None] * ys
    centre = (uniform[:, 5] - 0.5)[:, None, None]
    pool = torch.exp(-((xs - centre) ** 2 + (ys + 0.2) ** 2) / 0.9)
    light = 0.2 * uniform[:, 6, None, None] * across + 0.45 * uniform[:, 7, None, None] * (pool - 0.4)
    return (colour[:, :, None, None] * (1 + light[:, None])).clamp(0, 255)
