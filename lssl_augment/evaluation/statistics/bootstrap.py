"""Intervals by drawing test subjects (and seeds) again, both arms on the same draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lssl_augment.errors import DataError
from lssl_augment.evaluation.statistics.cell_metrics import BINS, CELL_METRICS, confidence_bins
from lssl_augment.evaluation.statistics.results import Cell

__all__ = ["bootstrap_metrics", "paired_bootstrap"]

_AUROC_BLOCK = 64


def paired_bootstrap(
    arm: Sequence[Cell],
    baseline: Sequence[Cell] | None,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of the arm's metrics, or of their differences from a baseline's.

    A draw takes, in every fold, as many test subjects as there are, with replacement and with all of their faces, and
    as many seeds as there are, with replacement; the metric of each (fold, seed) is taken and averaged. Arm and
    baseline see the same draws, and only (fold, seed) pairs that both have.

    Args:
        arm: its cells. baseline: the other's, None: intervals of the arm itself.
        draws: bootstrap samples. level: coverage. seed: of the draws.

    Returns:
        Metric → (lower, upper).

    Raises:
        DataError: when no (fold, seed) is shared, or the test faces of a pair differ.
    """
    if draws < 2 or not 0 < level < 1:
        raise DataError(f"draws must be at least 2 and level in (0, 1); got {draws} and {level}")
    ours = {cell.key: cell for cell in arm}
    theirs = ours if baseline is None else {cell.key: cell for cell in baseline}
    keys = [key for key in ours if key in theirs]
    if not keys:
        raise DataError("the two arms share no fold and seed, so they cannot be compared")
    for key in keys:
        check_same_faces(ours[key], theirs[key])
    weights = draw_subjects({key: ours[key] for key in keys}, draws, seed)
    values = bootstrap_metrics([ours[key] for key in keys], weights)
    if baseline is not None:
        other = bootstrap_metrics([theirs[key] for key in keys], weights)
        values = {name: values[name] - other[name] for name in values}
    own = np.random.default_rng([seed, 1])
    seeds = sorted({key[1] for key in keys})
    chosen = own.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), size=draws)
    counts = chosen[:, [seeds.index(key[1]) for key in keys]].astype(np.float64)
    ends = [(1 - level) / 2, (1 + level) / 2]
    out = {}
    for name, table in values.items():
        known = np.isfinite(table)
        total = (counts * known).sum(1)
        mean = (counts * np.where(known, table, 0)).sum(1)[total > 0] / total[total > 0]
        low, high = np.quantile(mean, ends) if len(mean) else (np.nan, np.nan)
        out[name] = float(low), float(high)
    return out


def check_same_faces(one: Cell, other: Cell) -> None:
    """``DataError`` unless both cells were tested on the same faces in the same order."""
    if len(one.files) != len(other.files) or (one.files != other.files).any() or (one.labels != other.labels).any():
        raise DataError(
            f"{one.arm} and {other.arm} were tested on other faces in fold {one.key[0]}, seed {one.key[1]}: "
            "they cannot be compared"
        )


def draw_subjects(cells: Mapping[Any, Cell], draws: int, seed: int) -> list[np.ndarray]:
    """For each cell the weight of each of its faces in each draw, ``(draws, N)`` float32; the same within a fold."""
    folds: dict[Any, np.ndarray] = {}
    out = []
    for (fold, _), cell in cells.items():
        if fold not in folds:
            people, person = np.unique(cell.subjects, return_inverse=True)
            own = np.random.default_rng([seed, 0, len(folds)])
            picked = own.multinomial(len(people), np.full(len(people), 1 / len(people)), size=draws)
            folds[fold] = picked.astype(np.float32)[:, person]
        if folds[fold].shape[1] != len(cell.labels):
            raise DataError(f"fold {fold} has other test faces from seed to seed")
        out.append(folds[fold])
    return out


def bootstrap_metrics(cells: Sequence[Cell], weights: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Each metric of each draw of each cell, ``(draws, cells)`` float64; NaN where it is not defined."""
    columns = [_weighted(cell, weight) for cell, weight in zip(cells, weights, strict=True)]
    return {name: np.stack([column[name] for column in columns], axis=1) for name in CELL_METRICS}


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
