"""Sequences out of a face pack, every one resampled to the same number of frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from lssl_augment.errors import DataError
from lssl_augment.faces.pack import FacePack

__all__ = [
    "NO_COURSE",
    "OTHER_CLASS",
    "UNLABELLED",
    "SequenceRows",
    "SequenceTable",
    "find_sequences",
    "load_sequences",
    "resample",
]

NO_COURSE = "fewer than two frames"
OTHER_CLASS = "expression is not among the classes"
UNLABELLED = "no expression"

_NEUTRAL = "neutral"


@dataclass(frozen=True)
class SequenceTable:
    """Labelled videos in memory.

    Args:
        videos: ``(N, T, S, S)`` uint8, grey. landmarks: ``(N, T, 68, 2)`` float32, pixels of the videos.
        labels: ``(N,)`` int64, index into ``classes``. subjects, names: ``(N,)`` str.
        classes: names of the expressions. left_out: reason → sequences.
    """

    videos: np.ndarray
    landmarks: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray
    names: np.ndarray
    classes: tuple[str, ...]
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class SequenceRows:
    """Which sequences there are, without their pictures.

    Args:
        rows: of the pack, by frame, one array each. labels: ``(N,)`` int64, index into ``classes``.
        classes: names of the expressions. left_out: reason → sequences.
    """

    rows: tuple[np.ndarray, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.labels)


def find_sequences(
    pack: FacePack, rows: np.ndarray | Sequence[int], classes: Sequence[str] | None = None
) -> SequenceRows:
    """The sequences that some rows of a pack are frames of, in the order of their names; perhaps none.

    Args, Raises: see :func:`load_sequences`.
    """
    picked = np.unique(np.asarray(rows, np.int64))
    if len(picked) and not 0 <= picked[0] <= picked[-1] < len(pack):
        raise DataError(f"rows must be in [0, {len(pack) - 1}]; got {picked[0]} to {picked[-1]}")
    wanted = _classes(pack, classes)
    if not (pack.sequences != "").any():
        raise DataError(
            f"{pack.path.name} ({pack.dataset}) has no sequences, only single faces; sequences come with packs of "
            "oulu, mug and ckplus, best prepared with `lssl-augment prepare NAME --frames all`"
        )
    picked = picked[pack.sequences[picked] != ""]
    found = [_course(pack, part, wanted) for part in _by_sequence(pack, picked)]
    taken = [course for course in found if not isinstance(course, str)]
    return SequenceRows(
        tuple(part for part, _ in taken),
        np.array([label for _, label in taken], np.int64),
        wanted,
        {reason: found.count(reason) for reason in (NO_COURSE, OTHER_CLASS, UNLABELLED) if reason in found},
    )


def load_sequences(
    pack: FacePack,
    rows: np.ndarray | Sequence[int],
    frames: int = 16,
    size_px: int = 64,
    classes: Sequence[str] | None = None,
) -> SequenceTable:
    """The sequences that some rows of a pack are frames of, in the order of their names.

    A sequence has the expression of its frames that are not neutral, or neutral when all are. It is resampled
    evenly in time from its first to its last frame, pictures and landmarks alike; see :func:`resample`. With a
    pack of peak frames only (``prepare --frames peak``), what lies between neutral face and peak is a blend of
    the two: prepare it with ``--frames all``.

    Args:
        rows: of the pack, such as the training rows of a fold. frames: T, ≥ 2. size_px: S, ≥ 8.
        classes: expressions wanted; None: all of the pack's vocabulary but neutral.

    Raises:
        DataError: a pack, or rows, without sequences; a sequence of two subjects or two expressions, or with a frame
            twice; values outside their range; an unknown expression.
    """
    if frames < 2 or size_px < 8:
        raise DataError(f"frames must be at least 2 and size_px at least 8; got {frames} and {size_px}")
    found = find_sequences(pack, rows, classes)
    if not len(found):
        raise DataError(
            f"{pack.path.name}: none of the {sum(found.left_out.values())} sequences in these rows can be used; left "
            f"out: {found.left_out}; classes: {', '.join(found.classes)}"
        )
    videos = np.empty((len(found), frames, size_px, size_px), np.uint8)
    points = np.empty((len(found), frames, 68, 2), np.float32)
    scale = size_px / pack.face_size_px
    for i, part in enumerate(found.rows):
        times = pack.frames[part]
        videos[i] = np.rint(resample(_grey(pack, part, size_px), times, frames)).astype(np.uint8)
        points[i] = (resample(pack.landmarks[part].astype(np.float64), times, frames) + 0.5) * scale - 0.5
    first = np.array([part[0] for part in found.rows])
    return SequenceTable(
        videos, points, found.labels, pack.subjects[first], pack.sequences[first], found.classes, found.left_out
    )


def resample(values: np.ndarray, times: np.ndarray, count: int) -> np.ndarray:
    """Values at even steps from the first time to the last, blended linearly between the two nearest frames.

    Args:
        values: ``(F, ...)``. times: ``(F,)`` increasing, F ≥ 2. count: ≥ 2.

    Returns:
        ``(count, ...)`` float64; values at times that are hit exactly are not changed.
    """
    times = np.asarray(times, np.float64)
    at = np.linspace(times[0], times[-1], count)
    after = np.clip(np.searchsorted(times, at, side="left"), 1, len(times) - 1)
    share = (at - times[after - 1]) / (times[after] - times[after - 1])
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    result: np.ndarray = values[after - 1] * (1.0 - share) + values[after] * share
    return result


def _classes(pack: FacePack, classes: Sequence[str] | None) -> tuple[str, ...]:
    names = pack.vocabulary.names
    if classes is None:
        return tuple(name for name in names if name != _NEUTRAL)
    wanted = tuple(names[pack.vocabulary.index(name)] for name in classes)
    if len(wanted) < 2 or len(set(wanted)) < len(wanted):
        raise DataError(f"classes must be at least two different expressions; got {', '.join(classes) or 'none'}")
    return wanted


def _by_sequence(pack: FacePack, rows: np.ndarray) -> list[np.ndarray]:
    """Rows of each sequence, by frame."""
    ordered = rows[np.lexsort((pack.frames[rows], pack.sequences[rows]))]
    names = pack.sequences[ordered]
    return np.split(ordered, np.flatnonzero(names[1:] != names[:-1]) + 1) if len(ordered) else []


def _course(pack: FacePack, rows: np.ndarray, classes: tuple[str, ...]) -> tuple[np.ndarray, int] | str:
    """Rows and label of one sequence, or the reason why it is left out."""
    name = str(pack.sequences[rows[0]])
    people = sorted(set(pack.subjects[rows].tolist()))
    if len(people) > 1:
        raise DataError(f"sequence {name!r} of {pack.path.name} shows several subjects: {', '.join(people[:3])}")
    times = pack.frames[rows]
    if (np.diff(times) == 0).any():
        raise DataError(f"sequence {name!r} of {pack.path.name} has a frame twice; each needs its own number")
    words = {pack.vocabulary.names[label] for label in pack.labels[rows].tolist() if label >= 0}
    shown = sorted(words - {_NEUTRAL}) or sorted(words)
    if len(shown) > 1:
        raise DataError(f"sequence {name!r} of {pack.path.name} shows several expressions: {', '.join(shown)}")
    if not shown:
        return UNLABELLED
    if shown[0] not in classes:
        return OTHER_CLASS
    return (rows, classes.index(shown[0])) if len(rows) > 1 else NO_COURSE


def _grey(pack: FacePack, rows: np.ndarray, size_px: int) -> np.ndarray:
    """Luminance of some faces at another size, ``(F, S, S)`` float64."""
    how = cv2.INTER_AREA if size_px < pack.face_size_px else cv2.INTER_LINEAR
    faces = [cv2.cvtColor(np.ascontiguousarray(pack.images[int(row)]), cv2.COLOR_RGB2GRAY) for row in rows]
    return np.stack([cv2.resize(face, (size_px, size_px), interpolation=how) for face in faces]).astype(np.float64)
