"""Metrics of one cell against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from lssl_augment.errors import DataError
from lssl_augment.evaluation.statistics.cell_metrics import CELL_METRICS, calibration_error, confidence_bins, measure

CLASSES = ("a", "b", "c")


@pytest.mark.parametrize("seed", range(5))
def test_against_scikit_learn(seed: int) -> None:
    own = np.random.default_rng(seed)
    labels = own.integers(0, 3, 60)
    probabilities = own.dirichlet(np.ones(3), 60).round(1) + 0.01  # ties occur
    probabilities /= probabilities.sum(1, keepdims=True)
    predicted = probabilities.argmax(1)
    out = measure(labels, probabilities, CLASSES)
    wanted = {
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
        "macro_f1": metrics.f1_score(labels, predicted, average="macro"),
        "macro_auroc": metrics.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro"),
        "accuracy": metrics.accuracy_score(labels, predicted),
        "log_loss": metrics.log_loss(labels, probabilities),
    }
    assert tuple(out["metrics"]) == CELL_METRICS
    for name, value in wanted.items():
        assert out["metrics"][name] == pytest.approx(value, rel=1e-5), name
    assert out["confusion"] == metrics.confusion_matrix(labels, predicted).tolist()
    recall = metrics.recall_score(labels, predicted, average=None)
    precision = metrics.precision_score(labels, predicted, average=None)
    assert list(out["recall"].values()) == pytest.approx(recall)
    assert list(out["precision"].values()) == pytest.approx(precision)


def test_calibration_by_hand() -> None:
    # Four faces said with 0.9, of which 2 are right, one with 0.6 that is right: (4·|0.9 − 0.5| + |0.6 − 1|) / 5.
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]])
    labels = np.array([0, 0, 1, 1, 1])
    assert calibration_error(labels, probabilities) == pytest.approx(0.4)
    # Edges belong to the bin below; 0 to the first.
    assert confidence_bins(np.array([0.0, 0.5, 0.51, 1.0]), 2).tolist() == [0, 0, 1, 1]
    assert calibration_error(np.array([0, 0]), np.array([[1.0, 0.0]] * 2)) == 0


def test_a_class_that_is_not_there() -> None:
    out = measure(np.array([0, 0, 1]), np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]]), CLASSES)
    assert out["metrics"]["balanced_accuracy"] == pytest.approx(0.75)
    assert out["recall"] == {"a": 0.5, "b": 1.0, "c": None}
    assert out["precision"] == {"a": 1.0, "b": 0.5, "c": None}


def test_refusals() -> None:
    good = np.full((2, 3), 1 / 3)
    for labels, probabilities in (
        (np.array([0, 3]), good),
        (np.array([0.0, 1.0]), good),
        (np.array([0]), good),
        (np.array([], int), good[:0]),
        (np.array([0, 1]), good * np.nan),
        (np.array([0, 1]), good * 2),
    ):
        with pytest.raises(DataError):
            measure(labels, probabilities, CLASSES)
