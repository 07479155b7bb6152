"""The plan: what is promised about its rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lssl_augment.attributes import BASIC5
from lssl_augment.errors import DataError
from lssl_augment.synthesis.plan import Plan, SourceTable, resolve_counts, resolve_plan

NONE = np.zeros(0, np.int64)


def table(labels: list[int], subjects: list[str] | None = None) -> SourceTable:
    n = len(labels)
    names = [f"s{i}" for i in range(n)] if subjects is None else subjects
    return SourceTable(
        ids=np.arange(n) * 3 + 1,
        labels=np.array(labels, np.int64),
        subjects=np.array(names, np.str_),
        folds=np.full(n, "train"),
    )


def plan(sources: SourceTable, counts: dict[str, int], seed: int = 0, low: float = 0.8, high: float = 1.0) -> Plan:
    full = dict.fromkeys(BASIC5.names, 0) | counts
    return resolve_plan(sources, BASIC5, full, intensity=(low, high), seed=seed)


counts_strategy = st.lists(st.integers(0, 40), min_size=5, max_size=5).filter(any)
labels_strategy = st.lists(st.integers(-1, 4), min_size=1, max_size=30)


@given(labels_strategy, counts_strategy, st.integers(0, 2**63 - 1), st.integers(1, 7))
def test_contract(labels: list[int], numbers: list[int], seed: int, batch: int) -> None:
    sources = table(labels)
    counts = dict(zip(BASIC5.names, numbers, strict=True))
    made = plan(sources, counts, seed)
    # Counts are met exactly.
    assert made.counts == counts
    # All rows of a source stand together.
    starts = made.source_starts
    assert len(starts) == len(np.unique(made.source_ids))
    # Every column belongs to its source.
    where = np.searchsorted(sources.ids, made.source_ids)
    assert np.array_equal(made.source_labels, sources.labels[where])
    assert np.array_equal(made.subjects, sources.subjects[where])
    for label in range(5):
        of_class = made.source_ids[made.targets == label]
        usable = sources.labels != label
        # Own label only where there is no other source.
        if usable.any():
            assert not np.isin(of_class, sources.ids[~usable]).any()
        # Evenly over the sources that serve the class.
        allowed = sources.ids[usable] if usable.any() else sources.ids
        uses = np.array([(of_class == s).sum() for s in allowed])
        assert uses.max() - uses.min() <= 1
    # Blocks cover all rows in order, and cut no source in two.
    blocks = made.blocks(batch)
    assert [b.start for b in blocks[1:]] == [b.stop for b in blocks[:-1]]
    assert (blocks[0].start, blocks[-1].stop) == (0, len(made))
    assert {b.start for b in blocks} <= set(starts.tolist())
    assert all(len(np.unique(made.source_ids[b])) <= batch for b in blocks)


@given(st.floats(0, 1), st.floats(0, 1))
def test_intensities_stay_in_range(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    made = plan(table([0, 1]), {"anger": 50}, low=low, high=high).intensities
    assert made.dtype == np.float32
    assert made.min() >= np.float32(low)
    assert made.max() <= np.float32(high)


@given(st.floats(-90, 90, width=32), st.floats(-90, 90, width=32), st.integers(0, 2**63 - 1))
def test_heads_turn_within_the_range_and_change_nothing_else(a: float, b: float, seed: int) -> None:
    low, high = min(a, b), max(a, b)
    counts = dict.fromkeys(BASIC5.names, 4)
    still = resolve_plan(table([0, 1]), BASIC5, counts, intensity=(0.8, 1.0), seed=seed)
    turned = resolve_plan(table([0, 1]), BASIC5, counts, intensity=(0.8, 1.0), seed=seed, yaw=(low, high))
    assert np.isnan(still.yaws).all()
    assert turned.yaws.dtype == still.yaws.dtype == np.float32
    assert low <= turned.yaws.min() <= turned.yaws.max() <= high
    assert replace(turned, yaws=still.yaws).sha256() == still.sha256() != turned.sha256()


def test_same_seed_same_plan_and_other_seed_another() -> None:
    sources = table([0, 1, 2, -1] * 5)
    first, second, other = (plan(sources, {"anger": 9, "sadness": 4}, seed) for seed in (5, 5, 6))
    assert first.sha256() == second.sha256() != other.sha256()
    assert not np.array_equal(first.source_ids, other.source_ids)


@pytest.mark.parametrize(
    "column", ["source_ids", "subjects", "folds", "source_labels", "targets", "intensities", "seeds"]
)
def test_digest_sees_every_column(column: str) -> None:
    made = plan(table([0, 1, 2]), {"anger": 6})
    values = getattr(made, column).copy()
    values[3] = "other" if values.dtype.kind == "U" else values[3] + 1
    assert replace(made, **{column: values}).sha256() != made.sha256()


def test_subjects_come_once_before_any_comes_twice() -> None:
    subjects = ["often"] * 50 + ["a", "b", "c", "d"]
    made = plan(table([0] * 54, subjects), {"anger": 5})
    assert sorted(made.subjects.tolist()) == ["a", "b", "c", "d", "often"]


def test_unknown_subjects_count_as_different_people() -> None:
    made = plan(table([0] * 54, [""] * 50 + ["a", "b", "c", "d"]), {"anger": 20})
    assert (made.subjects == "").sum() > 10


def test_classes_share_sources_so_that_few_are_encoded() -> None:
    made = plan(table([-1] * 1000), {"anger": 30, "sadness": 30, "surprise": 30})
    assert len(made.source_starts) == 30


def test_neutral_people_serve_neutral_too() -> None:
    made = plan(table([0] * 4), {"neutral": 4, "anger": 4})
    assert made.counts["neutral"] == 4


@pytest.mark.parametrize(
    ("targets", "per_class", "labels", "expected"),
    [
        ("uniform", 3, NONE, [3, 3, 3, 3, 3]),
        ("anger, sad", 7, NONE, [0, 0, 0, 7, 7]),
        ("anger=5,happy=2", None, NONE, [0, 2, 0, 5, 0]),
        ("balance", None, np.array([0, 0, 0, 1, 2, 2, -1]), [0, 2, 1, 3, 3]),
        ("balance", 2, np.array([0, 0, 0, 1]), [0, 1, 2, 2, 2]),
    ],
)
def test_counts(targets: str, per_class: int | None, labels: np.ndarray, expected: list[int]) -> None:
    assert list(resolve_counts(targets, per_class, BASIC5, labels).values()) == expected


@pytest.mark.parametrize(
    ("targets", "per_class", "labels", "message"),
    [
        ("uniform", None, NONE, "--per-class N"),
        ("uniform", 0, NONE, "at least 1"),
        ("joyful", 3, NONE, "unknown expression 'joyful'; allowed: neutral"),
        ("", 3, NONE, "targets must be"),
        ("balance", None, NONE, "needs labelled sources"),
        ("balance", None, np.arange(5), "no image at all"),
        ("anger=5", 3, NONE, "leave per-class away"),
        ("anger=x", None, NONE, "'anger=x'"),
        ("anger=5,sadness", None, NONE, "'sadness'"),
        ("anger=0", None, NONE, "no image at all"),
    ],
)
def test_wishes_that_cannot_be_met(targets: str, per_class: int | None, labels: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        resolve_counts(targets, per_class, BASIC5, labels)


@pytest.mark.parametrize("bad", [(-0.1, 1.0), (0.9, 0.8), (0.5, 1.1), (float("nan"), 1.0)])
def test_bad_intensity(bad: tuple[float, float]) -> None:
    with pytest.raises(DataError, match="0 <= LOW <= HIGH <= 1"):
        plan(table([0]), {"anger": 1}, low=bad[0], high=bad[1])


def test_bad_tables() -> None:
    with pytest.raises(DataError, match="no source faces"):
        plan(table([]), {"anger": 1})
    with pytest.raises(DataError, match="source labels must be"):
        plan(table([5]), {"anger": 1})
    with pytest.raises(DataError, match="distinct"):
        replace(table([0, 1]), ids=np.array([1, 1]))
    with pytest.raises(DataError, match="one length"):
        replace(table([0, 1]), folds=np.array(["train"]))
