"""``adalbp``: slices of LBP-TOP chosen by AdaBoost for each pair of expressions, then support vector machines.

After Zhao and Pietikäinen, "Boosted multi-resolution spatiotemporal descriptors for facial expression recognition",
2009. A *slice* is the histogram of one block on one plane.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from lssl_augment.errors import DataError
from lssl_augment.evaluation.sequences.arguments import check_classes, check_numbers, check_videos
from lssl_augment.evaluation.sequences.lbp_top import LbpTopConfig, lbp_top

__all__ = ["AdaLbp", "AdaLbpConfig", "chosen_slices", "slice_distances"]


@dataclass(frozen=True)
class AdaLbpConfig:
    """How slices are chosen and used.

    Args:
        rounds: of AdaBoost for each pair of expressions; so many slices at most are kept.
        pairs: of videos that AdaBoost sees for each pair of expressions, half of them of one expression.
        cost: of a margin violated. gamma: of the exponential χ² kernel, on the mean distance of a slice.

    Raises:
        DataError: a value outside its range.
    """

    rounds: int = 30
    pairs: int = 1200
    cost: float = 10.0
    gamma: float = 4.0

    def __post_init__(self) -> None:
        check_numbers(self, rounds=(1, 10_000), pairs=(4, 1_000_000), cost=(1e-6, 1e9), gamma=(1e-6, 1e6))


class AdaLbp:
    """A :class:`~.arguments.SequenceClassifier`.

    For each pair of expressions, pairs of training videos show the same expression or the two; what AdaBoost's stumps
    look at is the χ² distance of the two videos in each slice, so the slices it takes tell these two expressions
    apart whoever is seen. A machine with a χ² kernel over the slices then decides between the two. Probabilities are
    the mean over the other expressions of the sigmoid of that decision; they are not calibrated.

    Deviations: one resolution; video pairs are a random sample; the kernel is χ².

    Args:
        num_classes: C. seed: of the video pairs that are drawn. config, layout: settings.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        seed: int = 0,
        config: AdaLbpConfig | None = None,
        layout: LbpTopConfig | None = None,
    ) -> None:
        self._classes, self._seed = num_classes, seed
        self._config, self._layout = config or AdaLbpConfig(), layout or LbpTopConfig()
        self._size: tuple[int, ...] = ()
        self._machines: dict[tuple[int, int], tuple[np.ndarray, np.ndarray, Any]] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """What it was built with, ready for JSON."""
        return {**vars(self._config), **vars(self._layout)}

    @property
    def slices(self) -> dict[tuple[int, int], np.ndarray]:
        """Pair of labels → slices chosen, ``block · 3 + plane``, the first choice first."""
        return {pair: slices for pair, (slices, _, _) in self._machines.items()}

    def fit(self, videos: np.ndarray, landmarks: np.ndarray, labels: np.ndarray) -> None:
        """See :class:`~.arguments.SequenceClassifier`."""
        from sklearn.svm import SVC

        check_videos(videos)
        labels = check_classes(labels, videos, self._classes)
        slices = self._slices(videos)
        self._machines = {}
        for pair in combinations(range(self._classes), 2):
            rows = np.flatnonzero(np.isin(labels, pair))
            rng = np.random.default_rng(_key(self._seed, *pair))
            chosen = chosen_slices(slices[rows], labels[rows] == pair[1], self._config, rng)
            support = slices[rows][:, chosen]
            machine = SVC(kernel="precomputed", C=self._config.cost)
            machine.fit(self._kernel(support, support), labels[rows] == pair[1])
            self._machines[pair] = chosen, support, machine
        self._size = videos.shape[1:]

    def predict_proba(self, videos: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """See :class:`~.arguments.SequenceClassifier`."""
        from scipy.special import expit

        check_videos(videos)
        if videos.shape[1:] != self._size:
            raise DataError(f"trained on videos of (T, H, W) {self._size or 'nothing yet'}; got {videos.shape[1:]}")
        slices = self._slices(videos)
        votes = np.zeros((len(videos), self._classes))
        if not len(videos):
            return votes
        for (one, other), (chosen, support, machine) in self._machines.items():
            share = expit(machine.decision_function(self._kernel(slices[:, chosen], support)))
            votes[:, other] += share
            votes[:, one] += 1.0 - share
        result: np.ndarray = votes / len(self._machines)
        return result

    def _slices(self, videos: np.ndarray) -> np.ndarray:
        """``(N, slices, bins)`` float32."""
        histograms = lbp_top(videos, self._layout)
        return histograms.reshape(len(videos), np.prod(histograms.shape[1:3]), self._layout.bins)

    def _kernel(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        from sklearn.metrics.pairwise import additive_chi2_kernel

        count = one.shape[1]
        distance = -additive_chi2_kernel(one.reshape(len(one), -1), other.reshape(len(other), -1)) / count
        result: np.ndarray = np.exp(-self._config.gamma * distance.astype(np.float64))
        return result


def slice_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """χ² distance Σ (a − b)² / (a + b) of histograms ``(..., bins)``, in [0, 2]."""
    total = one + other
    parts = np.divide((one - other) ** 2, total, out=np.zeros_like(total), where=total > 0)
    result: np.ndarray = parts.sum(axis=-1)
    return result


def chosen_slices(
    slices: np.ndarray, labels: np.ndarray, config: AdaLbpConfig, rng: np.random.Generator
) -> np.ndarray:
    """Slices that AdaBoost looks at to tell pairs of one expression from pairs of two.

    Args:
        slices: ``(N, slices, bins)``. labels: ``(N,)`` bool, both occur.

    Returns:
        ``(K,)`` int64, 1 ≤ K ≤ rounds, in the order they were taken.
    """
    from sklearn.ensemble import AdaBoostClassifier
    from sklearn.tree import DecisionTreeClassifier

    one, other = np.triu_indices(len(labels), 1)
    apart = labels[one] != labels[other]
    half = config.pairs // 2
    taken = np.concatenate([_some(np.flatnonzero(apart == differ), half, rng) for differ in (False, True)])
    if apart[taken].all() or not apart[taken].any():
        return np.arange(slices.shape[1])  # a video of each: nothing can be learned about the slices
    parts = np.array_split(taken, len(taken) // 64 + 1)
    table = np.concatenate([slice_distances(slices[one[part]], slices[other[part]]) for part in parts])
    if not np.ptp(table, axis=0).any():
        return np.arange(slices.shape[1])
    boosted = AdaBoostClassifier(
        DecisionTreeClassifier(max_depth=1), n_estimators=config.rounds, random_state=int(rng.integers(2**31))
    )
    boosted.fit(table, apart[taken])
    looked_at = [int(stump.tree_.feature[0]) for stump in boosted.estimators_]
    first = list(dict.fromkeys(place for place in looked_at if place >= 0))  # −2: a stump without a split
    return np.array(first or range(slices.shape[1]), np.int64)


def _some(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= count else np.sort(rng.choice(rows, count, replace=False))


def _key(*words: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(words).encode()).digest()[:8], "big")
