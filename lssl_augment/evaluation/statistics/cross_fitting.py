"""How much of the class chances to put back, chosen for each fold on the people of the other folds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lssl_augment.evaluation.prior import CROSS_FITTED_SUFFIXES, PRIOR_SUFFIX, with_prior
from lssl_augment.evaluation.statistics.cell_metrics import measure
from lssl_augment.evaluation.statistics.results import Cell
from lssl_augment.evaluation.statistics.summary import BASELINE

__all__ = ["GRID", "cross_fitted"]

#: Exponents to choose from; of several that serve alike the first is taken, so bold ones come last.
GRID = (*(round(0.05 * i, 2) for i in range(21)), *(round(-0.05 * i, 2) for i in range(1, 21)))


def cross_fitted(cells: Sequence[Cell]) -> list[Cell]:
    """Cells ``NAME-prior-cv`` and ``-cv1`` of every arm that has cells ``NAME-prior`` and was tested on several folds.

    The exponent of a fold is chosen on the cells of all other folds: of those exponents with which the arm's plain
    accuracy there is no lower than that of ``balanced`` (unchanged), or lower by at most one point (``-cv1``), the one
    of the highest balanced accuracy; where there is none, the one of the highest plain accuracy. No label of a fold's
    test people has a say in their own exponent. The other folds' test people are among a fold's training people, so in
    a low-data regime this one number comes from more labels than the classifier had.

    Returns:
        New cells, with metrics of their own; empty where nothing can be chosen (a single fold, or no ``balanced``).
    """
    out: list[Cell] = []
    for group in _by(cells, _experiment):
        arms = {found[0].arm: found for found in _by(group, lambda cell: cell.arm)}
        names = {str(cell.record["arm"]) for cell in group}
        for name, own in arms.items():
            if BASELINE in arms and f"{own[0].record['arm']}{PRIOR_SUFFIX}" in names:
                theirs = {cell.key: cell for cell in arms[BASELINE]}
                for suffix, cost in CROSS_FITTED_SUFFIXES.items():
                    out += _of_arm(name, own, theirs, suffix, cost)
    return out


def _of_arm(name: str, own: Sequence[Cell], baseline: dict[Any, Cell], suffix: str, cost: float) -> list[Cell]:
    paired = [cell for cell in own if cell.key in baseline]
    if len({str(cell.key[0]) for cell in paired}) < 2:
        return []
    # (cells, exponents, 2): balanced accuracy, and plain accuracy less the lowest that is allowed.
    scores = np.array([[_accuracies(cell, e) for e in GRID] for cell in paired])
    scores[..., 1] -= np.array([_accuracies(baseline[cell.key], 0.0)[1] for cell in paired])[:, None] - cost
    folds = np.array([str(cell.key[0]) for cell in paired])
    chosen = {fold: _choose(scores[folds != fold].mean(0)) for fold in dict.fromkeys(folds.tolist())}
    words = ", ".join(f"{fold}: {e:g}" for fold, e in chosen.items())
    at_most = f" at a cost of at most {100 * cost:g} point of accuracy" if cost else ""
    note = f"{name}, exponent of class chances for each fold, chosen on the other folds{at_most}: {words}"
    return [_changed(cell, suffix, chosen[str(cell.key[0])], note) for cell in paired]


def _choose(scores: np.ndarray) -> float:
    """From balanced accuracy and how far plain accuracy is above the lowest allowed, of each exponent, ``(E, 2)``."""
    kept = scores[:, 1] >= 0
    best = np.where(kept, scores[:, 0], -np.inf).argmax() if kept.any() else scores[:, 1].argmax()
    return GRID[int(best)]


def _changed(cell: Cell, suffix: str, exponent: float, note: str) -> Cell:
    probabilities = _with_chances(cell, exponent)
    record = {
        **cell.record,
        "arm": f"{cell.record['arm']}{suffix}",
        **measure(cell.labels, probabilities, cell.classes),
        "seconds": 0.0,
        "notes": [*(cell.record.get("notes") or ()), note],
    }
    return replace(cell, record=record, probabilities=probabilities)


def _accuracies(cell: Cell, exponent: float) -> tuple[float, float]:
    right = _with_chances(cell, exponent).argmax(1) == cell.labels
    recalls = [right[cell.labels == label].mean() for label in np.unique(cell.labels)]
    return float(np.mean(recalls)), float(right.mean())


def _with_chances(cell: Cell, exponent: float) -> np.ndarray:
    return with_prior(cell.probabilities, cell.train_counts or (), exponent)


def _experiment(cell: Cell) -> tuple[Any, ...]:
    r = cell.record
    return r["protocol"], r["dataset"], r["regime"], r["classifier"], cell.test_item


def _by(cells: Iterable[Cell], key: Any) -> list[list[Cell]]:
    groups: dict[Any, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    return list(groups.values())
