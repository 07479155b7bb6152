"""A folder (or zip archive) of photographs as a source: cut into faces on the fly, as ``prepare`` does."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from lssl_augment.attributes import BASIC8, Vocabulary, canonical_expression
from lssl_augment.datasets.assemble import Row, assemble
from lssl_augment.datasets.folder import NOT_AN_IMAGE, read_folder
from lssl_augment.datasets.landmark_file import LANDMARK_FILE
from lssl_augment.datasets.prepare import PrepareConfig, write_faces
from lssl_augment.datasets.records import ReadOptions, RecordTable
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError
from lssl_augment.faces.images import IMAGE_SUFFIXES
from lssl_augment.faces.pack import FacePack
from lssl_augment.synthesis.sources import TRAIN, PackSource

__all__ = ["PhotographSource", "read_photographs"]


def read_photographs(root: Path) -> RecordTable:
    """List the photographs of a folder.

    Class folders (``happy/…``, or ``train/happy/…`` with a level of splits) give labels, and their splits are
    kept. Without a level of splits all photographs are for training. Without class folders all are
    unlabelled.

    Raises:
        DataError: no photograph, or class folders of which some are not understood.
    """
    tree = FileTree(root)
    parts = [PurePosixPath(name).parts for name in tree.names]
    if any(canonical_expression(p) in BASIC8 for path in parts for p in path[:-1][:2]):
        table = read_folder(root, ReadOptions())
        names = table.vocabulary.names
        # With a level of splits the first part of a name is a split, else it is the class itself.
        own_splits = any(
            r.label >= 0 and canonical_expression(r.file.split("/")[0]) != names[r.label] for r in table.records
        )
        if own_splits:
            return table
        return replace(table, records=tuple(replace(record, split=TRAIN) for record in table.records))
    images = [name for name in tree.names if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise DataError(f"{root} holds no photographs; found {tree.found()}")
    used = {LANDMARK_FILE, *images}
    skipped = [(name, NOT_AN_IMAGE) for name in tree.names if name not in used]
    rows = [Row(file=name, expression="", subject=name, where=name, split=TRAIN) for name in images]
    return assemble("photographs", tree, rows, BASIC8, ReadOptions(), skipped)


class PhotographSource(PackSource):
    """Faces of a folder of photographs; an id is the place of a face among those found.

    Landmarks come from a ``landmarks.npz`` in the folder, or from the landmark network.

    Args:
        root: the folder or zip archive. vocabulary, split, allow_test_subjects: as of :class:`PackSource`.

    Raises:
        DataError: no photograph gives a face; the message counts the reasons.
        LeakageError: as of :class:`PackSource`.
    """

    def __init__(
        self, root: Path, vocabulary: Vocabulary, *, split: str = TRAIN, allow_test_subjects: bool = False
    ) -> None:
        table = read_photographs(root)
        # A face pack of its own keeps any number of photographs out of memory; it goes with this object.
        folder = tempfile.mkdtemp(prefix="lssl-augment-")
        self._removal = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        report = write_faces(table, PrepareConfig(Path(folder) / "faces.h5"))
        self._skipped = report.skipped
        super().__init__(FacePack.open(report.out), vocabulary, split=split, allow_test_subjects=allow_test_subjects)

    def describe(self) -> dict[str, Any]:
        """See :class:`~lssl_augment.synthesis.sources.FaceSource`."""
        return {**super().describe(), "kind": "photographs", "skipped": self._skipped}
