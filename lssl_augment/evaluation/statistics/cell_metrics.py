"""Everything a cell of a benchmark is measured by: one classifier on one test set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lssl_augment.errors import DataError

__all__ = ["BINS", "CELL_METRICS", "LOWER_IS_BETTER", "calibration_error", "log_loss", "measure"]

#: Names of the metrics of a cell, in the order they are reported.
CELL_METRICS = ("balanced_accuracy", "macro_f1", "macro_auroc", "accuracy", "ece", "log_loss")
#: Those where less is better; all others lie in [0, 1] and more is better.
LOWER_IS_BETTER = ("ece", "log_loss")
#: Bins of the calibration error.
BINS = 15

_TINY = 1e-7


def measure(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Metrics of predictions, ready for a cell's record.

    Args:
        labels: shape ``(N,)`` integers in [0, C).
        probabilities: shape ``(N, C)``, rows sum to 1; the prediction is the largest.
        classes: C names. A class without a test face counts in no mean; its recall is null.

    Returns:
        ``metrics`` (:data:`CELL_METRICS`), ``recall`` and ``precision`` by class (null: no such face, or never
        predicted), ``confusion`` (C×C counts, row = label, column = prediction).

    Raises:
        DataError: when shapes disagree, labels are out of range or probabilities are not finite.
    """
    labels, probabilities = check_predictions(labels, probabilities, len(classes))
    count = len(classes)
    predicted = probabilities.argmax(1)
    confusion = np.bincount(labels * count + predicted, minlength=count * count).reshape(count, count)
    right, actual, said = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    with np.errstate(invalid="ignore"):
        recall, precision = right / actual, right / said
    present = actual > 0
    f1 = 2 * right / np.maximum(actual + said, 1)
    aurocs = [_auroc(labels == c, probabilities[:, c]) for c in range(count) if 0 < actual[c] < len(labels)]
    return {
        "metrics": {
            "balanced_accuracy": float(recall[present].mean()),
            "macro_f1": float(f1[present].mean()),
            "macro_auroc": float(np.mean(aurocs)) if aurocs else float("nan"),
            "accuracy": float(right.sum() / len(labels)),
            "ece": calibration_error(labels, probabilities),
            "log_loss": log_loss(labels, probabilities),
        },
        "recall": {n: None if np.isnan(v) else float(v) for n, v in zip(classes, recall, strict=True)},
        "precision": {n: None if np.isnan(v) else float(v) for n, v in zip(classes, precision, strict=True)},
        "confusion": confusion.tolist(),
    }


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error of the predicted class (Guo et al. 2017, eq. 3), bins of equal width."""
    confidence = probabilities.max(1)
    hit = probabilities.argmax(1) == labels
    place = confidence_bins(confidence, bins)
    gap = np.bincount(place, confidence - hit, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))


def confidence_bins(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Bin of each confidence: ((m − 1)/bins, m/bins] is bin m − 1."""
    return np.clip(np.ceil(confidence.astype(np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of −ln p(label), natural logarithm; p is not let below 1e-7."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], _TINY)).mean())


def check_predictions(labels: np.ndarray, probabilities: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Both as int64 and float64, or ``DataError``."""
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    if labels.ndim != 1 or not len(labels) or probabilities.shape != (len(labels), count):
        raise DataError(
            f"{count} classes need labels of shape (N,) and probabilities of shape (N, {count}), N ≥ 1; "
            f"got {labels.shape} and {probabilities.shape}"
        )
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= count:
        raise DataError(f"labels must be integers in [0, {count}); got {labels.dtype} {labels.min()} to {labels.max()}")
    if not np.isfinite(probabilities).all() or not np.allclose(probabilities.sum(1), 1, atol=1e-3):
        raise DataError("probabilities must be finite and each row must sum to 1")
    return labels.astype(np.int64), probabilities


def _auroc(positive: np.ndarray, score: np.ndarray) -> float:
    """Chance that a positive scores above a negative, ties half (Mann–Whitney)."""
    from scipy.stats import rankdata

    n = int(positive.sum())
    return float((rankdata(score)[positive].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))
