"""``affectnet``: photographs from the web with eight expressions, labelled by hand.

Mollahosseini, Hasani, Mahoor, "AffectNet: a database for facial expression, valence, and arousal computing in the
wild", 2017. Two forms are read: the published one, lists of photographs with 68 landmarks, and the newer one,
cropped faces with one small file a label. Its own split is kept: ``train`` and ``val``; the test part was never
published. Subjects are unknown: each file counts as its own subject. Valence, arousal and the part labelled by a
program are not read.
"""

from __future__ import annotations

import io
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import numpy as np

from lssl_augment.attributes import BASIC8
from lssl_augment.datasets.affectnet_lists import read_lines
from lssl_augment.datasets.assemble import Row, assemble
from lssl_augment.datasets.folder import NOT_AN_IMAGE
from lssl_augment.datasets.info import Dataset, DatasetInfo, StandInFace, StandInFile
from lssl_augment.datasets.published import count_notes, wrong_layout
from lssl_augment.datasets.records import ReadOptions, RecordTable
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError
from lssl_augment.faces.images import IMAGE_SUFFIXES

__all__ = ["DATASET", "LAYOUT", "NOT_LISTED", "NO_LABEL_FILE", "UNUSED", "affectnet_stand_in", "read_affectnet"]

LAYOUT = (
    "training.csv and validation.csv (subDirectory_filePath, face_x, …, facial_landmarks, expression, valence, "
    "arousal), also in Manually_Annotated_file_lists/, with Manually_Annotated_Images/; or train_set/ and val_set/ "
    "with images/0.jpg, annotations/0_exp.npy and 0_lnd.npy"
)
NOT_LISTED = "in no list of labels"
NO_LABEL_FILE = "no annotations/…_exp.npy"

_WORDS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
_CODES = {str(i): word for i, word in enumerate(_WORDS)}
#: Numbers that are no expression → reason.
UNUSED = MappingProxyType({"8": "AffectNet: none", "9": "AffectNet: uncertain", "10": "AffectNet: no face"})

_LISTS = {
    "training.csv": "train",
    "validation.csv": "val",
    "manually_training.csv": "train",
    "manually_validation.csv": "val",
}
_PHOTOS = "manually_annotated_images"
_SETS = {"train_set": "train", "val_set": "val"}
_LISTED = {"train": "listed training images", "val": "listed validation images"}
_CROPPED = {"train": "cropped training images"}


def read_affectnet(root: Path, options: ReadOptions) -> RecordTable:
    """Read a folder or zip archive, in either form.

    Landmarks that come with it are used. Photographs marked as "none", "uncertain" or "no face" are left out.

    Raises:
        DataError: another layout, a damaged list or label, or a number that is no code of AffectNet.
    """
    tree = FileTree(root)
    lists = [name for name in tree.names if posixpath.basename(name).lower() in _LISTS]
    if lists:
        return _from_lists(root, tree, lists, options)
    return _from_sets(root, tree, options)


def _from_lists(root: Path, tree: FileTree, lists: Sequence[str], options: ReadOptions) -> RecordTable:
    splits = [_LISTS[posixpath.basename(name).lower()] for name in lists]
    if len(set(splits)) < len(splits):
        raise DataError(f"{root}: one list of training images and one of validation images; found {', '.join(lists)}")
    files = _Photos(tree, lists)
    if not files.names:
        raise wrong_layout(DATASET.info, root, "Manually_Annotated_Images/ with the photographs", tree.found())
    rows: list[Row] = []
    skipped: list[tuple[str, str]] = []
    listed: Counter[str] = Counter(dict.fromkeys(_LISTED, 0))
    unreadable = 0
    for name, split in zip(lists, splits, strict=True):
        for line in read_lines(tree, name):
            listed[split] += 1
            file = files.find(line.file)
            word = _word(line.expression, line.where)
            if not word:
                skipped.append((file, UNUSED[line.expression]))
                continue
            unreadable += line.points68 is None
            rows.append(Row(file, word, file, line.where, split, points68=line.points68))
    skipped += files.others()
    notes = count_notes(DATASET.info.published, {_LISTED[split]: count for split, count in listed.items()})
    if unreadable:
        notes.append(f"{unreadable} lines hold no 68 landmarks that can be read; they count as without landmarks")
    return assemble("affectnet", tree, rows, BASIC8, options, skipped, notes)


class _Photos:
    """Names in the lists → files, also where only upper and lower case differ."""

    def __init__(self, tree: FileTree, lists: Sequence[str]) -> None:
        self.names = {name for name in tree.names if _is_image(name)}
        self._tree = tree
        self._found: set[str] = set()
        self._lower: dict[str, str] = {}
        self._prefix = self._find_prefix(lists)

    def find(self, listed: str) -> str:
        name = self._prefix + listed
        if name not in self.names:
            if not self._lower:
                self._lower = {known.lower(): known for known in self.names}
            # What is not there keeps its name, and is counted as missing when it is read.
            name = self._lower.get(name.lower(), name)
        self._found.add(name)
        return name

    def others(self) -> list[tuple[str, str]]:
        """Files of the folder that were not asked for, with a reason."""
        inside = [name for name in self._tree.names if name.startswith(self._prefix) and name not in self._found]
        if not self._prefix:  # the lists lie there too
            inside = [name for name in inside if name in self.names]
        return [(name, NOT_LISTED if name in self.names else NOT_AN_IMAGE) for name in inside]

    def _find_prefix(self, lists: Sequence[str]) -> str:
        for name in self._tree.names:
            at = f"/{name.lower()}".find(f"/{_PHOTOS}/")
            if at >= 0:
                return name[: at + len(_PHOTOS) + 1]
        # Renamed: the folder where one of the first photographs is.
        for line in islice(read_lines(self._tree, lists[0]), 20):
            for name in self._tree.names:
                if f"/{name}".endswith(f"/{line.file}"):
                    return name[: len(name) - len(line.file)]
        return ""


