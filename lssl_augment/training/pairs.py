"""True pairs from single photographs: a real face and a pseudo-source made of it.

The pseudo-source is the face with another expression's shape (a warp to a donor's shape), its mouth filled with
another face's, and the places where expressions show (cheeks, forehead, around mouth and eyes) blurred or re-lit at
random. Restoring the photograph from it teaches the generator exactly what a warp cannot do: mouth interiors, wrinkles,
shading, sharpness.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.faces.landmarks import OUTER_LIPS
from lssl_augment.models.expression_textures import mouth_mask
from lssl_augment.models.warp import shape_flow, warp_image

__all__ = ["expression_zone", "gaussian_blur", "pseudo_source"]

#: Centres of the places where an expression shows, with radii as fractions of the face size.
_ZONES = (
    [(13, 0.2), (205, 0.14), (425, 0.14), (9, 0.13), (105, 0.11)]
    + [(334, 0.11), (33, 0.08), (263, 0.08), (152, 0.12)]
)


def expression_zone(dense: Tensor, weights: Tensor, size_px: int) -> Tensor:
    """Soft blobs over the zones, ``(B, 1, h, w)`` at half size; ``weights (B, 9)`` in [0, 1] switch them."""
    side = size_px // 2
    axis = (torch.arange(side, device=dense.device) + 0.5) * (size_px / side) - 0.5
    out = torch.zeros(len(dense), side, side, device=dense.device)
    for k, (point, radius) in enumerate(_ZONES):
        sigma = radius * size_px * 0.6
        centre = dense[:, point, :2]
        gx = torch.exp(-0.5 * ((axis - centre[:, :1]) / sigma) ** 2)
        gy = torch.exp(-0.5 * ((axis - centre[:, 1:]) / sigma) ** 2)
        out = torch.maximum(out, weights[:, k, None, None] * gy[:, :, None] * gx[:, None, :])
    return out[:, None]


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """Separable blur, reflected borders."""
    radius = max(1, int(2.5 * sigma))
    t = torch.arange(-radius, radius + 1, dtype=torch.float32, device=x.device)
    kernel = torch.exp(-0.5 * (t / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(x.dtype)
    c = x.shape[1]
    x = F.pad(x, [radius] * 4, mode="reflect")
    x = F.conv2d(x, kernel.view(1, 1, 1, -1).expand(c, 1, 1, -1), groups=c)
    return F.conv2d(x, kernel.view(1, 1, -1, 1).expand(c, 1, -1, 1), groups=c)


def pseudo_source(
    faces: Tensor,
    dense: Tensor,
    other: Tensor,
    borrowed: Tensor,
    rng: torch.Generator,
    *,
    flow: Tensor | None = None,
) -> Tensor:
    """Pseudo-sources of real faces.

    Args:
        faces: real faces, ``(B, 3, H, W)`` in [-1, 1]; dense: their landmarks, ``(B, 478, 3)``.
        other: the same faces' landmarks under another expression, ``(B, 478, 3)``.
        borrowed: other faces in the shape ``other``, whose mouth interiors are used, ``(B, 3, H, W)``.
        rng: source of all randomness (CPU, whatever the device of the faces).
        flow: from ``dense`` to ``other``; None: :func:`~lssl_augment.models.warp.shape_flow` of the two.

    Returns:
        ``(B, 3, H, W)`` in [-1, 1]: photographs in the shape ``other``, without the true appearance of the mouth.
    """
    size, n, device = faces.shape[-1], len(faces), faces.device
    # Fill the true mouth interior with a lip tone between its own and dark, so that nothing leaks through the seam.
    inside = mouth_mask(dense, size)
    index = dense[:, OUTER_LIPS, :2].mul(2.0 / size).sub(1.0)[:, :, None]
    lips = F.grid_sample(faces, index, align_corners=False).mean((2, 3))[:, :, None, None]
    tone = torch.rand(n, 1, 1, 1, generator=rng).to(device)
    fill = lips * tone + (1 - tone) * -0.8
    filled = faces + inside * (fill - faces)
    source = warp_image(filled, shape_flow(dense, other, size) if flow is None else flow, cubic=True)
    place = mouth_mask(other, size) * (torch.rand(n, 1, 1, 1, generator=rng) < 0.8).to(device)
    source = source + place * (borrowed - source)

    # Blur and re-light the zones; the amounts differ per face, the zones are switched one by one.
    switches = (torch.rand(n, len(_ZONES), generator=rng) < 0.5).float().to(device)
    zone = F.interpolate(
        expression_zone(other, switches, size), size=(size, size), mode="bilinear", align_corners=False
    )
    sigma = float(torch.empty(()).uniform_(0.8, 3.0, generator=rng))
    light = torch.randn(n, 1, size // 16, size // 16, generator=rng).to(device) * 0.18
    light = F.interpolate(light, size=(size, size), mode="bicubic", align_corners=False)
    use_blur = (torch.rand(n, 1, 1, 1, generator=rng) < 0.6).float().to(device)
    use_light = (torch.rand(n, 1, 1, 1, generator=rng) < 0.6).float().to(device)
    source = source + zone * use_blur * (gaussian_blur(source, sigma) - source)
    return (source + zone * use_light * light).clamp(-1, 1)
