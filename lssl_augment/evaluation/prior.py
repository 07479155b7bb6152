"""Put the chances of classes back into a classifier that was trained with all of them drawn alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lssl_augment.errors import DataError

__all__ = ["CROSS_FITTED_SUFFIXES", "PRIOR_SUFFIX", "base_arm", "with_prior"]

#: ``NAME-prior`` is the arm NAME of a benchmark with class chances put back.
PRIOR_SUFFIX = "-prior"
#: ``NAME-prior-cv`` and ``NAME-prior-cv1`` are ``NAME`` with the exponent of the other folds
#: (``statistics.cross_fitting``) → the plain accuracy that it may cost.
CROSS_FITTED_SUFFIXES = {f"{PRIOR_SUFFIX}-cv": 0.0, f"{PRIOR_SUFFIX}-cv1": 0.01}


def base_arm(arm: str) -> str:
    """Name of the arm whose classifiers an arm uses: ``NAME`` of ``NAME-prior`` and ``NAME-prior-cv…``, else its own.

    The end of the name decides: an ablation may have the word elsewhere in its own.
    """
    for suffix in (*CROSS_FITTED_SUFFIXES, PRIOR_SUFFIX):
        if arm.endswith(suffix):
            return arm.removesuffix(suffix)
    return arm


def with_prior(probabilities: np.ndarray, counts: Sequence[int], exponent: float) -> np.ndarray:
    """Probabilities times the class chances of the training faces to a power, normalised.

    A classifier trained on balanced batches takes every class for equally likely, and so calls common faces rare ones.
    Exponent 1 puts the full prior back, 0 nothing; between them the rare classes keep part of their gain and common
    faces are named rightly again. An exponent below 0 does the opposite and makes a classifier bolder. It is the logit
    adjustment of Menon et al. 2021 (there taken off a classifier that was trained on faces as they come),
    log p + exponent · log prior, and needs no training.

    Args:
        probabilities: ``(N, C)``, rows sum to 1.
        counts: real training faces of each class, synthetic ones not counted.
        exponent: in [-1, 1].

    Returns:
        ``(N, C)`` of the dtype of ``probabilities``.

    Raises:
        DataError: shapes that differ, a class without faces, or an exponent out of range.
    """
    chances = np.asarray(counts, np.float64)
    if probabilities.ndim != 2 or chances.shape != probabilities.shape[1:]:
        raise DataError(f"one count for each class is needed; got {probabilities.shape} and {len(counts)} counts")
    if not -1 <= exponent <= 1:
        raise DataError(f"the exponent must be in [-1, 1]; got {exponent}")
    if not (chances > 0).all():
        raise DataError(f"every class needs a training face; got counts {list(counts)}")
    weighted = probabilities.astype(np.float64) * (chances / chances.sum()) ** exponent
    out: np.ndarray = (weighted / weighted.sum(1, keepdims=True)).astype(probabilities.dtype)
    return out
