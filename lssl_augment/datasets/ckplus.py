"""``ckplus``: the Extended Cohn-Kanade data set (CK+), sequences from the neutral face to the peak.

Lucey et al., "The Extended Cohn-Kanade Dataset (CK+)", 2010: 593 sequences of 123 subjects, of which 327 have an
expression. Files are known by their names, ``S005_001_00000011.png`` (subject, sequence, frame), wherever they lie.
The last three frames of a sequence are its expression, the first one is the neutral face. Landmarks are taken as they
are written, as pixels counted from 0 with pixel centres at integers; were they counted from 1, all would be one pixel
off in an image of 640×490. The copy with 48×48 peak frames in class folders, which has the same file names, is read
too.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np

from lssl_augment.attributes import BASIC8
from lssl_augment.datasets.assemble import Row, assemble
from lssl_augment.datasets.class_names import ClassNames
from lssl_augment.datasets.folder import NOT_AN_IMAGE
from lssl_augment.datasets.info import Dataset, DatasetInfo, StandInFace, StandInFile
from lssl_augment.datasets.published import count_notes, wrong_layout
from lssl_augment.datasets.records import ReadOptions, RecordTable
from lssl_augment.datasets.sequences import (
    SECOND_COPY,
    FrameSequence,
    rise,
    rise_notes,
    sequence_rows,
    still,
)
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError
from lssl_augment.faces.images import IMAGE_SUFFIXES
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE

__all__ = ["CODES", "DATASET", "NAMED_OTHERWISE", "NO_LABEL", "NO_PEAK", "ckplus_stand_in", "read_ckplus"]

NAMED_OTHERWISE = "not named like S005_001_00000001.png"
NO_LABEL = "sequence without a label"
NO_PEAK = "sequence without its peak frame"

#: Numbers in the files ``*_emotion.txt`` → expression.
CODES = ("neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")

_FRAME_NAME = re.compile(r"(S\d{3})_(\d{3})_(\d{1,8})", re.IGNORECASE)
_LABEL_NAME = re.compile(r"(S\d{3})_(\d{3})_(\d{1,8})_emotion\.txt", re.IGNORECASE)
_POINTS_NAME = re.compile(r"(S\d{3}_\d{3}_\d{1,8})_landmarks\.txt", re.IGNORECASE)
_FACS_NAME = re.compile(r"S\d{3}_\d{3}_\d{1,8}_facs\.txt", re.IGNORECASE)  # action units: no use for them here
_FIRST_NUMBER = 1
_STAND_IN_FRAMES = 6

INFO = DatasetInfo(
    name="ckplus",
    title="Extended Cohn-Kanade data set, CK+ (Lucey et al., 2010)",
    layout="cohn-kanade-images/S005/001/S005_001_00000001.png …, Emotion/S005/001/S005_001_00000011_emotion.txt and, "
    "if there, Landmarks/S005/001/S005_001_00000001_landmarks.txt …; or peak frames in folders anger/, contempt/ …",
    ask="Affect Analysis Group, University of Pittsburgh (www.jeffcohn.net), with a signed agreement",
    licence="non-commercial research under a signed agreement; not to be passed on, and only the subjects who agreed "
    "to it may be shown in publications",
    citation="P. Lucey, J. F. Cohn, T. Kanade, J. Saragih, Z. Ambadar, I. Matthews: The Extended Cohn-Kanade Dataset "
    "(CK+): A complete dataset for action unit and emotion-specified expression. CVPR Workshops, 94–101, 2010. "
    "T. Kanade, J. F. Cohn, Y. Tian: Comprehensive database for facial expression analysis. FG, 46–53, 2000",
    protocol="leave-one-subject-out in the paper, mostly 10-fold subject-independent since; on the 327 labelled "
    "sequences: the last three frames of each, and the first one where a neutral class is wanted",
    classes=BASIC8,
    options=("frames",),
    published=MappingProxyType(
        {
            "subjects": 123,
            "sequences": 593,
            "labelled sequences": 327,
            "anger sequences": 45,
            "contempt sequences": 18,
            "disgust sequences": 59,
            "fear sequences": 25,
            "happiness sequences": 69,
            "sadness sequences": 28,
            "surprise sequences": 83,
        }
    ),
)


@dataclass(frozen=True)
class _Label:
    """The expression of a sequence. where: file that says so. peak: number of the frame it was given to."""

    expression: str
    where: str
    peak: int


@dataclass
class _Files:
    """What a tree holds. frames: sequence → number → file. labels: of sequences. points: frame's name → file."""

    frames: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    labels: dict[str, _Label] = field(default_factory=dict)
    points: dict[str, str] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def read_ckplus(root: Path, options: ReadOptions) -> RecordTable:
    """Read a folder or zip archive. Sequences without a label are left out.

    Where there is no ``*_emotion.txt`` of a sequence, the folder of its frames may be named after its expression.

    Raises:
        DataError: another layout, no labels, or a label file that holds no number of an expression.
    """
    tree = FileTree(root)
    files = _files(tree)
    if not files.frames:
        raise wrong_layout(INFO, root, "images S005_001_00000001.png", tree.found())
    names = ClassNames(BASIC8, options)
    labels = {name: files.labels.get(name) or _folder_label(files.frames[name], names) for name in files.frames}
    if not any(labels.values()):
        looked_for = "labels S005_001_00000011_emotion.txt beside the images, or images in folders anger/ …"
        raise wrong_layout(INFO, root, looked_for, f"sequences without a label: {len(labels)} ({tree.found()})")
    points = _Points(tree, files.points)
    rows: list[Row] = []
    taken: list[FrameSequence] = []
    for name, frames in files.frames.items():
        label = labels[name]
        if label is None or max(frames) < label.peak:
            files.skipped += [(file, NO_LABEL if label is None else NO_PEAK) for file in frames.values()]
            continue
        sequence = FrameSequence(name, name.partition("_")[0], label.expression, label.where, frames)
        neutral = names.word(label.expression, label.where) == "neutral"
        course = still if neutral else partial(rise, first_number=_FIRST_NUMBER)
        new, left_out = sequence_rows(sequence, course, options.frames, points.of)
        rows += new
        files.skipped += left_out
        taken.append(sequence)
    found = [names.word(label.expression, label.where) for label in labels.values() if label]
    counts = {f"{word} sequences": found.count(word) for word in CODES}
    counts |= {
        "subjects": len({name.partition("_")[0] for name in labels}),
        "sequences": len(labels),
        "labelled sequences": len(found),
    }
    notes = count_notes(INFO.published, counts) + rise_notes(taken) + points.notes()
    return assemble("ckplus", tree, rows, BASIC8, options, files.skipped, notes)


