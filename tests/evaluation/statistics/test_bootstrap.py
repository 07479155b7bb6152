"""The bootstrap: the weighted metrics are those of the repeated faces, and intervals cover as they should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lssl_augment.errors import DataError
from lssl_augment.evaluation.statistics import CELL_METRICS, Cell, measure, paired_bootstrap
from lssl_augment.evaluation.statistics.bootstrap import Resampler
from tests.evaluation.drawn_cells import CLASSES, drawn


def test_a_weight_is_a_face_repeated(tmp_path: Path) -> None:
    cell = drawn(tmp_path, {"real": 1.0}, folds=1, seeds=1)[0]
    resampler = Resampler(6)
    weights, values = resampler.weights(cell), resampler.values(cell)
    for row, weight in enumerate(weights):
        again = np.repeat(np.arange(len(weight)), weight.astype(int))
        wanted = measure(cell.labels[again], cell.probabilities[again], CLASSES)["metrics"]
        for name in CELL_METRICS:
            assert values[name][row] == pytest.approx(wanted[name], rel=1e-5), name


def test_whole_subjects_are_drawn(tmp_path: Path) -> None:
    cells = drawn(tmp_path, {"real": 1.0}, folds=2, seeds=2)
    resampler = Resampler(5, seed=3)
    weights = [resampler.weights(cell) for cell in cells]
    for cell, weight in zip(cells, weights, strict=True):
        for person in np.unique(cell.subjects):
            assert (np.ptp(weight[:, cell.subjects == person], axis=1) == 0).all()
        assert weight[:, np.unique(cell.subjects, return_index=True)[1]].sum(1).tolist() == [20] * 5
    assert (weights[0] == weights[1]).all()  # the same fold
    assert (weights[0] != weights[2]).any()


def test_intervals_of_differences(tmp_path: Path) -> None:
    cells = drawn(tmp_path, {"balanced": 0.5, "lssl": 3.0, "twin": 0.5})
    arms: dict[str, list[Cell]] = {}
    for cell in cells:
        arms.setdefault(cell.arm, []).append(cell)
    better = paired_bootstrap(arms["lssl"], arms["balanced"], draws=200)
    assert better["balanced_accuracy"][0] > 0.2
    assert better["log_loss"][1] < 0
    low, high = paired_bootstrap(arms["twin"], arms["balanced"], draws=200)["balanced_accuracy"]
    assert low < 0 < high
    assert paired_bootstrap(arms["twin"], arms["twin"], draws=20)["accuracy"] == (0.0, 0.0)
    mean = np.mean([c.record["metrics"]["accuracy"] for c in arms["lssl"]])
    low, high = paired_bootstrap(arms["lssl"], None, draws=200)["accuracy"]
    assert low < mean < high
    assert paired_bootstrap(arms["lssl"], None, draws=50) == paired_bootstrap(arms["lssl"], None, draws=50)
    # One fold missing from the other arm: only what both have counts.
    part = [c for c in arms["balanced"] if c.key[0] == 0]
    same = [c for c in arms["lssl"] if c.key[0] == 0]
    assert paired_bootstrap(arms["lssl"], part, draws=20) == paired_bootstrap(same, part, draws=20)


def test_as_wide_as_theory_says() -> None:
    # Accuracy of n faces of n subjects: the interval is about ± 1.96 · sqrt(p (1 − p) / n).
    own = np.random.default_rng(0)
    n, right = 400, own.random(400) < 0.7
    probabilities = np.where(right[:, None], [[0.9, 0.1]], [[0.1, 0.9]])
    record = {"arm": "real", "fold": 0, "seed": 0, "classes": ["a", "b"]}
    names = np.array([str(i) for i in range(n)])
    cell = Cell(record, probabilities, np.zeros(n, np.int64), names, names)
    low, high = paired_bootstrap([cell], None, draws=2000)["accuracy"]
    share = right.mean()
    half = 1.96 * np.sqrt(share * (1 - share) / n)
    assert low == pytest.approx(share - half, abs=0.008)
    assert high == pytest.approx(share + half, abs=0.008)


def test_refusals(tmp_path: Path) -> None:
    cells = drawn(tmp_path, {"real": 1.0}, folds=2, seeds=1)
    with pytest.raises(DataError, match="share no fold"):
        paired_bootstrap(cells[:1], cells[1:])
    other = replace(cells[0], files=cells[0].files[::-1])
    with pytest.raises(DataError, match="other faces in fold 0"):
        paired_bootstrap(cells, [other])
    with pytest.raises(DataError, match="draws"):
        paired_bootstrap(cells, None, draws=1)
