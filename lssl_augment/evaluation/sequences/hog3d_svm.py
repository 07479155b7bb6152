"""``hog3d``: HOG3D descriptors and linear support vector machines, one class against the rest."""

from __future__ import annotations

from typing import Any

import numpy as np

from lssl_augment.errors import DataError
from lssl_augment.evaluation.sequences.arguments import check_classes, check_videos, softmax
from lssl_augment.evaluation.sequences.hog3d import Hog3dConfig, hog3d

__all__ = ["Hog3dSvm"]


class Hog3dSvm:
    """A :class:`~.arguments.SequenceClassifier` without chance: the seed changes nothing.

    Probabilities are the softmax of the distances from the planes: their order is the machines', but they are not
    calibrated.

    Args:
        num_classes: C. cost: of a margin violated, > 0, for descriptors of length about 1. config: of the descriptor.
        seed: taken for the sake of the interface.
    """

    def __init__(
        self, num_classes: int, *, seed: int = 0, cost: float = 10.0, config: Hog3dConfig | None = None
    ) -> None:
        if not 0 < cost < np.inf:
            raise DataError(f"cost must be above 0; got {cost}")
        self._classes, self._cost, self._config = num_classes, cost, config or Hog3dConfig()
        self._size: tuple[int, ...] = ()
        self._planes, self._offsets = np.zeros((0, 0)), np.zeros(0)

    @property
    def settings(self) -> dict[str, Any]:
        """What it was built with, ready for JSON."""
        return {"cost": self._cost, **vars(self._config)}

    def fit(self, videos: np.ndarray, landmarks: np.ndarray, labels: np.ndarray) -> None:
        """See :class:`~.arguments.SequenceClassifier`."""
        from sklearn.svm import SVC

        check_videos(videos)
        labels = check_classes(labels, videos, self._classes)
        features = self._features(videos)
        # Descriptors are much longer than there are videos: all machines share one table of products.
        gram = features @ features.T
        planes, offsets = [], []
        for label in range(self._classes):
            machine = SVC(kernel="precomputed", C=self._cost).fit(gram, labels == label)
            planes.append(machine.dual_coef_[0] @ features[machine.support_])
            offsets.append(machine.intercept_[0])
        self._planes, self._offsets, self._size = np.stack(planes), np.array(offsets), videos.shape[1:]

    def predict_proba(self, videos: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """See :class:`~.arguments.SequenceClassifier`."""
        check_videos(videos)
        if videos.shape[1:] != self._size:
            raise DataError(f"trained on videos of (T, H, W) {self._size or 'nothing yet'}; got {videos.shape[1:]}")
        return softmax(self._features(videos) @ self._planes.T + self._offsets)

    def _features(self, videos: np.ndarray) -> np.ndarray:
        return hog3d(videos, self._config).astype(np.float64) / np.sqrt(np.prod(self._config.blocks))
