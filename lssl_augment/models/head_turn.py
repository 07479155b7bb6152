"""A head turned to another yaw, by geometry: its landmarks know their depth, so they can be rotated as a solid body.

The photograph follows its landmarks by the same spline as for expressions. Two things are new. Points that the turned
head hides, or hardly shows, would pull others out of place, so they count the less the more they face away. And what
the photograph itself does not show, the far cheek of a turned head, is taken from its mirror image, in its own light:
a face is nearly symmetric, a stretched strip of background is no cheek (Hassner et al. 2015 call this soft symmetry).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import Delaunay
from torch import Tensor

from lssl_augment.faces.align import STABLE_WEIGHTS, template68
from lssl_augment.faces.dense_flip import DENSE_FLIP
from lssl_augment.faces.expression_shapes import WARP_POINTS, ExpressionShapes
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE
from lssl_augment.faces.pose import yaw_deg
from lssl_augment.models.closing_mouth import warp_closing
from lssl_augment.models.warp import point_field, shape_flow

__all__ = ["carry", "facing", "landmark_trust", "mirror_faces", "turn_landmarks", "turned_flow", "yaw_towards"]

_FLIP = torch.from_numpy(DENSE_FLIP.copy())
_SPARSE = torch.from_numpy(SPARSE_FROM_DENSE.copy())
_STABLE = torch.from_numpy((STABLE_WEIGHTS / STABLE_WEIGHTS.sum()).astype(np.float32))
#: Points of the mesh; the last ten are irises, which lie on it.
_MESH = 468

#: Cosine between a point's normal and the line of sight from which it counts fully in a warp.
_WELL_SEEN = 0.35
#: The mirror image takes over where it sees a point so much better, and the photograph itself sees it so badly.
_BETTER, _BADLY, _SEEN = 0.5, 0.15, 0.5
#: So much steeper than between the points the mirror image fades in, for ear and hair beyond the outline.
_SOLID = 1.5
#: A head is mirrored first where that saves so many degrees of turning.
_WORTH_MIRRORING = 5.0
#: Most that the mirror image's light is changed to fit.
_LIGHT_RANGE = (0.6, 1.6)


def mirror_faces(images: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
    """Faces ``(B, 3, H, W)`` and their landmarks ``(B, 478, 3)``, left and right exchanged."""
    flipped = dense[:, _FLIP.to(dense.device)].clone()
    flipped[..., 0] = (images.shape[-1] - 1) - flipped[..., 0]
    return images.flip(-1), flipped


def yaw_towards(dense: Tensor, wanted_deg: Tensor, *, sides: bool) -> tuple[Tensor, Tensor]:
    """How far heads must turn.

    Args:
        dense: landmarks, ``(B, 478, 3)``. wanted_deg: yaw to show, ``(B,)``.
        sides: the sign of the yaw counts; otherwise a head turns to the side it is turned to.

    Returns:
        ``(B,)`` bool, whether to mirror the head first (only where ``sides`` count and it looks the other way), and
        ``(B,)`` float degrees, by which to turn it then.
    """
    own = torch.from_numpy(yaw_deg(dense.detach().cpu().numpy())).to(dense)
    wanted = wanted_deg.to(dense)
    if not sides:
        return torch.zeros_like(own, dtype=torch.bool), torch.where(own < 0, -wanted, wanted) - own
    mirrored = (wanted + own).abs() + _WORTH_MIRRORING < (wanted - own).abs()
    return mirrored, wanted - torch.where(mirrored, -own, own)


def turn_landmarks(shapes: ExpressionShapes, dense: Tensor, by_deg: Tensor, size_px: int) -> Tensor:
    """Landmarks of heads turned about their own upright axis.

    Args:
        shapes: knows what a head's own axes are. dense: ``(B, 478, 3)`` in pixels of aligned faces.
        by_deg: ``(B,)``, positive towards larger x. size_px: of the faces.

    Returns:
        ``(B, 478, 3)``, aligned as the turned face would be.
    """
    shape, back = shapes.canonical(dense)
    angle = torch.deg2rad(by_deg)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    one = torch.ones_like(angle)
    rows = [torch.stack(row, dim=-1) for row in ((cos, zero, -sin), (zero, one, zero), (sin, zero, cos))]
    turned = shape @ torch.stack(rows, dim=-2)
    moved = dense + (turned - shape) @ back
    # What alignment does to the turned head, less what it still would do to the head as it is.
    scale, centre = _alignment(moved, size_px)
    own_scale, own_centre = _alignment(dense, size_px)
    ratio = scale / own_scale
    flat = torch.view_as_complex((moved[..., :2] - centre[:, None]).contiguous()) * ratio[:, None]
    return torch.cat([torch.view_as_real(flat) + own_centre[:, None], moved[..., 2:] * ratio.abs()[:, None, None]], 2)


def _alignment(dense: Tensor, size_px: int) -> tuple[Tensor, Tensor]:
    """The similarity of :mod:`lssl_augment.faces.align` for ``(B, 478, 3)``: factor ``(B,)`` complex, and the
    weighted centre ``(B, 2)`` that it carries to the template's."""
    weights = _STABLE.to(dense.device)
    template = torch.from_numpy(template68(size_px).astype(np.float32)).to(dense.device)
    points = dense[:, _SPARSE.to(dense.device), :2]
    centre = (weights[:, None] * points).sum(1)
    s = torch.view_as_complex((points - centre[:, None]).contiguous())
    t = torch.view_as_complex((template - (weights[:, None] * template).sum(0)).contiguous())
    factor = (weights * s.conj() * t).sum(1) / (weights * s.abs().square()).sum(1).clamp_min(1e-6)
    return factor, centre


