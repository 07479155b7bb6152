"""``folder``: one folder a class, with an optional level of splits above."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from lssl_augment.attributes import BASIC8
from lssl_augment.datasets.assemble import Row, assemble
from lssl_augment.datasets.info import Dataset, DatasetInfo
from lssl_augment.datasets.records import ReadOptions, RecordTable
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError
from lssl_augment.faces.images import IMAGE_SUFFIXES

__all__ = ["DATASET", "LAYOUT", "NOT_AN_IMAGE", "NO_CLASS_FOLDER", "list_class_folders", "read_folder"]

LAYOUT = "[train|test/]EXPRESSION/**/*.jpg (or png, bmp, gif, tif, webp, ppm)"
NOT_AN_IMAGE = "not an image file"
NO_CLASS_FOLDER = "not in a class folder"

#: Folder names taken for splits, lower case.
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def read_folder(root: Path, options: ReadOptions) -> RecordTable:
    """Read class folders; without a level of splits the faces are split by subject.

    Raises:
        DataError: no class folders, an unknown class name, or a subject pattern that fits not.
        LeakageError: its split has a subject on both sides.
    """
    tree = FileTree(root)
    rows, skipped = list_class_folders(tree, _SPLITS, options.subject_of)
    if not rows:
        raise DataError(
            f"{root}: looked for folders of images named after expressions, found {tree.found()}; expected a "
            f"folder or zip archive with {LAYOUT}"
        )
    return assemble("folder", tree, rows, BASIC8, options, skipped)


def list_class_folders(
    tree: FileTree, split_names: Mapping[str, str], subject_of: Callable[[str], str]
) -> tuple[list[Row], list[tuple[str, str]]]:
    """Rows of ``[SPLIT/]CLASS/**`` and pairs (file, reason) of other files inside of folders.

    There is a level of splits when every folder at the top that holds files has a name of ``split_names``
    (lower case → split).
    """
    inside = [(name, PurePosixPath(name).parts) for name in tree.names if "/" in name]
    has_splits = bool(inside) and all(parts[0].lower() in split_names for _, parts in inside)
    level = 1 if has_splits else 0
    rows, skipped = [], []
    for name, parts in inside:
        if PurePosixPath(name).suffix.lower() not in IMAGE_SUFFIXES:
            skipped.append((name, NOT_AN_IMAGE))
        elif len(parts) < level + 2:
            skipped.append((name, NO_CLASS_FOLDER))
        else:
            split = split_names[parts[0].lower()] if has_splits else ""
            folder = "/".join(parts[: level + 1])
            rows.append(Row(name, parts[level], subject_of(name), f"folder {folder}/", split))
    skipped += [
        (name, NO_CLASS_FOLDER)
        for name in tree.names
        if "/" not in name and PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES
    ]
    return rows, skipped


DATASET = Dataset(
    info=DatasetInfo(
        name="folder",
        title="Your own photographs, one folder a class",
        layout=LAYOUT,
        ask="these are your own photographs; sort them into folders named after expressions",
        licence="That of your photographs.",
        citation="None: your own data.",
        protocol="Its own split where there is a level of train, val and test folders; else about 20 % of each "
        "expression to test on, by subject.",
        classes=BASIC8,
        options=("subject_pattern",),
    ),
    read=read_folder,
)
