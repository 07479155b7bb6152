"""Faces of people the training never saw, each edited to every other expression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import DataError
from lssl_augment.faces.pack import FacePack

__all__ = ["Edits", "Engine", "choose_sources", "donor_seed", "edit_sources", "resize", "scale_dense"]

_BATCH = 16


class Engine(Protocol):
    """What is evaluated: anything that edits as :class:`lssl_augment.models.engine.ExpressionEngine` does."""

    @property
    def vocabulary(self) -> Vocabulary: ...
    @property
    def face_size_px(self) -> int: ...
    def encode(self, images: Tensor, dense: Tensor | None = None, labels: Tensor | None = None) -> Any: ...
    def edit(self, faces: Any, targets: Tensor, intensity: Tensor, seeds: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Edits:
    """N sources and their R results, a result for each other class of the vocabulary.

    Args:
        sources: ``(N, 3, S, S)`` uint8. labels: ``(N,)`` int64 in the engine's vocabulary. rows: ``(N,)`` int64 in the
            pack. subjects: ``(N,)`` str.
        images: ``(R, 3, S, S)`` uint8. targets: ``(R,)`` int64. origin: ``(R,)`` int64, the source's place in
            ``sources``.
    """

    sources: Tensor
    labels: Tensor
    rows: np.ndarray
    subjects: np.ndarray
    images: Tensor
    targets: Tensor
    origin: Tensor


def resize(images: Tensor, size_px: int) -> Tensor:
    """uint8 faces ``(N, 3, H, W)`` at another size: averaged over areas when smaller, bilinear when larger."""
    if images.shape[-1] == size_px:
        return images
    smaller = size_px < images.shape[-1]
    out = [
        F.interpolate(part.float(), size=(size_px, size_px), mode="area" if smaller else "bilinear")
        for part in images.split(512)
    ]
    return torch.cat(out).round().clamp(0, 255).to(torch.uint8) if out else images


def choose_sources(
    pack: FacePack,
    vocabulary: Vocabulary,
    *,
    split: str,
    count: int,
    classes: Sequence[str] = (),
    per_subject: int = 2,
    seed: int = 0,
    subjects: Sequence[str] = (),
) -> np.ndarray:
    """Rows of the pack to edit, increasing; drawn with the seed.

    Args:
        classes: expressions the sources may show; empty: all that the generator knows.
        per_subject: so many faces of a person at most, so that nobody with many photographs decides alone; 0: any
            number.
        subjects: people to choose from; empty: all.

    Raises:
        DataError: no face fits, or none of one of the subjects.
    """
    mapping = vocabulary.mapping_from(pack.vocabulary)
    unknown = [name for name in classes if name not in vocabulary.names]
    if unknown:
        raise DataError(f"the generator does not know {', '.join(unknown)}; it knows {', '.join(vocabulary.names)}")
    wanted = {vocabulary.names.index(name) for name in classes} or set(range(len(vocabulary)))
    fitting = np.array([r for r in pack.select(split=split) if mapping.get(int(pack.labels[r])) in wanted], np.int64)
    if not len(fitting):
        names = ", ".join(classes or vocabulary.names)
        raise DataError(f"{pack.path.name} has no face of {names} in split {split!r}; it has {pack.counts[split]}")
    if subjects:
        fitting = fitting[np.isin(pack.subjects[fitting], list(subjects))]
        missing = sorted(set(subjects) - set(pack.subjects[fitting].tolist()))
        if missing:
            where = sorted(set(pack.split[pack.subjects == missing[0]].tolist()))
            hint = f"; {missing[0]!r} is in split {', '.join(where)}" if where else ""
            raise DataError(
                f"{pack.path.name} has no face of {', '.join(missing)} in split {split!r} that shows "
                f"{', '.join(classes or vocabulary.names)}{hint}"
            )
    chosen: list[int] = []
    had: dict[str, int] = {}
    for row in np.random.default_rng([seed, 7]).permutation(fitting).tolist():
        person = str(pack.subjects[row])
        if per_subject and had.get(person, 0) >= per_subject:
            continue
        had[person] = had.get(person, 0) + 1
        chosen.append(row)
        if len(chosen) == count:
            break
    return np.sort(np.array(chosen, np.int64))


def donor_seed(seed: int, row: int, target: int) -> int:
    """The engine's seed of an edit, in [0, 2**62): keyed on what is edited alone, not on what else is."""
    return int(np.random.default_rng([seed, row, target]).integers(0, 1 << 62))


def edit_sources(engine: Engine, pack: FacePack, rows: np.ndarray, seed: int = 0) -> Edits:
    """Edit each source to every class other than its own, at full intensity.

    The donor of each result is keyed on (seed, row of the pack, target): the number of sources changes nothing.
    """
    size, classes = engine.face_size_px, len(engine.vocabulary)
    mapping = engine.vocabulary.mapping_from(pack.vocabulary)
    labels = torch.tensor([mapping[int(pack.labels[r])] for r in rows])
    dense = pack.landmarks_dense
    sources, made, wanted, origin = [], [], [], []
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        photos = resize(torch.from_numpy(np.stack([pack.images[int(r)] for r in part])).permute(0, 3, 1, 2), size)
        points = (
            None if dense is None else scale_dense(np.stack([dense[int(r)] for r in part]), size / pack.face_size_px)
        )
        own = labels[start : start + _BATCH]
        faces = engine.encode(photos.float() / 127.5 - 1, points, own)
        index, targets = np.nonzero(np.arange(classes)[None] != own.numpy()[:, None])
        seeds = [donor_seed(seed, int(part[i]), int(t)) for i, t in zip(index, targets, strict=True)]
        out = engine.edit(
            faces.select(torch.from_numpy(index)),
            torch.from_numpy(targets),
            torch.ones(len(index)),
            torch.tensor(seeds, dtype=torch.int64),
        )
        sources.append(photos)
        made.append(((out.float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))
        wanted.append(torch.from_numpy(targets))
        origin.append(torch.from_numpy(index) + start)
    return Edits(
        torch.cat(sources),
        labels,
        rows,
        np.asarray(pack.subjects)[rows],
        torch.cat(made),
        torch.cat(wanted),
        torch.cat(origin),
    )


def scale_dense(dense: np.ndarray, factor: float) -> Tensor:
    """Points of the pack's faces at the engine's size; pixel centres are integers at both."""
    out = dense.astype(np.float32) * np.float32(factor)
    out[..., :2] += np.float32((factor - 1) / 2)
    return torch.from_numpy(out)
