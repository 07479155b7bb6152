"""What finds the landmarks of a photograph: one small interface.

A backend is a callable, photo in, face out. Backends are safe to use from several threads and can be pickled;
what they loaded stays behind, and the process that unpickles one loads it again when first needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lssl_augment.errors import DataError

__all__ = ["PICKS", "TURNS_DEG", "FoundFace", "LandmarkBackend", "check_photo", "turn_back", "turned"]

#: Which of several faces to take: the one with the largest box, or the one nearest to the middle of the photo.
PICKS = ("largest", "central")
#: How a photo is turned, clockwise, until a face is seen.
TURNS_DEG = (0, 90, 180, 270)


@dataclass(frozen=True)
class FoundFace:
    """A face and its landmarks, in the pixels of the photo as it was given.

    Args:
        points68: ``(68, 2)`` float64, iBUG order. dense: ``(478, 3)`` float64, or None: the backend gives none.
        score: how sure the backend is, in [0, 1]; not to be compared between backends.
        turn_deg: clockwise turn of the photo (0, 90, 180 or 270) at which the face was seen upright. The points
            are turned back already, and alignment puts the face upright.
        faces: how many faces were seen, this one included.
    """

    points68: np.ndarray
    dense: np.ndarray | None
    score: float
    turn_deg: int = 0
    faces: int = 1


class LandmarkBackend(Protocol):
    """Finds one face in a photograph."""

    @property
    def name(self) -> str:
        """As typed after ``--landmarks``."""
        ...

    @property
    def gives_dense(self) -> bool:
        """Whether its faces come with dense points."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of it, the same at every run: they are kept in the pack."""
        ...

    def load(self) -> None:
        """Load what it needs, now, so that a lack is known before the work.

        Raises:
            WeightsError: files are missing, damaged or refused.
            DataError: the device is not there.
        """
        ...

    def __call__(self, photo: np.ndarray) -> FoundFace | None:
        """Photo, ``(H, W, 3)`` uint8 RGB → the face, or None: there is none.

        Raises:
            TypeError, DataError: no such array.
            WeightsError, DataError: as of :meth:`load`.
        """
        ...


def check_photo(photo: np.ndarray) -> None:
    """Raise ``TypeError`` or ``DataError`` unless it is ``(H, W, 3)`` uint8."""
    if not isinstance(photo, np.ndarray):
        raise TypeError(f"photo must be a numpy array; got {type(photo).__name__}")
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8 or not photo.size:
        raise DataError(f"photo must have shape (H, W, 3), dtype uint8; got {photo.shape}, {photo.dtype}")


def turned(photo: np.ndarray, turn_deg: int) -> np.ndarray:
    """The photo turned clockwise by 0, 90, 180 or 270 degrees, contiguous."""
    return np.ascontiguousarray(np.rot90(photo, -turn_deg // 90)) if turn_deg else photo


def turn_back(points: np.ndarray, turn_deg: int, width: int, height: int) -> np.ndarray:
    """Points ``(..., 2)`` or ``(..., 3)`` of the turned photo → those of the photo, ``width`` × ``height`` pixels.

    z stays as it is.
    """
    back = np.array(points, np.float64)
    x, y = points[..., 0], points[..., 1]
    if turn_deg == 90:
        back[..., 0], back[..., 1] = y, height - 1 - x
    elif turn_deg == 180:
        back[..., 0], back[..., 1] = width - 1 - x, height - 1 - y
    elif turn_deg == 270:
        back[..., 0], back[..., 1] = width - 1 - y, x
    return back
