"""``landmarks.npz``: landmarks that come with a data set."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError
from lssl_augment.faces.landmarks import DENSE_COUNT, SPARSE_FROM_DENSE

__all__ = ["LANDMARK_FILE", "LandmarkFile"]

LANDMARK_FILE = "landmarks.npz"


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
        """Read ``landmarks.npz`` of a data set; None when it has none.

        It holds ``files`` (N,) and ``points478`` (N, 478, 3) or ``points68`` (N, 68, 2); with both, the 68
        are taken from the 478, so that they always agree.

        Raises:
            DataError: it is damaged or holds something else.
        """
        if LANDMARK_FILE not in tree:
            return None
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
