"""Verification on vectors whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from lssl_augment.errors import DataError
from lssl_augment.models.verification import pair_scores, threshold_at, verify


def test_people_who_are_plainly_apart() -> None:
    vectors = np.repeat(np.eye(4), 3, axis=0)
    subjects = np.repeat(["a", "b", "c", "d"], 3)
    same, different = pair_scores(vectors, subjects)
    assert len(same) == 4 * 3
    assert len(different) == 2 * 4 * 3
    found = verify(same, different)
    assert found.auroc == 1.0
    assert found.tar_1e3 == found.tar_1e2 == 1.0


def test_by_hand() -> None:
    # Pairs (0.1 over none, 0.5 over 0.2 and 0.4 and level with 0.5): (0 + 2.5) / (2 · 3).
    found = verify(np.array([0.1, 0.5]), np.array([0.2, 0.4, 0.5]))
    assert found.auroc == pytest.approx(2.5 / 6)


def test_threshold_lets_through_at_most_its_rate() -> None:
    different = np.random.default_rng(0).normal(size=5000)
    for rate in (1e-3, 1e-2, 0.1):
        assert (different > threshold_at(different, rate)).mean() <= rate
    assert (different > threshold_at(different, 1e-2)).mean() > 0.009


def test_many_photos_give_no_more_than_their_share() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(43, 5))
    subjects = np.array(["much"] * 40 + ["b", "b", "c"])
    same, different = pair_scores(vectors, subjects, pairs_per_subject=20)
    assert len(same) == 21
    assert len(different) == 2 * 3 * 2
    again, _ = pair_scores(vectors, subjects, pairs_per_subject=20)
    np.testing.assert_array_equal(same, again)


def test_nobody_twice() -> None:
    with pytest.raises(DataError, match="3 photos of 3 people"):
        pair_scores(np.eye(3), np.array(["a", "b", "c"]))