def _from_sets(root: Path, tree: FileTree, options: ReadOptions) -> RecordTable:
    rows: list[Row] = []
    skipped: list[tuple[str, str]] = []
    here: Counter[str] = Counter(dict.fromkeys(_CROPPED, 0))
    lower = {name.lower(): name for name in tree.names if name.lower().endswith(".npy")}
    for file in tree.names:
        # Strings: pathlib takes a while for half a million files.
        folder, _, name = file.rpartition("/")
        part, _, images = folder.rpartition("/")
        split = _SETS.get(posixpath.basename(part).lower(), "")
        if not split or images.lower() != "images":
            continue
        if not _is_image(file):
            skipped.append((file, NOT_AN_IMAGE))
            continue
        here[split] += 1
        beside = f"{part}/annotations/{posixpath.splitext(name)[0]}".lower()
        label = lower.get(f"{beside}_exp.npy")
        if label is None:
            skipped.append((file, NO_LABEL_FILE))
            continue
        code = _code(tree, label)
        word = _word(code, label)
        if not word:
            skipped.append((file, UNUSED[code]))
            continue
        rows.append(Row(file, word, file, label, split, points68=_points(tree, lower.get(f"{beside}_lnd.npy"))))
    if not rows and not skipped:
        looked_for = "training.csv, validation.csv or folders train_set/images/, val_set/images/"
        raise wrong_layout(DATASET.info, root, looked_for, tree.found())
    notes = count_notes(DATASET.info.published, {_CROPPED[split]: here[split] for split in _CROPPED})
    return assemble("affectnet", tree, rows, BASIC8, options, skipped, notes)


def _is_image(name: str) -> bool:
    return posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _word(code: str, where: str) -> str:
    """The expression; empty for the codes that are none."""
    word = _CODES.get(code, "")
    if not word and code not in UNUSED:
        raise DataError(f"{where}: expression must be a number from 0 to {len(_CODES) + len(UNUSED) - 1}; got {code!r}")
    return word


def _code(tree: FileTree, name: str) -> str:
    values = _array(tree, name).ravel()
    try:
        number = float(values[0]) if values.size == 1 else float("nan")
    except ValueError:
        number = float("nan")
    if not number.is_integer():
        raise DataError(f"{name}: expected one number; got {values.tolist()!r}"[:200])
    return str(int(number))


def _points(tree: FileTree, name: str | None) -> np.ndarray | None:
    """Landmarks of a cropped face, ``(68, 2)`` float32, crop pixels; None without the file.

    Raises:
        DataError: the file is damaged or holds something else.
    """
    if name is None:
        return None
    values = _array(tree, name)
    try:
        points = values.astype(np.float32).reshape(68, 2)
    except ValueError as error:
        raise DataError(f"{name}: expected 136 numbers; got {values.dtype} {values.shape}") from error
    return points


def _array(tree: FileTree, name: str) -> np.ndarray:
    try:
        array: np.ndarray = np.load(io.BytesIO(tree.read(name)), allow_pickle=False)
    except Exception as error:
        # A damaged file raises whatever numpy comes upon.
        raise DataError(f"{name} cannot be read: {error}") from error
    return array


def affectnet_stand_in(subjects: int) -> Iterator[StandInFile]:
    """A simulated copy in the newer form: everyone with eight expressions, every fifth to validate on; no landmarks."""
    count = {"train_set": 0, "val_set": 0}
    for i in range(subjects):
        part = "val_set" if i % 5 == 1 else "train_set"
        for code, word in _CODES.items():
            name = str(count[part])
            count[part] += 1
            yield StandInFile(f"{part}/images/{name}.jpg", StandInFace(i, word), size_px=224)
            yield StandInFile(f"{part}/annotations/{name}_exp.npy", content=_npy(code))


def _npy(text: str) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(text))
    return file.getvalue()


DATASET = Dataset(
    info=DatasetInfo(
        name="affectnet",
        title="AffectNet, the part labelled by hand (Mollahosseini, Hasani, Mahoor, 2017)",
        layout=LAYOUT,
        ask="Mohammad H. Mahoor, University of Denver (http://mohammadmahoor.com/pages/databases/affectnet/); a "
        "professor or head of a laboratory signs the licence agreement and asks, not a student",
        licence="Research only, by the licence agreement; not to be passed on. Copyright of the photographs stays with "
        "their owners.",
        citation="A. Mollahosseini, B. Hasani, M. H. Mahoor. AffectNet: A Database for Facial Expression, Valence, and "
        "Arousal Computing in the Wild. IEEE Transactions on Affective Computing 10(1), 18–31, 2019 "
        "(arXiv:1708.03985).",
        protocol="Train on train, report on val: eight classes, or seven without contempt (--classes). Papers balance "
        "the classes while training, as val has equally many of each. Subjects are unknown.",
        classes=BASIC8,
        published=MappingProxyType(
            {
                "listed training images": 414_799,
                "listed validation images": 5_500,
                "cropped training images": 287_651,
            }
        ),
    ),
    read=read_affectnet,
    stand_in=affectnet_stand_in,
)
