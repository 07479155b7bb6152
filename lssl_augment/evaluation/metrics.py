"""How good a classifier is on unbalanced faces: never accuracy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lssl_augment.errors import DataError

__all__ = ["METRICS", "Scores", "score", "subject_interval"]

#: Names of the overall metrics, in the order they are reported; all in [0, 1], higher is better.
METRICS = ("balanced_accuracy", "macro_f1", "macro_auroc", "accuracy")


@dataclass(frozen=True)
class Scores:
    """Metrics of one classifier on one test set, all in [0, 1].

    Args:
        balanced_accuracy: mean of the recalls.
        macro_f1: mean of the classes' F1; falls when rare classes are shouted at every common face.
        macro_auroc: mean of the classes' one-against-rest AUROC; needs no threshold.
        accuracy: plain.
        recall: of each class.
    """

    balanced_accuracy: float
    macro_f1: float
    macro_auroc: float
    accuracy: float
    recall: dict[str, float]


def score(labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]) -> Scores:
    """Score predictions with scikit-learn.

    Args:
        labels: shape ``(N,)`` integers in [0, C).
        probabilities: shape ``(N, C)``, rows sum to 1; the prediction is the largest.
        class_names: C names; every class must occur in ``labels``.

    Raises:
        DataError: when shapes disagree, a class is missing, or probabilities are not finite.
    """
    from sklearn import metrics  # heavy, and needed here alone

    labels = np.asarray(labels)
    probabilities = np.asarray(probabilities, np.float64)
    classes = list(range(len(class_names)))
    if labels.ndim != 1 or probabilities.shape != (len(labels), len(classes)):
        raise DataError(
            f"{len(class_names)} classes need labels of shape (N,) and probabilities of shape "
            f"(N, {len(class_names)}); got {labels.shape} and {probabilities.shape}"
        )
    if not np.isfinite(probabilities).all():
        raise DataError("probabilities must be finite numbers; got NaN or infinity")
    missing = [name for i, name in enumerate(class_names) if not (labels == i).any()]
    if missing or np.isin(labels, classes, invert=True).any():
        raise DataError(
            "every class must be among the test labels, and nothing else; missing: "
            f"{', '.join(missing) or 'none'}; "
            f"labels from {labels.min(initial=0)} to {labels.max(initial=0)}"
        )
    predicted = probabilities.argmax(axis=1)
    recall = metrics.recall_score(labels, predicted, labels=classes, average=None, zero_division=0)
    one_hot = labels[:, None] == np.array(classes)
    aurocs = (
        [metrics.roc_auc_score(one_hot[:, c], probabilities[:, c]) for c in classes]
        if len(classes) > 1
        else [1.0]
    )
    return Scores(
        balanced_accuracy=float(np.mean(recall)),
        macro_f1=float(metrics.f1_score(labels, predicted, labels=classes, average="macro", zero_division=0)),
        macro_auroc=float(np.mean(aurocs)),
        accuracy=float(metrics.accuracy_score(labels, predicted)),
        recall={name: float(r) for name, r in zip(class_names, recall, strict=True)},
    )


def subject_interval(
    gain: np.ndarray,
    labels: np.ndarray,
    subjects: np.ndarray,
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap interval of a difference in balanced accuracy, drawing whole subjects (percentile method).

    Args:
        gain: for each test face, correct in one arm minus correct in the other (averaged over seeds),
            ``(N,)``.
        labels, subjects: of the same faces, shape ``(N,)``.
        draws: bootstrap samples. level: coverage. seed: of the draws.

    Returns:
        Lower and upper end. Samples that miss a class altogether are left out.
    """
    people, person = np.unique(subjects, return_inverse=True)
    classes, klass = np.unique(labels, return_inverse=True)
    # Sums by (person, class): a bootstrap sample only weighs people.
    gains = np.zeros((len(people), len(classes)))
    counts = np.zeros_like(gains)
    np.add.at(gains, (person, klass), gain)
    np.add.at(counts, (person, klass), 1.0)
    own = np.random.default_rng(seed)
    weights = own.multinomial(len(people), np.full(len(people), 1 / len(people)), size=draws).astype(
        np.float64
    )
    total = weights @ counts
    usable = (total > 0).all(axis=1)
    if not usable.any():
        raise DataError("too few subjects of some class for a bootstrap over subjects")
    values = ((weights @ gains)[usable] / total[usable]).mean(axis=1)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
