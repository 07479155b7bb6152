"""The plan: every row of a synthetic file, resolved before the first image is made.

The images follow from (weights, plan). Rows are source-major: all rows of one source stand together, so that
a source is encoded once for all of its targets.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import DataError
from lssl_augment.synthesis.keyed import Stream, row_seeds, unit_floats, words

__all__ = ["Plan", "SourceTable", "resolve_counts", "resolve_plan"]

_FORMS = "'uniform', 'balance', class names (anger,sadness) or class counts (anger=500,sadness=200)"


@dataclass(frozen=True, eq=False)
class SourceTable:
    """What a plan needs to know about the source faces; one entry a face.

    Args:
        ids: distinct, shape ``(S,)`` int64: what the source is asked for.
        labels: indices in the generator's vocabulary, −1 where unknown to it, shape ``(S,)`` int64.
        subjects: who it is, shape ``(S,)`` str; an empty string where nobody knows.
        folds: the split each face comes from, shape ``(S,)`` str.
    """

    ids: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray
    folds: np.ndarray

    def __post_init__(self) -> None:
        sizes = {len(self.ids), len(self.labels), len(self.subjects), len(self.folds)}
        if len(sizes) != 1:
            raise DataError(f"the columns of a source table must have one length; got {sorted(sizes)}")
        if len(np.unique(self.ids)) != len(self.ids):
            raise DataError("source ids must be distinct")

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Plan:
    """Resolved rows, all columns of shape ``(N,)``.

    Attributes:
        vocabulary: the generator's; ``targets`` and ``source_labels`` index it.
        source_ids: int64. subjects, folds: str. source_labels: int64, −1 = unknown.
        targets: int64. intensities: float32 in [0, 1]. seeds: int64 in [0, 2**63).
        yaws: float32 degrees that the heads are turned to, NaN where they keep their pose.
    """

    vocabulary: Vocabulary
    source_ids: np.ndarray
    subjects: np.ndarray
    folds: np.ndarray
    source_labels: np.ndarray
    targets: np.ndarray
    intensities: np.ndarray
    seeds: np.ndarray
    yaws: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def counts(self) -> dict[str, int]:
        """Rows for each class name, in the vocabulary's order."""
        per_class = np.bincount(self.targets, minlength=len(self.vocabulary))
        return {name: int(n) for name, n in zip(self.vocabulary.names, per_class, strict=True)}

    @property
    def source_starts(self) -> np.ndarray:
        """First row of every source, shape ``(sources,)`` int64."""
        return np.flatnonzero(np.diff(self.source_ids, prepend=self.source_ids[:1] - 1))

    def blocks(self, sources_per_block: int) -> list[slice]:
        """Runs of rows, each holding all rows of ``sources_per_block`` sources (the last may hold fewer)."""
        edges = [*self.source_starts[::sources_per_block].tolist(), len(self)]
        return [slice(a, b) for a, b in pairwise(edges)]

    def sha256(self) -> str:
        """Digest of every column and the class names."""
        digest = hashlib.sha256("\0".join(self.vocabulary.names).encode())
        for column in (self.source_ids, self.source_labels, self.targets, self.seeds):
            digest.update(column.astype("<i8").tobytes())
        digest.update(self.intensities.astype("<f4").tobytes())
        if not np.isnan(self.yaws).all():
            digest.update(b"yaws" + np.where(np.isnan(self.yaws), np.inf, self.yaws).astype("<f4").tobytes())
        for texts in (self.subjects, self.folds):
            digest.update("\0".join(texts.tolist()).encode())
        return digest.hexdigest()


def resolve_counts(
    targets: str, per_class: int | None, vocabulary: Vocabulary, source_labels: np.ndarray
) -> dict[str, int]:
    """Turn the wish into a number of images for each class.

    Args:
        targets: ``'uniform'``: ``per_class`` of every class. ``'balance'``: as many as bring real + synthetic
            to the size of the largest class of the sources, or to ``per_class`` if given. Comma-separated
            class names: ``per_class`` of each of them. ``name=count`` pairs: exactly these.
        per_class: images a class; see above.
        vocabulary: the classes the generator can make.
        source_labels: labels of the real sources, shape ``(S,)``, −1 = unlabelled.

    Raises:
        DataError: for a wish that is not understood, that names unknown classes or that asks for nothing.
    """
    if per_class is not None and per_class < 1:
        raise DataError(f"per-class must be at least 1; got {per_class}")
    counts = dict.fromkeys(vocabulary.names, 0)
    text = targets.strip()
    if text == "balance":
        have = np.bincount(source_labels[source_labels >= 0], minlength=len(vocabulary))
        if not have.any():
            raise DataError("targets 'balance' needs labelled sources, such as a face pack; these have no labels")
        goal = int(have.max()) if per_class is None else per_class
        counts = {name: max(0, goal - int(n)) for name, n in zip(vocabulary.names, have, strict=True)}
    elif "=" in text:
        if per_class is not None:
            raise DataError("targets give a count for each class already; leave per-class away")
        for pair in text.split(","):
            name, _, number = pair.partition("=")
            if not number.strip().isdecimal():
                raise DataError(f"targets must be {_FORMS}; got {pair.strip()!r} in {targets!r}")
            counts[vocabulary.names[vocabulary.index(name)]] = int(number)
    else:
        if per_class is None:
            raise DataError("say how many images each class gets: --per-class N")
        names = vocabulary.names if text == "uniform" else text.split(",")
        if not text:
            raise DataError(f"targets must be {_FORMS}; got {targets!r}")
        for name in names:
            counts[vocabulary.names[vocabulary.index(name)]] = per_class
    if not any(counts.values()):
        raise DataError(f"targets {targets!r} ask for no image at all: every class would get 0")
    return counts


