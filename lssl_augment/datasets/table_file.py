"""CSV files with a header line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError

__all__ = ["TableRow", "column_names", "read_table"]


@dataclass(frozen=True)
class TableRow:
    """Cells by column name, stripped. where: file and line, for messages. line: 1 is the header."""

    cells: dict[str, str]
    where: str
    line: int

    def __getitem__(self, column: str) -> str:
        return self.cells[column]


def read_table(tree: FileTree, name: str, required: Sequence[str]) -> Iterator[TableRow]:
    """Rows of a CSV file of a data set; empty lines are left out.

    Column names are compared without case and surrounding spaces; separators are commas, or semicolons or
    tabs if the header has those.

    Raises:
        DataError: not UTF-8 text, no header, a required column missing, or a line of another length.
    """
    lines = _lines(tree, name)
    columns = _header(lines, name)
    missing = [column for column in required if column not in columns]
    if missing:
        raise DataError(
            f"{name}: column {', '.join(missing)} is missing; it has {', '.join(columns)}. The first line "
            f"must name at least {', '.join(required)}"
        )
    for line, cells in lines:
        if not any(cells):
            continue
        where = f"{name} line {line}"
        if len(cells) != len(columns):
            raise DataError(f"{where}: {len(cells)} cells under {len(columns)} columns")
        yield TableRow(dict(zip(columns, cells, strict=True)), where, line)


def column_names(tree: FileTree, name: str) -> tuple[str, ...]:
    """Columns of a CSV file, lower case and stripped.

    Raises:
        DataError: not UTF-8 text, or no header.
    """
    return _header(_lines(tree, name), name)


def _lines(tree: FileTree, name: str) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and stripped cells."""
    try:
        text = tree.read(name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 text: {error}") from error
    first = text.split("\n", 1)[0]
    separator = next((mark for mark in ",;\t" if mark in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        for cells in reader:
            yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise DataError(f"{name} line {reader.line_num}: {error}") from error


def _header(lines: Iterator[tuple[int, list[str]]], name: str) -> tuple[str, ...]:
    _, cells = next(lines, (0, []))
    columns = tuple(cell.lower() for cell in cells)
    if not any(columns):
        raise DataError(f"{name} is empty; its first line must name the columns")
    if len(set(columns)) != len(columns):
        raise DataError(f"{name}: a column name comes twice: {', '.join(columns)}")
    return columns
