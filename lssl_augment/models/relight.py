"""A face in weaker or stronger light, by photometry: what a camera with a fixed exposure makes of the same scene.

Light conditions are those of Oulu-CASIA (normal, weak, dark), told apart by the rule of ``faces/light.py``. All light
falls or rises by one factor, so colours and shadows stay what they are; what a sensor adds where light is weak is shot
and read noise (Poisson-Gaussian, Foi et al. 2008). Where a lamp stands, and what else changes when it is switched off,
is not modelled.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["LEVELS", "relight"]

#: Brightness (98th percentile of luma, 0 to 255) that a face is brought to: well within what ``faces/light.py`` calls
#: weak and dark; for normal light, what 95 of 100 press photographs (``lfw-expressions``) exceed.
LEVELS: Mapping[str, float] = {"normal": 169.0, "weak": 82.0, "dark": 40.0}

_LUMA = (0.299, 0.587, 0.114)
_PERCENTILE = 0.98
_GAMMA = 2.2
#: Electrons of a pixel that is white in normal light, and noise of reading it, in electrons.
_WELL, _READ = 4000.0, 6.0
#: A dark face is made so much brighter at most, in code values: the rest would be noise and steps.
_MOST = 4.0


def relight(faces: Tensor, level: Tensor, seeds: Tensor) -> Tensor:
    """Faces as bright as asked for.

    Args:
        faces: ``(B, 3, H, W)`` in [-1, 1]. level: brightness wanted, ``(B,)`` in (0, 255], NaN to leave a face alone.
        seeds: ``(B,)`` int64, of the noise; the same on every device.

    Returns:
        ``(B, 3, H, W)`` in [-1, 1]; rows with a NaN bit for bit as they came.
    """
    rows = torch.nonzero(~level.isnan()).flatten()
    if not len(rows):
        return faces
    code = (faces[rows].float() + 1) / 2
    luma = sum(w * code[:, c] for c, w in enumerate(_LUMA))
    assert isinstance(luma, Tensor)
    own = luma.flatten(1).quantile(_PERCENTILE, dim=1).clamp_min(1 / 255)
    # A factor on code values is one on the light too, its power.
    factor = (level[rows].to(code) / 255 / own).clamp_max(_MOST)
    light = (code * factor[:, None, None, None]).clamp(0, 1) ** _GAMMA
    noise = torch.stack([_normal(int(seed), light.shape[1:]) for seed in seeds[rows.to(seeds.device)]]).to(light)
    spread = (light * _WELL + _READ**2).sqrt() / _WELL
    # A photograph that is dimmed has its own noise dimmed with it; one that is lifted brings its own.
    spread = spread * (factor < 1)[:, None, None, None]
    dimmed = (light + spread * noise).clamp(0, 1) ** (1 / _GAMMA)
    return faces.index_put((rows,), (dimmed * 2 - 1).to(faces.dtype))


def _normal(seed: int, shape: torch.Size) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed & 0x7FFFFFFFFFFFFFFF))
