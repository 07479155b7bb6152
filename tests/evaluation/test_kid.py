"""KID against a sum written out by hand, and its behaviour on equal and different sets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lssl_augment.errors import DataError
from lssl_augment.evaluation.kid import kid, penultimate, polynomial_mmd2


def test_mmd_by_hand() -> None:
    # d = 1, so k(a, b) = (a·b + 1)³: within x k(1, 2) = 27, within y k(0, 3) = 1; between 1, 4³, 1, 7³.
    x, y = np.array([[1.0], [2.0]]), np.array([[0.0], [3.0]])
    assert polynomial_mmd2(x, y) == pytest.approx(27 + 1 - 2 * (1 + 64 + 1 + 343) / 4)


def test_the_kernel_divides_by_the_length_of_the_features() -> None:
    x, y = np.array([[1.0, 1.0], [2.0, 0.0]]), np.array([[0.0, 0.0], [0.0, 0.0]])
    # k(x1, x2) = (2/2 + 1)³ = 8; all others (0 + 1)³ = 1.
    assert polynomial_mmd2(x, y) == pytest.approx(8 + 1 - 2)


def test_near_zero_for_one_distribution_and_not_for_two() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 4)), rng.normal(size=(200, 4))
    same, other = kid(x, y, size=100, subsets=20), kid(x, y + 1, size=100, subsets=20)
    assert abs(same.mean) < 0.1 < other.mean
    assert same.size == 100
    assert kid(x, y, size=100, subsets=20) == same


def test_small_sets_take_part_whole() -> None:
    x, y = np.arange(6.0)[:, None], np.arange(4.0)[:, None]
    found = kid(x, y, size=100, subsets=3)
    assert found.size == 4


@pytest.mark.parametrize("shapes", [((1, 2), (3, 2)), ((3, 2), (3, 4))])
def test_what_cannot_be_compared(shapes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    with pytest.raises(DataError, match="at least two features of equal length"):
        polynomial_mmd2(np.zeros(shapes[0]), np.zeros(shapes[1]))


def test_features_are_what_the_last_linear_layer_gets() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Linear(5, 2)).eval()
    images = torch.randint(0, 256, (7, 3, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = model[:2](images.float() / 127.5 - 1).detach().numpy()
    np.testing.assert_allclose(penultimate(model, images, batch=3), expected, rtol=1e-5)
    with pytest.raises(DataError, match="no linear layer"):
        penultimate(nn.Flatten(), images)
