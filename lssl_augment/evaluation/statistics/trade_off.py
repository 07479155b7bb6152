"""What an arm finds at a given plain accuracy: arms compared with their boldness taken out.

A classifier that calls more faces rare finds more rare faces and misnames more common ones. Putting class chances back,
or taking more of them away, moves any arm along such a curve after training, so an arm is better than another where its
curve lies above the other's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lssl_augment.evaluation.prior import base_arm, with_prior
from lssl_augment.evaluation.statistics.bootstrap import Resampler, same_faces
from lssl_augment.evaluation.statistics.results import Cell

__all__ = ["COSTS", "EXPONENTS", "TradeOff", "trade_offs"]

#: Exponents of class chances of the curve, bold to cautious.
EXPONENTS = tuple(round(0.05 * i, 2) for i in range(-20, 21))
#: How much plain accuracy may be lost against the baseline as it is.
COSTS = (0.0, 0.01, 0.02, 0.04)


@dataclass(frozen=True, eq=False)
class TradeOff:
    """The curve of one arm, and what it finds at each of :data:`COSTS`.

    Args:
        arm: its name.
        accuracy, balanced: plain and balanced accuracy at each of :data:`EXPONENTS`, means over cells, ``(E,)``.
        best: highest balanced accuracy of the exponents, one for all cells, with which the mean plain accuracy is
            below the baseline's by at most each cost; NaN where there is none.
        gain: ``best`` less the baseline's at the same cost, on the cells that both have.
        interval: 95 % bootstrap of ``gain`` over test subjects and seeds; the exponent is chosen anew in each draw.
    """

    arm: str
    accuracy: np.ndarray
    balanced: np.ndarray
    best: tuple[float, ...]
    gain: tuple[float, ...]
    interval: tuple[tuple[float, float], ...]


def trade_offs(arms: Mapping[str, Sequence[Cell]], baseline: str | None, resampler: Resampler) -> dict[str, TradeOff]:
    """A curve for each arm that trained classifiers of its own and shares folds, seeds and faces with the baseline.

    The exponents are chosen on the test faces, for every arm alike: a comparison of what arms know, and no result that
    anybody would have had. Empty without a baseline or the numbers of training faces.
    """
    if baseline is None:
        return {}
    theirs = {cell.key: cell for cell in arms[baseline] if cell.train_counts is not None}
    known = {key: _curves(cell, resampler) for key, cell in theirs.items()}
    out = {}
    for name, cells in arms.items():
        ours = {cell.key: cell for cell in cells if cell.key in theirs and cell.train_counts is not None}
        fair = ours and all(same_faces(cell, theirs[key]) for key, cell in ours.items())
        # Another arm's classifiers with class chances moved are points of that one's curve.
        if fair and base_arm(str(cells[0].record["arm"])) == cells[0].record["arm"]:
            own = known if name == baseline else {key: _curves(cell, resampler) for key, cell in ours.items()}
            out[name] = _compare(name, [own[k] for k in ours], [known[k] for k in ours], list(ours), resampler)
    return out


@dataclass(frozen=True, eq=False)
class _Curves:
    """Plain and balanced accuracy of a cell at each exponent: as it is, ``(1, E)``, and in each draw, ``(D, E)``."""

    once: tuple[np.ndarray, np.ndarray]
    drawn: tuple[np.ndarray, np.ndarray]


def _compare(
    name: str, arm: Sequence[_Curves], baseline: Sequence[_Curves], keys: Sequence[Any], resampler: Resampler
) -> TradeOff:
    one, seeds = np.ones((1, len(keys))), resampler.seed_counts(keys)
    accuracy, balanced = _mean([c.once for c in arm], one)
    best = _best(accuracy, balanced, *_mean([c.once for c in baseline], one))
    draws = _best(*_mean([c.drawn for c in arm], seeds), *_mean([c.drawn for c in baseline], seeds))
    interval = []
    for column in (draws[0] - draws[1]).T:
        found = column[np.isfinite(column)]
        low, high = np.quantile(found, resampler.ends) if len(found) else (np.nan, np.nan)
        interval.append((float(low), float(high)))
    return TradeOff(
        name,
        accuracy[0],
        balanced[0],
        tuple(best[0][0].tolist()),
        tuple((best[0] - best[1])[0].tolist()),
        tuple(interval),
    )


def _best(
    accuracy: np.ndarray, balanced: np.ndarray, base_accuracy: np.ndarray, base_balanced: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``(D, E)`` curves → the highest balanced accuracy of arm and baseline at each cost, ``(D, costs)``."""
    level = base_accuracy[:, EXPONENTS.index(0.0)]

    def highest(plain: np.ndarray, value: np.ndarray, cost: float) -> np.ndarray:
        # Rounding must not decide.
        kept = plain >= (level - cost)[:, None] - 1e-9
        found: np.ndarray = np.where(kept, value, -np.inf).max(1)
        return np.where(np.isfinite(found), found, np.nan)

    ours = np.stack([highest(accuracy, balanced, cost) for cost in COSTS], 1)
    return ours, np.stack([highest(base_accuracy, base_balanced, cost) for cost in COSTS], 1)


def _curves(cell: Cell, resampler: Resampler) -> _Curves:
    return _Curves(_curve(cell, np.ones((1, len(cell.labels)), np.float32)), _curve(cell, resampler.weights(cell)))


def _curve(cell: Cell, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Plain and balanced accuracy at each exponent, ``(D, E)``.

    Args:
        weights: how often each of the cell's faces is in each draw, ``(D, N)``.
    """
    plain, balanced = (np.zeros((len(weights), len(EXPONENTS))) for _ in range(2))
    one_hot = np.eye(len(cell.classes), dtype=np.float32)[cell.labels]
    there = (weights @ one_hot).astype(np.float64)
    present = there > 0
    for i, exponent in enumerate(EXPONENTS):
        named = with_prior(cell.probabilities, cell.train_counts or (), exponent).argmax(1)
        right = (weights @ (one_hot * (named == cell.labels)[:, None])).astype(np.float64)
        recall = np.divide(right, there, out=np.zeros_like(right), where=present)
        plain[:, i] = right.sum(1) / there.sum(1)
        balanced[:, i] = recall.sum(1) / present.sum(1)
    return plain, balanced


def _mean(curves: Sequence[tuple[np.ndarray, np.ndarray]], times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over cells, ``(D, E)``; times: how often each cell is in each draw, ``(D, K)``."""
    total = times.sum(1, keepdims=True)
    plain, balanced = (
        sum((often[:, None] * curve[part] for often, curve in zip(times.T, curves, strict=True)), np.zeros(1)) / total
        for part in (0, 1)
    )
    return plain, balanced
