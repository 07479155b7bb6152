"""How torch runs a training: deterministic algorithms and compiled networks, each for the length of a run."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from lssl_augment.errors import TrainingError

__all__ = ["compile_generator", "deterministic"]

#: What a generator may be called by; ``nn.Module.compile`` knows ``forward`` alone.
_CALLS = ("forward", "encode", "decode")


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Only algorithms that repeat to the last digit, inside the block; torch's settings are put back after it.

    Raises:
        TrainingError: an operation has no such algorithm on this device; torch's message names it.
    """
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    # cuBLAS reads it when it is first used; its matrix products are not repeatable without.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        raise TrainingError(f"deterministic=true: {error}") from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
        if workspace is None:
            del os.environ["CUBLAS_WORKSPACE_CONFIG"]


def compile_generator(generator: nn.Module, device: torch.device) -> None:
    """Compile a generator in place; names of its weights stay. Copies made later would run the original's weights.

    Critics stay as they are: a gradient penalty needs gradients of gradients, which compiled networks do not have.

    Raises:
        TrainingError: there is no compiler for the device.
    """
    if device.type == "cuda":
        missing = None if importlib.util.find_spec("triton") else "triton (pip install triton)"
    else:
        compilers = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "cl"]
        missing = None if any(map(shutil.which, compilers)) else f"a C++ compiler ({' or '.join(compilers)})"
    if missing:
        raise TrainingError(
            f"compile=true needs {missing} on {device.type}, which is not there; install it or train without"
        )
    for name in _CALLS:
        if hasattr(generator, name):
            # Not as a submodule and not on the class: only this network's calls change.
            object.__setattr__(generator, name, torch.compile(getattr(generator, name)))
