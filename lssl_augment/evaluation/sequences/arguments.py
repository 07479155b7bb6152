"""What every sequence classifier takes, and its check."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from lssl_augment.errors import DataError

__all__ = ["SequenceClassifier", "check_classes", "check_numbers", "check_videos", "softmax"]


class SequenceClassifier(Protocol):
    """Videos of faces with their landmarks → expressions.

    Shape:
        - videos: ``(N, T, S, S)`` uint8, grey
        - landmarks: ``(N, T, 68, 2)`` float, pixels of the videos; classifiers that need none do not look at them
        - labels: ``(N,)`` integers in [0, C)
        - probabilities: ``(N, C)`` float64, rows sum to 1

    Nothing but the arguments and the seed it was built with decides what it learns.
    """

    def fit(self, videos: np.ndarray, landmarks: np.ndarray, labels: np.ndarray) -> None:
        """Learn; ``DataError`` when a class has no video or the arrays do not fit each other."""

    def predict_proba(self, videos: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Class probabilities; ``DataError`` before ``fit`` or for videos of another size."""


def check_videos(videos: np.ndarray, landmarks: np.ndarray | None = None) -> None:
    """Refuse what is no batch of grey videos (with landmarks).

    Raises:
        DataError: other shapes, other numbers than uint8, or landmarks that are not finite.
    """
    if videos.ndim != 4 or videos.dtype != np.uint8:
        raise DataError(f"videos must be (N, T, H, W) uint8, grey; got {videos.shape} {videos.dtype}")
    if landmarks is None:
        return
    if landmarks.shape != (*videos.shape[:2], 68, 2):
        raise DataError(f"videos {videos.shape} need landmarks {(*videos.shape[:2], 68, 2)}; got {landmarks.shape}")
    if not np.isfinite(landmarks).all():
        raise DataError("landmarks must be finite; leave out videos without them")


def check_classes(labels: np.ndarray, videos: np.ndarray, num_classes: int) -> np.ndarray:
    """Labels as int64, every class among them.

    Raises:
        DataError: fewer than two classes, another count of labels, labels outside [0, C), or a class without video.
    """
    labels = np.asarray(labels)
    if num_classes < 2:
        raise DataError(f"a classifier needs at least 2 classes; got {num_classes}")
    if labels.shape != (len(videos),) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{len(videos)} videos need as many integer labels; got {labels.shape} {labels.dtype}")
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        raise DataError(f"labels must be in [0, {num_classes - 1}]; got {labels.min()} to {labels.max()}")
    missing = sorted(set(range(num_classes)) - set(labels.tolist()))
    if missing:
        raise DataError(f"no training video of class {', '.join(map(str, missing))}; leave it out or add videos")
    return labels.astype(np.int64)


def check_numbers(config: Any, **allowed: tuple[float, float]) -> None:
    """Refuse numbers of a config outside their inclusive range; infinity above and no number never pass.

    Raises:
        DataError: naming the field, what came and what is allowed.
    """
    for name, (low, high) in allowed.items():
        value = getattr(config, name)
        if not (low <= value <= high and np.isfinite(value)):
            raise DataError(f"{name} must be from {low:g} to {high:g}; got {value!r}")


def softmax(scores: np.ndarray) -> np.ndarray:
    """Rows ``(N, C)`` → rows that sum to 1, in the same order of size."""
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return result
