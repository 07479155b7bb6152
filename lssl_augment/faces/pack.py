"""Face packs: the HDF5 file that holds the aligned faces of one data set.

docs/architecture.md lists its contents.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import DataError, SchemaError
from lssl_augment.faces.pack_schema import (
    FORMAT,
    LIGHTS,
    NUMBER_COLUMNS,
    SCHEMA_VERSION,
    TEXT_COLUMNS,
    check_numbers,
    check_pack,
)
from lssl_augment.faces.pack_writer import PackWriter

__all__ = ["FORMAT", "SCHEMA_VERSION", "FacePack", "PackWriter"]


class FacePack:
    """A finished face pack, open for reading; use :meth:`open`.

    Small columns are in memory, ``images`` and ``landmarks_dense`` stay in the file. The file is opened
    once in each process that reads from it (so a pack may be used before and after a fork) and never
    travels in a pickle.

    Attributes:
        path: of the file. vocabulary: class names; index = label. dataset: its name.
        labels: ``(N,)`` int64, −1 is unlabelled. subjects, files, split: ``(N,)`` str.
        landmarks: ``(N, 68, 2)`` float32, face pixels. face_size_px: side of the faces.
        template68: what they are aligned to, ``(68, 2)`` float64, face pixels.
        counts: split → class → faces. skipped: reason → how many files were left out.
        lights: ``(N,)`` str: normal, weak, dark, or empty where unknown. light_from: who says so:
            ``"data set"`` or ``"photometric rule"``; empty: nobody.
        yaw_deg: ``(N,)`` float32, of the head, positive when it turns to the viewer's right; NaN is
            unknown. yaw_from: ``"data set"`` where that states the angles, ``"landmarks"`` where they are
            measured; empty: neither.
        intensities: ``(N,)`` float32 in [0, 1], of the expression; NaN is unknown.
        sequences: ``(N,)`` str, the sequence a face is a frame of, or empty. frames: ``(N,)`` int32, its
            place there.
        simulated: made of a simulated stand-in, not of the data set itself.
        landmarks_from: what found the landmarks → how many faces.
        notes: what the user should know about the copy of the data set.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # Absolute: a worker process may have another working directory.
        self.path = Path(path).absolute()
        self._handle: tuple[int, h5py.File] | None = None
        file = self._file()
        try:
            check_pack(file, self.path.name)
            self._read_columns(file)
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> FacePack:
        """Open and validate.

        Raises:
            FileNotFoundError: there is no such file.
            SchemaError: not a face pack, truncated, not finished, or of another schema version.
        """
        return cls(path)

    def _read_columns(self, file: h5py.File) -> None:
        attrs, name = file.attrs, self.path.name
        try:
            self.vocabulary = Vocabulary(tuple(json.loads(attrs["class_names"])))
            self.counts: dict[str, dict[str, int]] = json.loads(attrs["counts"])
            self.skipped: dict[str, int] = json.loads(attrs["skipped"])
            self.landmarks_from: dict[str, int] = json.loads(attrs["landmarks"])
            self.notes: tuple[str, ...] = tuple(json.loads(attrs["notes"]))
        except (ValueError, TypeError) as error:
            raise SchemaError(f"{name}: an attribute cannot be read ({error})") from error
        self.dataset = str(attrs["dataset"])
        self.simulated = bool(attrs["simulated"])
        self.yaw_from, self.light_from = str(attrs["yaw_from"]), str(attrs["light_from"])
        self.face_size_px = int(attrs["face_size_px"])
        self.template68 = np.asarray(attrs["template68"], np.float64)
        try:
            self.labels: np.ndarray = file["labels"][:]
            self.landmarks: np.ndarray = file["landmarks"][:]
            texts = {column: _texts(file[column]) for column in TEXT_COLUMNS}
            numbers = {column: file[column][:] for column in NUMBER_COLUMNS}
        except OSError as error:
            raise SchemaError(f"{name} is damaged: a column cannot be read ({error})") from error
        self.subjects, self.files, self.split = texts["subjects"], texts["files"], texts["split"]
        self.lights, self.sequences = texts["lights"], texts["sequences"]
        self.yaw_deg: np.ndarray = numbers["yaw_deg"]
        self.intensities: np.ndarray = numbers["intensities"]
        self.frames: np.ndarray = numbers["frames"]
        if len(self.labels) and not (-1 <= self.labels.min() and self.labels.max() < len(self.vocabulary)):
            raise SchemaError(f"{name}: labels must be -1 to {len(self.vocabulary) - 1}")
        if not np.isin(self.lights, LIGHTS).all():
            raise SchemaError(f"{name}: lights must be {', '.join(LIGHTS[:-1])} or empty")
        for column, values in numbers.items():
            try:
                check_numbers(column, values, len(self))
            except DataError as error:
                raise SchemaError(f"{name}: {error}") from error

    @property
    def images(self) -> h5py.Dataset:
        """Aligned RGB faces, ``(N, S, S, 3)`` uint8, read from the file when indexed."""
        return self._file()["images"]

    @property
    def landmarks_dense(self) -> h5py.Dataset | None:
        """Dense points, ``(N, 478, 3)`` float32, face pixels, read when indexed; or None."""
        file = self._file()
        return file["landmarks_dense"] if "landmarks_dense" in file else None

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, split: str | None = None, label: int | None = None) -> np.ndarray:
        """Rows, increasing int64, of a split and of a label (None: of all).

        Raises:
            DataError: the pack has no such split.
        """
        keep = np.ones(len(self), bool)
        if split is not None:
            keep = self.split == split
            if not keep.any():
                found = ", ".join(sorted(set(self.split.tolist()))) or "none"
                raise DataError(f"{self.path.name} has no face of split {split!r}; its splits: {found}")
        if label is not None:
            keep &= self.labels == label
        return np.flatnonzero(keep)

    def close(self) -> None:
        """Let go of the file; it is opened again when needed."""
        if self._handle is not None and self._handle[0] == os.getpid():
            self._handle[1].close()
        self._handle = None

    def __enter__(self) -> FacePack:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None}

    def __repr__(self) -> str:
        return f"FacePack({self.path.name!r}, dataset={self.dataset!r}, faces={len(self)})"

    def _file(self) -> h5py.File:
        if self._handle is None or self._handle[0] != os.getpid():
            self._handle = (os.getpid(), _open(self.path))
        return self._handle[1]


def _open(path: Path) -> h5py.File:
    if not path.exists():
        raise FileNotFoundError(f"there is no face pack {path}; write one with `lssl-augment prepare`")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise SchemaError(f"{path.name} is no readable HDF5 file, perhaps truncated ({error})") from error


def _texts(dataset: h5py.Dataset) -> np.ndarray:
    return np.array(dataset.asstr()[:], np.str_) if len(dataset) else np.zeros(0, np.str_)
