"""Where training batches come from: real faces, with or without balance, augmentation and synthetic faces."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from lssl_augment.errors import DataError
from lssl_augment.evaluation.face_table import FaceTable
from lssl_augment.evaluation.ordinary import ordinary_augmentation
from lssl_augment.transforms.augment import LSSLAugment

__all__ = ["AugmentedFaces", "BatchSource", "FaceChange", "FaceMix", "StoredFaces", "SyntheticFaces"]

#: Changes faces and not labels: images (B, 3, S, S) float32 in [0, 1] and the generator → images.
FaceChange = Callable[[Tensor, torch.Generator], Tensor]
#: Mixes faces and labels: images, labels, number of classes, generator → images, labels (B, C) float32.
FaceMix = Callable[[Tensor, Tensor, int, torch.Generator], tuple[Tensor, Tensor]]


class SyntheticFaces(Protocol):
    """Faces that are not photographs, on demand."""

    def faces(self, wanted: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Labels asked for, shape ``(R,)`` → images ``(R, 3, S, S)`` uint8 and their labels, as near as can
        be.
        """


class StoredFaces:
    """Synthetic faces out of a file: a random one of each label asked for."""

    def __init__(self, table: FaceTable, labels: Sequence[int]) -> None:
        self._table = table
        self._rows = {label: torch.nonzero(table.labels == label).flatten() for label in labels}
        missing = [table.classes[label] for label, rows in self._rows.items() if not len(rows)]
        if missing:
            raise DataError(
                f"the synthetic file has no accepted face of {', '.join(missing)}; it has {table.counts}. "
                "Generate more, or lower the gate's threshold"
            )

    def faces(self, wanted: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        rows = _rows_of(wanted, self._rows, generator)
        return self._table.images[rows], wanted


class AugmentedFaces:
    """Synthetic faces made while training: random training faces through :class:`LSSLAugment`.

    Args:
        sources: whole training faces at the generator's size.
        augment: with ``p=1`` and the wanted classes as targets; it decides on the labels.
        size_px: side of the faces handed out, cut as a classifier sees them.
    """

    def __init__(self, sources: FaceTable, augment: LSSLAugment, size_px: int) -> None:
        self._sources, self._augment, self._size_px = sources, augment, size_px

    def faces(self, wanted: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(self._sources), (len(wanted),), generator=generator)
        # The run's generator decides here too, whatever was made for other runs before.
        self._augment.set_epoch(int(torch.randint(2**31, (1,), generator=generator)))
        images, labels = self._augment(self._sources.images[rows], self._sources.labels[rows])
        made = FaceTable(images, labels, self._sources.subjects[rows.numpy()], self._sources.classes)
        return made.cut(self._size_px).images, labels


class BatchSource:
    """Draws training batches; an object of this class is a ``NextBatch`` of the classifiers.

    Args:
        table: real training faces.
        batch: faces a batch.
        balanced: draw a class first and then one of its faces; else faces as they come.
        augmented: :func:`ordinary_augmentation` of all faces, synthetic ones included.
        synthetic: stands in for some of the batch's places. shares: label → part of its places, in [0, 1].
        power: tempered sampling: a class of n faces is drawn with a chance proportional to n^power. 0 is
            ``balanced``, 1 is faces as they come; takes the place of ``balanced``.
        emptied: label → part of its chance that is taken away, in [0, 1); needs ``balanced`` or ``power``.
        change: in place of :func:`ordinary_augmentation`, such as
            :class:`~lssl_augment.evaluation.rand_augment.RandAugment`; needs ``augmented=False``.
        mix: last of all, such as :class:`~lssl_augment.evaluation.mixing.MixUp`; labels become soft.
    """

    def __init__(
        self,
        table: FaceTable,
        batch: int,
        *,
        balanced: bool = False,
        augmented: bool = False,
        synthetic: SyntheticFaces | None = None,
        shares: Mapping[int, float] | None = None,
        power: float | None = None,
        emptied: Mapping[int, float] | None = None,
        change: FaceChange | None = None,
        mix: FaceMix | None = None,
    ) -> None:
        if batch < 2:
            raise DataError(f"batch must be at least 2 faces; got {batch}")
        shares = shares or {}
        if not all(0 <= label < len(table.classes) and 0 <= share <= 1 for label, share in shares.items()):
            raise DataError(
                f"synthetic shares must be in [0, 1], of labels from 0 to {len(table.classes) - 1}; got {dict(shares)}"
            )
        if any(shares.values()) and synthetic is None:
            raise DataError("synthetic shares need synthetic faces to fill them")
        if power is not None and (balanced or not 0 <= power < math.inf):
            raise DataError(f"power must be at least 0, and takes the place of balanced; got {power} and {balanced}")
        if change is not None and augmented:
            raise DataError("change takes the place of ordinary augmentation: give augmented=False with it")
        if emptied and not (balanced or power is not None):
            raise DataError("emptied takes chances away from classes: give balanced=True or a power with it")
        if emptied and not all(0 <= c < len(table.classes) and 0 <= part < 1 for c, part in emptied.items()):
            raise DataError(f"parts to empty must be in [0, 1), of labels of the table; got {dict(emptied)}")
        empty = [name for name, n in table.counts.items() if n == 0]
        if empty:
            raise DataError(f"the training split has no face of {', '.join(empty)}")
        self._table, self._batch = table, batch
        self._change = ordinary_augmentation if augmented else change
        self._mix = mix
        # Chance of each class; None: faces as they come.
        self._chances: Tensor | None = None
        if balanced or power is not None:
            numbers = torch.tensor(list(table.counts.values()), dtype=torch.float64)
            self._chances = numbers ** (power or 0.0)
            for label, part in (emptied or {}).items():
                self._chances[label] *= 1 - part
            self._chances /= self._chances.sum()
        self._synthetic = synthetic
        # Share of each label's places; 0: only real faces.
        self._shares = torch.tensor([shares.get(c, 0.0) for c in range(len(table.classes))], dtype=torch.float64)
        self._rows = {c: torch.nonzero(table.labels == c).flatten() for c in range(len(table.classes))}

    def __call__(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images ``(B, 3, S, S)`` float32 in [-1, 1] and labels ``(B,)`` int64, or ``(B, C)`` float32 once mixed."""
        if self._chances is not None:
            labels = torch.multinomial(self._chances, self._batch, replacement=True, generator=generator)
            rows = _rows_of(labels, self._rows, generator)
        else:
            rows = torch.randint(len(self._table), (self._batch,), generator=generator)
            labels = self._table.labels[rows]
        images = self._table.images[rows]
        if self._synthetic is not None:
            chance = torch.rand(self._batch, generator=generator)
            places = torch.nonzero(chance < self._shares[labels]).flatten()
            if len(places):
                images[places], labels[places] = self._synthetic.faces(labels[places], generator)
        faces = images.float() / 255.0
        if self._change is not None:
            faces = self._change(faces, generator)
        faces = faces * 2.0 - 1.0
        if self._mix is not None:
            return self._mix(faces, labels, len(self._table.classes), generator)
        return faces, labels


def _rows_of(labels: Tensor, rows: dict[int, Tensor], generator: torch.Generator) -> Tensor:
    """A random row of each label, from lists of rows by label."""
    picks = torch.rand(len(labels), generator=generator).tolist()
    chosen = [
        int(rows[label][min(int(pick * len(rows[label])), len(rows[label]) - 1)])
        for label, pick in zip(labels.tolist(), picks, strict=True)
    ]
    return torch.tensor(chosen, dtype=torch.int64)