def facing(shapes: ExpressionShapes, dense: Tensor) -> Tensor:
    """Cosine between each point's outward normal and the line of sight, ``(B, 478)``; negative: faces away."""
    _, back = shapes.canonical(dense)
    rotation = back / back.norm(dim=2, keepdim=True)
    return -(_normals(shapes) @ rotation)[..., 2]  # z runs away from the viewer


def _normals(shapes: ExpressionShapes) -> Tensor:
    """Outward normals of the mean neutral head, ``(478, 3)``, in the shape model's axes (z towards the viewer)."""
    points = shapes.template.detach().cpu().double().numpy()
    mesh = points[:_MESH]
    corners = Delaunay(mesh[:, :2]).simplices
    sides = np.cross(mesh[corners[:, 1]] - mesh[corners[:, 0]], mesh[corners[:, 2]] - mesh[corners[:, 0]])
    sides *= np.sign(sides[:, 2:])
    out = np.zeros_like(points)
    for k in range(3):
        np.add.at(out, corners[:, k], sides)
    out[_MESH:] = (0.0, 0.0, 1.0)
    out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)
    return torch.from_numpy(out).to(shapes.template)


def turned_flow(shapes: ExpressionShapes, dense: Tensor, moved: Tensor, size_px: int) -> Tensor:
    """As :func:`~lssl_augment.models.warp.shape_flow`, to a shape that is turned: what it hides does not count."""
    return shape_flow(dense, moved, size_px, trust=landmark_trust(shapes, moved))


def carry(
    shapes: ExpressionShapes, faces: Tensor, dense: Tensor, posed: Tensor, moved: Tensor, turned: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Faces carried to another shape, also of a turned head.

    Args:
        faces: ``(B, 3, H, W)`` in [-1, 1]. dense: their landmarks, ``(B, 478, 3)``.
        posed: these turned, with their own expression. moved: turned and with the wanted expression.
        turned: which heads turn, ``(B,)`` bool; None: none.

    Returns:
        The flow from the faces, ``(B, 2, h, w)``, and ``(B, 3, H, W)`` carried by it; of turned heads filled in from
        the mirror image where the photograph does not show what they would.
    """
    size = faces.shape[-1]
    if turned is not None and bool(turned.all()):
        return _carry_turned(shapes, faces, dense, posed, moved)
    flow = shape_flow(dense, moved, size)
    carried = warp_closing(faces, dense, moved, flow)
    if turned is None or not bool(turned.any()):
        return flow, carried
    some = _carry_turned(shapes, faces[turned], dense[turned], posed[turned], moved[turned])
    flow, carried = flow.index_put((turned,), some[0]), carried.index_put((turned,), some[1])
    return flow, carried.contiguous(memory_format=torch.channels_last)


def _carry_turned(
    shapes: ExpressionShapes, faces: Tensor, dense: Tensor, posed: Tensor, moved: Tensor
) -> tuple[Tensor, Tensor]:
    size = faces.shape[-1]
    own, trust = facing(shapes, dense), landmark_trust(shapes, moved)
    flow = shape_flow(dense, moved, size, trust=trust)
    carried = warp_closing(faces, dense, moved, flow, posed=posed)
    mirrored, there = mirror_faces(faces, dense)
    seen_there = facing(shapes, there)
    hidden = 1 - ((own - _BADLY) / (_SEEN - _BADLY)).clamp(0, 1)
    share = ((seen_there - own) / _BETTER).clamp(0, 1) * hidden
    both = ((own - 0.2) / _WELL_SEEN).clamp(0, 1) * ((seen_there - 0.2) / _WELL_SEEN).clamp(0, 1)
    other = warp_closing(mirrored, there, moved, shape_flow(there, moved, size, trust=trust), posed=posed)
    fields = point_field(moved[:, WARP_POINTS, :2], torch.stack([share, both], 2)[:, WARP_POINTS], size, trust=trust)
    fields = F.interpolate(fields, size=(size, size), mode="bilinear", align_corners=False)
    mask, common = (fields * fields.new_tensor([_SOLID, 1.0])[:, None, None]).clamp(0, 1).split(1, dim=1)
    other = _relit(carried.float(), other.float(), common)
    filled = carried.float() + mask * (other - carried.float())
    return flow, filled.to(carried.dtype).contiguous(memory_format=torch.channels_last)


def landmark_trust(shapes: ExpressionShapes, dense: Tensor) -> Tensor:
    """How much landmarks ``(B, 478, 3)`` count in a warp, ``(B, K)``: less where they turn away from the viewer."""
    return _trust(facing(shapes, dense))


def _trust(cosine: Tensor) -> Tensor:
    return (cosine / _WELL_SEEN).clamp(0, 1)[:, WARP_POINTS]


def _relit(wanted: Tensor, other: Tensor, common: Tensor) -> Tensor:
    """``other`` in the light of ``wanted``, ``(B, 3, H, W)``, as places say that both show (``common``: how well)."""
    size = wanted.shape[-1]
    coarse = max(1, size // 32)

    def smooth(x: Tensor) -> Tensor:
        x = F.avg_pool2d(x, coarse)
        for _ in range(2):
            x = F.avg_pool2d(x, 9, 1, 4, count_include_pad=False)
        return x

    weight = common + 1e-3
    ratio = smooth(weight * (wanted + 1.05)) / smooth(weight * (other + 1.05))
    ratio = F.interpolate(ratio.clamp(*_LIGHT_RANGE), size=(size, size), mode="bilinear", align_corners=False)
    return ((other + 1) * ratio - 1).clamp(-1, 1)
