"""How well embeddings tell people apart: pairs of one person and of two, and what a threshold lets through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lssl_augment.errors import DataError

__all__ = ["Verification", "pair_scores", "threshold_at", "verify"]


@dataclass(frozen=True)
class Verification:
    """Verification of people that training never saw.

    Attributes:
        auroc: chance that a pair of one person is more alike than a pair of two; 0.5 is guessing.
        threshold_1e3, threshold_1e2: similarity above which 0.1 % and 1 % of pairs of two people lie.
        tar_1e3, tar_1e2: share of pairs of one person above these.
        same, different: pairs of each kind.
    """

    auroc: float
    threshold_1e3: float
    threshold_1e2: float
    tar_1e3: float
    tar_1e2: float
    same: int
    different: int


def pair_scores(
    vectors: np.ndarray, subjects: np.ndarray, *, pairs_per_subject: int = 20, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of pairs of one person and of pairs of two.

    People with many photos must not decide alone: a person gives at most ``pairs_per_subject`` pairs of its own, and
    one photo of everybody meets one photo of everybody else, in two such rounds.

    Args:
        vectors: ``(N, D)`` of length 1. subjects: ``(N,)`` str. seed: of the draws.

    Returns:
        Same ``(P,)`` and different ``(Q,)``, float64.

    Raises:
        DataError: nobody has two photos, or there are fewer than two people.
    """
    people, person = np.unique(subjects, return_inverse=True)
    rng = np.random.default_rng(seed)
    order = np.argsort(person, kind="stable")
    rows_of = np.split(order, np.cumsum(np.bincount(person))[:-1])
    same: list[tuple[int, int]] = []
    for rows in rows_of:
        first, second = np.triu_indices(len(rows), 1)
        keep = rng.permutation(len(first))[:pairs_per_subject]
        same += zip(rows[first[keep]].tolist(), rows[second[keep]].tolist(), strict=True)
    if not same or len(people) < 2:
        raise DataError(
            f"verification needs a person with two photos and a second person; got {len(vectors)} photos of "
            f"{len(people)} people"
        )
    unit = np.asarray(vectors, np.float64)
    index = np.array(same)
    different = []
    for _ in range(2):
        left = unit[[rng.choice(rows) for rows in rows_of]]
        right = unit[[rng.choice(rows) for rows in rows_of]]
        different.append((left @ right.T)[~np.eye(len(people), dtype=bool)])
    return (unit[index[:, 0]] * unit[index[:, 1]]).sum(1), np.concatenate(different)


def threshold_at(different: np.ndarray, rate: float) -> float:
    """Similarity that at most the share ``rate`` of the pairs of two people exceed."""
    ordered = np.sort(np.asarray(different, np.float64))[::-1]
    return float(ordered[min(int(rate * len(ordered)), len(ordered) - 1)])


def verify(same: np.ndarray, different: np.ndarray) -> Verification:
    """Measures of two sets of cosines (:func:`pair_scores`)."""
    same, different = np.sort(same), np.sort(different)
    below = np.searchsorted(different, same, "left") + np.searchsorted(different, same, "right")
    strict, loose = threshold_at(different, 1e-3), threshold_at(different, 1e-2)
    return Verification(
        auroc=float(below.mean() / 2 / len(different)),
        threshold_1e3=strict,
        threshold_1e2=loose,
        tar_1e3=float((same > strict).mean()),
        tar_1e2=float((same > loose).mean()),
        same=len(same),
        different=len(different),
    )
