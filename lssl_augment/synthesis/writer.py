"""Write a synthetic file so that a kill at any moment costs seconds of work and never the file.

HDF5's own structures are written once, before the first image, with room for all rows (``OUT.partial``). The
images, scores and accepted flags then go straight to their known places in the file, and a journal beside it
(``OUT.journal``) says how many rows are safely on disk. The last steps set the one byte of the ``complete``
flag and rename the file to ``OUT``: a file of the final name is always a finished one.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from lssl_augment.errors import DataError
from lssl_augment.files import write_text
from lssl_augment.synthesis.plan import Plan
from lssl_augment.synthesis.schema import COLUMNS, LATER_COLUMNS, journal_path, open_synthetic, partial_path

#: File locks; elsewhere (Windows) two processes on one file are not noticed.
_fcntl: Any = import_module("fcntl") if os.name == "posix" else None

__all__ = ["RunFile", "human_bytes"]

#: Columns that come with the images; all others are known from the plan.
_LATE = ("scores", "accepted")


def human_bytes(n: float) -> str:
    """``1720320000`` → ``'1.72 GB'``."""
    for unit in ("B", "kB", "MB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.2f} GB"


class RunFile:
    """An unfinished synthetic file being filled; use :meth:`create` or :meth:`reopen`.

    Attributes:
        out: the final path. rows_done: rows that survive a kill, as of the last :meth:`mark`.
    """

    def __init__(self, out: Path, journal: dict[str, Any]) -> None:
        self.out = out
        self.rows_done: int = journal["rows_done"]
        self._journal = journal
        self._written = self.rows_done
        self._file: BinaryIO = open(partial_path(out), "r+b", buffering=0)
        try:
            _lock(self._file, out)
        except BaseException:
            self._file.close()
            raise

    @classmethod
    def create(cls, out: Path, plan: Plan, attributes: Mapping[str, Any], face_size_px: int) -> RunFile:
        """Lay out a new file with all of the plan and room for all images; replaces an unfinished one.

        Raises:
            DataError: another process is writing this file, or the disk has too little room (said before any
                work).
            OSError: the folder cannot be written.
        """
        partial, journal_file = partial_path(out), journal_path(out)
        fresh = out.with_name(out.name + ".new")
        out.parent.mkdir(parents=True, exist_ok=True)
        if partial.exists():
            with open(partial, "r+b", buffering=0) as old:
                _lock(old, out)
            partial.unlink()
        journal_file.unlink(missing_ok=True)
        _check_room(out, len(plan) * face_size_px**2 * 3)
        try:
            complete_at = _lay_out(fresh, plan, attributes, face_size_px)
            _reserve(fresh)
            journal = {"plan_sha256": plan.sha256(), "complete_at": complete_at, "rows_done": 0}
            with h5py.File(fresh, "r") as h5:
                journal["offsets"] = {name: h5[name].id.get_offset() for name in ("images", *_LATE)}
                journal["row_bytes"] = int(np.prod(h5["images"].shape[1:]))
            write_text(journal_file, json.dumps(journal), alone=True)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        os.replace(fresh, partial)
        return cls(out, journal)

    @classmethod
    def reopen(cls, out: Path, check: Callable[[h5py.File], None]) -> RunFile | None:
        """The unfinished file of ``out``, or None when there is none or its journal is lost (start again
        then: the same plan makes the same bytes).

        Args:
            out: the final path. check: called with the file, open for reading; raises if it is another run's.
        """
        try:
            journal = json.loads(journal_path(out).read_text(encoding="utf-8"))
            h5 = open_synthetic(partial_path(out), unfinished=True)
        except (OSError, ValueError):
            return None
        with h5:
            check(h5)
            try:
                fits = h5.attrs["plan_sha256"] == journal["plan_sha256"]
                fits = fits and 0 <= journal["rows_done"] <= len(h5["labels"])
            except (KeyError, TypeError):
                return None
        return cls(out, journal) if fits else None

    def write(self, first_row: int, images: np.ndarray, scores: np.ndarray, accepted: np.ndarray) -> None:
        """Write consecutive rows.

        Args:
            first_row: where they start; must be the row after the last one written.
            images: ``(R, H, W, 3)`` uint8. scores: ``(R,)`` float32. accepted: ``(R,)`` bool.
        """
        if first_row != self._written:
            raise ValueError(f"rows must be written in order: expected row {self._written}, got {first_row}")
        offsets = self._journal["offsets"]
        self._put(offsets["images"] + first_row * self._journal["row_bytes"], images)
        for name, column in zip(_LATE, (scores, accepted), strict=True):
            dtype = COLUMNS[name]
            self._put(offsets[name] + first_row * dtype.itemsize, column.astype(dtype))
        self._written += len(images)

    def mark(self) -> None:
        """Make everything written so far survive a kill and a power cut."""
        # Only after the data are down may the journal say so.
        os.fsync(self._file.fileno())
        self._journal["rows_done"] = self._written
        write_text(journal_path(self.out), json.dumps(self._journal), alone=True)
        self.rows_done = self._written

    def finish(self) -> Path:
        """Set the complete flag and give the file its final name."""
        self.mark()
        self._put(self._journal["complete_at"], np.ones(1, np.uint8))
        os.fsync(self._file.fileno())
        os.replace(partial_path(self.out), self.out)
        self.close()
        journal_path(self.out).unlink(missing_ok=True)
        return self.out

    def close(self) -> None:
        """Let go of the file and its lock; nothing is marked."""
        self._file.close()

    def _put(self, offset: int, array: np.ndarray) -> None:
        self._file.seek(offset)
        view = memoryview(np.ascontiguousarray(array).data).cast("B")
        while view:
            view = view[self._file.write(view) :]


def _lay_out(path: Path, plan: Plan, attributes: Mapping[str, Any], face_size_px: int) -> int:
    """Write the HDF5 file without its images; returns the offset of the complete flag's byte."""
    rows = len(plan)
    # The oldest format carries no times and no checksums: equal plans make equal bytes, and one byte can be
    # set.
    with h5py.File(path, "w", libver=("earliest", "v108")) as h5:
        for key, value in attributes.items():
            h5.attrs[key] = value
        h5.attrs["complete"] = np.bool_(False)
        known = {
            "labels": plan.targets,
            "source_labels": plan.source_labels,
            "source_ids": plan.source_ids,
            "intensities": plan.intensities,
            "seeds": plan.seeds,
        }
        for name, values in known.items():
            h5.create_dataset(name, data=values.astype(COLUMNS[name]))
        h5.create_dataset("yaws", data=plan.yaws.astype(LATER_COLUMNS["yaws"]))
        for name, texts in (("subjects", plan.subjects), ("folds", plan.folds)):
            encoded = np.char.encode(texts.astype(np.str_), "utf-8")
            width = max(1, encoded.dtype.itemsize)
            h5.create_dataset(name, data=encoded.astype(h5py.string_dtype("utf-8", width)))
        _allocate(h5, "scores", (rows,), COLUMNS["scores"])
        _allocate(h5, "accepted", (rows,), COLUMNS["accepted"])
        images_at = _allocate(h5, "images", (rows, face_size_px, face_size_px, 3), np.dtype(np.uint8))
    # Where the flag's byte lies is found by setting it once and looking which byte differs.
    before = _head(path, images_at)
    _set_complete(path, True)
    changed = np.flatnonzero(before != _head(path, images_at))
    _set_complete(path, False)
    if len(changed) != 1 or not np.array_equal(before, _head(path, images_at)):
        raise RuntimeError(f"this HDF5 library lays the file out in an unexpected way ({len(changed)} bytes)")
    return int(changed[0])