def ckplus_stand_in(subjects: int) -> Iterator[StandInFile]:
    """Seven labelled sequences of six frames for each of so many subjects, with landmarks; one more has no label.

    The landmarks of a frame are a file of its own with the same face, which must be drawn alike.
    """
    last = _STAND_IN_FRAMES
    for subject in range(subjects):
        person = f"S{subject + 1:03d}"
        for take, expression in enumerate((*CODES[1:], "happiness"), start=1):
            if take == len(CODES) and subject > 0:
                continue
            folder, name = f"{person}/{take:03d}", f"{person}_{take:03d}"
            for i in range(1, last + 1):
                word = expression if i > 1 else "neutral"
                face = StandInFace(subject, word, intensity=(i - 1) / (last - 1))
                yield StandInFile(f"cohn-kanade-images/{folder}/{name}_{i:08d}.png", face)
                yield StandInFile(f"Landmarks/{folder}/{name}_{i:08d}_landmarks.txt", face, _encode_points)
            if take < len(CODES):
                code = f"   {CODES.index(expression):.7e}\n".encode()
                yield StandInFile(f"Emotion/{folder}/{name}_{last:08d}_emotion.txt", content=code)


DATASET = Dataset(INFO, read_ckplus, ckplus_stand_in)


def _files(tree: FileTree) -> _Files:
    files = _Files()
    # Original frames before a second, cut-out copy of the peaks: else small pictures would tell the expression.
    for file in sorted(tree.names, key=lambda file: not PurePosixPath(file).parent.name.isdecimal()):
        path = PurePosixPath(file)
        if path.suffix.lower() in IMAGE_SUFFIXES:
            match = _FRAME_NAME.fullmatch(path.stem)
            if match is None:
                files.skipped.append((file, NAMED_OTHERWISE))
            elif files.frames[_name(match)].setdefault(int(match[3]), file) != file:
                files.skipped.append((file, SECOND_COPY))
        elif match := _LABEL_NAME.fullmatch(path.name):
            label = _Label(_expression(tree, file), file, int(match[3]))
            other = files.labels.setdefault(_name(match), label)
            if other.expression != label.expression:
                raise DataError(f"{file} says {label.expression}, but {other.where} says {other.expression}; keep one")
        elif match := _POINTS_NAME.fullmatch(path.name):
            files.points.setdefault(match[1].upper(), file)
        elif not _FACS_NAME.fullmatch(path.name):
            files.skipped.append((file, NOT_AN_IMAGE))
    return files


def _name(match: re.Match[str]) -> str:
    return f"{match[1].upper()}_{match[2]}"


def _expression(tree: FileTree, file: str) -> str:
    text = tree.read(file).decode("utf-8", "replace").strip()
    try:
        code = float(text)
    except ValueError:
        code = -1.0
    if code not in range(len(CODES)):
        allowed = ", ".join(f"{i} {word}" for i, word in enumerate(CODES))
        raise DataError(f"{file} must hold one number of {allowed}; it holds {text[:40]!r}")
    return CODES[int(code)]


def _folder_label(frames: dict[int, str], names: ClassNames) -> _Label | None:
    """The expression that the folder of the peak is named after, if it is."""
    folder = PurePosixPath(frames[max(frames)]).parent  # the first frame may lie in neutral/
    try:
        names.word(folder.name, "")
    except DataError:
        return None
    return _Label(folder.name, f"folder {folder}/", 0)


class _Points:
    """Reads landmark files, ``(68, 2)`` float64, and keeps in mind which were unusable."""

    def __init__(self, tree: FileTree, files: dict[str, str]) -> None:
        self._tree = tree
        self._files = files
        self._unusable: list[str] = []

    def of(self, file: str) -> np.ndarray | None:
        """Landmarks of an image; None: it has none that can be used."""
        source = self._files.get(PurePosixPath(file).stem.upper())
        if source is None:
            return None
        try:
            points = np.array(self._tree.read(source).split(), np.float64).reshape(-1, 2)
        except ValueError:  # no numbers, or an ImageError, which is one
            points = np.empty((0, 2))
        if points.shape == (68, 2) and np.isfinite(points).all():
            return points
        self._unusable.append(source)
        return None

    def notes(self) -> list[str]:
        """A sentence about the unusable files, if there are any."""
        if not self._unusable:
            return []
        return [
            f"landmark files that do not hold 68 lines of x and y: {len(self._unusable)}, the first "
            f"{self._unusable[0]}; their images count as images without landmarks"
        ]


def _encode_points(picture: np.ndarray, points: np.ndarray) -> bytes:
    """A line ``x y`` for each of the 68 points, in the numbers' format of the data set."""
    return b"".join(b"   %.7e   %.7e\n" % (x, y) for x, y in points[SPARSE_FROM_DENSE, :2])
