"""Writing face packs so that a kill or a full disk leaves no half file under the final name."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lssl_augment._version import __version__
from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import DataError
from lssl_augment.faces.align import FACE_SIZE_PX, template68
from lssl_augment.faces.landmarks import DENSE_COUNT
from lssl_augment.faces.pack_schema import (
    FORMAT,
    LIGHT_FROM,
    NUMBER_COLUMNS,
    SCHEMA_VERSION,
    TEXT_COLUMNS,
    YAW_FROM,
    check_faces,
    check_numbers,
    check_texts,
)

try:
    import fcntl
except ImportError:  # Windows: two processes on one file are not noticed there
    fcntl = None  # type: ignore[assignment]

__all__ = ["PackWriter", "check_out"]

#: Room kept for what HDF5 itself writes between two blocks.
_SLACK_BYTES = 4 << 20
#: What a face takes beside its pixels, dense points and texts.
_ROW_BYTES = 640
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_out(path: Path, overwrite: bool) -> None:
    """Say before any work that a file cannot be written here.

    Raises:
        DataError: it is a folder, or it exists and is not to be replaced.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a file to write, such as {path / 'faces.h5'}")
    if path.exists() and not overwrite:
        raise DataError(f"{path} exists; choose another --out, or replace it with --overwrite")


