"""Metrics of unbalanced classifiers, checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lssl_augment.errors import DataError
from lssl_augment.evaluation.metrics import METRICS, score, subject_interval

NAMES = ("a", "b", "c")


def test_by_hand() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 0, 1, 1, 2, 2])
    got = score(labels, np.eye(3)[predicted], NAMES)
    assert got.recall == {"a": 0.75, "b": 0.5, "c": 1.0}
    assert got.balanced_accuracy == pytest.approx(0.75)
    assert got.accuracy == pytest.approx(5 / 7)
    # F1: a 2·3/(2·3+0+1), b 2·1/(2+1+1), c 2·1/(2+1+0)
    assert got.macro_f1 == pytest.approx((6 / 7 + 1 / 2 + 2 / 3) / 3)
    # AUROC of a yes/no answer is the mean of sensitivity and specificity.
    assert got.macro_auroc == pytest.approx(((0.75 + 1) / 2 + (0.5 + 4 / 5) / 2 + (1 + 5 / 6) / 2) / 3)


def test_always_the_commonest_class() -> None:
    labels = np.array([0] * 8 + [1, 2])
    got = score(labels, np.tile([0.8, 0.1, 0.1], (10, 1)), NAMES)
    assert got.accuracy == pytest.approx(0.8)
    assert got.balanced_accuracy == pytest.approx(1 / 3)
    assert got.macro_auroc == pytest.approx(0.5)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=0, max_size=20), st.integers(0, 100))
def test_bounds_and_the_perfect_answer(more: list[int], seed: int) -> None:
    labels = np.array([0, 1, 2, *more])
    perfect = score(labels, np.eye(3)[labels], NAMES)
    assert all(getattr(perfect, m) == 1.0 for m in METRICS)
    noise = np.random.default_rng(seed).dirichlet(np.ones(3), len(labels))
    assert all(0 <= getattr(score(labels, noise, NAMES), m) <= 1 for m in METRICS)


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([0, 1], np.eye(3)[[0, 1]], "missing: c"),
        ([0, 1, 3], np.eye(3), "missing: c"),
        ([0, 1, 2], np.eye(4)[:3], r"\(N, 3\)"),
        ([0, 1, 2], np.full((3, 3), np.nan), "finite"),
    ],
)
def test_refusals(labels: list[int], probabilities: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        score(np.array(labels), probabilities, NAMES)


def test_interval_over_subjects() -> None:
    own = np.random.default_rng(0)
    labels = own.integers(0, 3, 600)
    subjects = own.integers(0, 200, 600).astype(str)
    low, high = subject_interval(np.zeros(600), labels, subjects)
    assert low == high == 0
    gain = (own.random(600) < 0.3).astype(float)
    low, high = subject_interval(gain, labels, subjects)
    # Balanced mean of about 0.3 with a standard error of about sqrt(0.3·0.7/600).
    assert 0.22 < low < 0.3 < high < 0.38
    # All faces of one class from one subject: resampling faces would hide that, resampling subjects must not.
    one = np.where(labels == 2, "x", subjects)
    wide = subject_interval(gain * (labels == 2), labels, one)
    assert wide == subject_interval(gain * (labels == 2), labels, one)
    with pytest.raises(DataError, match="too few subjects"):
        subject_interval(np.zeros(2), np.array([0, 1]), np.array(["a", "b"]), draws=1, seed=3)
