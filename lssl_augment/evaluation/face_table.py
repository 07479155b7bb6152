"""Faces in memory: uint8 tensors with labels and subjects, out of a face pack or a synthetic file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lssl_augment.attributes import Vocabulary
from lssl_augment.datasets.splits import check_apart
from lssl_augment.errors import DataError, LeakageError
from lssl_augment.evaluation.edits import resize
from lssl_augment.faces.pack import FacePack
from lssl_augment.synthesis.schema import open_synthetic, read_info, read_texts

__all__ = [
    "FACE_BOX",
    "FaceTable",
    "check_subjects_apart",
    "cut_faces",
    "limit_faces",
    "pack_table",
    "rare_classes",
    "read_images",
    "synthetic_table",
]

#: Left, top and side of what a classifier sees of an aligned face, in its side: brows to chin, cheek to cheek. At the
#: few pixels of a classifier, hair and background would take more than half of the picture.
FACE_BOX = (20 / 128, 28 / 128, 88 / 128)

_BLOCK = 512


@dataclass(frozen=True)
class FaceTable:
    """Labelled faces in memory.

    Args:
        images: shape ``(N, 3, S, S)`` uint8.
        labels: shape ``(N,)`` int64, in the order of ``classes``.
        subjects: shape ``(N,)`` str.
        classes: class names.
    """

    images: Tensor
    labels: Tensor
    subjects: np.ndarray
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def counts(self) -> dict[str, int]:
        """Faces of each class."""
        numbers = torch.bincount(self.labels, minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, numbers, strict=True))

    def take(self, rows: Tensor) -> FaceTable:
        """These rows only."""
        return replace(
            self, images=self.images[rows], labels=self.labels[rows], subjects=self.subjects[rows.numpy()]
        )

    def cut(self, size_px: int) -> FaceTable:
        """What a classifier sees of whole aligned faces, see :func:`cut_faces`."""
        return replace(self, images=cut_faces(self.images, size_px))


def cut_faces(images: Tensor, size_px: int) -> Tensor:
    """Whole aligned faces ``(N, 3, H, H)`` uint8 → :data:`FACE_BOX` of them, ``(N, 3, S, S)`` uint8; averaged over
    areas where that is smaller, bilinear where it is larger.
    """
    left, top, side = (round(part * images.shape[-1]) for part in FACE_BOX)
    inside = images[:, :, top : top + side, left : left + side]
    return resize(inside, size_px).contiguous()


def pack_table(path: str | Path, split: str, vocabulary: Vocabulary, cut_px: int | None = None) -> FaceTable:
    """One split of a face pack; faces of classes outside ``vocabulary`` and unlabelled ones are left out.

    Args:
        cut_px: faces as a classifier of that size sees them (:func:`cut_faces`); None: whole, at the pack's size.

    Raises:
        SchemaError: when the file is no face pack.
        DataError: when there is no such split, or no such face in it.
    """
    pack = FacePack.open(path)
    mapping = vocabulary.mapping_from(pack.vocabulary)
    labels = np.array([mapping.get(int(label), -1) for label in pack.labels], np.int64)
    rows = np.asarray(pack.select(split=split))
    rows = np.sort(rows[labels[rows] >= 0])
    if not len(rows):
        raise DataError(
            f"{Path(path).name} has no face of {', '.join(vocabulary.names)} in split {split!r}; its faces: "
            f"{pack.counts[split]}"
        )
    subjects = np.asarray(pack.subjects)[rows]
    return FaceTable(
        read_images(pack.images, rows, cut_px), torch.from_numpy(labels[rows]), subjects, vocabulary.names
    )


def synthetic_table(
    path: str | Path, vocabulary: Vocabulary, cut_px: int | None = None
) -> tuple[FaceTable, dict[str, Any]]:
    """The accepted faces of a synthetic file (``cut_px`` as of :func:`pack_table`), and where they came from.

    Raises:
        SchemaError: when the file is no finished synthetic file.
        LeakageError: when it was made with test subjects let in.
        DataError: when it has no face of these classes.
    """
    with open_synthetic(path) as file:
        info = read_info(file)
        if info.test_subjects_allowed:
            raise LeakageError(
                f"{Path(path).name} was made from test subjects too; make it again without them"
            )
        mapping = vocabulary.mapping_from(info.vocabulary)
        labels = np.array([mapping.get(int(label), -1) for label in file["labels"][:]], np.int64)
        rows = np.nonzero((labels >= 0) & file["accepted"][:])[0]
        if not len(rows):
            raise DataError(f"{Path(path).name} has no accepted face of {', '.join(vocabulary.names)}")
        images = read_images(file["images"], rows, cut_px)
        subjects = read_texts(file["subjects"])[rows]
    table = FaceTable(images, torch.from_numpy(labels[rows]), subjects, vocabulary.names)
    origin = {"config": info.config, "source": info.source, "weights_sha256": info.weights_sha256}
    return table, {**origin, "counts": table.counts}


def check_subjects_apart(test: FaceTable, *others: FaceTable) -> None:
    """``LeakageError`` when a test subject is among the others."""
    for other in others:
        check_apart(other.subjects.tolist(), test.subjects.tolist(), "among the training or synthetic faces")


def rare_classes(table: FaceTable) -> tuple[int, ...]:
    """Labels of the classes with fewer than half of an even share of the faces."""
    even = len(table) / len(table.classes)
    return tuple(i for i, n in enumerate(table.counts.values()) if n < 0.5 * even)


def limit_faces(table: FaceTable, labels: Sequence[int], limit: int, seed: int = 0) -> FaceTable:
    """At most ``limit`` faces of each of these labels, drawn with a seed; all of the others."""
    if limit < 1:
        raise DataError(f"limit must be at least 1 face a class; got {limit}")
    own = torch.Generator().manual_seed(seed)
    keep = torch.ones(len(table), dtype=torch.bool)
    for label in labels:
        rows = torch.nonzero(table.labels == label).flatten()
        keep[rows[torch.randperm(len(rows), generator=own)[limit:]]] = False
    return table.take(torch.nonzero(keep).flatten())


def read_images(images: Any, rows: np.ndarray, cut_px: int | None) -> Tensor:
    """Rows (increasing) of an HDF5 data set ``(N, H, W, 3)`` uint8 → ``(R, 3, S, S)``, block by block; ``cut_px`` as of
    :func:`pack_table`.
    """
    parts = []
    for start in range(0, int(rows[-1]) + 1, _BLOCK):
        inside = rows[(rows >= start) & (rows < start + _BLOCK)]
        if len(inside):
            block = np.asarray(images[start : int(inside[-1]) + 1])[inside - start]
            part = torch.from_numpy(np.ascontiguousarray(block)).permute(0, 3, 1, 2).contiguous()
            parts.append(part if cut_px is None else cut_faces(part, cut_px))
    return torch.cat(parts)
