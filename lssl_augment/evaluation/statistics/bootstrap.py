"""Intervals by drawing test subjects (and seeds) again, both arms on the same draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lssl_augment.errors import DataError
from lssl_augment.evaluation.statistics.cell_metrics import BINS, CELL_METRICS, confidence_bins
from lssl_augment.evaluation.statistics.results import Cell

__all__ = ["Resampler", "check_same_faces", "paired_bootstrap", "same_faces"]

_AUROC_BLOCK = 64


class Resampler:
    """Draws test subjects and seeds again; what was computed for a cell is kept for the next comparison.

    A draw takes, in every fold, as many test subjects as there are, with replacement and with all of their faces, and
    as many seeds as there are, with replacement; the metric of each (fold, seed) is taken and averaged.

    Args:
        draws: bootstrap samples. level: coverage. seed: of the draws.
    """

    def __init__(self, draws: int = 1000, level: float = 0.95, seed: int = 0) -> None:
        if draws < 2 or not 0 < level < 1:
            raise DataError(f"draws must be at least 2 and level in (0, 1); got {draws} and {level}")
        self._draws, self._level, self._seed = draws, level, seed
        self._weights: dict[tuple[str, bytes], np.ndarray] = {}
        self._values: dict[int, tuple[Cell, dict[str, np.ndarray]]] = {}

    @property
    def ends(self) -> tuple[float, float]:
        """Quantiles of the draws between which an interval lies."""
        return (1 - self._level) / 2, (1 + self._level) / 2

    def weights(self, cell: Cell) -> np.ndarray:
        """How often each of the cell's faces is in each draw, ``(draws, N)`` float32; the same within a fold."""
        fold, subjects = str(cell.key[0]), cell.subjects.tobytes()
        if (fold, subjects) not in self._weights:
            people, person = np.unique(cell.subjects, return_inverse=True)
            own = np.random.default_rng([self._seed, 0, *fold.encode()])
            picked = own.multinomial(len(people), np.full(len(people), 1 / len(people)), size=self._draws)
            self._weights[fold, subjects] = picked.astype(np.float32)[:, person]
        return self._weights[fold, subjects]

    def values(self, cell: Cell) -> dict[str, np.ndarray]:
        """Each metric of each draw, ``(draws,)`` float64; NaN where it is not defined."""
        known = self._values.get(id(cell))
        if known is None:  # the cell is kept too, so that its id stays its own
            known = self._values[id(cell)] = cell, _weighted(cell, self.weights(cell))
        return known[1]

    def seed_counts(self, keys: Sequence[tuple[Any, int]]) -> np.ndarray:
        """How often the cell of each (fold, seed) is in each draw of seeds, ``(draws, K)`` float64."""
        own = np.random.default_rng([self._seed, 1])
        seeds = sorted({key[1] for key in keys})
        chosen = own.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), size=self._draws)
        return chosen[:, [seeds.index(key[1]) for key in keys]].astype(np.float64)

    def interval(self, arm: Sequence[Cell], baseline: Sequence[Cell] | None = None) -> dict[str, tuple[float, float]]:
        """See :func:`paired_bootstrap`."""
        ours = {cell.key: cell for cell in arm}
        theirs = ours if baseline is None else {cell.key: cell for cell in baseline}
        keys = [key for key in ours if key in theirs]
        if not keys:
            raise DataError("the two arms share no fold and seed, so they cannot be compared")
        for key in keys:
            check_same_faces(ours[key], theirs[key])
        counts = self.seed_counts(keys)
        out = {}
        for name in CELL_METRICS:
            table = np.stack([self.values(ours[key])[name] for key in keys], axis=1)
            if baseline is not None:
                table = table - np.stack([self.values(theirs[key])[name] for key in keys], axis=1)
            known = np.isfinite(table)
            total = (counts * known).sum(1)
            mean = (counts * np.where(known, table, 0)).sum(1)[total > 0] / total[total > 0]
            low, high = np.quantile(mean, self.ends) if len(mean) else (np.nan, np.nan)
            out[name] = float(low), float(high)
        return out


