"""Synthetic and real faces as torchvision-style data sets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from lssl_augment.errors import DataError
from lssl_augment.synthesis.labelled import LabelledFaces, Transform, choose_classes
from lssl_augment.synthesis.schema import SyntheticInfo, open_synthetic, read_info, read_texts

__all__ = ["FacePackDataset", "SyntheticExpressionDataset"]


class SyntheticExpressionDataset(LabelledFaces):
    """The images of a synthetic file, as ``lssl-augment generate`` writes it.

    Args:
        path: the file.
        transform: called with each image: a PIL image, or a uint8 tensor with ``as_tensor``.
        target_transform: called with each label.
        min_score: leave out images the gate scored lower; images without a score are left out too.
        accepted_only: leave out images that were marked as not accepted when the file was made.
        classes: names in the order of the labels wanted, such as ``real.classes``; other classes are left
            out.
        as_tensor: give uint8 tensors ``(3, H, W)`` instead of PIL images, which is quicker.

    Attributes:
        info: the file's attributes (config, counts, weights, licence …).
        scores: of every item, shape ``(N,)`` float32, NaN where there is none. source_ids, source_labels,
            intensities, seeds: of every item, shape ``(N,)``; source labels count as the file does. yaws: degrees that
            heads were turned to, ``(N,)`` float32, NaN where they kept their pose.

    See :class:`~lssl_augment.synthesis.labelled.LabelledFaces` for the attributes that all data sets have.

    Raises:
        FileNotFoundError: there is no such file.
        SchemaError: it is not a synthetic file, damaged, of another version, or not finished.
        DataError: classes that do not fit, or nothing left after filtering.
    """

    is_synthetic = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        *,
        min_score: float | None = None,
        accepted_only: bool = True,
        classes: Sequence[str] | None = None,
        as_tensor: bool = False,
    ) -> None:
        super().__init__(path, transform, target_transform, as_tensor)
        with self._open() as h5:
            self.info: SyntheticInfo = read_info(h5)
            self.classes, mapping = choose_classes(self.info.vocabulary, classes)
            stored = h5["labels"][:]
            if len(stored) and (stored.min() < 0 or stored.max() >= len(mapping)):
                raise DataError(f"{Path(path).name}: labels must be in [0, {len(mapping) - 1}]")
            labels = mapping[stored]
            keep = labels >= 0
            scores = h5["scores"][:]
            if accepted_only:
                keep &= h5["accepted"][:]
            if min_score is not None:
                keep &= scores >= min_score  # false for NaN
            if not keep.any():
                raise DataError(
                    f"{Path(path).name}: none of its {len(labels)} images is left with "
                    f"min_score={min_score}, "
                    f"accepted_only={accepted_only}, classes={self.classes}"
                )
            self.rows = np.flatnonzero(keep)
            self.targets = labels[keep].tolist()
            self.subjects = read_texts(h5["subjects"])[keep]
            self.folds = read_texts(h5["folds"])[keep]
            self.scores = scores[keep]
            self.source_ids = h5["source_ids"][:][keep]
            self.source_labels = h5["source_labels"][:][keep]
            self.intensities = h5["intensities"][:][keep]
            self.seeds = h5["seeds"][:][keep]
            yaws = h5["yaws"][:] if "yaws" in h5 else np.full(len(labels), np.nan, np.float32)
            self.yaws = yaws[keep]

    def _open(self) -> h5py.File:
        return open_synthetic(self.path)


class FacePackDataset(LabelledFaces):
    """The labelled real faces of one split of a face pack: the real half of a mixed data set.

    Args:
        path: the pack, as ``lssl-augment prepare`` writes it.
        split: ``train``, ``test``, …
        transform, target_transform, classes, as_tensor: as of :class:`SyntheticExpressionDataset`.

    Faces without a label are left out. ``held_out_subjects`` are the people of the pack's other splits.

    Raises:
        FileNotFoundError, SchemaError: no such file, or no face pack.
        DataError: no labelled face of that split and those classes.
    """

    is_synthetic = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        split: str = "train",
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        *,
        classes: Sequence[str] | None = None,
        as_tensor: bool = False,
    ) -> None:
        super().__init__(path, transform, target_transform, as_tensor)
        from lssl_augment.faces.pack import FacePack

        pack = FacePack.open(path)
        self.classes, mapping = choose_classes(pack.vocabulary, classes)
        labels = np.append(mapping, -1)[np.asarray(pack.labels)]  # label −1 takes the last entry
        splits = np.asarray(pack.split).astype(np.str_)
        subjects = np.asarray(pack.subjects).astype(np.str_)
        keep = (splits == split) & (labels >= 0)
        if not keep.any():
            found = ", ".join(sorted(set(splits.tolist())))
            raise DataError(
                f"{Path(path).name} has no face of split {split!r} labelled {', '.join(self.classes)}; "
                f"its splits: {found}"
            )
        self.rows = np.flatnonzero(keep)
        self.targets = labels[keep].tolist()
        self.subjects = subjects[keep]
        self.folds = splits[keep]
        self.held_out_subjects = frozenset(subjects[splits != split].tolist()) - {""}

    def _open(self) -> h5py.File:
        return h5py.File(self.path, "r")
