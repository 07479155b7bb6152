"""Cells → a summary for each regime: every arm, and how it differs from the baseline and from the best without
synthetic faces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lssl_augment.errors import DataError
from lssl_augment.evaluation.statistics.bootstrap import Resampler, same_faces
from lssl_augment.evaluation.statistics.cell_metrics import CELL_METRICS
from lssl_augment.evaluation.statistics.paired_tests import (
    McNemar,
    Wilcoxon,
    holm,
    mcnemar,
    mcnemar_counts,
    wilcoxon,
)
from lssl_augment.evaluation.statistics.results import Cell
from lssl_augment.evaluation.statistics.trade_off import TradeOff, trade_offs

__all__ = ["BASELINE", "PRIMARY", "SEQUENCE_CLASSIFIERS", "ArmSummary", "Gap", "Regime", "summarise_cells"]

#: The metric that tests and verdicts are about.
PRIMARY = "balanced_accuracy"
#: The classifier of a group of sequence classifiers, each of which is an arm.
SEQUENCE_CLASSIFIERS = "sequence classifiers"
#: Real faces, ordinary augmentation, classes drawn evenly.
BASELINE = "balanced"


@dataclass(frozen=True)
class Gap:
    """One arm against another, on the (fold, seed) pairs that both have.

    Args:
        other: name of the other arm. pairs: number of pairs.
        mean, sd: of the paired differences of each metric (sd with n − 1; 0 for a single pair).
        interval: 95 % bootstrap over test subjects and seeds.
        wilcoxon: over the pairs, on balanced accuracy. wilcoxon_holm: its p-value after Holm over the arms.
        folds: McNemar's test in each fold, on the mean of the seeds' probabilities.
        mcnemar: the same with the folds' faces together. mcnemar_holm: its p-value after Holm over the arms.
    """

    other: str
    pairs: int
    mean: dict[str, float]
    sd: dict[str, float]
    interval: dict[str, tuple[float, float]]
    wilcoxon: Wilcoxon
    folds: dict[str, McNemar]
    mcnemar: McNemar
    wilcoxon_holm: float = float("nan")
    mcnemar_holm: float = float("nan")

    @property
    def outcome(self) -> str:
        """``"helped"``, ``"hurt"`` or ``"open"`` (the interval of balanced accuracy holds 0)."""
        low, high = self.interval[PRIMARY]
        return "helped" if low > 0 else "hurt" if high < 0 else "open"


@dataclass(frozen=True)
class ArmSummary:
    """One arm of a regime.

    Args:
        name: with its amount. synthetic: whether it trains on synthetic faces. cells: its cells.
        mean, sd: of each metric over cells. interval: 95 % bootstrap of the mean.
        recall, precision: of each class, mean over cells that have it (NaN: none).
        confusion: ``(C, C)`` counts summed over cells, row = label.
        to_baseline, to_best_real: differences; None for the arm itself, or where there is no such arm.
    """

    name: str
    synthetic: bool
    cells: tuple[Cell, ...]
    mean: dict[str, float]
    sd: dict[str, float]
    interval: dict[str, tuple[float, float]]
    recall: dict[str, float]
    precision: dict[str, float]
    confusion: np.ndarray
    to_baseline: Gap | None = None
    to_best_real: Gap | None = None


@dataclass(frozen=True)
class Regime:
    """All arms of one protocol, regime, test item and classifier.

    Args:
        classifier: its name; :data:`SEQUENCE_CLASSIFIERS` where each arm is a classifier of its own.
        baseline: name of the arm that others are tested against: ``balanced``, or without it the best without
            synthetic faces; None when there is neither.
        best_real: the arm without synthetic faces with the highest balanced accuracy.
        notes: which comparisons were not made, and why.
        trade_offs: curves of the arms that share folds, seeds and faces with the baseline.
        test_item: ``face`` or ``sequence``: what was tested. Arms tested on one are never compared with the other's.
    """

    protocol: str
    dataset: str
    simulated: bool
    name: str
    classifier: str
    classes: tuple[str, ...]
    arms: dict[str, ArmSummary]
    baseline: str | None
    best_real: str | None
    notes: tuple[str, ...] = ()
    test_item: str = "face"
    trade_offs: dict[str, TradeOff] = field(default_factory=dict)


def summarise_cells(cells: Sequence[Cell], *, draws: int = 1000, seed: int = 0) -> list[Regime]:
    """One summary for each (protocol, data set, regime, test item, classifier), in the order of first appearance.

    Classifiers of whole sequences are arms of one summary of their own.
    Arms that were tested on other faces (where a judge scores generated faces) are not compared; a note says so.

    Raises:
        DataError: when the cells of a regime name different classes.
    """
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        r = cell.record
        classifier = SEQUENCE_CLASSIFIERS if cell.test_item == "sequence" else r["classifier"]
        key = r["protocol"], r["dataset"], bool(r.get("simulated")), r["regime"], classifier, cell.test_item
        groups.setdefault(key, []).append(cell)
    return [_regime(key, group, Resampler(draws, seed=seed)) for key, group in groups.items()]


def _regime(key: tuple[Any, ...], cells: list[Cell], resampler: Resampler) -> Regime:
    classes = cells[0].classes
    if any(cell.classes != classes for cell in cells):
        raise DataError(f"regime {key[3]!r} mixes cells ({key[5]}s) of different classes")
    by_arm: dict[str, list[Cell]] = {}
    for cell in cells:
        by_arm.setdefault(cell.arm, []).append(cell)
    arms = {name: _arm(name, group, resampler) for name, group in by_arm.items()}
    real = [arm for arm in arms.values() if not arm.synthetic]
    best = max(real, key=lambda arm: arm.mean[PRIMARY]).name if real else None
    baseline = BASELINE if BASELINE in arms else best
    to_baseline = _gaps(arms, baseline, resampler)
    to_best = to_baseline if best == baseline else _gaps(arms, best, resampler)
    arms = {n: replace(arm, to_baseline=to_baseline.get(n), to_best_real=to_best.get(n)) for n, arm in arms.items()}
    protocol, dataset, simulated, name, classifier, item = key
    missing = [n for n in arms if baseline is not None and n != baseline and n not in to_baseline]
    notes = tuple(f"{n} was tested on other {item}s, folds or seeds than {baseline}: not compared." for n in missing)
    curves = {} if item == "sequence" else trade_offs({n: arm.cells for n, arm in arms.items()}, baseline, resampler)
    return Regime(protocol, dataset, simulated, name, classifier, classes, arms, baseline, best, notes, item, curves)


def _arm(name: str, cells: list[Cell], resampler: Resampler) -> ArmSummary:
    values = {m: np.array([cell.record["metrics"].get(m, np.nan) for cell in cells], float) for m in CELL_METRICS}
    classes = cells[0].classes
    count = len(classes)
    confusion = np.zeros((count, count), np.int64)
    for cell in cells:
        np.add.at(confusion, (cell.labels, cell.probabilities.argmax(1)), 1)
    return ArmSummary(
        name,
        any(cell.synthetic for cell in cells),
        tuple(cells),
        {m: float(v.mean()) for m, v in values.items()},
        {m: _sd(v) for m, v in values.items()},
        resampler.interval(cells),
        _by_class([cell.record.get("recall", {}) for cell in cells], classes),
        _by_class([cell.record.get("precision", {}) for cell in cells], classes),
        confusion,
    )


def _gaps(arms: Mapping[str, ArmSummary], other: str | None, resampler: Resampler) -> dict[str, Gap]:
    if other is None:
        return {}
    gaps = {}
    for name, arm in arms.items():
        pairs = _pairs(arm, arms[other])
        if name != other and pairs and all(same_faces(ours, theirs) for ours, theirs in pairs):
            gaps[name] = _gap(arm, arms[other], resampler)
    ranks = holm({name: gap.wilcoxon.p for name, gap in gaps.items()})
    faces = holm({name: gap.mcnemar.p for name, gap in gaps.items()})
    return {n: replace(gap, wilcoxon_holm=ranks[n], mcnemar_holm=faces[n]) for n, gap in gaps.items()}


def _gap(arm: ArmSummary, other: ArmSummary, resampler: Resampler) -> Gap:
    pairs = _pairs(arm, other)
    steps = {
        m: np.array([a.record["metrics"].get(m, np.nan) - b.record["metrics"].get(m, np.nan) for a, b in pairs])
        for m in CELL_METRICS
    }
    folds: dict[str, list[tuple[Cell, Cell]]] = {}
    for pair in pairs:
        folds.setdefault(str(pair[0].key[0]), []).append(pair)
    tests = {fold: mcnemar(*(_together(side) for side in zip(*group, strict=True))) for fold, group in folds.items()}
    return Gap(
        other.name,
        len(pairs),
        {m: float(v.mean()) for m, v in steps.items()},
        {m: _sd(v) for m, v in steps.items()},
        resampler.interval(arm.cells, other.cells),
        wilcoxon(steps[PRIMARY]),
        tests,
        mcnemar_counts(sum(t.gained for t in tests.values()), sum(t.lost for t in tests.values())),
    )


def _pairs(arm: ArmSummary, other: ArmSummary) -> list[tuple[Cell, Cell]]:
    """Cells of both that share fold and seed."""
    theirs = {cell.key: cell for cell in other.cells}
    return [(cell, theirs[cell.key]) for cell in arm.cells if cell.key in theirs]


def _together(cells: Sequence[Cell]) -> np.ndarray:
    """Whether each face is named rightly by the mean of the seeds' probabilities."""
    right: np.ndarray = np.mean([cell.probabilities for cell in cells], axis=0).argmax(1) == cells[0].labels
    return right


def _by_class(rows: Sequence[Mapping[str, float | None]], classes: Sequence[str]) -> dict[str, float]:
    out = {}
    for name in classes:
        known = [value for row in rows if (value := row.get(name)) is not None]
        out[name] = float(np.mean(known)) if known else float("nan")
    return out


def _sd(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0
