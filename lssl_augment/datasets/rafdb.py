"""``rafdb``: the basic part of RAF-DB, photographs from the web with seven expressions.

Li, Deng, Du, "Reliable crowdsourcing and deep locality-preserving learning for expression recognition in the
wild", CVPR 2017. Its own split is kept: ``train`` and ``test``. Subjects are unknown: each file counts as its own
subject. It is read as published (a list of labels, and images that are aligned or original) and in the form
of Kaggle's copies (folders called 1 to 7).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from lssl_augment.attributes import BASIC7
from lssl_augment.datasets.assemble import Row, assemble
from lssl_augment.datasets.folder import NOT_AN_IMAGE
from lssl_augment.datasets.info import Dataset, DatasetInfo, StandInFace, StandInFile
from lssl_augment.datasets.published import count_notes, wrong_layout
from lssl_augment.datasets.records import ReadOptions, RecordTable
from lssl_augment.datasets.table_file import read_table
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError
from lssl_augment.faces.images import IMAGE_SUFFIXES

__all__ = ["DATASET", "LAYOUT", "NOT_LISTED", "rafdb_stand_in", "read_rafdb"]

LAYOUT = (
    "EmoLabel/list_patition_label.txt (lines `train_00001.jpg 5`) and Image/aligned/train_00001_aligned.jpg or "
    "Image/original/train_00001.jpg; or Kaggle's DATASET/train/5/train_00001_aligned.jpg and DATASET/test/"
)
NOT_LISTED = "not in the list of labels"

#: Numbers of the list, 1 to 7.
_WORDS = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
_NUMBERS = {str(i): word for i, word in enumerate(_WORDS, start=1)}
_LISTS = ("list_patition_label.txt", "list_partition_label.txt")  # the first is how its publishers spell it
_SPLIT = re.compile(r"(train|test)_", re.IGNORECASE)
_COUNTED = {"train": "training images", "test": "test images"}
_ORIGINAL = "this copy has original photographs, not aligned ones: some show more than one person"


def read_rafdb(root: Path, options: ReadOptions) -> RecordTable:
    """Read a folder or zip archive; where there are aligned and original images, the aligned ones.

    Raises:
        DataError: another layout, a damaged list, or an image with two labels.
    """
    tree = FileTree(root)
    lists = [name for name in tree.names if PurePosixPath(name).name.lower() in _LISTS]
    if len(lists) > 1:
        raise DataError(f"{root}: looked for one list of labels, found {', '.join(lists)}; --root must hold one RAF-DB")
    if lists:
        return _from_list(root, tree, lists[0], options)
    return _from_folders(root, tree, options)


def _from_list(root: Path, tree: FileTree, name: str, options: ReadOptions) -> RecordTable:
    images: dict[str, dict[str, str]] = {"aligned": {}, "original": {}}
    skipped: list[tuple[str, str]] = []
    for file in tree.names:
        path = PurePosixPath(file)
        kind = path.parent.name.lower()
        if kind not in images:
            continue
        if path.suffix.lower() in IMAGE_SUFFIXES:
            images[kind].setdefault(_key(path), file)
        else:
            skipped.append((file, NOT_AN_IMAGE))
    kind = next((kind for kind, found in images.items() if found), "")
    if not kind:
        packed = [file for file in tree.names if PurePosixPath(file).name.lower() in ("aligned.zip", "original.zip")]
        found = f"{', '.join(packed)}, still to be unpacked" if packed else tree.found()
        raise wrong_layout(DATASET.info, root, "images in Image/aligned/ or Image/original/", found)
    rows = []
    here = images[kind]
    used: set[str] = set()
    for listed, number, where in _lines(tree, name):
        split = _SPLIT.match(listed)
        if split is None:
            raise DataError(f"{where}: a file must be called train_… or test_…; got {listed!r}")
        # What is not there keeps its listed name, and is counted as missing when it is read.
        file = here.get(_key(PurePosixPath(listed)), listed)
        used.add(file)
        rows.append(Row(file, _word(number, where), file, where, split[1].lower()))
    skipped += [(file, NOT_LISTED) for file in here.values() if file not in used]
    notes = _differences(rows) + ([_ORIGINAL] if kind == "original" else [])
    return assemble("rafdb", tree, rows, BASIC7, options, skipped, notes)


def _from_folders(root: Path, tree: FileTree, options: ReadOptions) -> RecordTable:
    rows: list[Row] = []
    skipped: list[tuple[str, str]] = []
    labels = _kaggle_labels(tree)
    for file in tree.names:
        path = PurePosixPath(file)
        split, number = path.parent.parent.name.lower(), path.parent.name
        if split not in _COUNTED or not number.isdecimal():
            continue
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            skipped.append((file, NOT_AN_IMAGE))
            continue
        where = f"folder {path.parent}/"
        word = _word(number, where)
        listed = labels.get((split, path.name))
        if listed is not None and listed != word:
            raise DataError(f"{where}: {path.name} is {word} by its folder, but {listed} by {split}_labels.csv")
        rows.append(Row(file, word, file, where, split))
    if not rows:
        looked_for = "EmoLabel/list_patition_label.txt, or folders train/1/ … test/7/"
        raise wrong_layout(DATASET.info, root, looked_for, tree.found())
    return assemble("rafdb", tree, rows, BASIC7, options, skipped, _differences(rows))


def _kaggle_labels(tree: FileTree) -> dict[tuple[str, str], str]:
    """(split, file name) → word, of train_labels.csv and test_labels.csv where a copy has them."""
    labels = {}
    for name in tree.names:
        split, _, rest = PurePosixPath(name).name.lower().partition("_")
        if split in _COUNTED and rest == "labels.csv":
            for row in read_table(tree, name, required=("image", "label")):
                labels[split, row["image"]] = _word(row["label"], row.where)
    return labels


def _lines(tree: FileTree, name: str) -> Iterator[tuple[str, str, str]]:
    """File, number and place of each line of the list."""
    try:
        text = tree.read(name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 text: {error}") from error
    for i, line in enumerate(text.splitlines(), start=1):
        cells = line.split()
        if not cells:
            continue
        where = f"{name} line {i}"
        if len(cells) != 2:
            raise DataError(f"{where}: a line must be a file and a number, like `train_00001.jpg 5`; got {line!r}")
        yield cells[0], cells[1], where


def _word(number: str, where: str) -> str:
    if number not in _NUMBERS:
        raise DataError(f"{where}: an expression must be a number from 1 to {len(_WORDS)}; got {number!r}")
    return _NUMBERS[number]


def _key(path: PurePosixPath) -> str:
    return path.stem.lower().removesuffix("_aligned")


def _differences(rows: Sequence[Row]) -> list[str]:
    here = Counter(row.split for row in rows)
    return count_notes(DATASET.info.published, {words: here[split] for split, words in _COUNTED.items()})


def rafdb_stand_in(subjects: int) -> Iterator[StandInFile]:
    """A simulated copy as published, aligned images of all seven expressions; every fifth person is tested on."""
    lines = []
    count = {"train": 0, "test": 0}
    for i in range(subjects):
        split = "test" if i % 5 == 1 else "train"
        for number, word in _NUMBERS.items():
            count[split] += 1
            name = f"{split}_{count[split]:0{5 if split == 'train' else 4}d}"
            lines.append(f"{name}.jpg {number}")
            yield StandInFile(f"Image/aligned/{name}_aligned.jpg", StandInFace(i, word), size_px=100)
    yield StandInFile("EmoLabel/list_patition_label.txt", content=("\n".join(lines) + "\n").encode())


DATASET = Dataset(
    info=DatasetInfo(
        name="rafdb",
        title="RAF-DB, Real-world Affective Faces Database, basic part (Li, Deng, Du, 2017)",
        layout=LAYOUT,
        ask="Beijing University of Posts and Telecommunications (http://www.whdeng.cn/RAF/model1.html), by a request "
        "from a permanent member of a university or institute; the archives come with a password",
        licence="Non-commercial research only, by the agreement with its publishers; not to be passed on. Copyright of "
        "the photographs stays with their owners.",
        citation="S. Li, W. Deng, J. Du. Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression "
        "Recognition in the Wild. CVPR 2017.",
        protocol="Its own split into training and test images. Subjects are unknown.",
        classes=BASIC7,
        published=MappingProxyType({"training images": 12_271, "test images": 3_068}),
    ),
    read=read_rafdb,
    stand_in=rafdb_stand_in,
)
