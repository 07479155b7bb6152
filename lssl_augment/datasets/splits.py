"""Splitting faces into training and test by person."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from lssl_augment.errors import DataError

__all__ = ["TEST", "TRAIN", "subject_split"]

TRAIN, TEST = "train", "test"


def subject_split(
    subjects: Sequence[str], labels: Sequence[int] | Sequence[str], seed: int = 0, test_fraction: float = 0.2
) -> list[str]:
    """Split by subject and stratified by expression: nobody is in both parts.

    Every subject belongs to the stratum of its rarest expression. The strata are gone through from the rarest
    expression to the most common one: in the order of ``sha256(f"{seed}:{subject}")`` subjects go to the test
    part until it holds ``test_fraction`` of all faces of that expression; the others train. Every stratum
    keeps at least one subject for training. The order of the rows changes nothing.

    Args:
        subjects: who is seen, one entry a face. labels: the expression, one entry a face (numbers or words).
        seed: another one gives another split. test_fraction: share of the faces to test on, in (0, 1).

    Returns:
        ``"train"`` or ``"test"`` for every face.

    Raises:
        DataError: lists of different lengths, or a fraction outside (0, 1).
    """
    if len(subjects) != len(labels):
        raise DataError(f"a subject and a label for every face: got {len(subjects)} and {len(labels)}")
    if not 0 < test_fraction < 1:
        raise DataError(f"test_fraction must be between 0 and 1; got {test_fraction}")
    total: Counter[Any] = Counter(labels)
    faces: dict[str, Counter[Any]] = defaultdict(Counter)
    for subject, label in zip(subjects, labels, strict=True):
        faces[subject][label] += 1
    rarest_first = sorted(total, key=lambda label: (total[label], label))
    rank = {label: i for i, label in enumerate(rarest_first)}
    strata: dict[Any, list[str]] = defaultdict(list)
    for subject, shown in faces.items():
        strata[min(shown, key=rank.__getitem__)].append(subject)

    tested: set[str] = set()
    taken: Counter[Any] = Counter()
    for label in rarest_first:
        ordered = sorted(strata[label], key=lambda subject: (_place(seed, subject), subject))
        for subject in ordered[:-1]:
            # Faces of subjects that a rarer stratum already put to the test count too.
            if taken[label] >= test_fraction * total[label]:
                break
            tested.add(subject)
            taken.update(faces[subject])
    return [TEST if subject in tested else TRAIN for subject in subjects]


def _place(seed: int, subject: str) -> str:
    return hashlib.sha256(f"{seed}:{subject}".encode()).hexdigest()
