"""Weights stored in 8 bits: half the size of half precision.

Each matrix or convolution becomes integers with one scale for each output channel (symmetric, rounded to nearest);
biases and other small tensors stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lssl_augment.errors import DataError

__all__ = ["from_eight_bit", "to_eight_bit"]

_SCALE = ".scale"


def to_eight_bit(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a state dict → the same with int8 for those of two dimensions or more, and their scales beside them.

    Raises:
        DataError: a value that is not finite, or a name that ends like those of scales.
    """
    out: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name.endswith(_SCALE):
            raise DataError(f"tensor {name!r}: names must not end in {_SCALE}")
        if value.ndim < 2 or not value.is_floating_point():
            out[name] = value
            continue
        if not bool(value.isfinite().all()):
            raise DataError(f"tensor {name!r} has values that are not finite")
        flat = value.detach().float().flatten(1)
        # Rounded to half precision first, as it will be stored, so that reading gives what was rounded here.
        scale = (flat.abs().amax(1) / 127).clamp_min(1e-6).half().float()
        levels = (flat / scale[:, None]).round().clamp(-127, 127)
        out[name] = levels.to(torch.int8).view(value.shape)
        out[name + _SCALE] = scale
    return out


def from_eight_bit(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse, float32; tensors without a scale are left as they are.

    Raises:
        DataError: scales that do not fit their tensor.
    """
    out: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name.endswith(_SCALE):
            if name.removesuffix(_SCALE) not in tensors:
                raise DataError(f"{name!r} is the scale of nothing")
            continue
        scale = tensors.get(name + _SCALE)
        if scale is None:
            out[name] = value
        elif value.dtype != torch.int8 or value.ndim < 2 or scale.shape != value.shape[:1]:
            raise DataError(f"{name!r}: {value.dtype} {tuple(value.shape)} does not fit scales {tuple(scale.shape)}")
        else:
            out[name] = value.float() * scale.float().view(-1, *[1] * (value.ndim - 1))
    return out
