"""``fer2013``: 48×48 grey faces with seven expressions, in the forms people hold it in.

Goodfellow et al., "Challenges in representation learning", 2013. Its three parts stay apart: ``train``,
``public_test`` and ``private_test``. Results in papers are on ``private_test``. Subjects are unknown: each
file counts as its own subject.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lssl_augment.attributes import BASIC7
from lssl_augment.datasets.assemble import Row, assemble
from lssl_augment.datasets.folder import list_class_folders
from lssl_augment.datasets.records import ReadOptions, RecordTable
from lssl_augment.datasets.table_file import column_names, read_table
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError

__all__ = ["BAD_PIXELS", "LAYOUT", "read_fer2013"]

LAYOUT = (
    "train/, public_test/ and private_test/ with class folders, or Kaggle's train/ and test/, or fer2013.csv "
    "or icml_face_data.csv (columns emotion, Usage, pixels)"
)
BAD_PIXELS = "pixels are not 48×48 numbers in 0–255"

_FOLDERS = {
    "train": "train",
    "training": "train",
    "public_test": "public_test",
    "publictest": "public_test",
    "private_test": "private_test",
    "privatetest": "private_test",
    "test": "test",
}
_USAGES = {"training": "train", "publictest": "public_test", "privatetest": "private_test"}
_SIDE_PX = 48
_MIXED_TEST = (
    "the folder test/ of this copy mixes FER2013's public and private test faces; they cannot be told apart, "
    "so its split is called 'test'"
)


def read_fer2013(root: Path, options: ReadOptions) -> RecordTable:
    """Read class folders or a CSV file, from a folder or a zip archive; ``root`` may be the CSV file itself.

    Raises:
        DataError: another layout, a damaged list, or an unknown class or usage.
    """
    if root.suffix.lower() == ".csv" and root.is_file():
        tree = FileTree(root.parent)
        return _from_csv(tree, root.name, options)
    tree = FileTree(root)
    lists = [name for name in tree.top() if name.lower().endswith(".csv")]
    fitting = [name for name in lists if {"emotion", "usage", "pixels"} <= set(column_names(tree, name))]
    if fitting:
        # Both files hold the same faces: one is enough.
        return _from_csv(tree, fitting[0], options)
    rows, skipped = list_class_folders(tree, _FOLDERS, lambda file: file)
    if not rows or not all(row.split for row in rows):
        raise DataError(
            f"{root} is not fer2013: looked for fer2013.csv, icml_face_data.csv or folders train/, "
            f"public_test/, private_test/, test/, found {tree.found()}; expected {LAYOUT}"
        )
    notes = [_MIXED_TEST] if any(row.split == "test" for row in rows) else []
    return assemble("fer2013", tree, rows, BASIC7, options, skipped, notes)


def _from_csv(tree: FileTree, name: str, options: ReadOptions) -> RecordTable:
    skipped: list[tuple[str, str]] = []
    rows = list(_csv_rows(tree, name, skipped))
    return assemble("fer2013", tree, rows, BASIC7, options, skipped)


def _csv_rows(tree: FileTree, name: str, skipped: list[tuple[str, str]]) -> Iterator[Row]:
    for row in read_table(tree, name, required=("emotion", "usage", "pixels")):
        emotion, usage = row["emotion"], row["usage"].lower()
        if not emotion.isdecimal() or int(emotion) >= len(BASIC7):
            raise DataError(f"{row.where}: emotion must be 0 to {len(BASIC7) - 1}; got {emotion!r}")
        if usage not in _USAGES:
            raise DataError(f"{row.where}: Usage must be Training, PublicTest or PrivateTest; got {row['usage']!r}")
        file = f"{name}#{row.line:05d}"
        pixels = _pixels(row["pixels"])
        if pixels is None:
            skipped.append((file, BAD_PIXELS))
            continue
        yield Row(file, BASIC7.names[int(emotion)], file, row.where, _USAGES[usage], pixels)


def _pixels(text: str) -> np.ndarray | None:
    """Grey values, ``(48, 48)`` uint8, or None when the text does not hold them."""
    try:
        values = np.array(text.split(), np.int64)
    except (ValueError, OverflowError):
        return None
    if values.shape != (_SIDE_PX**2,) or values.min() < 0 or values.max() > 255:
        return None
    return values.astype(np.uint8).reshape(_SIDE_PX, _SIDE_PX)
