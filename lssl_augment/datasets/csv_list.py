"""``csv``: a list of photographs with the columns file, expression[, subject][, split]."""

from __future__ import annotations

from pathlib import Path

from lssl_augment.attributes import BASIC8
from lssl_augment.datasets.assemble import Row, assemble
from lssl_augment.datasets.info import Dataset, DatasetInfo
from lssl_augment.datasets.landmark_file import LANDMARK_CSV
from lssl_augment.datasets.records import ReadOptions, RecordTable
from lssl_augment.datasets.table_file import read_table
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError

__all__ = ["DATASET", "LAYOUT", "read_csv_list"]

LAYOUT = "one CSV file with the columns file,expression[,subject][,split]; files relative to it"


def read_csv_list(root: Path, options: ReadOptions) -> RecordTable:
    """Read the list ``root``, or the one CSV file at the top of the folder or zip archive ``root``.

    An empty expression means unlabelled; without a subject each file is its own subject; without the column
    ``split`` the faces are split by subject.

    Raises:
        DataError: no list or several, a damaged one, or an unknown expression.
        LeakageError: its split has a subject on both sides.
    """
    if root.suffix.lower() == ".csv" and root.is_file():
        tree, name = FileTree(root.parent), root.name
    else:
        tree = FileTree(root)
        lists = [name for name in tree.top() if name.lower().endswith(".csv") and name != LANDMARK_CSV]
        if len(lists) != 1:
            raise DataError(
                f"{root}: looked for one CSV file, found {len(lists)} ({tree.found()}); expected {LAYOUT}. "
                "--root may name the CSV file itself"
            )
        name = lists[0]
    rows = []
    for row in read_table(tree, name, required=("file", "expression")):
        file = row["file"].replace("\\", "/")
        if not file:
            raise DataError(f"{row.where}: the file is empty")
        subject, split = row.cells.get("subject") or file, row.cells.get("split", "")
        rows.append(Row(file, row["expression"], subject, row.where, split))
    return assemble("csv", tree, rows, BASIC8, options)


DATASET = Dataset(
    info=DatasetInfo(
        name="csv",
        title="Your own list of photographs",
        layout=LAYOUT,
        ask="this is your own list; write one with the columns file,expression[,subject][,split]",
        licence="That of your photographs.",
        citation="None: your own data.",
        protocol="Its column split where there is one; else about 20 % of each expression to test on, by subject.",
        classes=BASIC8,
    ),
    read=read_csv_list,
)
