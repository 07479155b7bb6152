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

try:
    import fcntl
except ImportError:  # Windows: two processes on one file are not noticed there
    fcntl = None  # type: ignore[assignment]

__all__ = ["FORMAT", "SCHEMA_VERSION", "TEXT_COLUMNS", "PackWriter", "check_out"]

FORMAT = "lssl-augment/face-pack"
SCHEMA_VERSION = 1
#: Columns of texts, ``(N,)``.
TEXT_COLUMNS = ("subjects", "files", "split")

#: Room kept for what HDF5 itself writes between two blocks.
_SLACK_BYTES = 4 << 20
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
    ends
    well: a file of that name is always a finished one. After an error nothing is left; what a killed process
    left is removed by the next writer.

    Args:
        path: the pack to write. vocabulary: class names. dataset: name of the data set.
        overwrite: replace an existing file. face_size_px: side of the faces.

    Raises:
        DataError: the file exists and is not to be replaced, or another process is writing it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        vocabulary: Vocabulary,
        *,
        dataset: str,
        overwrite: bool = False,
        face_size_px: int = FACE_SIZE_PX,
    ) -> None:
        self.path = Path(path).absolute()
        self.vocabulary, self.dataset, self.face_size_px = vocabulary, dataset, face_size_px
        check_out(self.path, overwrite)
        self._temporary = self.path.with_name(f".{self.path.name}.tmp")
        self._texts: dict[str, list[str]] = {column: [] for column in TEXT_COLUMNS}
        self._labels: list[np.ndarray] = []
        self._landmarks: list[np.ndarray] = []
        self._skipped: list[tuple[str, str]] = []
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
    ) -> None:
        """Add faces.

        Args:
            images: ``(B, S, S, 3)`` uint8 RGB. labels: ``(B,)`` integers, −1 is unlabelled.
            subjects, files, split: B texts each. landmarks: ``(B, 68, 2)`` face pixels.
            dense: ``(B, 478, 3)`` face pixels; in every block or in none.

        Raises:
            DataError: columns that do not fit, or a full disk.
        """
        file = self._opened()
        images, labels, landmarks = np.asarray(images), np.asarray(labels), np.asarray(landmarks)
        dense = None if dense is None else np.asarray(dense)
        rows = len(images)
        self._check(rows, images, labels, landmarks, dense)
        texts = {"subjects": subjects, "files": files, "split": split}
        for column, values in texts.items():
            if len(values) != rows:
                raise DataError(f"{column}: {rows} faces need as many texts; got {len(values)}")
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
        for column, values in texts.items():
            self._texts[column] += [str(value) for value in values]

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
        self._reserve(letters + 32 * sum(map(len, texts.values())) + 600 * len(self._texts["files"]))
        file["labels"] = np.concatenate([np.zeros(0, np.int64), *self._labels])
        file["landmarks"] = np.concatenate([np.zeros((0, 68, 2), np.float32), *self._landmarks])
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

    def _check(
        self,
        rows: int,
        images: np.ndarray,
        labels: np.ndarray,
        landmarks: np.ndarray,
        dense: np.ndarray | None,
    ) -> None:
        size = self.face_size_px
        if images.shape != (rows, size, size, 3) or images.dtype != np.uint8:
            raise DataError(f"images must be (B, {size}, {size}, 3) uint8; got {images.shape} {images.dtype}")
        if labels.shape != (rows,) or not np.issubdtype(labels.dtype, np.integer):
            raise DataError(f"labels must be ({rows},) integers; got {labels.shape} {labels.dtype}")
        if rows and not (-1 <= labels.min() and labels.max() < len(self.vocabulary)):
            allowed = f"-1 to {len(self.vocabulary) - 1}"
            raise DataError(f"labels must be {allowed}; got {labels.min()} to {labels.max()}")
        if landmarks.shape != (rows, 68, 2) or not np.isfinite(landmarks).all():
            raise DataError(f"landmarks must be finite, ({rows}, 68, 2); got {landmarks.shape}")
        if dense is not None and (dense.shape != (rows, DENSE_COUNT, 3) or not np.isfinite(dense).all()):
            raise DataError(f"dense must be finite, ({rows}, {DENSE_COUNT}, 3); got {dense.shape}")
        if rows and self._dense is not None and self._dense != (dense is not None):
            raise DataError("dense points must come with every block of faces or with none")


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
