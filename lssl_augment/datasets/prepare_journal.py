"""Finished parts of a face pack, kept beside it until all of them are there: what lets ``prepare`` go on after a kill.

A part holds the faces of ``CHUNK`` consecutive photographs. It is written under another name and then renamed, so
a part that exists is whole; what a loss of power damages is seen by its checksums, and made again.
"""

from __future__ import annotations

import errno
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from lssl_augment.errors import DataError
from lssl_augment.files import whole_file, write_text

try:
    import fcntl
except ImportError:  # Windows: two processes on one pack are not noticed there
    fcntl = None  # type: ignore[assignment]

__all__ = ["CHUNK", "FacePart", "Journal", "finished_parts", "parts_folder", "write_part"]

#: Photographs of a part. The blocks of a pack are its parts, so the bytes of a pack follow from it.
CHUNK = 128

_STATE, _LOCK = "run.json", "lock"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, eq=False)
class FacePart:
    """Faces cut out of consecutive photographs, and why the others were left out.

    Attributes:
        rows: ``(K,)`` int64, which of the photographs each face is of, increasing. images: ``(K, S, S, 3)`` uint8.
        landmarks: ``(K, 68, 2)`` float32. dense: ``(K, 478, 3)`` float32, or None.
        landmarks_from: ``(K,)`` str, what found the landmarks.
        skipped: ``(L,)`` int64, the photographs left out, increasing. reasons: ``(L,)`` str.
    """

    rows: np.ndarray
    images: np.ndarray
    landmarks: np.ndarray
    dense: np.ndarray | None
    landmarks_from: np.ndarray
    skipped: np.ndarray
    reasons: np.ndarray

    @property
    def photos(self) -> int:
        """How many photographs it is about."""
        return len(self.rows) + len(self.skipped)


def parts_folder(out: Path) -> Path:
    """Where the parts of a pack are kept."""
    return out.absolute().with_name(f".{out.name}.parts")


def finished_parts(out: Path) -> int:
    """Parts of an unfinished pack that are kept."""
    return len(_parts(parts_folder(out)))


def write_part(folder: Path, index: int, part: FacePart) -> None:
    """Write a part; called by the process that made it.

    Raises:
        DataError: the disk is full.
    """
    arrays = {name: value for name, value in vars(part).items() if value is not None}
    try:
        with whole_file(_part_path(folder, index)) as fresh, fresh.open("wb") as file:
            np.savez(file, **arrays)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DataError(
            f"the disk is full ({error.strerror}): finished parts are kept in {folder}. Make room and run the same "
            "command again to go on, or delete that folder"
        ) from error


class Journal:
    """The parts of one pack; a context manager that keeps another process off them.

    Parts of a run with other data, options or weights, or of another version of the package, are removed when it is
    opened. On leaving, an empty folder is removed; finished parts stay until :meth:`remove`.

    Args:
        out: the pack. fingerprint: of everything that the parts follow from. parts: how many there will be.

    Attributes:
        folder: where the parts are. finished: numbers of the parts that are there.
        discarded: how many parts of another run were removed.

    Raises:
        DataError: another process is preparing this pack.
    """

    def __init__(self, out: Path, fingerprint: str, parts: int) -> None:
        self.folder = parts_folder(out)
        self.finished: frozenset[int] = frozenset()
        self.discarded = 0
        self._out, self._count = out, parts
        self._state = {"fingerprint": fingerprint, "parts": parts, "photos_a_part": CHUNK}
        self._lock: IO[str] | None = None

    def __enter__(self) -> Journal:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self.folder / _LOCK, self._out)
        for leftover in self.folder.glob("*.tmp"):
            leftover.unlink(missing_ok=True)
        if _read_state(self.folder) != self._state:
            found = _parts(self.folder)
            self.discarded = len(found)
            for path in found:
                path.unlink()
            write_text(self.folder / _STATE, json.dumps(self._state))
        numbers = frozenset(int(path.stem) for path in _parts(self.folder))
        self.finished = numbers & frozenset(range(self._count))
        return self

    def read(self, index: int, again: Callable[[], FacePart]) -> FacePart:
        """A part; one that is missing or damaged is made ``again``."""
        try:
            # Opened here, as numpy leaves a file open that it cannot read.
            with open(_part_path(self.folder, index), "rb") as file, np.load(file, allow_pickle=False) as arrays:
                values: dict[str, Any] = {name: arrays[name] for name in arrays.files}
            return FacePart(**{"dense": None, **values})
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, KeyError):
            return again()

    def remove(self) -> None:
        """Remove everything; nothing is read or written after that."""
        self._release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __exit__(self, *_: object) -> None:
        self._release()
        if self.folder.is_dir() and not _parts(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _locked(path: Path, out: Path) -> IO[str]:
    file = open(path, "a", encoding="utf-8")  # held until the journal is left
    if fcntl is not None:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise DataError(f"another process is preparing {out.name}; wait for it or choose another --out") from error
        except OSError:  # a file system without locks
            pass
    return file


def _read_state(folder: Path) -> object:
    try:
        return json.loads((folder / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _part_path(folder: Path, index: int) -> Path:
    return folder / f"{index:06d}.npz"


def _parts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.npz") if path.stem.isdecimal())
