"""Paired tests against published examples and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lssl_augment.errors import DataError
from lssl_augment.evaluation.statistics import holm, mcnemar, wilcoxon
from lssl_augment.evaluation.statistics.paired_tests import mcnemar_counts


def test_mcnemar_on_published_tables() -> None:
    # Agresti, Categorical Data Analysis (approval of the prime minister): 150 and 86 changed their mind;
    # R's mcnemar.test prints χ² = 16.82, p = 4.115e-05 with continuity correction, here (|150 − 86| − 1)² / 236.
    result = mcnemar_counts(86, 150, exact=False)
    assert result.statistic == pytest.approx(63**2 / 236)
    assert result.statistic == pytest.approx(16.82, abs=0.005)
    assert result.p == pytest.approx(4.115e-05, rel=1e-3)
    # Fewer than 25 that differ: exact. 1 against 7: 2 · (1 + 8) / 2^8.
    small = mcnemar_counts(1, 7)
    assert small.statistic is None
    assert small.p == pytest.approx(18 / 256)
    assert mcnemar_counts(13, 12).statistic == 0.0
    assert mcnemar_counts(0, 0).p == 1.0
    assert mcnemar_counts(6, 6).p == 1.0


def test_mcnemar_counts_the_right_faces() -> None:
    arm, baseline = np.array([1, 1, 1, 0, 0], bool), np.array([1, 0, 0, 1, 0], bool)
    result = mcnemar(arm, baseline)
    assert (result.gained, result.lost) == (2, 1)
    assert mcnemar(baseline, arm).p == result.p
    with pytest.raises(DataError, match="same faces"):
        mcnemar(arm, baseline[1:])


def test_wilcoxon_on_a_published_table() -> None:
    # scipy's own example (Darwin's plants): T = 24, two-sided p = 0.041259765625.
    plants = [6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75]
    result = wilcoxon(plants)
    assert result.p == pytest.approx(0.041259765625)
    assert result.pairs == 15
    # Five pairs all one way: 2 / 2^5, the least five pairs can give.
    five = wilcoxon([0.1, 0.2, 0.3, 0.4, 0.5])
    assert five.p == five.smallest_p == pytest.approx(0.0625)
    assert wilcoxon([0.0, 0.0]).p == 1.0
    assert wilcoxon([0.0, 1.0]).pairs == 1
    tied = np.r_[np.ones(10), -np.ones(6), 2 * np.ones(4)]
    assert wilcoxon(tied).p == pytest.approx(stats.wilcoxon(tied, method="approx").pvalue)
    with pytest.raises(DataError, match="finite"):
        wilcoxon([0.1, float("nan")])


def test_holm_by_hand() -> None:
    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") is 0.03 0.06 0.06 0.02
    assert list(holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}).items()) == [
        ("a", pytest.approx(0.03)),
        ("b", pytest.approx(0.06)),
        ("c", pytest.approx(0.06)),
        ("d", pytest.approx(0.02)),
    ]
    assert holm({}) == {}
    with pytest.raises(DataError, match=r"\[0, 1\]"):
        holm({"a": 1.5})


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_lowers_and_keeps_the_order(values: list[float]) -> None:
    adjusted = holm(dict(enumerate(values)))
    for i, p in enumerate(values):
        assert p <= adjusted[i] <= min(1.0, len(values) * p) or adjusted[i] >= p
        for j, q in enumerate(values):
            if p < q:
                assert adjusted[i] <= adjusted[j]
