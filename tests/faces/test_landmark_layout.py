"""The landmark layouts: index lists that must be permutations, groups and mirror partners that must fit."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lssl_augment.faces.align import template68
from lssl_augment.faces.dense_flip import DENSE_FLIP
from lssl_augment.faces.landmarks import (
    DENSE_COUNT,
    FLIP68,
    GROUPS68,
    SPARSE_FROM_DENSE,
    eye_distance_px,
    flip_points68,
)


def test_sparse_points_are_distinct_dense_points() -> None:
    assert SPARSE_FROM_DENSE.shape == (68,)
    assert len(set(SPARSE_FROM_DENSE.tolist())) == 68
    assert SPARSE_FROM_DENSE.min() >= 0
    assert SPARSE_FROM_DENSE.max() < DENSE_COUNT


def test_groups_cover_all_points_once() -> None:
    covered = np.concatenate([np.arange(68)[group] for group in GROUPS68.values()])
    assert sorted(covered.tolist()) == list(range(68))


def test_mirroring_twice_changes_nothing() -> None:
    assert np.array_equal(FLIP68[FLIP68], np.arange(68))
    assert np.array_equal(DENSE_FLIP[DENSE_FLIP], np.arange(DENSE_COUNT))


def test_groups_mirror_onto_themselves() -> None:
    for group in GROUPS68.values():
        members = np.arange(68)[group]
        assert sorted(FLIP68[members].tolist()) == members.tolist()


def test_both_layouts_agree_on_mirror_partners() -> None:
    assert np.array_equal(DENSE_FLIP[SPARSE_FROM_DENSE], SPARSE_FROM_DENSE[FLIP68])


def test_partners_of_the_template_lie_opposite() -> None:
    points = template68()
    assert np.allclose(points[FLIP68] * [-1, 1] + [127, 0], points, atol=0.01)


@given(st.integers(1, 500), st.integers(0, 2**31))
def test_flip_keeps_shapes_and_distances(width: int, seed: int) -> None:
    points = np.random.default_rng(seed).uniform(0, width, (3, 68, 2))
    before = points.copy()
    flipped = flip_points68(points, width)
    assert np.array_equal(points, before)
    assert np.allclose(flip_points68(flipped, width), points)
    assert np.allclose(eye_distance_px(flipped), eye_distance_px(points))
