"""Textures as vectors: luma in full, chroma at half the resolution, split into mirror-even and mirror-odd halves.

A set of faces that holds every face and its mirror image has principal components that are each either even or
odd under mirroring, so a half of each component says all: two small analyses instead of one large one, half the
bytes, and colour, to which eyes are less sensitive, costs a half more instead of three times as much.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["from_planes", "merge_mirror", "split_mirror", "texture_halves", "texture_pixels", "to_planes"]

#: Each chroma cell stands for four pixels; this factor gives it the weight of four in sums of squares.
_CHROMA_GAIN = 2.0


def to_planes(textures: Tensor) -> tuple[Tensor, Tensor]:
    """RGB ``(B, 3, S, S)`` → luma ``(B, 1, S, S)`` and chroma (red and blue against luma) ``(B, 2, S/2, S/2)``."""
    red, green, blue = textures.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = torch.stack([0.713 * (red - luma), 0.564 * (blue - luma)], dim=1)
    return luma[:, None], F.avg_pool2d(chroma, 2)


def from_planes(luma: Tensor, chroma: Tensor) -> Tensor:
    """The inverse of :func:`to_planes`, but for the finer half of the chroma."""
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    red = luma[:, 0] + chroma[:, 0] / 0.713
    blue = luma[:, 0] + chroma[:, 1] / 0.564
    green = (luma[:, 0] - 0.299 * red - 0.114 * blue) / 0.587
    return torch.stack([red, green, blue], dim=1)


def split_mirror(images: Tensor) -> tuple[Tensor, Tensor]:
    """``(B, C, H, W)`` → even and odd half, each ``(B, C·H·W/2)``, lengths (sums of squares) kept."""
    width = images.shape[-1] // 2
    left, right = images[..., :width], images.flip(-1)[..., :width]
    root = 0.5**0.5
    return ((left + right) * root).flatten(1), ((left - right) * root).flatten(1)


def merge_mirror(even: Tensor, odd: Tensor, channels: int, height: int) -> Tensor:
    """The inverse of :func:`split_mirror`: ``(B, C, H, W)``."""
    even, odd = (half.view(len(half), channels, height, -1) for half in (even, odd))
    root = 0.5**0.5
    return torch.cat([(even + odd) * root, ((even - odd) * root).flip(-1)], dim=-1)


def texture_halves(textures: Tensor) -> tuple[Tensor, Tensor]:
    """RGB textures ``(B, 3, S, S)`` → even and odd vectors, each ``(B, 3·S²/4)``."""
    luma, chroma = to_planes(textures)
    halves = zip(split_mirror(luma), split_mirror(chroma * _CHROMA_GAIN), strict=True)
    even, odd = (torch.cat(parts, dim=1) for parts in halves)
    return even, odd


def texture_pixels(even: Tensor, odd: Tensor, size_px: int) -> Tensor:
    """The inverse of :func:`texture_halves`: RGB ``(B, 3, S, S)``."""
    cut = size_px * size_px // 2
    luma = merge_mirror(even[:, :cut], odd[:, :cut], 1, size_px)
    chroma = merge_mirror(even[:, cut:], odd[:, cut:], 2, size_px // 2)
    return from_planes(luma, chroma / _CHROMA_GAIN)
