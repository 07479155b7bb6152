"""Splits and folds by subject: nobody on two sides, every expression on all, no matter the order."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lssl_augment.datasets.splits import check_apart, folds_without, subject_folds, subject_split
from lssl_augment.errors import DataError, LeakageError

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


# --- folds -------------------------------------------------------------------------------------------------------


def people_of(subjects: list[str], labels: list[int], label: int) -> set[str]:
    return {s for s, shown in zip(subjects, labels, strict=True) if shown == label}


@given(faces, st.integers(2, 4), st.integers(0, 5))
def test_every_subject_is_in_one_fold(rows: list[tuple[str, int]], folds: int, seed: int) -> None:
    subjects, labels = columns(rows)
    if len(set(subjects)) < folds:
        with pytest.raises(DataError, match=f"{folds} folds need at least as many subjects"):
            subject_folds(subjects, labels, folds, seed)
        return
    fold_of = subject_folds(subjects, labels, folds, seed)
    assert list(fold_of) == sorted(set(subjects))
    assert set(fold_of.values()) == set(range(folds))
    for label, (people, without) in folds_without(subjects, labels, fold_of, folds).items():
        showing = people_of(subjects, labels, label)
        assert people == len(showing)
        assert set(without) == set(range(folds)) - {fold_of[s] for s in showing}
    # Near equal: the largest fold has at most twice the faces of the largest subject more than the smallest.
    sizes = Counter(fold_of[s] for s in subjects)
    assert max(sizes.values()) - min(sizes.values()) <= 2 * max(Counter(subjects).values())


@given(faces, st.integers(2, 3), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_no_fold(rows: list[tuple[str, int]], folds: int, order: random.Random) -> None:
    rows = [*rows, ("a", 0), ("b", 0), ("c", 0)]
    expected = subject_folds(*columns(rows), folds)
    order.shuffle(rows)
    assert subject_folds(*columns(rows), folds) == expected


@st.composite
def few_people(draw: st.DrawFn) -> tuple[list[str], list[int], int]:
    """Up to eight people, each with some of five expressions: small enough to try all folds."""
    folds = draw(st.integers(2, 3))
    shown = draw(st.lists(st.sets(st.integers(0, 4), min_size=1, max_size=3), min_size=folds, max_size=9 - folds))
    rows = [(f"p{i}", label) for i, labels in enumerate(shown) for label in sorted(labels)]
    return *columns(rows), folds


@settings(max_examples=150)
@given(few_people())
def test_every_expression_is_in_every_fold_where_any_division_does_that(
    case: tuple[list[str], list[int], int],
) -> None:
    subjects, labels, folds = case
    names = sorted(set(subjects))
    enough = [label for label in set(labels) if len(people_of(subjects, labels, label)) >= folds]
    missed = set(folds_without(subjects, labels, subject_folds(subjects, labels, folds), folds)) & set(enough)
    if missed:
        # Three expressions of two people each, pairwise shared, cannot all be in two folds.
        for division in itertools.product(range(folds), repeat=len(names)):
            fold_of = dict(zip(names, division, strict=True))
            assert set(folds_without(subjects, labels, fold_of, folds)) & set(enough)


def test_the_folds_of_a_laboratory_are_equal() -> None:
    """Eighty people who each show everything once: eight in each of ten folds."""
    subjects = [f"P{i:03d}" for i in range(80) for _ in range(7)]
    fold_of = subject_folds(subjects, list(range(7)) * 80, 10)
    assert Counter(fold_of.values()) == dict.fromkeys(range(10), 8)
    assert fold_of != subject_folds(subjects, list(range(7)) * 80, 10, seed=1)


@pytest.mark.parametrize("seed", range(3))
def test_folds_of_unbalanced_faces_are_near_equal(seed: int) -> None:
    subjects, labels = unbalanced()
    fold_of = subject_folds(subjects, labels, 5, seed)
    assert not folds_without(subjects, labels, fold_of, 5)
    total = Counter(labels)
    for label, n in [*total.items(), (None, len(labels))]:
        shares = Counter(fold_of[s] for s, shown in zip(subjects, labels, strict=True) if label in (None, shown))
        assert max(shares.values()) - min(shares.values()) <= max(2, 0.01 * n), (label, shares)


def test_gaps_are_filled_by_moving() -> None:
    """Whoever shows ``rare`` shows ``odd`` too; dealt greedily, ``odd`` could stay out of one fold."""
    subjects = ["a", "a", "b", "b", "c", "c", "d", "e"]
    labels = ["rare", "odd", "rare", "even", "odd", "even", "odd", "even"]
    for seed in range(10):
        assert not folds_without(subjects, labels, subject_folds(subjects, labels, 2, seed), 2)


def test_too_few_subjects_of_a_class_are_told() -> None:
    subjects, labels = ["a", "b", "c", "d"], ["joy", "joy", "joy", "fear"]
    fold_of = subject_folds(subjects, labels, 3)
    people, without = folds_without(subjects, labels, fold_of, 3)["fear"]
    assert (people, without) == (1, sorted({0, 1, 2} - {fold_of["d"]}))


def test_known_folds_stay() -> None:
    """Results made years apart must be of the same folds: these may never change."""
    subjects = [f"person {i}" for i in range(10)]
    fold_of = subject_folds(subjects, [0] * 7 + [1] * 3, 3)
    assert [fold_of[s] for s in subjects] == [2, 0, 2, 1, 0, 1, 0, 0, 1, 2]


def test_bad_folds() -> None:
    with pytest.raises(DataError, match="at least 2; got 1"):
        subject_folds(["a", "b"], [0, 0], 1)
    with pytest.raises(DataError, match="got 2 and 1"):
        subject_folds(["a", "b"], [0], 2)


def test_subjects_on_both_sides_are_refused() -> None:
    check_apart(["a", "b"], ["c"])
    check_apart([], ["c"])
    with pytest.raises(LeakageError, match=r"2 test subjects are in a training split, such as 'b'; split by subject"):
        check_apart(np.array(["a", "b", "c"]), ["c", "b", "b"], "in a training split")
