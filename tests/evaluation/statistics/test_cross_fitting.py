"""Exponents of class chances come from the other folds alone, and obey their rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lssl_augment.evaluation.prior import with_prior
from lssl_augment.evaluation.report import write_report
from lssl_augment.evaluation.statistics import Cell, cross_fitted, read_cells
from lssl_augment.evaluation.statistics.cross_fitting import GRID
from tests.evaluation.drawn_cells import CLASSES, draw_results

COUNTS = {"neutral": 400, "happiness": 100, "surprise": 25}
SKILLS = {"balanced": 1.0, "balanced-prior": 1.0, "lssl": 1.1, "lssl-prior": 1.1}


@pytest.fixture
def cells(tmp_path: Path) -> list[Cell]:
    draw_results(tmp_path, SKILLS, folds=3, seeds=2, n_train=COUNTS)
    return read_cells(tmp_path)


def exponents(cells: list[Cell], arm: str, suffix: str = "-prior-cv") -> dict[object, float]:
    """The exponent that turns each fold's stored probabilities into the cross-fitted ones."""
    stored = {cell.key: cell for cell in cells if cell.arm == arm}
    out: dict[object, float] = {}
    for cell in cross_fitted(cells):
        if cell.arm == f"{arm}{suffix}":
            before = stored[cell.key].probabilities
            tried = [np.abs(with_prior(before, list(COUNTS.values()), e) - cell.probabilities).max() for e in GRID]
            assert min(tried) < 1e-9
            chosen = GRID[int(np.argmin(tried))]
            assert out.setdefault(cell.key[0], chosen) == chosen  # the seeds of a fold share it
    return out


def balanced_and_plain(cell: Cell, exponent: float) -> tuple[float, float]:
    weighted = cell.probabilities * (np.array(list(COUNTS.values())) / 525) ** exponent
    right = weighted.argmax(1) == cell.labels
    return float(np.mean([right[cell.labels == c].mean() for c in range(len(CLASSES))])), float(right.mean())


@pytest.mark.parametrize(("suffix", "cost"), [("-prior-cv", 0.0), ("-prior-cv1", 0.01)])
@pytest.mark.parametrize("arm", ["balanced", "lssl"])
def test_each_exponent_obeys_the_rule_on_the_other_folds(
    cells: list[Cell], arm: str, suffix: str, cost: float
) -> None:
    chosen = exponents(cells, arm, suffix)
    assert set(chosen) == {0, 1, 2}
    for fold, exponent in chosen.items():
        others = [cell for cell in cells if cell.arm == arm and cell.key[0] != fold]
        plain = {cell.key: balanced_and_plain(cell, 0.0)[1] for cell in cells if cell.arm == "balanced"}
        table = {}
        for e in GRID:
            found = [(b, a - plain[cell.key]) for cell in others for b, a in [balanced_and_plain(cell, e)]]
            table[e] = np.mean(found, axis=0)
        kept = {e: row[0] for e, row in table.items() if row[1] >= -cost}
        assert exponent == (max(kept, key=lambda e: kept[e]) if kept else max(table, key=lambda e: table[e][1]))


def test_labels_of_a_fold_have_no_say_in_its_exponent(cells: list[Cell]) -> None:
    rng = np.random.default_rng(0)
    changed = [
        replace(cell, labels=rng.permutation(cell.labels)) if cell.key[0] == 1 else cell
        for cell in cells
        if not cell.arm.endswith("-prior") or cell.arm == "lssl-prior"
    ]
    assert exponents(changed, "lssl")[1] == exponents(cells, "lssl")[1]


def test_metrics_and_notes_are_of_the_changed_probabilities(cells: list[Cell]) -> None:
    words = {"lssl-prior-cv": ": 0: ", "lssl-prior-cv1": " at a cost of at most 1 point of accuracy: 0: "}
    for arm, told in words.items():
        made = [cell for cell in cross_fitted(cells) if cell.arm == arm]
        assert len(made) == 6
        for cell in made:
            assert cell.record["metrics"]["accuracy"] == pytest.approx(cell.correct.mean())
            assert any(f"chosen on the other folds{told}" in note for note in cell.record["notes"])


def test_a_point_of_accuracy_buys_bolder_exponents(tmp_path: Path) -> None:
    draw_results(tmp_path, {"balanced": 1.0, "lssl": 0.85, "lssl-prior": 0.85}, folds=3, seeds=12, n_train=COUNTS)
    cells = read_cells(tmp_path)
    free, paid = (exponents(cells, "lssl", suffix) for suffix in ("-prior-cv", "-prior-cv1"))
    assert all(paid[fold] < free[fold] for fold in free)


def test_nothing_is_chosen_without_other_folds_or_a_baseline(cells: list[Cell]) -> None:
    assert cross_fitted([cell for cell in cells if cell.key[0] == 0]) == []
    assert cross_fitted([cell for cell in cells if not cell.arm.startswith("balanced")]) == []
    assert {c.arm for c in cross_fitted([c for c in cells if c.arm != "lssl-prior"])} == {
        "balanced-prior-cv",
        "balanced-prior-cv1",
    }


def test_the_report_tests_them_beside_the_others(tmp_path: Path) -> None:
    draw_results(tmp_path, SKILLS, folds=2, seeds=3, n_train=COUNTS, n_synthetic=0)
    markdown = write_report(tmp_path, draws=40)[0].read_text()
    assert markdown.count("| lssl-prior-cv | 6 |") == 3  # metrics, differences from two others
    # A baseline that keeps exponent 0 differs from itself by nothing and says nothing of what p-values can be.
    assert "cannot fall below 1." not in markdown
