"""Which number format a classifier computes in."""

from __future__ import annotations

import torch

from lssl_augment.errors import DataError

__all__ = ["PRECISIONS", "fast_bf16", "uses_bf16"]

PRECISIONS = ("auto", "bf16", "fp32")


def fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 here: a GPU that supports it, or matrix units of the CPU (AMX).

    On other CPUs bfloat16 is emulated and several times slower than float32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    check = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(check()) if device.type == "cpu" and check is not None else False


def uses_bf16(precision: str, device: torch.device | str) -> bool:
    """Whether ``precision`` means bfloat16 autocast on ``device``.

    Raises:
        DataError: for an unknown precision.
    """
    if precision not in PRECISIONS:
        raise DataError(f"precision must be {', '.join(PRECISIONS)}; got {precision!r}")
    return precision == "bf16" or (precision == "auto" and fast_bf16(torch.device(device)))
