from __future__ import annotations

import numpy as np

from lssl_augment.faces.dense_flip import DENSE_FLIP, MIDLINE, flip_dense
from lssl_augment.faces.landmarks import DENSE_COUNT, FLIP68, SPARSE_FROM_DENSE, flip_points68


def test_partners_are_mutual_and_only_the_midline_is_its_own() -> None:
    assert np.array_equal(np.sort(DENSE_FLIP), np.arange(DENSE_COUNT))
    assert np.array_equal(DENSE_FLIP[DENSE_FLIP], np.arange(DENSE_COUNT))
    assert np.flatnonzero(np.arange(DENSE_COUNT) == DENSE_FLIP).tolist() == sorted(MIDLINE)


def test_agrees_with_the_partners_of_the_68() -> None:
    assert np.array_equal(DENSE_FLIP[SPARSE_FROM_DENSE], SPARSE_FROM_DENSE[FLIP68])


def test_flips_points_like_the_68_and_leaves_depth() -> None:
    dense = np.random.default_rng(0).uniform(0, 128, (2, DENSE_COUNT, 3))
    mirrored = flip_dense(dense, 128)
    sparse = flip_points68(dense[:, SPARSE_FROM_DENSE, :2], 128)
    assert np.array_equal(mirrored[:, SPARSE_FROM_DENSE, :2], sparse)
    assert np.array_equal(mirrored[:, DENSE_FLIP, 2], dense[..., 2])
    assert np.allclose(flip_dense(mirrored, 128), dense)
