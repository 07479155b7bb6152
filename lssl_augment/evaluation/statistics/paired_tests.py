"""Tests of one arm against another on the same test faces, and the correction for asking often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from lssl_augment.errors import DataError

__all__ = ["McNemar", "Wilcoxon", "holm", "mcnemar", "wilcoxon"]

_EXACT_BELOW = 25
_Key = TypeVar("_Key")


@dataclass(frozen=True)
class McNemar:
    """Result of :func:`mcnemar`.

    Args:
        gained: faces right in the arm and wrong in the baseline. lost: the other way round.
        statistic: χ² with one degree of freedom; None for the exact test.
        p: two-sided.
    """

    gained: int
    lost: int
    statistic: float | None
    p: float


def mcnemar(arm: np.ndarray, baseline: np.ndarray, *, exact: bool | None = None) -> McNemar:
    """McNemar's test of two classifiers on the same faces.

    Args:
        arm, baseline: whether each face was named rightly, shape ``(N,)`` bool.
        exact: the binomial test; False: χ² with Edwards' continuity correction; None: exact when fewer than 25 faces
            differ.

    Raises:
        DataError: for shapes that differ.
    """
    arm, baseline = np.asarray(arm, bool), np.asarray(baseline, bool)
    if arm.ndim != 1 or arm.shape != baseline.shape:
        raise DataError(f"McNemar's test needs the same faces twice; got shapes {arm.shape} and {baseline.shape}")
    return mcnemar_counts(int((arm & ~baseline).sum()), int((~arm & baseline).sum()), exact=exact)


def mcnemar_counts(gained: int, lost: int, *, exact: bool | None = None) -> McNemar:
    """The same from the two counts of faces that differ."""
    from scipy.stats import binomtest, chi2

    differ = gained + lost
    if differ == 0:
        return McNemar(0, 0, None, 1.0)
    if differ < _EXACT_BELOW if exact is None else exact:
        return McNemar(gained, lost, None, float(binomtest(gained, differ, 0.5).pvalue))
    statistic = max(abs(gained - lost) - 1, 0) ** 2 / differ
    return McNemar(gained, lost, float(statistic), float(chi2.sf(statistic, 1)))


@dataclass(frozen=True)
class Wilcoxon:
    """Result of :func:`wilcoxon`.

    Args:
        pairs: differences that are not 0. p: two-sided. smallest_p: the least p this many pairs can give.
    """

    pairs: int
    p: float
    smallest_p: float


def wilcoxon(differences: Sequence[float] | np.ndarray) -> Wilcoxon:
    """Wilcoxon's signed-rank test of paired differences; zeros are dropped, exact where there are no ties.

    Raises:
        DataError: for differences that are not finite.
    """
    from scipy.stats import wilcoxon as signed_rank

    values = np.asarray(differences, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise DataError(f"Wilcoxon's test needs finite differences of shape (N,); got {values.tolist()}")
    values = values[values != 0]
    if not len(values):
        return Wilcoxon(0, 1.0, 1.0)
    tied = len(np.unique(np.abs(values))) < len(values)
    method = "approx" if (tied and len(values) > 13) or len(values) > 50 else "exact"
    return Wilcoxon(len(values), float(signed_rank(values, method=method).pvalue), min(1.0, 2.0 ** (1 - len(values))))


def holm(p_values: Mapping[_Key, float]) -> dict[_Key, float]:
    """Holm's step-down adjustment (1979): below α means significant at family-wise α.

    Raises:
        DataError: for a p-value outside [0, 1].
    """
    bad = {key: p for key, p in p_values.items() if not 0 <= p <= 1}
    if bad:
        raise DataError(f"p-values must be in [0, 1]; got {bad}")
    adjusted: dict[_Key, float] = {}
    largest = 0.0
    for rank, (key, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        adjusted[key] = largest
    return {key: adjusted[key] for key in p_values}