def _allocate(h5: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """A contiguous dataset whose place in the file is fixed at once; returns its offset."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    creation.set_obj_track_times(False)
    kind = h5py.h5t.py_create(dtype, logical=True)
    dataset = h5py.h5d.create(h5.id, name.encode(), kind, h5py.h5s.create_simple(shape), creation)
    return int(dataset.get_offset())


def _set_complete(path: Path, value: bool) -> None:
    with h5py.File(path, "r+", libver=("earliest", "v108")) as h5:
        h5.attrs.modify("complete", np.bool_(value))


def _head(path: Path, size: int) -> np.ndarray:
    with open(path, "rb") as file:
        return np.frombuffer(file.read(size), np.uint8)


def _check_room(out: Path, needed: int) -> None:
    free = shutil.disk_usage(out.parent).free
    if needed > free:
        raise DataError(
            f"{out.name} needs {human_bytes(needed)} and the disk has {human_bytes(free)} free; "
            "make room, choose another --out or fewer images"
        )


def _reserve(path: Path) -> None:
    """Take the file's room on the disk now, so that a full disk is known before the first image."""
    if not hasattr(os, "posix_fallocate"):
        return
    size = path.stat().st_size
    with open(path, "r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise DataError(
                    f"{path.stem} needs {human_bytes(size)} and the disk is full; make room or choose another --out"
                ) from error
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot reserve
                raise
        os.fsync(file.fileno())


def _lock(file: BinaryIO, out: Path) -> None:
    if _fcntl is None:
        return
    try:
        _fcntl.flock(file.fileno(), _fcntl.LOCK_EX | _fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DataError(f"another process is writing {out.name}; wait for it or choose another --out") from error
    except OSError:  # a file system without locks
        return
