"""One photograph → one aligned face, or the reason why it is left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lssl_augment.datasets.records import Locate, Record
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError, ImageError
from lssl_augment.faces.align import align_face, face_transform, transform_points
from lssl_augment.faces.images import read_image
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE

__all__ = ["CutFace", "FaceCutter"]

FILE_MISSING = "file missing"
UNREADABLE = "unreadable image"
BLANK = "blank image"
NO_LANDMARKS = "no landmarks in landmarks.npz"
NO_FACE = "no face found"
NOT_FINITE = "landmarks not finite"
TOO_SMALL = "face too small"
OUTSIDE = "face mostly outside the image"

#: Brightest minus darkest value below which an image shows nothing.
_LEAST_CONTRAST = 8
# : Faces that alignment would magnify more than this show nothing. Landmarks that small are mostly wrong,
# too: those
#: of a nostril or an ear taken for a face.
_MOST_MAGNIFIED = 4.0
#: Part of the points of brows, eyes, nose and mouth that must lie inside the photo.
_LEAST_INSIDE = 0.75


@dataclass(frozen=True)
class CutFace:
    """An aligned face, ``(S, S, 3)`` uint8, and its 68 and dense landmarks in face pixels."""

    image: np.ndarray
    landmarks: np.ndarray
    dense: np.ndarray | None


@dataclass(frozen=True)
class FaceCutter:
    """Cuts the face out of a photograph; safe to use from several threads.

    Args:
        tree: where the files are. use_file: trust the landmarks of the record. locate: finds them where
            there are none; None leaves such faces out. keep_dense: give dense points too, where known.
    """

    tree: FileTree
    use_file: bool
    locate: Locate | None
    keep_dense: bool

    def __call__(self, record: Record) -> CutFace | str:
        """The face, or a reason (``"reason"`` or ``"reason: detail"``)."""
        try:
            photo = self._photo(record)
        except FileNotFoundError:
            return FILE_MISSING
        except ImageError as error:
            return f"{UNREADABLE}: {str(error).partition(': ')[2]}"
        if int(photo.max()) - int(photo.min()) < _LEAST_CONTRAST:
            return BLANK
        if self.use_file and record.points68 is not None:
            face = self._cut(photo, record.points68, record.dense)
            if isinstance(face, CutFace) or self.locate is None:
                return face
        elif self.locate is None:
            return NO_LANDMARKS
        # No landmarks in the file, or some that are plainly not those of a face.
        dense = self.locate(photo)
        return NO_FACE if dense is None else self._cut(photo, dense[SPARSE_FROM_DENSE, :2], dense)

    def _cut(self, photo: np.ndarray, points: np.ndarray, dense: np.ndarray | None) -> CutFace | str:
        reason = _unusable(points, dense, photo.shape[1], photo.shape[0])
        if reason is not None:
            return reason
        image, matrix = align_face(photo, points)
        sparse = transform_points(matrix, points).astype(np.float32)
        if dense is None or not self.keep_dense:
            return CutFace(image, sparse, None)
        return CutFace(image, sparse, transform_points(matrix, dense).astype(np.float32))

    def _photo(self, record: Record) -> np.ndarray:
        if record.image is None:
            return read_image(self.tree.read(record.file))
        return np.repeat(record.image[..., None], 3, axis=2)


def _unusable(points: np.ndarray, dense: np.ndarray | None, width: int, height: int) -> str | None:
    if not np.isfinite(points).all() or (dense is not None and not np.isfinite(dense).all()):
        return NOT_FINITE
    try:
        matrix = face_transform(points)
    except DataError:  # all in one place
        return TOO_SMALL
    if np.hypot(matrix[0, 0], matrix[1, 0]) > _MOST_MAGNIFIED:
        return TOO_SMALL
    inner = points[17:]
    inside = ((inner >= -0.5) & (inner <= np.array([width, height]) - 0.5)).all(axis=1)
    return OUTSIDE if inside.mean() < _LEAST_INSIDE else None
