"""``mug``: the MUG facial expression database, takes that go from the neutral face to an expression and back.

Aifanti, Papachristou, Delopoulos, "The MUG facial expression database", 2010. A take holds onset, apex and offset;
which frames are the apex is not told. Taken for it is the middle fifth of a take, of which three frames are read
(see ``sequences.arc``); neutral faces are read the same way from the takes named neutral. With ``frames="all"`` the
first and the last frame of an expression's take are neutral too.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from lssl_augment.attributes import BASIC7
from lssl_augment.datasets.assemble import Row, assemble
from lssl_augment.datasets.class_names import ClassNames
from lssl_augment.datasets.folder import NOT_AN_IMAGE
from lssl_augment.datasets.info import Dataset, DatasetInfo, StandInFace, StandInFile
from lssl_augment.datasets.published import count_notes, wrong_layout
from lssl_augment.datasets.records import ReadOptions, RecordTable
from lssl_augment.datasets.sequences import FrameSequence, add_frame, arc, folders_above, sequence_rows, still
from lssl_augment.datasets.tree import FileTree
from lssl_augment.faces.images import IMAGE_SUFFIXES

__all__ = ["DATASET", "NOT_IN_A_TAKE", "mug_stand_in", "read_mug"]

NOT_IN_A_TAKE = "not in a folder 001/EXPRESSION/take000/"

_TAKE_FOLDER = re.compile(r"take[ _-]?\d+", re.IGNORECASE)
_SUBJECT_FOLDER = re.compile(r"\d{1,3}")
_SESSION_FOLDER = re.compile(r"session[ _-]?\d+", re.IGNORECASE)
_STAND_IN_TAKES = 2
#: Intensities of the frames of a stand-in's take, as an arc of six frames has them.
_STAND_IN_ARC = (0.0, 0.5, 1.0, 1.0, 0.5, 0.0)

INFO = DatasetInfo(
    name="mug",
    title="MUG facial expression database (Aifanti et al., 2010)",
    layout="001…/{anger,disgust,fear,happiness,neutral,sadness,surprise}/take000…/img_0000.jpg …, under subjects3/ or "
    "the like",
    ask="Multimedia Understanding Group, Aristotle University of Thessaloniki (https://mug.ee.auth.gr/fed/), with a "
    "signed licence agreement",
    licence="non-commercial research under a signed agreement with the Multimedia Understanding Group; not to be "
    "passed on",
    citation="N. Aifanti, C. Papachristou, A. Delopoulos: The MUG facial expression database. 11th International "
    "Workshop on Image Analysis for Multimedia Interactive Services (WIAMIS), 2010",
    protocol="no official split; Bozorgtabar et al. (2019) train on 90 % and test on 10 %, here by subject",
    classes=BASIC7,
    options=("frames",),
    # Of 86 who were recorded: these may be had by everybody who signs.
    published=MappingProxyType({"subjects": 52}),
)


@dataclass(frozen=True)
class _Key:
    """Names a take. folder: of its frames."""

    subject: str
    expression: str
    folder: str


def read_mug(root: Path, options: ReadOptions) -> RecordTable:
    """Read a folder or zip archive; a level of sessions between subject and expression is allowed.

    Raises:
        DataError: another layout, or an unknown expression.
    """
    tree = FileTree(root)
    found, skipped = _takes(tree)
    if not found:
        raise wrong_layout(INFO, root, "folders 001/anger/take000/ with numbered images", tree.found())
    names = ClassNames(BASIC7, options)
    rows: list[Row] = []
    short = 0
    for key, frames in found.items():
        take = FrameSequence(key.folder, key.subject, key.expression, f"folder {key.folder}/", frames)
        neutral = names.word(take.expression, take.where) == "neutral"
        new, left_out = sequence_rows(take, still if neutral else arc, options.frames)
        rows += new
        skipped += left_out
        short += len(frames) < 3 and not neutral
    notes = count_notes(INFO.published, {"subjects": len({key.subject for key in found})})
    if short:
        notes.append(f"takes of fewer than 3 frames: {short}; all their frames are taken for the peak")
    return assemble("mug", tree, rows, BASIC7, options, skipped, notes)


def mug_stand_in(subjects: int) -> Iterator[StandInFile]:
    """Two takes of six frames of all seven expressions for each of so many subjects."""
    for subject in range(subjects):
        for expression in sorted(BASIC7.names):
            for take in range(_STAND_IN_TAKES):
                for i, strength in enumerate(_STAND_IN_ARC):
                    intensity = 0.0 if expression == "neutral" else strength
                    yield StandInFile(
                        f"{subject + 1:03d}/{expression}/take{take:03d}/img_{i:04d}.jpg",
                        StandInFace(subject, expression if intensity else "neutral", intensity=intensity),
                    )


DATASET = Dataset(INFO, read_mug, mug_stand_in)


def _takes(tree: FileTree) -> tuple[dict[_Key, dict[int, str]], list[tuple[str, str]]]:
    """Frames of all takes, and pairs (file, reason) of other files."""
    above = folders_above(tree)
    found: dict[_Key, dict[int, str]] = defaultdict(dict)
    skipped = []
    for file in tree.names:
        path = PurePosixPath(file)
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            skipped.append((file, NOT_AN_IMAGE))
            continue
        folders = [name for name in (*above, *path.parts[:-1]) if not _SESSION_FOLDER.fullmatch(name)]
        *_, subject, expression, take = ("", "", "", *folders)
        if not _TAKE_FOLDER.fullmatch(take) or not _SUBJECT_FOLDER.fullmatch(subject):
            skipped.append((file, NOT_IN_A_TAKE))
            continue
        # The folder names the take: a subject may have a take of the same number in each session.
        reason = add_frame(found[_Key(f"{int(subject):03d}", expression, str(path.parent))], file)
        if reason is not None:
            skipped.append((file, reason))
    return {key: frames for key, frames in found.items() if frames}, skipped
