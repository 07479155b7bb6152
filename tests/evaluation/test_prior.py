from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lssl_augment.errors import DataError
from lssl_augment.evaluation.prior import base_arm, with_prior


def test_by_hand() -> None:
    # Chances 0.8 and 0.2; square root: 2 to 1. 0.4 : 0.6 becomes 0.8 : 0.6.
    got = with_prior(np.array([[0.4, 0.6]]), [80, 20], 0.5)
    np.testing.assert_allclose(got, [[0.8 / 1.4, 0.6 / 1.4]])


def test_nothing_and_everything() -> None:
    p = np.array([[0.3, 0.7], [0.5, 0.5]], np.float32)
    np.testing.assert_allclose(with_prior(p, [9, 1], 0.0), p, rtol=1e-6)
    np.testing.assert_allclose(with_prior(p, [9, 1], 1.0), [[2.7 / 3.4, 0.7 / 3.4], [0.9, 0.1]], rtol=1e-6)
    assert with_prior(p, [9, 1], 1.0).dtype == np.float32


@given(
    st.lists(st.floats(0.001, 1), min_size=3, max_size=3),
    st.lists(st.integers(1, 10_000), min_size=3, max_size=3),
    st.floats(-1, 1),
)
def test_rows_sum_to_one_an_exponent_favours_the_most_common_and_can_be_taken_back(
    row: list[float], counts: list[int], exponent: float
) -> None:
    p = np.array([row]) / sum(row)
    got = with_prior(p, counts, exponent)
    np.testing.assert_allclose(got.sum(1), 1)
    most = int(np.argmax(counts))
    assert (got[0, most] - p[0, most]) * np.sign(exponent) >= -1e-12
    np.testing.assert_allclose(with_prior(got, counts, -exponent), p)


@pytest.mark.parametrize(
    ("counts", "exponent", "match"),
    [
        ([1, 2, 3], 0.5, "one count"),
        ([1, 0], 0.5, "needs a training face"),
        ([1, 2], 1.5, r"in \[-1, 1\]"),
        ([1, 2], -1.5, r"in \[-1, 1\]"),
    ],
)
def test_refused(counts: list[int], exponent: float, match: str) -> None:
    with pytest.raises(DataError, match=match):
        with_prior(np.array([[0.5, 0.5]]), counts, exponent)


@pytest.mark.parametrize(
    ("arm", "base"),
    [
        ("lssl", "lssl"),
        ("lssl-prior", "lssl"),
        ("lssl-shuffled-prior-cv", "lssl-shuffled"),
        ("lssl-shuffled-prior-cv1", "lssl-shuffled"),
        ("lssl:no-prior-side", "lssl:no-prior-side"),
    ],
)
def test_whose_classifiers(arm: str, base: str) -> None:
    assert base_arm(arm) == base
