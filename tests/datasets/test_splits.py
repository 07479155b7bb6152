"""The split by subject: nobody on both sides, every expression on both, no matter the order."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lssl_augment.datasets.splits import subject_split
from lssl_augment.errors import DataError

faces = st.lists(st.tuples(st.sampled_from([f"person {i}" for i in range(12)]), st.integers(0, 4)), max_size=60)


@given(faces, st.integers(0, 5), st.floats(0.05, 0.95))
def test_nobody_is_on_both_sides(rows: list[tuple[str, int]], seed: int, fraction: float) -> None:
    subjects, labels = [s for s, _ in rows], [label for _, label in rows]
    split = subject_split(subjects, labels, seed, fraction)
    assert len(split) == len(rows)
    assert set(split) <= {"train", "test"}
    tested = {s for s, part in zip(subjects, split, strict=True) if part == "test"}
    trained = {s for s, part in zip(subjects, split, strict=True) if part == "train"}
    assert not tested & trained
    assert trained or not rows


@given(faces, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(rows: list[tuple[str, int]], random: object) -> None:
    expected = dict(zip([s for s, _ in rows], subject_split(*columns(rows)), strict=True))
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert dict(zip([s for s, _ in shuffled], subject_split(*columns(shuffled)), strict=True)) == expected


def columns(rows: list[tuple[str, int]]) -> tuple[list[str], list[int]]:
    return [s for s, _ in rows], [label for _, label in rows]


def unbalanced() -> tuple[list[str], list[str]]:
    """Two thousand faces of 900 people, some with many faces, expressions from common to rare."""
    rng = np.random.default_rng(0)
    words = ["neutral", "happiness", "surprise", "anger", "fear"]
    people = (rng.pareto(1.2, 2000) * 100).astype(int) % 900
    labels = rng.choice(5, 2000, p=[0.55, 0.37, 0.05, 0.02, 0.01])
    return [f"p{i}" for i in people], [words[i] for i in labels]


@pytest.mark.parametrize("seed", range(5))
def test_every_expression_is_tested_on(seed: int) -> None:
    subjects, labels = unbalanced()
    split = subject_split(subjects, labels, seed)
    total = Counter(labels)
    tested = Counter(label for label, part in zip(labels, split, strict=True) if part == "test")
    for label, n in total.items():
        assert 0.2 <= tested[label] / n < 0.35, (label, n, tested[label])


def test_seeds_give_other_splits() -> None:
    subjects, labels = unbalanced()
    assert subject_split(subjects, labels, 0) == subject_split(subjects, labels)
    assert subject_split(subjects, labels, 0) != subject_split(subjects, labels, 1)


def test_a_known_split_stays() -> None:
    """Packs made years apart must agree: this list may never change."""
    subjects = [f"person {i}" for i in range(10)]
    labels = [0] * 7 + [1] * 3
    split = subject_split(subjects, labels)
    assert [s for s, part in zip(subjects, split, strict=True) if part == "test"] == [
        "person 3",
        "person 6",
        "person 7",
    ]


def test_the_only_subject_of_an_expression_trains() -> None:
    assert subject_split(["a", "a", "b", "c"], ["fear", "fear", "joy", "joy"])[:2] == ["train", "train"]
    assert subject_split([], []) == []


def test_bad_arguments() -> None:
    with pytest.raises(DataError, match="got 2 and 1"):
        subject_split(["a", "b"], [0])
    with pytest.raises(DataError, match="between 0 and 1; got 1"):
        subject_split(["a"], [0], test_fraction=1)
