"""Backward image warps from landmark pairs: a radial spline evaluated on a coarse grid.

A face is moved from its own landmarks to a target shape by a dense flow: for each pixel of the result, where
to read in the source. The flow interpolates the displacements of matching control points with the exponential
kernel exp(−r/ℓ), so it runs batched in torch on any device, is differentiable, and needs no triangulation. A
small ridge keeps it stable where target points coincide (closed lips, closed lids).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.faces.expression_shapes import WARP_POINTS

__all__ = ["border_anchors", "dense_flow", "point_field", "shape_flow", "warp_image"]

#: Faces whose kernels a processor holds at once, 2 MB each: tensors of more than 32 MB are given back to the system
#: after every operation, and getting them again takes longer than the arithmetic.
_AT_ONCE = 4


def border_anchors(size_px: int, per_side: int, device: torch.device | None = None) -> Tensor:
    """Points on the image border that stay put, shape ``(4·per_side, 2)``, in pixels."""
    last = float(size_px - 1)
    steps = torch.arange(per_side, dtype=torch.float32, device=device) * (last / per_side)
    zero, full = torch.zeros_like(steps), torch.full_like(steps, last)
    sides = [(steps, zero), (full, steps), (last - steps, full), (zero, last - steps)]
    return torch.cat([torch.stack(side, dim=1) for side in sides])


def dense_flow(
    source: Tensor,
    target: Tensor,
    size_px: int,
    *,
    grid_px: int = 48,
    anchors_per_side: int = 5,
    reach: float = 0.5,
    ridge: float = 0.01,
    trust: Tensor | None = None,
) -> Tensor:
    """Displacement field that carries ``source`` points onto ``target`` points.

    Args:
        source, target: matching points in pixels of a ``size_px`` square image, shape ``(B, K, 2)`` float32.
        grid_px: side of the grid the spline is evaluated on.
        anchors_per_side: points per image side that do not move.
        reach: distance ℓ over which a point's influence fades, in image sides.
        ridge: smoothing added to the kernel's diagonal (the kernel is 1 at a point).
        trust: how much each pair of points counts, ``(B, K)`` in [0, 1]: its ridge is divided by it; None: fully.

    Returns:
        Flow, shape ``(B, 2, grid_px, grid_px)`` float32 in source pixels: result(q) = image(q + flow(q)).
    """
    moves = (source - target).float()
    return _spline(target.float(), moves, size_px, grid_px, anchors_per_side, reach, ridge, trust)


def point_field(
    points: Tensor,
    values: Tensor,
    size_px: int,
    *,
    grid_px: int = 48,
    anchors_per_side: int = 5,
    reach: float = 0.25,
    ridge: float = 0.05,
    trust: Tensor | None = None,
) -> Tensor:
    """A smooth field that takes ``values (B, K, C)`` at ``points (B, K, 2)`` and nothing at the border of the image.

    The other arguments are those of :func:`dense_flow`.

    Returns:
        ``(B, C, grid_px, grid_px)`` float32.
    """
    return _spline(points.float(), values.float(), size_px, grid_px, anchors_per_side, reach, ridge, trust)


def _spline(
    points: Tensor,
    values: Tensor,
    size_px: int,
    grid_px: int,
    anchors_per_side: int,
    reach: float,
    ridge: float,
    trust: Tensor | None,
) -> Tensor:
    batch = len(points)
    anchors = border_anchors(size_px, anchors_per_side, points.device).expand(batch, -1, -1)
    unit = float(size_px)
    knots = torch.cat([points, anchors], dim=1) / unit
    values = torch.cat([values, values.new_zeros(batch, anchors.shape[1], values.shape[2])], dim=1)
    n = knots.shape[1]

    # exp(−r/ℓ) is positive definite: a Cholesky factor, and displacements that fade out away from the points.
    gram = torch.exp(torch.cdist(knots, knots, compute_mode="donot_use_mm_for_euclid_dist") * (-1.0 / reach))
    if trust is None:
        gram = gram + ridge * torch.eye(n, device=knots.device)
    else:
        full = torch.ones(batch, anchors.shape[1], device=knots.device)
        gram = gram + torch.diag_embed(ridge / torch.cat([trust.clamp_min(1e-4), full], dim=1))
    weights = torch.cholesky_solve(values, torch.linalg.cholesky(gram))

    # Grid cell centres in image pixels, matching F.interpolate(align_corners=False).
    axis = (torch.arange(grid_px, device=knots.device, dtype=torch.float32) + 0.5) * (size_px / grid_px) - 0.5
    ys, xs = torch.meshgrid(axis, axis, indexing="ij")
    grid = torch.stack([xs, ys], dim=-1).reshape(1, -1, 2) / unit
    step = _AT_ONCE if knots.device.type == "cpu" else max(1, batch)
    parts = [
        torch.exp(torch.cdist(grid.expand(len(some), -1, -1), some) * (-1.0 / reach)) @ weight
        for some, weight in zip(knots.split(step), weights.split(step), strict=True)
    ]
    field = torch.cat(parts)
    return field.transpose(1, 2).reshape(batch, values.shape[2], grid_px, grid_px)


def shape_flow(source: Tensor, target: Tensor, size_px: int, *, trust: Tensor | None = None) -> Tensor:
    """:func:`dense_flow` between two dense shapes ``(B, 478, 3)`` in pixels of a ``size_px`` face.

    ``trust``: of their points, ``(B, K)``, in the order of :data:`~.faces.expression_shapes.WARP_POINTS`.
    """
    return dense_flow(source[:, WARP_POINTS, :2], target[:, WARP_POINTS, :2], size_px, trust=trust)


def warp_image(image: Tensor, flow: Tensor, *, cubic: bool = False) -> Tensor:
    """Read ``image`` through a flow.

    Args:
        image: shape ``(B, C, H, W)``.
        flow: shape ``(B, 2, h, w)`` from :func:`dense_flow`, brought to the image's size; its values are pixels of
            this image, so a flow made for a face of another size must be multiplied by the ratio of the sizes.
        cubic: bicubic (Keys 1981, with torch's a = −0.75) instead of bilinear, for what is looked at: a mean of four
            pixels takes a quarter of a photograph's sharpness. It overshoots at edges; who needs a range keeps to it.

    Returns:
        Warped image, the shape and dtype of ``image``; beyond the border the edge is repeated.
    """
    size = image.shape[-2:]
    if flow.shape[-2:] != size:
        flow = F.interpolate(flow, size=size, mode="bilinear", align_corners=False)
    height, width = size
    ys = torch.arange(height, device=flow.device, dtype=torch.float32)
    xs = torch.arange(width, device=flow.device, dtype=torch.float32)
    gx = (xs[None, None, :] + flow[:, 0] + 0.5) * (2.0 / width) - 1.0
    gy = (ys[None, :, None] + flow[:, 1] + 0.5) * (2.0 / height) - 1.0
    grid = torch.stack([gx, gy], dim=-1)
    mode = "bicubic" if cubic else "bilinear"
    warped = F.grid_sample(image.float(), grid, mode=mode, padding_mode="border", align_corners=False)
    return warped.to(image.dtype)