def paired_bootstrap(
    arm: Sequence[Cell],
    baseline: Sequence[Cell] | None,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of the arm's metrics, or of their differences from a baseline's.

    Arm and baseline see the same draws, and only (fold, seed) pairs that both have.

    Args:
        arm: its cells. baseline: the other's, None: intervals of the arm itself.
        draws, level, seed: see :class:`Resampler`.

    Returns:
        Metric → (lower, upper).

    Raises:
        DataError: when no (fold, seed) is shared, or the test faces of a pair differ.
    """
    return Resampler(draws, level, seed).interval(arm, baseline)


def same_faces(one: Cell, other: Cell) -> bool:
    """Whether both cells were tested on the same faces in the same order."""
    return np.array_equal(one.files, other.files) and np.array_equal(one.labels, other.labels)


def check_same_faces(one: Cell, other: Cell) -> None:
    """``DataError`` unless both cells were tested on the same faces in the same order."""
    if not same_faces(one, other):
        raise DataError(
            f"{one.arm} and {other.arm} were tested on other faces in fold {one.key[0]}, seed {one.key[1]}: "
            "they cannot be compared"
        )


def _weighted(cell: Cell, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of :func:`~.cell_metrics.measure` with a weight for each face."""
    labels, probabilities = cell.labels, cell.probabilities
    rows, count = np.arange(len(labels)), probabilities.shape[1]
    predicted, total = probabilities.argmax(1), weights.sum(1).astype(np.float64)
    # One column a cell of the confusion matrix.
    place = np.zeros((len(labels), count * count), np.float32)
    place[rows, labels * count + predicted] = 1
    confusion = (weights @ place).astype(np.float64).reshape(-1, count, count)
    right = np.diagonal(confusion, axis1=1, axis2=2)
    actual, said = confusion.sum(2), confusion.sum(1)
    present = actual > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.where(present, right / actual, 0).sum(1) / present.sum(1)
        f1 = np.where(present, 2 * right / np.maximum(actual + said, 1), 0).sum(1) / present.sum(1)
    confidence = probabilities.max(1)
    bins = np.zeros((len(labels), BINS), np.float32)
    bins[rows, confidence_bins(confidence)] = confidence - (predicted == labels)
    loss = -np.log(np.maximum(probabilities[rows, labels], 1e-7))
    return {
        "balanced_accuracy": recall,
        "macro_f1": f1,
        "macro_auroc": _weighted_auroc(labels, probabilities, weights),
        "accuracy": right.sum(1) / total,
        "ece": np.abs(weights @ bins).sum(1) / total,
        "log_loss": weights @ loss / total,
    }


def _weighted_auroc(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """One against rest, mean over classes that have faces on both sides of the draw; ties count half."""
    columns = []
    for c in range(probabilities.shape[1]):
        order = np.argsort(probabilities[:, c], kind="stable")
        score, positive = probabilities[order, c], labels[order] == c
        starts = np.nonzero(np.r_[True, score[1:] != score[:-1]])[0]  # one group a distinct score
        parts = []
        for start in range(0, len(weights), _AUROC_BLOCK):
            ordered = weights[start : start + _AUROC_BLOCK][:, order].astype(np.float64)
            plus = np.add.reduceat(ordered * positive, starts, axis=1)
            minus = np.add.reduceat(ordered * ~positive, starts, axis=1)
            below = np.cumsum(minus, axis=1) - minus / 2
            with np.errstate(invalid="ignore", divide="ignore"):
                parts.append((plus * below).sum(1) / (plus.sum(1) * minus.sum(1)))
        columns.append(np.concatenate(parts))
    table = np.stack(columns, axis=1)
    known = np.isfinite(table)
    with np.errstate(invalid="ignore"):
        return np.where(known, table, 0).sum(1) / known.sum(1)
