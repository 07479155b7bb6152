"""Checkpoints: any tree of plain values and tensors as one safetensors file, written atomically.

Tensors are stored as tensors; everything else (counters, learning rates, sampler positions, where each tensor
belongs) as JSON in the file's metadata. Nothing is ever pickled, so reading cannot run code. JSON
keeps every bit of a Python float and integers of any length, so what is read equals what was written.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lssl_augment.errors import TrainingError
from lssl_augment.files import whole_file

__all__ = ["CheckpointFolder", "read_checkpoint", "write_checkpoint"]

_FORMAT = "lssl-augment/checkpoint"
_VERSION = 1


def _encode(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        # A copy of its own: safetensors refuses tensors that share memory.
        tensors[name] = value.detach().to("cpu").clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if isinstance(value, dict):
        # As pairs, because JSON would turn the integer keys of optimiser states into text.
        return {"dict": [[k, _encode(v, f"{name}/{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_encode(v, f"{name}/{i}", tensors) for i, v in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"a checkpoint holds tensors, dicts, lists, numbers and text; {name} is {type(value).__name__}"
    )


def _decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {k: _decode(v, tensors) for k, v in content}
    items = [_decode(v, tensors) for v in content]
    return tuple(items) if kind == "tuple" else items


def write_checkpoint(path: str | os.PathLike[str], state: dict[str, Any]) -> Path:
    """Write a tree of dicts, lists, tuples, numbers, text, None and tensors; all of it or nothing.

    Raises:
        TypeError: a value of another type.
        OSError: the file cannot be written; an existing one is left as it was.
    """
    path = Path(path)
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_encode(state, "state", tensors))
    metadata = {"format": _FORMAT, "version": str(_VERSION), "state": text}
    with whole_file(path) as file:
        try:
            save_file(tensors, file, metadata=metadata)
        except SafetensorError as error:  # how a full disk is reported
            raise OSError(f"cannot write {path}: {error}") from error
    _sync_folder(path.parent)
    return path


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tree that :func:`write_checkpoint` wrote, tensors on the CPU.

    Raises:
        TrainingError: the file is missing, truncated, or no checkpoint of this version.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT or metadata.get("version") != str(_VERSION):
                raise TrainingError(
                    f"{path} is no checkpoint of this version: format {metadata.get('format')!r}, version "
                    f"{metadata.get('version')!r}; {_FORMAT!r}, {str(_VERSION)!r} is what can be read"
                )
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        state: dict[str, Any] = _decode(json.loads(metadata["state"]), tensors)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise TrainingError(f"cannot read the checkpoint {path} ({error})") from error
    return state


class CheckpointFolder:
    """The checkpoints of one run: ``step-00001000.safetensors`` and so on, the newest ``keep`` of them.

    Beside them, where a run has a metric to go by, ``best-00000500.safetensors``, the best so far.

    Args:
        folder: created when the first checkpoint is written.
        keep: how many to keep, at least 1.
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int) -> None:
        self.folder = Path(folder)
        self.keep = max(1, keep)

    def paths(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted(self.folder.glob("step-*.safetensors"))

    def write(self, step: int, state: dict[str, Any]) -> Path:
        """Write the checkpoint of a step, then delete the oldest; errors as in :func:`write_checkpoint`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = write_checkpoint(self.folder / f"step-{step:08d}.safetensors", state)
        for old in self.paths()[: -self.keep]:
            old.unlink()
        return path

    def best(self) -> Path | None:
        """The best checkpoint; None where none was written."""
        paths = sorted(self.folder.glob("best-*.safetensors"))
        return paths[-1] if paths else None

    def write_best(self, step: int, state: dict[str, Any]) -> Path:
        """Write a checkpoint better than all before it, then delete the best until now."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = write_checkpoint(self.folder / f"best-{step:08d}.safetensors", state)
        for old in self.folder.glob("best-*.safetensors"):
            if old != path:
                old.unlink()
        return path

    def read_newest(self) -> dict[str, Any]:
        """The newest checkpoint.

        Raises:
            TrainingError: there is none, or it is damaged (an older one is never taken in silence).
        """
        paths = self.paths()
        if not paths:
            raise TrainingError(f"{self.folder} holds no checkpoint to resume from; start a new run")
        try:
            return read_checkpoint(paths[-1])
        except TrainingError as error:
            older = (
                f"delete it to resume from {paths[-2].name}" if len(paths) > 1 else "there is no older one"
            )
            raise TrainingError(f"{error}; {older}") from error


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
