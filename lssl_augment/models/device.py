"""Where networks run."""

from __future__ import annotations

import torch

from lssl_augment.errors import DataError

__all__ = ["resolve_device"]


def resolve_device(name: str) -> str:
    """``auto`` → ``cuda`` where there is one, else ``cpu``; other names are checked.

    Raises:
        DataError: unknown device, or CUDA asked for where there is none.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DataError(f"unknown device {name!r}; give auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DataError(
            f"device {name!r} is not there ({torch.cuda.device_count()} CUDA devices found); use cpu"
        )
    return name
