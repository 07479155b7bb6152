"""Random numbers keyed on (seed, stream, index) alone.

SplitMix64 (Steele, Lea, Flood 2014) on whole arrays: a few integer operations that give the same words on
every platform and in every numpy version, so that a plan can be resolved again years later.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from lssl_augment.errors import DataError

__all__ = ["MAX_SEED", "Stream", "check_seed", "row_seeds", "unit_floats", "words"]

#: Largest seed accepted; seeds are stored as int64.
MAX_SEED = 2**63 - 1

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Stream(IntEnum):
    """What a word is drawn for; numbers are part of the file format and never reused."""

    SOURCE_ORDER = 1
    ROW_SEED = 2
    INTENSITY = 3
    PERSON = 4
    YAW = 5


def check_seed(seed: int) -> int:
    """The seed, or ``TypeError``/``DataError`` when it is not an integer in [0, 2**63)."""
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be an integer in [0, 2**63); got {seed!r}")
    if not 0 <= seed <= MAX_SEED:
        raise DataError(f"seed must be an integer in [0, 2**63); got {seed}")
    return seed


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def words(seed: int, stream: Stream, index: np.ndarray) -> np.ndarray:
    """One uint64 word for each index, shape of ``index`` (integers ≥ 0)."""
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is meant
        key = _mix(np.array([seed], np.uint64) + _GOLDEN)
        key = _mix(key + np.uint64(stream) * _GOLDEN)
        return _mix(key + (np.asarray(index).astype(np.uint64) + np.uint64(1)) * _GOLDEN)


def row_seeds(seed: int, stream: Stream, index: np.ndarray) -> np.ndarray:
    """One int64 seed in [0, 2**63) for each index."""
    return (words(seed, stream, index) >> np.uint64(1)).astype(np.int64)


def unit_floats(seed: int, stream: Stream, index: np.ndarray) -> np.ndarray:
    """One float64 in [0, 1) for each index."""
    return (words(seed, stream, index) >> np.uint64(11)).astype(np.float64) * 2.0**-53
