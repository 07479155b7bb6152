"""The steps that all loaders share: from the rows of a list to the table of records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lssl_augment.attributes import Vocabulary
from lssl_augment.datasets.class_names import ClassNames
from lssl_augment.datasets.landmark_file import LandmarkFile
from lssl_augment.datasets.records import PhotoSource, ReadOptions, Record, RecordTable
from lssl_augment.datasets.splits import subject_split
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError, LeakageError

__all__ = ["LISTED_TWICE", "NOT_ASKED_FOR", "Row", "assemble"]

NOT_ASKED_FOR = "expression not in --classes"
LISTED_TWICE = "listed twice"


@dataclass(frozen=True)
class Row:
    """One line or file of a data set, as it is written there.

    Args:
        file: its name. expression: empty when unlabelled. subject: who is seen. where: line or folder, for
            messages.
        split: empty when the data set has none. image: pixels, when the list holds them.
        points68, dense: landmarks that come with this row; a landmarks.npz of the data set goes before them.
        light, yaw_deg, intensity, sequence, frame, photo: as of :class:`Record`.
    """

    file: str
    expression: str
    subject: str
    where: str
    split: str = ""
    image: np.ndarray | None = None
    points68: np.ndarray | None = None
    dense: np.ndarray | None = None
    light: str = ""
    yaw_deg: float | None = None
    intensity: float | None = None
    sequence: str = ""
    frame: int = 0
    photo: PhotoSource | None = None


def assemble(
    dataset: str,
    tree: FileTree,
    rows: Iterable[Row],
    usual: Vocabulary,
    options: ReadOptions,
    skipped: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
) -> RecordTable:
    """Labels, landmarks and splits for the rows of a data set.

    Without a split of its own the data set is split by subject. That split is made from all rows, so that
    ``classes`` moves nobody to the other side.

    Raises:
        DataError: an unknown expression, or a file with two expressions.
        LeakageError: the data set's own split has a subject on both sides.
    """
    names = ClassNames(usual, options)
    seen: dict[str, tuple[Row, str]] = {}
    left_out = list(skipped)
    for row in rows:
        word = names.word(row.expression, row.where) if row.expression.strip() else ""
        if row.file not in seen:
            seen[row.file] = row, word
        elif seen[row.file][1] == word:
            left_out.append((row.file, LISTED_TWICE))
        else:
            first, firsts_word = seen[row.file]
            raise DataError(
                f"{row.where}: {row.file} is listed as {word or 'unlabelled'}, but at {first.where} as "
                f"{firsts_word or 'unlabelled'}; keep one of the two"
            )
    splits = _splits([row for row, _ in seen.values()], [word for _, word in seen.values()], options.seed)
    landmarks = LandmarkFile.read(tree)
    records = []
    for (row, word), split in zip(seen.values(), splits, strict=True):
        if word and word not in names.vocabulary:
            left_out.append((row.file, NOT_ASKED_FOR))
            continue
        label = names.vocabulary.index(word) if word else -1
        points, dense = (None, None) if landmarks is None else landmarks.of(row.file)
        if points is None:
            points, dense = row.points68, row.dense
        records.append(
            Record(
                row.file,
                label,
                row.subject,
                split,
                row.image,
                points,
                dense,
                row.light,
                row.yaw_deg,
                row.intensity,
                row.sequence,
                row.frame,
                row.photo,
            )
        )
    kind = None if landmarks is None else "sparse" if landmarks.dense is None else "dense"
    known = [record for record in records if record.points68 is not None]
    if kind is None and known:
        kind = "dense" if all(record.dense is not None for record in known) else "sparse"
    return RecordTable(dataset, names.vocabulary, tree, tuple(records), tuple(left_out), kind, tuple(notes))


def _splits(rows: list[Row], words: list[str], seed: int) -> list[str]:
    if not any(row.split for row in rows):
        return subject_split([row.subject for row in rows], words, seed)
    home: dict[str, str] = {}
    for row in rows:
        if not row.split:
            raise DataError(f"{row.where}: the split is empty; give one to every file or to none")
        if home.setdefault(row.subject, row.split) != row.split:
            raise LeakageError(
                f"{row.where}: subject {row.subject!r} is in {home[row.subject]} and in {row.split}; "
                "take the split away to have the faces split by subject"
            )
    return [row.split for row in rows]
