"""The lists of AffectNet's published form: training.csv and validation.csv, 420,000 lines with landmarks.

Read line by line: the landmarks alone fill hundreds of megabytes of text.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lssl_augment.datasets.stream import open_text
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError

__all__ = ["COLUMNS", "ListLine", "read_lines"]

COLUMNS = (
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
)

_LOWER = tuple(column.lower() for column in COLUMNS)
_NEEDED = ("subdirectory_filepath", "facial_landmarks", "expression")


@dataclass(frozen=True, slots=True)
class ListLine:
    """One line. Args: file: relative to the folder of photographs. expression: its number, as written.
    points68: ``(68, 2)`` float32, photo pixels; None: the line has none that can be read. where: for messages.
    """

    file: str
    expression: str
    points68: np.ndarray | None
    where: str


def read_lines(tree: FileTree, name: str) -> Iterator[ListLine]:
    """Lines of a list, with or without the header line; empty lines are left out.

    Raises:
        DataError: not UTF-8 text, columns missing, or a line of another length or without a file.
    """
    with open_text(tree, name) as text:
        reader = csv.reader(text)
        columns: Sequence[str] = ()
        file_at = points_at = label_at = 0
        try:
            for cells in reader:
                if not cells:
                    continue
                if not columns:
                    columns = _columns(cells, name)
                    file_at, points_at, label_at = (columns.index(column) for column in _NEEDED)
                    if columns is not _LOWER:
                        continue
                where = f"{name} line {reader.line_num}"
                if len(cells) != len(columns):
                    raise DataError(f"{where}: {len(cells)} cells under {len(columns)} columns")
                file = cells[file_at].strip().replace("\\", "/")
                if not file:
                    raise DataError(f"{where}: the file is empty")
                yield ListLine(file, cells[label_at].strip(), _points(cells[points_at]), where)
        except csv.Error as error:
            raise DataError(f"{name} line {reader.line_num}: {error}") from error


def _columns(cells: Sequence[str], name: str) -> Sequence[str]:
    """Columns of a header line; ``_LOWER`` itself for a list that has none and begins with its data."""
    names = tuple(cell.strip().lower() for cell in cells)
    if all(column in names for column in _NEEDED):
        return list(names)
    if len(cells) == len(COLUMNS) and names[6].isdecimal():
        return _LOWER
    raise DataError(
        f"{name} is not a list of AffectNet: it begins with {', '.join(cells)[:80]!r}; expected the columns "
        f"{', '.join(COLUMNS)}"
    )


def _points(text: str) -> np.ndarray | None:
    try:
        values = np.array(text.split(";"), np.float32)
    except ValueError:
        return None
    return values.reshape(68, 2) if values.size == 136 and np.isfinite(values).all() else None