class PackWriter:
    """Write a face pack block by block; a context manager.

    Everything goes to a temporary file beside ``path``, which gets the final name when the ``with`` block
    ends well: a file of that name is always a finished one. After an error nothing is left; what a killed process
    left is removed by the next writer.

    Args:
        path: the pack to write. vocabulary: class names. dataset: name of the data set.
        overwrite: replace an existing file. face_size_px: side of the faces.
        simulated: the faces are those of a stand-in. notes: what the user should know about the data set.
        yaw_from: where the yaw angles come from: ``"data set"``, ``"landmarks"``, or empty where there are
            none. light_from: likewise ``"data set"``, ``"photometric rule"`` or empty.

    Raises:
        DataError: the file exists and is not to be replaced, another process is writing it, or a
            ``yaw_from`` or ``light_from`` that is none.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        vocabulary: Vocabulary,
        *,
        dataset: str,
        overwrite: bool = False,
        face_size_px: int = FACE_SIZE_PX,
        simulated: bool = False,
        notes: Sequence[str] = (),
        yaw_from: str = "",
        light_from: str = "",
    ) -> None:
        for name, value, allowed in (("yaw_from", yaw_from, YAW_FROM), ("light_from", light_from, LIGHT_FROM)):
            if value not in allowed:
                raise DataError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}")
        self.path = Path(path).absolute()
        self.vocabulary, self.dataset, self.face_size_px = vocabulary, dataset, face_size_px
        self.simulated, self.notes = simulated, tuple(notes)
        self.yaw_from, self.light_from = yaw_from, light_from
        check_out(self.path, overwrite)
        self._temporary = self.path.with_name(f".{self.path.name}.tmp")
        self._texts: dict[str, list[str]] = {column: [] for column in TEXT_COLUMNS}
        self._numbers: dict[str, list[np.ndarray]] = {column: [] for column in NUMBER_COLUMNS}
        self._labels: list[np.ndarray] = []
        self._landmarks: list[np.ndarray] = []
        self._skipped: list[tuple[str, str]] = []
        self._landmarks_from: Counter[str] = Counter()
        self._dense: bool | None = None
        self._file: h5py.File | None = None

    def __enter__(self) -> PackWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftover(self._temporary, self.path)
        self._file = h5py.File(self._temporary, "w")
        size = self.face_size_px
        # A chunk is one face, so that faces read in random order cost no more than they hold.
        self._grow("images", (size, size, 3), np.dtype(np.uint8))
        return self

    def append(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        subjects: Sequence[str],
        files: Sequence[str],
        landmarks: np.ndarray,
        split: Sequence[str],
        dense: np.ndarray | None = None,
        *,
        lights: Sequence[str] | None = None,
        yaw_deg: np.ndarray | None = None,
        intensities: np.ndarray | None = None,
        sequences: Sequence[str] | None = None,
        frames: np.ndarray | None = None,
        landmarks_from: Sequence[str] | None = None,
    ) -> None:
        """Add faces.

        Args:
            images: ``(B, S, S, 3)`` uint8 RGB. labels: ``(B,)`` integers, −1 is unlabelled.
            subjects, files, split: B texts each. landmarks: ``(B, 68, 2)`` face pixels.
            dense: ``(B, 478, 3)`` face pixels; in every block or in none.
            lights: B texts, ``normal``, ``weak``, ``dark`` or empty. sequences: B texts. frames: ``(B,)``
                integers. yaw_deg: ``(B,)`` in [−180, 180], intensities: ``(B,)`` in [0, 1], NaN where
                unknown; None: all unknown.
            landmarks_from: B names of what found the landmarks, to be counted; None: not counted.

        Raises:
            DataError: columns that do not fit, or a full disk.
        """
        file = self._opened()
        images, labels, landmarks = np.asarray(images), np.asarray(labels), np.asarray(landmarks)
        dense = None if dense is None else np.asarray(dense)
        rows = len(images)
        check_faces(images, labels, landmarks, dense, self.face_size_px, len(self.vocabulary))
        if rows and self._dense is not None and self._dense != (dense is not None):
            raise DataError("dense points must come with every block of faces or with none")
        none = [""] * rows
        texts = {"subjects": subjects, "files": files, "split": split}
        texts |= {"lights": none if lights is None else lights, "sequences": none if sequences is None else sequences}
        given = {"yaw_deg": yaw_deg, "intensities": intensities, "frames": frames}
        checked = {column: check_texts(column, values, rows) for column, values in texts.items()}
        numbers = {column: check_numbers(column, values, rows) for column, values in given.items()}
        found_by = [] if landmarks_from is None else check_texts("landmarks_from", landmarks_from, rows)
        if not rows:
            return
        if self._dense is None and dense is not None:
            self._grow("landmarks_dense", (DENSE_COUNT, 3), np.dtype(np.float32))
        self._dense = dense is not None
        self._reserve(images.nbytes + (0 if dense is None else dense.size * 4))
        for column, block in (("images", images), ("landmarks_dense", dense)):
            if block is not None:
                dataset = file[column]
                dataset.resize(len(dataset) + rows, axis=0)
                dataset[-rows:] = block
        file.flush()
        self._labels.append(labels.astype(np.int64))
        self._landmarks.append(landmarks.astype(np.float32))
        for column, strings in checked.items():
            self._texts[column] += strings
        for column, array in numbers.items():
            self._numbers[column].append(array)
        self._landmarks_from.update(found_by)

    def skip(self, file: str, reason: str) -> None:
        """Note a file that was left out, and why: ``"reason"`` or ``"reason: detail"``."""
        self._skipped.append((str(file), str(reason)))

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Split (``train`` first) → class → faces so far; unlabelled faces are not counted."""
        labels = np.concatenate([np.zeros(0, np.int64), *self._labels]).tolist()
        seen = Counter(zip(self._texts["split"], labels, strict=True))
        names = self.vocabulary.names
        splits = sorted(set(self._texts["split"]), key=lambda split: (split != "train", split))
        return {split: {name: seen[split, i] for i, name in enumerate(names)} for split in splits}

    @property
    def skipped(self) -> dict[str, int]:
        """Reason → files left out so far, most frequent first; details behind a colon are left away."""
        return dict(Counter(reason.partition(": ")[0] for _, reason in self._skipped).most_common())

    @property
    def landmarks_from(self) -> dict[str, int]:
        """What found the landmarks → faces so far, most first."""
        return dict(sorted(self._landmarks_from.items(), key=lambda item: (-item[1], item[0])))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            if self._file is not None:
                self._file.close()
                self._file = None
            self._temporary.unlink(missing_ok=True)

    def _finish(self) -> None:
        file = self._opened()
        texts = {f"skipped/{name}": [s[i] for s in self._skipped] for i, name in enumerate(("files", "reasons"))}
        texts |= self._texts
        letters = sum(len(text.encode()) for values in texts.values() for text in values)
        self._reserve(letters + 32 * sum(map(len, texts.values())) + _ROW_BYTES * len(self._texts["files"]))
        file["labels"] = np.concatenate([np.zeros(0, np.int64), *self._labels])
        file["landmarks"] = np.concatenate([np.zeros((0, 68, 2), np.float32), *self._landmarks])
        for column, (dtype, _) in NUMBER_COLUMNS.items():
            file[column] = np.concatenate([np.zeros(0, dtype), *self._numbers[column]])
        for column, values in texts.items():
            file.create_dataset(column, data=np.array(values, object), dtype=h5py.string_dtype("utf-8"))
        file.attrs.update(
            {
                "format": FORMAT,
                "schema_version": SCHEMA_VERSION,
                "class_names": json.dumps(self.vocabulary.names),
                "dataset": self.dataset,
                "template68": template68(self.face_size_px),
                "face_size_px": self.face_size_px,
                "counts": json.dumps(self.counts),
                "skipped": json.dumps(self.skipped),
                "simulated": self.simulated,
                "landmarks": json.dumps(self.landmarks_from),
                "notes": json.dumps(self.notes),
                "yaw_from": self.yaw_from,
                "light_from": self.light_from,
                "package_version": __version__,
                "complete": True,
            }
        )
        file.flush()
        used = file.id.get_filesize()
        file.close()
        self._file = None
        with open(self._temporary, "r+b") as raw:
            raw.truncate(used)  # what was reserved and not needed
            os.fsync(raw.fileno())
        os.replace(self._temporary, self.path)

    def _opened(self) -> h5py.File:
        if self._file is None:
            raise ValueError("a PackWriter writes inside its `with` block only")
        return self._file

    def _grow(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._opened().create_dataset(name, (0, *shape), dtype, maxshape=(None, *shape), chunks=(1, *shape))

    def _reserve(self, more: int) -> None:
        """Take room for ``more`` bytes first: HDF5 does not survive a disk that is full when it writes."""
        size, need = self._opened().id.get_filesize(), more + _SLACK_BYTES
        try:
            if hasattr(os, "posix_fallocate"):
                with open(self._temporary, "r+b") as raw:
                    os.posix_fallocate(raw.fileno(), size, need)
            elif shutil.disk_usage(self.path.parent).free < need:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise DataError(
                f"the disk is full: {self.path.name} had {size / 1e6:.0f} MB, needs more ({error.strerror}); "
                "make room or choose another --out. The unfinished file was removed"
            ) from error


def _remove_leftover(temporary: Path, path: Path) -> None:
    if not temporary.exists():
        return
    if fcntl is not None:
        with open(temporary, "r+b") as file:
            try:
                # HDF5 holds this lock on a file it writes to.
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DataError(
                    f"another process is writing {path.name}; wait for it or choose another --out"
                ) from error
            except OSError:  # a file system without locks
                pass
    temporary.unlink()
