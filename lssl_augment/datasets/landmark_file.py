"""Landmarks that come with a data set, by the name of the photo."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError, ImageError
from lssl_augment.faces.backends.precomputed import has_point_columns, read_csv_points, read_pts
from lssl_augment.faces.images import IMAGE_SUFFIXES
from lssl_augment.faces.landmarks import DENSE_COUNT, SPARSE_FROM_DENSE

__all__ = ["LANDMARK_CSV", "LANDMARK_FILE", "LandmarkFile"]

LANDMARK_FILE = "landmarks.npz"
LANDMARK_CSV = "landmarks.csv"


@dataclass(frozen=True)
class LandmarkFile:
    """Landmarks by file name, in photo pixels.

    Args:
        rows: file name → row. points68: ``(N, 68, 2)``. dense: ``(N, 478, 3)`` or None.
    """

    rows: dict[str, int]
    points68: np.ndarray
    dense: np.ndarray | None

    @classmethod
    def read(cls, tree: FileTree) -> LandmarkFile | None:
        """The landmarks of a data set; None when it has none.

        The first of these that is there counts, alone: ``landmarks.npz``; ``landmarks.csv`` with a column ``file``;
        files beside the photos and of their name, ``.pts`` (300-W) or ``.csv`` (OpenFace).

        ``landmarks.npz`` holds ``files`` (N,) and ``points478`` (N, 478, 3) or ``points68`` (N, 68, 2); with both,
        the 68 are taken from the 478, so that they always agree.

        Raises:
            DataError: a file for all photos is damaged, or one holds something else than these points.
        """
        if LANDMARK_FILE in tree:
            return cls._from_arrays(tree)
        if LANDMARK_CSV in tree:
            return cls._from_points(_csv_of_all(tree))
        beside = _beside_photos(tree)
        return cls._from_points(beside) if beside else None

    @classmethod
    def _from_points(cls, points: dict[str, np.ndarray]) -> LandmarkFile:
        stacked = np.stack(list(points.values())) if points else np.zeros((0, 68, 2))
        return cls({name: i for i, name in enumerate(points)}, stacked, None)

    @classmethod
    def _from_arrays(cls, tree: FileTree) -> LandmarkFile:
        where = f"{LANDMARK_FILE} of {tree.root.name}"
        try:
            with np.load(io.BytesIO(tree.read(LANDMARK_FILE)), allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in ("files", "points68", "points478") if name in arrays}
        except Exception as error:
            # A damaged archive raises whatever numpy, zipfile and zlib come upon.
            raise DataError(f"{where} cannot be read: {error}") from error
        files, dense, points = found.get("files"), found.get("points478"), found.get("points68")
        if files is None or (dense is None and points is None):
            raise DataError(f"{where} must hold files and points478 or points68; it holds {', '.join(found)}")
        for name, array, shape in (("points478", dense, (DENSE_COUNT, 3)), ("points68", points, (68, 2))):
            if array is not None and (array.shape != (len(files), *shape) or array.dtype.kind != "f"):
                raise DataError(
                    f"{where}: {name} must be {(len(files), *shape)} floats; got {array.shape} {array.dtype}"
                )
        sparse = points if dense is None else dense[:, SPARSE_FROM_DENSE, :2]
        assert sparse is not None  # one of the two is there
        return cls({str(name): i for i, name in enumerate(files.tolist())}, sparse, dense)

    def of(self, file: str) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The 68 points and the dense points of a file, float64, or None and None."""
        row = self.rows.get(file)
        if row is None:
            return None, None
        dense = None if self.dense is None else self.dense[row].astype(np.float64)
        return self.points68[row].astype(np.float64), dense


def _csv_of_all(tree: FileTree) -> dict[str, np.ndarray]:
    where = f"{LANDMARK_CSV} of {tree.root.name}"
    try:
        points = read_csv_points(tree.read(LANDMARK_CSV), where)
    except ImageError as error:
        raise DataError(f"{where} cannot be read: {error}") from error
    if "" in points:
        raise DataError(f"{where} must have a column file that names the photo of each row")
    return points


def _beside_photos(tree: FileTree) -> dict[str, np.ndarray]:
    """Photo → points, for the photos that have a landmark file of their name."""
    files: dict[str, str] = {}
    for name in tree.names:
        suffix = PurePosixPath(name).suffix.lower()
        # .pts comes later in the alphabet, and so goes before .csv.
        if suffix in (".csv", ".pts"):
            files[name[: -len(suffix)]] = name
    if not files:
        return {}
    points = {}
    for name in tree.names:
        path = PurePosixPath(name)
        if path.suffix.lower() in IMAGE_SUFFIXES and (file := files.get(name[: -len(path.suffix)])) is not None:
            found = _of_one(tree, file)
            if found is not None:
                points[name] = found
    return points


def _of_one(tree: FileTree, file: str) -> np.ndarray | None:
    """Points of one photo; NaN where its file cannot be read, None where it is no landmark file or found no face."""
    try:
        data = tree.read(file)
    except (ImageError, FileNotFoundError):
        return np.full((68, 2), np.nan)
    if file.lower().endswith(".pts"):
        return read_pts(data, file)
    return read_csv_points(data, file).get("") if has_point_columns(data) else None
