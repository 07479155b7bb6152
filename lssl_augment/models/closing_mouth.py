"""Warp a face so that a mouth that closes shows closed lips.

A warp alone squeezes the teeth of a smile into a white line between the lips. Here they are painted over with the tone
of the lips around them before the warp, and the shadow that lies between closed lips is drawn after it.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.faces.expression_shapes import mouth_gap
from lssl_augment.faces.landmarks import INNER_LIPS, OUTER_LIPS
from lssl_augment.models.expression_textures import polygon_mask
from lssl_augment.models.warp import warp_image

__all__ = ["closing_share", "warp_closing"]

_INNER_UPPER, _INNER_LOWER = INNER_LIPS[:11], [INNER_LIPS[0], *INNER_LIPS[:9:-1]]
#: Openings (:func:`mouth_gap`) up to which lips are closed, and from which they are apart.
_CLOSED, _APART = 0.1, 0.16
#: By how much a mouth must close before this begins, and before it is at its full.
_LEAST, _FULL = 0.02, 0.06
#: 500 closed mouths of faces at rest, 128 px: between the lips it is 0.74 times as bright as on them, half a pixel
#: above the landmarks. Between parted lips it is darker, by so much for each of opening.
_SHADOW, _RAISED, _SIGMA = 0.28, -0.5 / 128, 0.9 / 128
_DARKER = 0.5
#: Teeth show up to so far beyond the landmarks, in face sizes.
_BEYOND = 1.5 / 128


def closing_share(own: Tensor, wanted: Tensor) -> Tensor:
    """How much a mouth of opening ``own`` closes when it takes the opening ``wanted``: ``(B,)`` in [0, 1]."""
    shut = ((_APART - wanted) / (_APART - _CLOSED)).clamp(0, 1)
    return shut * ((own - wanted - _LEAST) / (_FULL - _LEAST)).clamp(0, 1)


def warp_closing(
    faces: Tensor, dense: Tensor, moved: Tensor, flow: Tensor, *, posed: Tensor | None = None
) -> Tensor:
    """Faces carried to another shape, mouths that close without teeth between their lips.

    Args:
        faces: ``(B, 3, H, W)`` in [-1, 1]. dense, moved: their landmarks before and after, ``(B, 478, 3)``.
        flow: from :func:`~lssl_augment.models.warp.shape_flow` of the two.
        posed: ``dense`` with the head turned as in ``moved``, where it is, for a turned mouth looks narrower; None: the
            head keeps its pose.

    Returns:
        ``(B, 3, H, W)``; where no mouth closes, the range kept, what a cubic
        :func:`~lssl_augment.models.warp.warp_image` gives.
    """
    share = closing_share(mouth_gap(dense if posed is None else posed), mouth_gap(moved))
    rows = torch.nonzero(share > 0).flatten()
    if not len(rows):
        return warp_image(faces, flow, cubic=True).clamp(-1, 1)
    some, share = faces[rows].float(), share[rows, None, None, None]
    inside, lips = _mouths(dense[rows], faces.shape[-1])
    # The tone is taken as given: no gradient says what lips should look like for the sake of the paint.
    painted = some + share * inside * (_spread(some.detach(), lips) - some)
    out = warp_image(faces.index_put((rows,), painted.to(faces.dtype)), flow, cubic=True).clamp(-1, 1)
    shade = 1 - share * _between(moved[rows], mouth_gap(moved[rows]), faces.shape[-1])
    closed = (out[rows].float() + 1) * shade - 1
    return out.index_put((rows,), closed.to(out.dtype)).contiguous(memory_format=torch.channels_last)


def _mouths(dense: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Masks of what is inside the lips and of the lips, ``(B, 1, size, size)`` in [0, 1] each."""
    inside = polygon_mask(dense, INNER_LIPS, size, max(1, 2 * round(_BEYOND * size)))
    lips = (polygon_mask(dense, OUTER_LIPS, size) - inside).clamp_min(0)
    return F.avg_pool2d(inside, 3, 1, 1), lips


def _spread(faces: Tensor, lips: Tensor) -> Tensor:
    """The colour of the nearest lips at every place, ``(B, 3, H, W)``: a mean over the mask, weighted by distance."""
    reach = 2 * round(3 / 128 * faces.shape[-1]) + 1
    tall = 2 * reach + 1
    known = torch.cat([faces * lips, lips], dim=1)
    for _ in range(2):
        known = F.avg_pool2d(known, (1, reach), 1, (0, reach // 2))
        known = F.avg_pool2d(known, (tall, 1), 1, (tall // 2, 0))
    return known[:, :3] / known[:, 3:].clamp_min(1e-4)


def _between(dense: Tensor, gap: Tensor, size: int) -> Tensor:
    """Share of the light that is missing between lips of these openings ``(B,)``, ``(B, 1, size, size)``.

    Most in the middle, none in the corners and on the lips.
    """
    points = dense[:, :, :2].detach().cpu().numpy()
    upper, lower = points[:, _INNER_UPPER], points[:, _INNER_LOWER]
    axis = np.arange(size)
    out = np.empty((len(points), 1, size, size), np.float32)
    for row, (line, apart) in enumerate(zip((upper + lower) / 2, lower[..., 1] - upper[..., 1], strict=True)):
        order = np.argsort(line[:, 0], kind="stable")
        height = np.interp(axis, line[order, 0], line[order, 1]) + _RAISED * size
        spread = _SIGMA * size + np.interp(axis, line[order, 0], apart[order]).clip(0) / 3
        half = max(float(np.ptp(line[:, 0])) / 2, 1.0)
        arch = np.clip(1 - ((axis - line[:, 0].mean()) / half) ** 2, 0, 1)
        out[row, 0] = arch[None] ** 0.5 * np.exp(-0.5 * ((axis[:, None] - height[None]) / spread[None]) ** 2)
    depth = (_SHADOW + _DARKER * gap).clamp_max(0.6)
    return torch.from_numpy(out).to(dense.device) * depth[:, None, None, None]
