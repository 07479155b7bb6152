"""``lfw-expressions``: Labeled Faces in the Wild (deep-funneled) with expression labels.

Huang, Ramesh, Berg, Learned-Miller, "Labeled Faces in the Wild", 2007. It has no official split for
expressions, so it is split by subject.
"""

from __future__ import annotations

from pathlib import Path

from lssl_augment.attributes import BASIC8
from lssl_augment.datasets.assemble import Row, assemble
from lssl_augment.datasets.records import ReadOptions, RecordTable
from lssl_augment.datasets.table_file import read_table
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError

__all__ = ["LAYOUT", "read_lfw_expressions"]

LAYOUT = "labels.csv (file,subject,expression), images/SUBJECT/SUBJECT_NNNN.jpg, landmarks.npz"


def read_lfw_expressions(root: Path, options: ReadOptions) -> RecordTable:
    """Read the list of photographs of a folder or zip archive.

    Raises:
        DataError: another layout, a damaged list, or an unknown expression.
    """
    tree = FileTree(root)
    if "labels.csv" not in tree:
        raise DataError(
            f"{root} is not lfw-expressions: looked for labels.csv, found {tree.found()}; expected a folder "
            f"or zip archive with {LAYOUT}"
        )
    table = read_table(tree, "labels.csv", required=("file", "subject", "expression"))
    rows = [Row(row["file"], row["expression"], row["subject"] or row["file"], row.where) for row in table]
    return assemble("lfw-expressions", tree, rows, BASIC8, options)