def resolve_plan(
    table: SourceTable,
    vocabulary: Vocabulary,
    counts: dict[str, int],
    *,
    intensity: tuple[float, float],
    seed: int,
    yaw: tuple[float, float] | None = None,
) -> Plan:
    """Draw the rows.

    Every class takes its sources evenly: no source serves a class more than once more often than another. All
    classes go through the sources in one shuffled order in which every subject comes once before any comes
    twice. A source serves classes other than its own label; only when all sources carry a class's label
    (built-in people are all neutral) do they serve it too, as reconstructions at the drawn intensity.

    Args:
        table: the sources. vocabulary: the generator's classes. counts: images for each class name.
        intensity: range the intensities are drawn from, evenly; ``low <= high`` in [0, 1].
        seed: of the whole plan. Row r's seed is keyed on (seed, r).
        yaw: range of degrees that heads are turned to, drawn evenly; None: they keep their pose.

    Raises:
        DataError: without sources, for a bad range, or labels outside the vocabulary.
    """
    low, high = intensity
    if not 0.0 <= low <= high <= 1.0:
        raise DataError(f"intensity must be a value or LOW:HIGH with 0 <= LOW <= HIGH <= 1; got {low}:{high}")
    if len(table) == 0:
        raise DataError("there are no source faces to start from")
    if table.labels.min() < -1 or table.labels.max() >= len(vocabulary):
        raise DataError(f"source labels must be in [-1, {len(vocabulary) - 1}]; got {table.labels.max()}")
    order = _source_order(table.subjects, seed)
    rank = np.empty(len(table), np.int64)
    rank[order] = np.arange(len(table))
    chosen, targets = [], []
    for label, name in enumerate(vocabulary.names):
        candidates = order[table.labels[order] != label]
        candidates = candidates if len(candidates) else order
        chosen.append(np.resize(candidates, counts[name]))  # repeats the list as often as needed
        targets.append(np.full(counts[name], label, np.int64))
    source, target = np.concatenate(chosen), np.concatenate(targets)
    sort = np.lexsort((target, rank[source]))  # stable, so repeats keep their order
    source, target = source[sort], target[sort]
    rows = np.arange(len(target))
    yaws = np.full(len(rows), np.nan, np.float32)
    if yaw is not None:
        yaws = _within(yaw, unit_floats(seed, Stream.YAW, rows))
    return Plan(
        vocabulary=vocabulary,
        source_ids=table.ids[source].astype(np.int64),
        subjects=table.subjects[source],
        folds=table.folds[source],
        source_labels=table.labels[source].astype(np.int64),
        targets=target,
        intensities=_within(intensity, unit_floats(seed, Stream.INTENSITY, rows)),
        seeds=row_seeds(seed, Stream.ROW_SEED, rows),
        yaws=yaws,
    )


def _within(ends: tuple[float, float], share: np.ndarray) -> np.ndarray:
    """Float32 values between two; rounding must not step over an end."""
    low, high = ends
    return np.clip((low + (high - low) * share).astype(np.float32), np.float32(low), np.float32(high))


def _source_order(subjects: np.ndarray, seed: int) -> np.ndarray:
    """Shuffled positions, shape ``(S,)``: first one face of every subject, then a second one, and so on."""
    shuffled = np.argsort(words(seed, Stream.SOURCE_ORDER, np.arange(len(subjects))), kind="stable")
    _, who = np.unique(subjects[shuffled], return_inverse=True)
    by_subject = np.argsort(who, kind="stable")
    starts = np.flatnonzero(np.diff(who[by_subject], prepend=-1))
    occurrence = np.empty(len(who), np.int64)
    occurrence[by_subject] = np.arange(len(who)) - np.repeat(starts, np.diff(starts, append=len(who)))
    occurrence[subjects[shuffled] == ""] = 0  # unknown people count as different people
    return shuffled[np.argsort(occurrence, kind="stable")]
