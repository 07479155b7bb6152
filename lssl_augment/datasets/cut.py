"""One photograph → one aligned face, or the reason why it is left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lssl_augment.datasets.records import Record
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError, ImageError
from lssl_augment.faces.align import align_face, face_transform, transform_points
from lssl_augment.faces.backends.base import LandmarkBackend
from lssl_augment.faces.backends.bundled import dense_of_faces
from lssl_augment.faces.images import read_image
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE

__all__ = ["CutFace", "FaceCutter"]

FILE_MISSING = "file missing"
UNREADABLE = "unreadable image"
BLANK = "blank image"
NO_LANDMARKS = "no landmarks in the data set"
NO_DENSE = "no dense landmarks in the data set"
NO_FACE = "no face found"
NOT_FINITE = "landmarks not finite"
TOO_SMALL = "face too small"
OUTSIDE = "face mostly outside the image"

#: Brightest minus darkest value below which an image shows nothing.
_LEAST_CONTRAST = 8
#: Faces that alignment would magnify more than this show nothing. Landmarks that small are mostly wrong, too:
#: those of a nostril or an ear taken for a face.
_MOST_MAGNIFIED = 4.0
#: Part of the points of brows, eyes, nose and mouth that must lie inside the photo.
_LEAST_INSIDE = 0.75
#: Photo sides that no point may lie beyond the photo; such points are slips, and not of a face at its border.
_FARTHEST = 8


@dataclass(frozen=True)
class CutFace:
    """An aligned face and its landmarks.

    Args:
        image: ``(S, S, 3)`` uint8 RGB. landmarks: ``(68, 2)`` float32, face pixels.
        dense: ``(478, 3)`` float32, face pixels, or None; the 68 are among them.
        turn_deg: clockwise turn of the photo at which the backend saw the face; 0 where nothing was turned.
        faces: how many faces the backend saw; 1 where it was not asked.
    """

    image: np.ndarray
    landmarks: np.ndarray
    dense: np.ndarray | None
    turn_deg: int = 0
    faces: int = 1


@dataclass(frozen=True)
class FaceCutter:
    """Cuts the face out of a photograph; safe to use from several threads, and pickled where its tree can be.

    A pack has dense points for all of its faces or for none, so with ``keep_dense`` every face comes with them.

    Args:
        tree: where the files are.
        use_file: trust the landmarks of the record.
        backend: finds landmarks where there are none, or useless ones; None leaves such faces out.
        keep_dense: give dense points.
        fill_dense: where only the 68 are known, they place the face, and the package's landmark network finds the
            dense points on the aligned face. The 68 of the result are then the network's, as they must agree.

    Raises:
        DataError: dense points are to be kept, the backend gives none, and they are not to be filled in.
    """

    tree: FileTree
    use_file: bool
    backend: LandmarkBackend | None
    keep_dense: bool
    fill_dense: bool = False

    def __post_init__(self) -> None:
        if self.keep_dense and not self.fill_dense and self.backend is not None and not self.backend.gives_dense:
            raise DataError(
                f"{self.backend.name} finds 68 points and no dense ones; have them filled in (fill_dense) or leave "
                "them out (keep_dense=False)"
            )

    def __call__(self, record: Record) -> CutFace | str:
        """The face, or a reason (``"reason"`` or ``"reason: detail"``).

        Raises:
            WeightsError, DataError: the backend cannot be loaded.
        """
        try:
            photo, dense = self._photo(record)
        except FileNotFoundError:
            return FILE_MISSING
        except ImageError as error:
            return f"{UNREADABLE}: {str(error).partition(': ')[2] or error}"
        if int(photo.max()) - int(photo.min()) < _LEAST_CONTRAST:
            return BLANK
        points = record.points68 if dense is None else dense[SPARSE_FROM_DENSE, :2]
        dense = record.dense if dense is None else dense
        if self.use_file and points is not None:
            face = self._cut(photo, points, dense)
            if isinstance(face, CutFace) or self.backend is None:
                return face
        elif self.backend is None:
            return NO_LANDMARKS
        # No landmarks in the data set, or some that are plainly not those of a face.
        found = self.backend(photo)
        if found is None:
            return NO_FACE
        return self._cut(photo, found.points68, found.dense, found.turn_deg, found.faces)

    def _cut(
        self, photo: np.ndarray, points: np.ndarray, dense: np.ndarray | None, turn_deg: int = 0, faces: int = 1
    ) -> CutFace | str:
        reason = _unusable(points, dense, photo.shape[1], photo.shape[0])
        if reason is not None:
            return reason
        image, matrix = align_face(photo, points)
        if not self.keep_dense:
            sparse = transform_points(matrix, points).astype(np.float32)
            return CutFace(image, sparse, None, turn_deg, faces)
        if dense is not None:
            dense = transform_points(matrix, dense).astype(np.float32)
        elif self.fill_dense:
            dense = dense_of_faces(image[None])[0].astype(np.float32)
        else:
            return NO_DENSE
        return CutFace(image, dense[SPARSE_FROM_DENSE, :2], dense, turn_deg, faces)

    def _photo(self, record: Record) -> tuple[np.ndarray, np.ndarray | None]:
        """The photo, and its dense points where the record makes it and knows them."""
        if record.photo is not None:
            return record.photo(self.tree, None if self.backend is None else self._locate)
        if record.image is not None:
            return np.repeat(record.image[..., None], 3, axis=2), None
        return read_image(self.tree.read(record.file)), None

    def _locate(self, photo: np.ndarray) -> np.ndarray | None:
        """Dense points ``(478, 3)`` of a photo that is to be worked on before it is cut; None: no face."""
        found = None if self.backend is None else self.backend(photo)
        if found is None or found.dense is not None:
            return None if found is None else found.dense
        if _unusable(found.points68, None, photo.shape[1], photo.shape[0]) is not None:
            return None
        image, matrix = align_face(photo, found.points68)
        return transform_points(_inverse(matrix), dense_of_faces(image[None])[0])


def _inverse(matrix: np.ndarray) -> np.ndarray:
    linear = np.linalg.inv(matrix[:, :2])
    return np.concatenate([linear, -(linear @ matrix[:, 2])[:, None]], axis=1)


def _unusable(points: np.ndarray, dense: np.ndarray | None, width: int, height: int) -> str | None:
    if not np.isfinite(points).all() or (dense is not None and not np.isfinite(dense).all()):
        return NOT_FINITE
    if np.abs(points).max() > _FARTHEST * max(width, height):
        return OUTSIDE
    try:
        matrix = face_transform(points)
    except DataError:  # all in one place
        return TOO_SMALL
    if np.hypot(matrix[0, 0], matrix[1, 0]) > _MOST_MAGNIFIED:
        return TOO_SMALL
    inner = points[17:]
    inside = ((inner >= -0.5) & (inner <= np.array([width, height]) - 0.5)).all(axis=1)
    return OUTSIDE if inside.mean() < _LEAST_INSIDE else None
