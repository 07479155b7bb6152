"""Checks at the door of :class:`~lssl_augment.transforms.LSSLAugment`: each names what came and what would
work.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lssl_augment.errors import DataError
from lssl_augment.transforms.engines import FaceEngine
from lssl_augment.transforms.randomness import MAX_SEED

__all__ = [
    "check_compute_dtype",
    "check_device",
    "check_engine",
    "check_flag",
    "check_fraction",
    "check_index",
    "check_intensity",
    "check_labels",
    "check_labels_getter",
    "check_seed",
    "check_weights",
    "check_yaw",
]


def check_fraction(value: object, name: str) -> float:
    """A number in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name} must be a number in [0, 1]; got {value!r}")
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise DataError(f"{name} must be in [0, 1]; got {value!r}")
    return float(value)


def check_intensity(value: object) -> tuple[float, float]:
    """A number in [0, 1], or a pair low ≤ high of them."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise DataError(f"intensity must be a number or a range (low, high) in [0, 1]; got {value!r}")
        low, high = (check_fraction(v, "intensity") for v in value)
        if low > high:
            raise DataError(f"intensity: the range must be (low, high) with low ≤ high; got {value!r}")
        return (low, high)
    both = check_fraction(value, "intensity")
    return (both, both)


def check_yaw(value: object) -> tuple[float, float] | None:
    """Degrees in [-90, 90], or a pair low ≤ high of them; None: heads keep their pose."""
    if value is None:
        return None
    ends = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    for end in ends:
        if isinstance(end, bool) or not isinstance(end, (int, float, np.number)):
            raise TypeError(f"yaw must be degrees, a range (low, high) of them, or None; got {value!r}")
    if len(ends) != 2 or not -90 <= ends[0] <= ends[1] <= 90:
        raise DataError(f"yaw must be degrees, or a range (low, high), with -90 ≤ low ≤ high ≤ 90; got {value!r}")
    return float(ends[0]), float(ends[1])


def check_seed(value: object, name: str = "seed") -> int:
    """A whole number in [0, 2**63)."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be a whole number in [0, 2**63); got {value!r}")
    if not 0 <= value <= MAX_SEED:
        raise DataError(f"{name} must be in [0, 2**63); got {value!r}")
    return int(value)


def check_flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False; got {value!r}")
    return value


def check_compute_dtype(value: object) -> torch.dtype | None:
    allowed = (torch.float32, torch.bfloat16)
    if value is not None and not isinstance(value, torch.dtype):
        raise TypeError(f"compute_dtype must be a torch.dtype or None; got {value!r}")
    if value is not None and value not in allowed:
        raise DataError(f"compute_dtype must be one of {', '.join(map(str, allowed))}, or None; got {value}")
    return value


def check_device(value: object) -> torch.device | None:
    if value is None:
        return None
    if not isinstance(value, (str, torch.device)):
        raise TypeError(
            f"device must be a name such as 'cpu' or 'cuda:0', a torch.device, or None; got {value!r}"
        )
    try:
        device = torch.device(value)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DataError(f"device {str(value)!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return device


def check_weights(value: object) -> str | os.PathLike[str]:
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"weights must be a name such as 'lfw-128' or a path; got {value!r}")
    return value


def check_engine(value: object) -> FaceEngine | None:
    needed = ("vocabulary", "face_size_px", "encode", "edit")
    missing = [name for name in needed if not hasattr(value, name)]
    if value is not None and missing:
        raise TypeError(
            f"engine must have {', '.join(needed)}; {type(value).__name__} lacks {', '.join(missing)}"
        )
    return value  # type: ignore[return-value]


def check_labels_getter(value: object) -> Callable[[Any], Any] | None:
    """None stands for ``'default'``."""
    if isinstance(value, str) and value == "default":
        return None
    if isinstance(value, str):
        raise DataError(f"labels_getter must be 'default' or a callable; got {value!r}")
    if not callable(value):
        raise TypeError(
            f"labels_getter must be 'default' or a callable from the sample to its labels; got {value!r}"
        )
    return value


def check_labels(labels: object, classes: Sequence[str], batch: int | None = None) -> Tensor:
    """Integer labels of a batch → shape ``(B,)`` int64 on the CPU.

    Raises:
        TypeError: for labels that are no tensor, array or sequence.
        DataError: for soft or one-hot labels, another length than ``batch``, and labels outside [−1, C).
    """
    if not isinstance(labels, (Tensor, np.ndarray, list, tuple)):
        raise TypeError(f"labels must be a tensor of integers, shape (B,); got {type(labels).__name__}")
    tensor = torch.as_tensor(labels).detach().cpu()
    if tensor.ndim == 1 and not tensor.numel():
        tensor = tensor.long()
    if tensor.ndim != 1 or tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise DataError(
            f"labels must be integer class labels of shape (B,); got {tensor.dtype} of shape "
            f"{tuple(tensor.shape)}. "
            "For one-hot labels pass labels.argmax(1); put LSSLAugment before MixUp, CutMix and label "
            "smoothing"
        )
    if batch is not None and len(tensor) != batch:
        raise DataError(
            f"{batch} images came with {len(tensor)} labels; there must be one label for each image"
        )
    tensor = tensor.long()
    outside = tensor[(tensor < -1) | (tensor >= len(classes))]
    if len(outside):
        raise DataError(
            f"label {int(outside[0])} is outside 0 to {len(classes) - 1} ({', '.join(classes)}; −1: "
            "unlabelled). "
            "If your labels have another order or other classes, pass their names: classes=[...]"
        )
    return tensor


def check_index(index: object, batch: int) -> list[int]:
    """Dataset indices of a batch as a list of B whole numbers ≥ 0."""
    if not isinstance(index, (Tensor, np.ndarray, list, tuple)):
        raise TypeError(f"index must hold one dataset index for each row; got {type(index).__name__}")
    tensor = torch.as_tensor(index).detach().cpu()
    integral = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
    if tuple(tensor.shape) != (batch,) or (batch and not integral):
        raise DataError(
            f"index must hold {batch} whole numbers, one for each row; got {tensor.dtype} of shape "
            f"{tuple(tensor.shape)}"
        )
    rows: list[int] = tensor.long().tolist()
    if rows and min(rows) < 0:
        raise DataError(f"index must not be negative; got {min(rows)}")
    return rows
