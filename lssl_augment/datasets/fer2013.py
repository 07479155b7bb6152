"""``fer2013``: 48×48 grey faces with seven expressions, in the forms people hold it in.

Goodfellow et al., "Challenges in representation learning", 2013. Its three parts stay apart: ``train``,
``public_test`` and ``private_test``. Results in papers are on ``private_test``. Subjects are unknown: each
file counts as its own subject.

With the option ``label_file`` the labels are those of FER+ (see :mod:`lssl_augment.datasets.ferplus`), which
has contempt as an eighth expression.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from lssl_augment.attributes import BASIC7, BASIC8
from lssl_augment.datasets.assemble import Row, assemble
from lssl_augment.datasets.ferplus import USAGES, match_ferplus, read_ferplus
from lssl_augment.datasets.folder import list_class_folders
from lssl_augment.datasets.info import Dataset, DatasetInfo, StandInFace, StandInFile
from lssl_augment.datasets.published import count_notes, wrong_layout
from lssl_augment.datasets.records import ReadOptions, RecordTable
from lssl_augment.datasets.table_file import column_names, read_table
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError

__all__ = ["BAD_PIXELS", "DATASET", "LAYOUT", "fer2013_stand_in", "read_fer2013"]

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
_SIDE_PX = 48
_MIXED_TEST = (
    "the folder test/ of this copy mixes FER2013's public and private test faces; they cannot be told apart, "
    "so its split is called 'test'"
)
_COUNTED = {
    "train": "training images",
    "public_test": "public test images",
    "private_test": "private test images",
    "test": "public and private test images",
}
_WORD_OF_FOLDER = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")


def read_fer2013(root: Path, options: ReadOptions) -> RecordTable:
    """Read class folders or a CSV file, from a folder or a zip archive; ``root`` may be the CSV file itself.

    Raises:
        DataError: another layout, a damaged list, an unknown class or usage, or FER+ labels that cannot be
            matched: those of class folders, whose files bear no row numbers, and of lists that are not whole.
    """
    if root.suffix.lower() == ".csv" and root.is_file():
        return _from_csv(FileTree(root.parent), root.name, options)
    tree = FileTree(root)
    lists = [name for name in tree.top() if name.lower().endswith(".csv")]
    fitting = [name for name in lists if {"emotion", "usage", "pixels"} <= set(column_names(tree, name))]
    if fitting:
        # Both files hold the same faces: one is enough.
        return _from_csv(tree, fitting[0], options)
    rows, skipped = list_class_folders(tree, _FOLDERS, lambda file: file)
    if not rows or not all(row.split for row in rows):
        looked_for = "fer2013.csv, icml_face_data.csv or folders train/, public_test/, private_test/, test/"
        raise wrong_layout(DATASET.info, root, looked_for, tree.found())
    if options.label_file is not None:
        raise DataError(
            f"{root} holds FER2013 as class folders, whose files bear no row numbers; labels of FER+ "
            f"({options.label_file.name}) are matched by the order of the rows of fer2013.csv or icml_face_data.csv. "
            "Give --root that file, or leave --label-file out"
        )
    splits = [row.split for row in rows]
    notes = [_MIXED_TEST] if "test" in splits else []
    return assemble("fer2013", tree, rows, BASIC7, options, skipped, notes + _differences(splits))


def _from_csv(tree: FileTree, name: str, options: ReadOptions) -> RecordTable:
    rows = list(_csv_rows(tree, name))
    splits = [row.split for row in rows]
    notes = _differences(splits)
    skipped = [(row.file, BAD_PIXELS) for row in rows if row.image is None]
    usual = BASIC7
    if options.label_file is not None:
        labels = match_ferplus(read_ferplus(options.label_file), splits, name)
        rows = [replace(row, expression=label.word) for row, label in zip(rows, labels, strict=True)]
        skipped += [
            (row.file, label.reason)
            for row, label in zip(rows, labels, strict=True)
            if row.image is not None and not label.word
        ]
        usual = BASIC8
        notes = [f"the labels are those of FER+ ({options.label_file.name}), by majority of its votes", *notes]
    usable = [row for row in rows if row.image is not None and row.expression]
    return assemble("fer2013", tree, usable, usual, options, skipped, notes)


def _csv_rows(tree: FileTree, name: str) -> Iterator[Row]:
    """All rows of the list; those with bad pixels have no image."""
    for row in read_table(tree, name, required=("emotion", "usage", "pixels")):
        emotion, usage = row["emotion"], row["usage"].lower()
        if not emotion.isdecimal() or int(emotion) >= len(BASIC7):
            raise DataError(f"{row.where}: emotion must be 0 to {len(BASIC7) - 1}; got {emotion!r}")
        if usage not in USAGES:
            raise DataError(f"{row.where}: Usage must be Training, PublicTest or PrivateTest; got {row['usage']!r}")
        file = f"{name}#{row.line:05d}"
        yield Row(file, BASIC7.names[int(emotion)], file, row.where, USAGES[usage], _pixels(row["pixels"]))


def _pixels(text: str) -> np.ndarray | None:
    """Grey values, ``(48, 48)`` uint8, or None when the text does not hold them."""
    try:
        values = np.array(text.split(), np.int64)
    except (ValueError, OverflowError):
        return None
    if values.shape != (_SIDE_PX**2,) or values.min() < 0 or values.max() > 255:
        return None
    return values.astype(np.uint8).reshape(_SIDE_PX, _SIDE_PX)


def _differences(splits: Sequence[str]) -> list[str]:
    here = Counter(splits)
    parts = ("train", "test") if "test" in here else ("train", "public_test", "private_test")
    return count_notes(DATASET.info.published, {_COUNTED[part]: here[part] for part in parts})


def fer2013_stand_in(subjects: int) -> Iterator[StandInFile]:
    """A simulated copy as class folders: grey 48×48 faces of all seven expressions, nobody in two parts."""
    parts = ("train", "public_test", "private_test", "train", "train")
    for i in range(subjects):
        part = parts[i % len(parts)]
        for word in _WORD_OF_FOLDER:
            face = StandInFace(i, BASIC7.names[BASIC7.index(word)])
            yield StandInFile(f"{part}/{word}/{part}_{i + 1:05d}.jpg", face, _grey_jpeg, _SIDE_PX)


def _grey_jpeg(picture: np.ndarray, dense: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).convert("L").save(file, "JPEG", quality=95)
    return file.getvalue()


DATASET = Dataset(
    info=DatasetInfo(
        name="fer2013",
        title="FER2013 (Goodfellow et al., 2013), also with the labels of FER+ (Barsoum et al., 2016)",
        layout=LAYOUT,
        ask='Kaggle\'s challenge "Challenges in Representation Learning: Facial Expression Recognition" '
        "(https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge), "
        "after its rules have been accepted; labels of FER+: fer2013new.csv at https://github.com/microsoft/FERPlus",
        licence="By the rules of the Kaggle challenge; the photographs were found by a web image search, and their "
        "copyright stays with their owners.",
        citation="I. J. Goodfellow et al. Challenges in Representation Learning: A Report on Three Machine Learning "
        "Contests. ICONIP 2013 (arXiv:1307.0414). FER+: E. Barsoum, C. Zhang, C. Canton Ferrer, Z. Zhang. Training "
        "Deep Networks for Facial Expression Recognition with Crowd-Sourced Label Distribution. ICMI 2016 "
        "(arXiv:1608.01041).",
        protocol="Its own parts: train on train, choose on public_test, report on private_test. Subjects are unknown.",
        classes=BASIC7,
        options=("label_file",),
        published=MappingProxyType(
            {
                "training images": 28_709,
                "public test images": 3_589,
                "private test images": 3_589,
                "public and private test images": 7_178,
            }
        ),
    ),
    read=read_fer2013,
    stand_in=fer2013_stand_in,
)
