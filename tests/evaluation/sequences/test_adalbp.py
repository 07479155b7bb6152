"""AdaLBP: the slices that matter are chosen, and chance is the seed's alone."""

from __future__ import annotations

import numpy as np

from lssl_augment.evaluation.sequences.adalbp import AdaLbpConfig, chosen_slices, slice_distances


def test_distances_are_chi_square() -> None:
    one, other = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]), np.array([[0.25, 0.75, 0.0], [0.0, 1.0, 0.0]])
    np.testing.assert_allclose(slice_distances(one, other), [0.0625 / 0.75 + 0.0625 / 1.25, 2.0])


def test_boosting_takes_the_slice_that_tells_the_expressions_apart() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 2 == 1
    slices = rng.dirichlet(np.full(6, 20.0), (24, 10))
    slices[labels, 7] = np.roll(slices[labels, 7] ** 3, 1, axis=-1)
    slices[:, 7, :3] += labels[:, None] * 2.0
    slices /= slices.sum(axis=-1, keepdims=True)
    found = chosen_slices(slices, labels, AdaLbpConfig(rounds=5, pairs=100), np.random.default_rng(1))
    assert found[0] == 7
    again = chosen_slices(slices, labels, AdaLbpConfig(rounds=5, pairs=100), np.random.default_rng(1))
    np.testing.assert_array_equal(found, again)


def test_without_anything_to_learn_all_slices_are_kept() -> None:
    flat = np.full((4, 3, 5), 0.2)
    config, rng = AdaLbpConfig(), np.random.default_rng(0)
    for count in (2, 4):
        found = chosen_slices(flat[:count], np.arange(count) % 2 == 1, config, rng)
        np.testing.assert_array_equal(found, [0, 1, 2])
