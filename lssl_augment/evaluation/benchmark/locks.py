"""Locks between processes, on files; where there are none, everybody goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from lssl_augment.errors import DataError

__all__ = ["lock_file", "only_one"]

_fcntl: Any = import_module("fcntl") if os.name == "posix" else None


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Only one process of a run makes a file; the others wait for it."""
    with open(path, "w") as file:
        if _fcntl is not None:
            try:
                _fcntl.flock(file.fileno(), _fcntl.LOCK_EX)
            except OSError:  # a file system without locks
                pass
        yield


@contextmanager
def only_one(out: Path) -> Iterator[None]:
    """Only one process runs the benchmark of a folder; another is refused with ``DataError``."""
    with open(out / ".lock", "w") as file:
        if _fcntl is not None:
            try:
                _fcntl.flock(file.fileno(), _fcntl.LOCK_EX | _fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DataError(
                    f"another process is running the benchmark in {out}; wait, or choose another --out"
                ) from error
            except OSError:  # a file system without locks
                pass
        yield
