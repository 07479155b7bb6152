"""``lfw-expressions``: Labeled Faces in the Wild (deep-funneled) with expression labels.

Huang, Ramesh, Berg, Learned-Miller, "Labeled Faces in the Wild", 2007. It has no official split for
expressions, so it is split by subject.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lssl_augment.attributes import BASIC8
from lssl_augment.datasets.assemble import Row, assemble
from lssl_augment.datasets.info import Dataset, DatasetInfo, StandInFace, StandInFile
from lssl_augment.datasets.published import wrong_layout
from lssl_augment.datasets.records import ReadOptions, RecordTable
from lssl_augment.datasets.table_file import read_table
from lssl_augment.datasets.tree import FileTree

__all__ = ["DATASET", "LAYOUT", "lfw_expressions_stand_in", "read_lfw_expressions"]

LAYOUT = "labels.csv (file,subject,expression), images/SUBJECT/SUBJECT_NNNN.jpg, landmarks.npz"

_PHOTO_PX = 250
_USUAL = ("neutral", "happiness")


def read_lfw_expressions(root: Path, options: ReadOptions) -> RecordTable:
    """Read the list of photographs of a folder or zip archive.

    Raises:
        DataError: another layout, a damaged list, or an unknown expression.
    """
    tree = FileTree(root)
    if "labels.csv" not in tree:
        raise wrong_layout(DATASET.info, root, "labels.csv", tree.found())
    table = read_table(tree, "labels.csv", required=("file", "subject", "expression"))
    rows = [Row(row["file"], row["expression"], row["subject"] or row["file"], row.where) for row in table]
    return assemble("lfw-expressions", tree, rows, BASIC8, options)


def lfw_expressions_stand_in(subjects: int) -> Iterator[StandInFile]:
    """A simulated copy: everyone is seen neutral and happy, and with one of the rarer expressions in turn.

    It has no landmarks.npz: nobody knows the landmarks before the pictures are made.
    """
    lines = ["file,subject,expression"]
    rarer = [word for word in BASIC8.names if word not in _USUAL]
    for i in range(subjects):
        subject = f"Simulated_Person_{i + 1:03d}"
        for k, word in enumerate((*_USUAL, rarer[i % len(rarer)]), start=1):
            file = f"images/{subject}/{subject}_{k:04d}.jpg"
            lines.append(f"{file},{subject},{word}")
            yield StandInFile(file, StandInFace(i, word), size_px=_PHOTO_PX)
    yield StandInFile("labels.csv", content=("\n".join(lines) + "\n").encode())


DATASET = Dataset(
    info=DatasetInfo(
        name="lfw-expressions",
        title="Labeled Faces in the Wild with expression labels (Huang, Ramesh, Berg, Learned-Miller, 2007)",
        layout=LAYOUT,
        ask="the photographs are those of Labeled Faces in the Wild, deep-funneled version, of the University of "
        "Massachusetts Amherst (http://vis-www.cs.umass.edu/lfw/); labels.csv names the expression of those that "
        "have been labelled",
        licence="The photographs are provided for research; copyright stays with their owners. The labels come from "
        "the public facial_expressions collection (Apache-2.0).",
        citation="G. B. Huang, M. Ramesh, T. Berg, E. Learned-Miller. Labeled Faces in the Wild: A Database for "
        "Studying Face Recognition in Unconstrained Environments. University of Massachusetts Amherst, Technical "
        "Report 07-49, 2007. Deep-funneled version: G. B. Huang, M. Mattar, H. Lee, E. Learned-Miller. Learning to "
        "Align from Scratch. NIPS 2012.",
        protocol="By subject: none is official for expressions. Five folds, or about 20 % of each expression to test "
        "on; one annotator labelled each photograph, so some labels are wrong.",
        classes=BASIC8,
    ),
    read=read_lfw_expressions,
    stand_in=lfw_expressions_stand_in,
)
