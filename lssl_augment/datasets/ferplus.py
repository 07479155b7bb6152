"""FER+: ten new votes for every face of FER2013, and the label that most of them give.

Barsoum, Zhang, Canton Ferrer, Zhang, "Training deep networks for facial expression recognition with
crowd-sourced label distribution", ICMI 2016. Its file ``fer2013new.csv`` has the rows of ``fer2013.csv`` in the
same order: Usage, image name, and the votes for eight expressions, "unknown" and "NF" (no face).

The label is that of the paper's majority voting, as its authors' code does it: single votes are taken for
mistakes and removed; what then has more than half of the remaining votes is the label. Faces without such a
majority, or whose majority says "unknown" or "NF", are left out. There can be no tie.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lssl_augment.datasets.table_file import TableRow, read_table
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError

__all__ = ["NO_FACE_VOTED", "NO_MAJORITY", "UNKNOWN_VOTED", "USAGES", "FerPlusLabel", "match_ferplus", "read_ferplus"]

NO_MAJORITY = "FER+: no majority"
UNKNOWN_VOTED = "FER+: expression unknown"
NO_FACE_VOTED = "FER+: not a face"

#: The parts of FER2013 as its lists call them, lower case → split.
USAGES = {"training": "train", "publictest": "public_test", "privatetest": "private_test"}

_WORDS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
_REASONS = {"unknown": UNKNOWN_VOTED, "nf": NO_FACE_VOTED}
_COLUMNS = (*_WORDS, *_REASONS)
_LONGEST = 4


@dataclass(frozen=True)
class FerPlusLabel:
    """What the voters said. Args: word: the expression; empty when there is none. reason: why there is none."""

    word: str
    reason: str = ""


def read_ferplus(path: Path) -> dict[str, list[FerPlusLabel]]:
    """Read ``fer2013new.csv``.

    Returns:
        Split (``train``, ``public_test``, ``private_test``) → labels, in the order of the file.

    Raises:
        DataError: there is no such file, or it is damaged or another list.
    """
    if not path.is_file():
        raise DataError(f"there is no label file {path}; expected fer2013new.csv of FER+")
    labels: dict[str, list[FerPlusLabel]] = {}
    for row in read_table(FileTree(path.parent), path.name, required=("usage", *_COLUMNS)):
        split = USAGES.get(row["usage"].lower())
        if split is None:
            raise DataError(f"{row.where}: Usage must be Training, PublicTest or PrivateTest; got {row['usage']!r}")
        labels.setdefault(split, []).append(_majority(_votes(row)))
    return labels


def match_ferplus(labels: Mapping[str, Sequence[FerPlusLabel]], splits: Sequence[str], name: str) -> list[FerPlusLabel]:
    """The label of every row of FER2013's list: the n-th row of a part has the n-th label of that part.

    Args:
        labels: of :func:`read_ferplus`. splits: of the rows, in the order of the list. name: of the list, for the
            message.

    Raises:
        DataError: a part has other numbers of rows and labels, so that nobody knows which belong together.
    """
    for split, rows in Counter(splits).items():
        given = len(labels.get(split, ()))
        if given != rows:
            raise DataError(
                f"{name} has {rows} rows of {split}, the FER+ labels {given}: they are matched by the order of the "
                "rows, so both must be whole. Use fer2013.csv or icml_face_data.csv as published, and FER+'s "
                "fer2013new.csv"
            )
    waiting = {split: iter(labels[split]) for split in set(splits)}
    return [next(waiting[split]) for split in splits]


def _votes(row: TableRow) -> dict[str, int]:
    votes = {}
    for column in _COLUMNS:
        text = row[column]
        if not text.isdecimal() or len(text) > _LONGEST:
            raise DataError(f"{row.where}: {column} must be a number of votes; got {text!r}")
        votes[column] = int(text)
    return votes


def _majority(votes: Mapping[str, int]) -> FerPlusLabel:
    kept = {column: count for column, count in votes.items() if count > 1}
    total = sum(kept.values())
    for column, count in kept.items():
        if 2 * count > total:
            return FerPlusLabel("", _REASONS[column]) if column in _REASONS else FerPlusLabel(column)
    return FerPlusLabel("", NO_MAJORITY)
