"""Frames of a sequence → rows: which show the neutral face, which the peak of the expression, and how strongly.

Two courses are known: a *rise* from the neutral face to the peak, which is the last frame (Oulu-CASIA, CK+), and
an *arc* from the neutral face to the peak and back (MUG). The data sets tell no intensity of a frame: it is taken
from its place in the course, the same whichever frames are asked for.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from lssl_augment.datasets.assemble import Row
from lssl_augment.datasets.tree import FileTree

__all__ = [
    "LONE_FRAME",
    "NOT_A_KEY_FRAME",
    "NO_NUMBER",
    "SECOND_COPY",
    "Course",
    "FrameSequence",
    "Moment",
    "add_frame",
    "arc",
    "folders_above",
    "key_faces",
    "rise",
    "rise_notes",
    "sequence_rows",
    "still",
]

NOT_A_KEY_FRAME = "neither peak nor neutral frame of its sequence"
LONE_FRAME = "only frame of its sequence, neutral or peak"
NO_NUMBER = "no frame number in its name"
SECOND_COPY = "second copy of a frame"

_PEAK_FRAMES = 3


@dataclass(frozen=True)
class FrameSequence:
    """One sequence of a data set.

    Args:
        name: unique in the data set. subject: who is seen. expression: as the data set spells it. where: folder
            or file, for messages. frames: frame number → file. light: as of ``Record``.
    """

    name: str
    subject: str
    expression: str
    where: str
    frames: Mapping[int, str]
    light: str = ""


@dataclass(frozen=True)
class Moment:
    """What a frame shows. place: in the sequence, from 0. intensity: in [0, 1], 0 is the neutral face; None: it
    cannot be told. key: whether it is taken when only peak frames are asked for.
    """

    place: int
    intensity: float | None
    key: bool


#: Frame numbers, ascending → a moment each; nothing at all when the frames cannot be told apart.
Course = Callable[[Sequence[int]], list[Moment]]


def rise(numbers: Sequence[int], first_number: int) -> list[Moment]:
    """From the neutral face in the first frame to the peak in the last; key frames are the first and the last three.

    The intensity of a frame is (number − first) / (last − first). A sequence that begins after frame 1 has lost its
    beginning: it has no neutral frame, and its first number is ``first_number``, that of a whole sequence. The
    only frame of a sequence is a peak then; else nobody can tell what it shows, and nothing is returned.
    """
    first = numbers[0] if numbers[0] <= 1 else first_number
    length = numbers[-1] - first
    if length <= 0:
        return []
    late = set(numbers[-_PEAK_FRAMES:])
    return [Moment(n - first, (n - first) / length, n == first or n in late) for n in numbers]


def arc(numbers: Sequence[int]) -> list[Moment]:
    """From the neutral face to the peak in the middle and back; key frames are three spread over the middle fifth.

    The intensity rises linearly over the first two fifths, stays at 1 over the middle one and falls over the
    last two. Of fewer than three frames all are key frames of unknown intensity.
    """
    first, last = numbers[0], len(numbers) - 1
    if last < 2:
        return [Moment(n - first, None, True) for n in numbers]
    middle = {-(-2 * last // 5), last // 2, 3 * last // 5}
    return [Moment(n - first, min(1.0, 5 * min(i, last - i) / (2 * last)), i in middle) for i, n in enumerate(numbers)]


def still(numbers: Sequence[int]) -> list[Moment]:
    """The neutral face in every frame; key frames as those of an arc."""
    return [Moment(moment.place, 0.0, moment.key) for moment in arc(numbers)]


def sequence_rows(
    sequence: FrameSequence,
    course: Course,
    frames: str,
    points68_of: Callable[[str], np.ndarray | None] = lambda file: None,
) -> tuple[list[Row], list[tuple[str, str]]]:
    """Rows of the frames to take, and pairs (file, reason) of the others.

    A frame of intensity 0 is labelled neutral, all others have the expression of their sequence.

    Args:
        frames: ``"peak"``: the key frames; ``"all"``: every frame. points68_of: file → ``(68, 2)`` landmarks in
            photo pixels, or None.
    """
    numbers = sorted(sequence.frames)
    files = [sequence.frames[number] for number in numbers]
    moments = course(numbers)
    if not moments:
        return [], [(file, LONE_FRAME) for file in files]
    rows: list[Row] = []
    skipped: list[tuple[str, str]] = []
    for file, moment in zip(files, moments, strict=True):
        if frames == "peak" and not moment.key:
            skipped.append((file, NOT_A_KEY_FRAME))
            continue
        rows.append(
            Row(
                file,
                "neutral" if moment.intensity == 0 else sequence.expression,
                sequence.subject,
                sequence.where,
                points68=points68_of(file),
                light=sequence.light,
                intensity=moment.intensity,
                sequence=sequence.name,
                frame=moment.place,
            )
        )
    return rows, skipped


def key_faces(sequences: np.ndarray, frames: np.ndarray, intensities: np.ndarray) -> np.ndarray:
    """Which faces of a pack with rising sequences would be there with ``--frames peak``.

    These are the neutral first frame and the last three of each sequence; faces of no sequence stay. A pack of peak
    frames keeps all.

    Args:
        sequences: ``(N,)`` str, empty for a single face. frames: ``(N,)`` places in the sequence. intensities: ``(N,)``
            in [0, 1], NaN is unknown.

    Returns:
        ``(N,)`` bool.
    """
    keep: np.ndarray = (sequences == "") | (intensities == 0)
    order = np.lexsort((frames, sequences))
    names = sequences[order]
    for part in np.split(order, np.flatnonzero(names[1:] != names[:-1]) + 1):
        keep[part[-_PEAK_FRAMES:]] = True
    return keep


def rise_notes(sequences: Iterable[FrameSequence]) -> list[str]:
    """Sentences about rising sequences whose first frame is missing, or may be no neutral face."""
    lost = short = 0
    for sequence in sequences:
        lost += min(sequence.frames) > 1
        short += min(sequence.frames) <= 1 < len(sequence.frames) <= _PEAK_FRAMES
    notes = []
    if lost:
        notes.append(f"sequences without their first frame, which give no neutral face: {lost}")
    if short:
        notes.append(
            f"sequences of {_PEAK_FRAMES} frames or fewer: {short}; their first frame is taken for neutral, which is "
            "wrong if this copy holds peak frames that somebody numbered anew"
        )
    return notes


def add_frame(frames: dict[int, str], file: str) -> str | None:
    """Put a file under the last number in its name; else the reason why not."""
    digits = re.findall(r"\d+", PurePosixPath(file).stem)
    if not digits:
        return NO_NUMBER
    return None if frames.setdefault(int(digits[-1]), file) == file else SECOND_COPY


def folders_above(tree: FileTree) -> tuple[str, ...]:
    """Names of the folders that the files of a tree lie in: its root, and the one that was entered in an archive.

    So ``VL/`` counts even when it is the root itself, or the only folder of an archive.
    """
    if tree.root.is_dir():
        return (tree.root.resolve().name,)
    entered = ""
    if tree.names:
        first = tree.names[0]
        with zipfile.ZipFile(tree.root) as archive:
            # The shortest is the file itself: a longer one only ends alike.
            member = min((name for name in archive.namelist() if name.endswith(first)), key=len)
        entered = member.removesuffix(first).strip("/")
    return (tree.root.stem, entered) if entered else (tree.root.stem,)
