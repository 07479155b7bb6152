"""The inside of a mouth as a strip: from corner to corner along it, from the upper lip to the lower one across it.

In these coordinates every mouth has the same outline, however far it opens and wherever the head looks, and what is
read from a photograph and drawn into a face lies exactly between the lips. A warp to one mean mouth does not do that:
where lips lie close its spline moves them less far than it should, and a wide mouth is squeezed into the mean one's
height.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.faces.landmarks import INNER_LIPS

__all__ = ["draw_strips", "strip_grid", "strip_of", "strip_size"]

#: Rows and columns of a strip, in face sizes: a wide mouth at the resolution of its photograph.
_ROWS, _COLUMNS = 20 / 128, 36 / 128
#: A strip begins and ends so far beyond the lines of the lips, in face sizes: what is blended in at its edges is lip.
_BEYOND = 1 / 128
#: Pixels around the lips for which coordinates are computed; what a soft mask reaches.
_AROUND_PX = 2

_UPPER, _LOWER = INNER_LIPS[:11], [INNER_LIPS[0], *INNER_LIPS[:9:-1]]


def strip_size(size_px: int) -> tuple[int, int]:
    """Rows and columns of the strips of faces of ``size_px``."""
    return max(2, round(_ROWS * size_px)), max(2, round(_COLUMNS * size_px))


@dataclass(frozen=True)
class _Lips:
    """Inner lips of a face, seen from the left corner along the line to the right one.

    Args:
        corner: the left one, px. along, across: unit vectors. width: between the corners, px. upper, lower: the lines
            of the lips, ``(2, 11)``, place along the mouth in [0, 1] and px across it, in order along it.
    """

    corner: np.ndarray
    along: np.ndarray
    across: np.ndarray
    width: float
    upper: np.ndarray
    lower: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray) -> _Lips:
        """Of landmarks ``(478, 2)``."""
        corner = points[_UPPER[0]]
        line = points[_UPPER[-1]] - corner
        width = max(float(np.hypot(*line)), 1e-3)
        along = line / width
        across = np.array([-along[1], along[0]])
        lines = []
        for ring in (_UPPER, _LOWER):
            off = points[ring] - corner
            place = off @ along / width
            order = np.argsort(place, kind="stable")
            lines.append(np.stack([place[order], (off @ across)[order]]))
        return cls(corner, along, across, width, *lines)

    def span(self, place: np.ndarray, beyond: float) -> tuple[np.ndarray, np.ndarray]:
        """Middle between the lips and height of the strip at places along the mouth, px across it."""
        upper, lower = np.interp(place, *self.upper), np.interp(place, *self.lower)
        return (upper + lower) / 2, np.maximum(lower - upper, 0) + 2 * beyond


def strip_of(images: Tensor, dense: Tensor, size: tuple[int, int]) -> Tensor:
    """Insides of mouths, ``(B, C, rows, columns)``, read bicubically from faces ``(B, C, S, S)``.

    Args:
        images: faces. dense: their landmarks, ``(B, 478, 2 or 3)`` px. size: rows and columns of the strips.
    """
    (rows, columns), side = size, images.shape[-1]
    v, s = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
    grid = np.empty((len(dense), rows, columns, 2), np.float32)
    for row, points in enumerate(_points(dense)):
        lips = _Lips.of(points)
        middle, tall = lips.span(s, _BEYOND * side)
        height = middle + (v - 0.5) * tall
        grid[row] = lips.corner + s[..., None] * lips.width * lips.along + height[..., None] * lips.across
    place = torch.from_numpy((grid + 0.5) * (2.0 / side) - 1.0).to(images.device)
    return _read(images.float(), place)


def draw_strips(strips: Tensor, dense: Tensor, size_px: int) -> Tensor:
    """Faces ``(B, C, size_px, size_px)`` of nothing but the insides of their mouths, read bicubically from strips.

    Args:
        strips: ``(B, C, rows, columns)``. dense: landmarks of the faces, ``(B, 478, 2 or 3)`` px. size_px: their side.
            Only pixels within the lips and a little around them have a meaning.
    """
    return _read(strips, strip_grid(dense, size_px))


def strip_grid(dense: Tensor, size_px: int) -> Tensor:
    """Where the pixels of faces lie in the strips of their mouths, ``(B, size_px, size_px, 2)``.

    For :func:`torch.nn.functional.grid_sample` without aligned corners: −1 to 1 from corner to corner, and from a pixel
    above the inner line of the upper lip to one below that of the lower. Only pixels within have a meaning.
    """
    out = np.zeros((len(dense), size_px, size_px, 2), np.float32)
    for row, points in enumerate(_points(dense)):
        ring = points[INNER_LIPS]
        low = np.clip(np.floor(ring.min(0)).astype(int) - _AROUND_PX, 0, size_px - 1)
        high = np.clip(np.ceil(ring.max(0)).astype(int) + _AROUND_PX + 1, 1, size_px)
        x, y = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
        lips = _Lips.of(points)
        off = np.stack([x, y], axis=-1) - lips.corner
        place = off @ lips.along / lips.width
        middle, tall = lips.span(place, _BEYOND * size_px)
        across = (off @ lips.across - middle) / tall
        out[row, low[1] : high[1], low[0] : high[0]] = np.stack([2 * place - 1, 2 * across], axis=-1)
    return torch.from_numpy(out).to(dense.device)


def _read(images: Tensor, place: Tensor) -> Tensor:
    return F.grid_sample(images, place, mode="bicubic", padding_mode="border", align_corners=False)


def _points(dense: Tensor) -> np.ndarray:
    points: np.ndarray = dense[:, :, :2].detach().double().cpu().numpy()
    return points
