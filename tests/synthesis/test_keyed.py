"""Keyed draws: fixed for ever, independent, in range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lssl_augment.synthesis.keyed import MAX_SEED, Stream, check_seed, row_seeds, unit_floats, words


def reference(seed: int, stream: int, index: int) -> int:
    """The same arithmetic in Python's unbounded integers."""
    mask = 2**64 - 1
    golden = 0x9E3779B97F4A7C15

    def mix(x: int) -> int:
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    key = mix((seed + golden) & mask)
    key = mix((key + stream * golden) & mask)
    return mix((key + (index + 1) * golden) & mask)


@given(st.integers(0, MAX_SEED), st.sampled_from(Stream), st.integers(0, 2**40))
def test_words_equal_plain_arithmetic(seed: int, stream: Stream, index: int) -> None:
    assert int(words(seed, stream, np.array([index]))[0]) == reference(seed, stream, index)


def test_words_never_change() -> None:
    # Part of the file format: a plan resolved again years later must be the same plan.
    assert reference(0, 0, -1) != 0
    assert row_seeds(0, Stream.ROW_SEED, np.arange(2)).tolist() == [1695622787639244048, 5765471757556443867]


def test_streams_and_seeds_are_independent() -> None:
    index = np.arange(4000)
    draws = [unit_floats(seed, stream, index) for seed in (0, 1) for stream in Stream]
    assert np.abs(np.corrcoef(draws) - np.eye(len(draws))).max() < 0.06
    for draw in draws:
        assert draw.min() >= 0
        assert draw.max() < 1
        assert abs(draw.mean() - 0.5) < 0.02


def test_row_seeds_are_int64_and_distinct() -> None:
    seeds = row_seeds(7, Stream.ROW_SEED, np.arange(100_000))
    assert seeds.dtype == np.int64
    assert seeds.min() >= 0
    assert len(np.unique(seeds)) == len(seeds)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match="seed must be an integer"):
        check_seed(seed)


@pytest.mark.parametrize("seed", [1.0, "1", True, None])
def test_seed_of_another_type_is_refused(seed: object) -> None:
    with pytest.raises(TypeError, match="seed must be an integer"):
        check_seed(seed)  # type: ignore[arg-type]
