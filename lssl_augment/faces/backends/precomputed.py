"""Landmark files that come with photographs: what their bytes say. 68 points, in iBUG order.

Two forms are read. ``.pts`` of 300-W (Sagonas et al., 2013): one file a photo, coordinates counted from 1. CSV,
from 0: what OpenFace (Baltrušaitis et al., 2018) writes (``x_0 … x_67``, ``y_0 … y_67``), for one photo or, with
a column ``file``, for many; the columns may also be called ``x0, y0, x1, y1 …``.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

import numpy as np

from lssl_augment.errors import DataError

__all__ = ["has_point_columns", "read_csv_points", "read_pts"]

_COUNT = 68
_POINT = re.compile(r"\s*([+-]?\d\S*)[\s,]+([+-]?\d\S*)\s*")
_HEADER = re.compile(r"\s*n_points\s*:\s*(\d+)\s*", re.IGNORECASE)


def read_pts(data: bytes, where: str) -> np.ndarray:
    """A ``.pts`` file.

    Args:
        data: its bytes. where: its name, for messages.

    Returns:
        ``(68, 2)`` float64, pixel centres at integers from 0. A file that is damaged gives points that are not a
        number: its photo is then one with useless landmarks, and does not stop all the others.

    Raises:
        DataError: the file says that it holds another number of points than 68.
    """
    text = data.decode("utf-8", "replace")
    header, _, rest = text.partition("{")
    for line in header.splitlines():
        count = _HEADER.fullmatch(line)
        if count is not None and int(count[1]) != _COUNT:
            raise DataError(f"{where} holds {count[1]} points; landmarks must be the 68 of iBUG (300-W)")
    lines = [line for line in rest.partition("}")[0].splitlines() if line.strip()]
    points = np.full((_COUNT, 2), np.nan)
    if len(lines) == _COUNT and "}" in rest:
        for row, line in enumerate(lines):
            numbers = _POINT.fullmatch(line)
            points[row] = (np.nan, np.nan) if numbers is None else (_number(numbers[1]), _number(numbers[2]))
    return points - 1


def has_point_columns(data: bytes) -> bool:
    """Whether the first line of a CSV file names the columns of 68 points."""
    first = data[:65536].decode("utf-8-sig", "replace").partition("\n")[0]
    return _columns(_names(next(csv.reader([first]), []))) is not None


def read_csv_points(data: bytes, where: str) -> dict[str, np.ndarray]:
    """A CSV file of landmarks: file name → points ``(68, 2)`` float64.

    Without a column ``file`` all rows are faces of one photo, and the name is empty. Of several rows of a photo the
    one with the largest ``confidence`` counts; rows with ``success`` 0 are left out, as OpenFace found no face
    there. What is no number becomes NaN.

    Raises:
        DataError: columns are missing, or a photo has several rows and no ``confidence`` tells which one counts.
    """
    reader = csv.reader(io.StringIO(data.decode("utf-8-sig", "replace"), newline=""))
    try:
        names = _names(next(reader, []))
        rows = [row for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise DataError(f"{where} cannot be read as CSV: {error}") from error
    columns = _columns(names)
    if columns is None:
        raise DataError(f"{where} must have columns x_0 … x_67 and y_0 … y_67, or x0, y0 … x67, y67; it has {names}")
    file, success, confidence = (names.index(n) if n in names else None for n in ("file", "success", "confidence"))
    best: dict[str, tuple[float, np.ndarray]] = {}
    for row in rows:
        if success is not None and _cell(row, success) == 0:
            continue
        name = "" if file is None else (row[file].strip().replace("\\", "/") if file < len(row) else "")
        sure = 0.0 if confidence is None else _cell(row, confidence)
        if name in best and confidence is None:
            raise DataError(f"{where} has several rows for {name or 'its photo'} and no column confidence; keep one")
        if name not in best or sure > best[name][0]:
            best[name] = sure, np.array([[_cell(row, x), _cell(row, y)] for x, y in columns])
    return {name: points for name, (_, points) in best.items()}


def _names(header: Sequence[str]) -> list[str]:
    return [name.strip().lower() for name in header]


def _columns(names: Sequence[str]) -> list[tuple[int, int]] | None:
    """Index of x and of y of each of the 68 points."""
    place = {name: i for i, name in enumerate(names)}
    for bar in ("_", ""):
        pairs = [(f"x{bar}{i}", f"y{bar}{i}") for i in range(_COUNT)]
        if all(x in place and y in place for x, y in pairs):
            return [(place[x], place[y]) for x, y in pairs]
    return None


def _cell(row: Sequence[str], column: int) -> float:
    return _number(row[column]) if column < len(row) else float("nan")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
