"""Warps between faces of any shape and the mean shape, in which all faces are compared pixel by pixel.

The knots of the spline lie at the mean shape, so the displacement at every place of the mean face is one fixed
linear map of the landmarks: where the mean face's pixel q is found in a face is q + W·(landmarks − mean). The
way back inverts that field by fixed-point iteration; no system is solved for a face and nothing is triangulated.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ShapeWarp", "fill_outside", "to_float"]

#: Points a side on the image border that stay put.
_ANCHORS = 12
#: Reach of a point's influence and smoothing of the spline, as shares of the image side and of the kernel.
_REACH, _RIDGE = 0.5, 0.004
_INVERSION_ROUNDS = 6


class ShapeWarp:
    """Backward warps of one face size.

    Args:
        mean: the mean shape, ``(P, 2)`` or ``(P, 3)``, in pixels of a ``size_px`` face.
        size_px: side of the faces. grid_px: side of the grid that flows are computed on.
    """

    def __init__(self, mean: Tensor, size_px: int, grid_px: int = 64) -> None:
        self.mean = mean[:, :2].float()
        self.size_px, self.grid_px = size_px, grid_px
        self._map = _displacement_map(self.mean.double(), size_px, grid_px)
        axis = (torch.arange(size_px, dtype=torch.float32) + 0.5) * (2.0 / size_px) - 1.0
        ys, xs = torch.meshgrid(axis, axis, indexing="ij")
        self._identity = torch.stack([xs, ys], dim=-1)[None]

    def flow(self, dense: Tensor) -> Tensor:
        """Where the mean face's places lie in faces of shape ``dense`` ``(B, P, 2 or 3)``: ``(B, 2, g, g)`` pixels."""
        moved = (dense[..., :2].float() - self.mean).transpose(1, 2)
        # One plain matrix product: a batched one is several times slower.
        return (moved.flatten(0, 1) @ self._map.T).view(len(dense), 2, self.grid_px, self.grid_px)

    def inverse_flow(self, dense: Tensor) -> Tensor:
        """Where the places of faces of shape ``dense`` lie in the mean face: ``(B, 2, g, g)`` pixels."""
        forward = self.flow(dense)
        back = -forward
        for _ in range(_INVERSION_ROUNDS):
            back = -_read(forward, back, self.size_px)
        return back

    def to_mean(self, images: Tensor, dense: Tensor) -> Tensor:
        """Faces ``(B, C, S, S)`` float with their landmarks → the same faces in the mean shape."""
        return self.read(images, self.flow(dense))

    def from_mean(self, textures: Tensor, dense: Tensor) -> Tensor:
        """Textures in the mean shape ``(B, C, S, S)`` float → faces with landmarks ``dense``."""
        return self.read(textures, self.inverse_flow(dense))

    def read(self, images: Tensor, flow: Tensor) -> Tensor:
        """Images ``(B, C, S, S)`` read through flows in pixels; beyond the border the edge is repeated."""
        size = self.size_px
        if flow.shape[-1] != size:
            flow = F.interpolate(flow, size=(size, size), mode="bicubic", align_corners=False)
        grid = self._identity + flow.permute(0, 2, 3, 1) * (2.0 / size)
        # Bicubic: bilinear reading would blur every texture twice, on the way in and on the way out.
        return F.grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False)


def _displacement_map(mean: Tensor, size_px: int, grid_px: int) -> Tensor:
    """Linear map ``(grid_px², P)`` from displacements of the landmarks to displacements of the grid's cells."""
    last = size_px - 1.0
    steps = torch.arange(_ANCHORS, dtype=torch.float64) * (last / _ANCHORS)
    zero, full = torch.zeros_like(steps), torch.full_like(steps, last)
    sides = [(steps, zero), (full, steps), (last - steps, full), (zero, last - steps)]
    knots = torch.cat([mean, *(torch.stack(side, dim=1) for side in sides)])
    gram = torch.exp(-torch.cdist(knots, knots) / (_REACH * size_px))
    gram += _RIDGE * torch.eye(len(knots), dtype=torch.float64)
    axis = (torch.arange(grid_px, dtype=torch.float64) + 0.5) * (size_px / grid_px) - 0.5
    ys, xs = torch.meshgrid(axis, axis, indexing="ij")
    cells = torch.stack([xs, ys], dim=-1).reshape(-1, 2)
    near = torch.exp(-torch.cdist(cells, knots) / (_REACH * size_px))
    # The anchors do not move, so only the columns of the landmarks are needed.
    return torch.linalg.solve(gram, near.T)[: len(mean)].T.float().contiguous()


def _read(flow: Tensor, at: Tensor, size_px: int) -> Tensor:
    side = flow.shape[-1]
    axis = (torch.arange(side, dtype=torch.float32) + 0.5) * (2.0 / side) - 1.0
    ys, xs = torch.meshgrid(axis, axis, indexing="ij")
    grid = torch.stack([xs, ys], dim=-1)[None] + at.permute(0, 2, 3, 1) * (2.0 / size_px)
    return F.grid_sample(flow, grid, mode="bilinear", padding_mode="border", align_corners=False)


def fill_outside(images: Tensor, inside: Tensor) -> Tensor:
    """Replace what lies outside a mask by colours spread outward from inside, coarse and soft.

    Args:
        images: ``(B, C, S, S)`` float. inside: ``(B, 1, S, S)`` float in [0, 1].

    Returns:
        ``images`` where ``inside`` is 1, ever smoother averages of the nearest inside colours where it is 0.
    """
    levels = [(images * inside, inside)]
    while levels[-1][0].shape[-1] > 2:
        colour, weight = levels[-1]
        levels.append((F.avg_pool2d(colour, 2), F.avg_pool2d(weight, 2)))
    filled = levels[-1][0] / levels[-1][1].clamp_min(1e-4)
    for colour, weight in reversed(levels[:-1]):
        filled = F.interpolate(filled, scale_factor=2, mode="bilinear", align_corners=False)
        # A cell that knows a sixteenth of itself is trusted: hair goes on outward before skin mixes in.
        sure = (weight * 16).clamp(0, 1) if weight.shape[-1] < images.shape[-1] else weight
        filled = sure * colour / weight.clamp_min(1e-4) + (1 - sure) * filled
    return filled


def to_float(images: np.ndarray) -> Tensor:
    """uint8 faces ``(B, S, S, 3)`` → float32 ``(B, 3, S, S)`` in [0, 255]."""
    return torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2)
