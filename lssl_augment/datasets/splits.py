"""Splitting faces by person: into training and test, or into k folds."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lssl_augment.errors import DataError, LeakageError

__all__ = ["TEST", "TRAIN", "check_apart", "folds_without", "subject_folds", "subject_split"]

TRAIN, TEST = "train", "test"

#: How often the folds are dealt anew when a class with enough subjects misses a fold.
_DEALS = 64
#: Unit of the cost of a fold: integers, so that ties are the same on every machine.
_UNIT = 10**12


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
    if not 0 < test_fraction < 1:
        raise DataError(f"test_fraction must be between 0 and 1; got {test_fraction}")
    faces = _faces_of(subjects, labels)
    total: Counter[Any] = Counter(labels)
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


def subject_folds(
    subjects: Sequence[str], labels: Sequence[int] | Sequence[str], folds: int, seed: int = 0
) -> dict[str, int]:
    """Deal subjects into folds of near equal size that all hold every expression, where the data allow.

    Every subject belongs to the stratum of its rarest expression, counted in subjects. The strata are dealt
    from the rarest expression to the most common one; in a stratum those with most faces come first, equal
    ones in the order of ``sha256(f"{seed}:{subject}")``. A subject goes to a fold that still lacks the
    expression of its stratum, else to any: to the one where the shares of its expressions, and of all faces,
    are smallest. If a class that has a subject for every fold still misses one (its subjects were dealt with
    rarer classes), subjects are moved or swapped; if that does not help, all is dealt again in another
    order, up to 64 times, and the deal with fewest gaps is taken.

    Neither the order of the rows nor that of the subjects changes anything.

    Args:
        subjects: who is seen, one entry a face. labels: the expression, one entry a face (numbers or words).
        folds: how many, at least 2. seed: another one gives other folds.

    Returns:
        Subject → fold, from 0; sorted by subject. :func:`folds_without` tells which classes a fold lacks.

    Raises:
        DataError: lists of different lengths, fewer than 2 folds, or fewer subjects than folds.
    """
    if folds < 2:
        raise DataError(f"folds must be at least 2; got {folds}")
    faces = _faces_of(subjects, labels)
    if len(faces) < folds:
        raise DataError(f"{folds} folds need at least as many subjects; got {len(faces)}")
    names = sorted(faces)
    shown_by: Counter[Any] = Counter(label for shown in faces.values() for label in shown)
    total: Counter[Any] = Counter(labels)
    classes = sorted(shown_by, key=lambda label: (shown_by[label], total[label], label))
    table = np.array([[faces[name][label] for label in classes] for name in names], np.int64)
    best: tuple[int, np.ndarray] | None = None
    for deal in range(_DEALS):
        keys = [_place(seed, name if deal == 0 else f"{deal}:{name}") for name in names]
        dealt = _deal(table, folds, keys)
        gaps = _fill_gaps(dealt, table > 0, folds)
        if best is None or gaps < best[0]:
            best = gaps, dealt
        if not gaps:
            break
    assert best is not None  # there is at least one deal
    return dict(zip(names, best[1].tolist(), strict=True))


def folds_without(
    subjects: Sequence[str], labels: Sequence[int] | Sequence[str], fold_of: Mapping[str, int], folds: int
) -> dict[Any, tuple[int, list[int]]]:
    """Classes that are not in every fold: label → (how many subjects show it, the folds without it)."""
    faces = _faces_of(subjects, labels)
    missing = {}
    found: set[Any] = set(labels)
    for label in sorted(found):
        showing = [subject for subject, shown in faces.items() if shown[label]]
        without = sorted(set(range(folds)) - {fold_of[subject] for subject in showing})
        if without:
            missing[label] = len(showing), without
    return missing


def check_apart(train: Iterable[str], test: Iterable[str], what: str = "among the training faces") -> None:
    """Refuse to go on when somebody is on both sides.

    Args:
        train, test: subjects, once or more often. what: where the test subjects were met, to be read after
            "3 test subjects are …".

    Raises:
        LeakageError: a subject of ``test`` is in ``train``; it names one.
    """
    shared = sorted(set(map(str, train)) & set(map(str, test)))
    if shared:
        raise LeakageError(
            f"{len(shared)} test subjects are {what}, such as {shared[0]!r}; split by subject (`lssl-augment split`), "
            "and train and generate from the training part only"
        )


def _deal(table: np.ndarray, folds: int, keys: Sequence[str]) -> np.ndarray:
    """Fold of every subject. table: faces ``(subjects, classes)``, classes from the rarest."""
    stratum = (table > 0).argmax(axis=1)
    sizes = table.sum(axis=1)
    # All faces together are balanced like one more class.
    wide = np.concatenate([table, sizes[:, None]], axis=1)
    unit = np.maximum(1, _UNIT // np.maximum(1, wide.sum(axis=0)) ** 2)
    held = np.zeros((folds, wide.shape[1]), np.int64)
    dealt = np.zeros(len(table), np.int64)
    for row in sorted(range(len(table)), key=lambda row: (stratum[row], -sizes[row], keys[row])):
        # The increase of the sum of squared shares, without what is the same for every fold.
        cost = held @ (unit * wide[row])
        lacking = held[:, stratum[row]] == 0
        if lacking.any():
            cost[~lacking] = np.iinfo(np.int64).max
        dealt[row] = cost.argmin()
        held[dealt[row]] += wide[row]
    return dealt


def _fill_gaps(dealt: np.ndarray, shows: np.ndarray, folds: int) -> int:
    """Move or swap subjects, in place, while that leaves fewer gaps: (class, fold) pairs that could be filled.

    Args:
        dealt: fold of every subject, ``(subjects,)``. shows: ``(subjects, classes)`` bool.

    Returns:
        The gaps that are left.
    """
    shows = shows[:, shows.sum(axis=0) >= folds].astype(np.int64)
    held = np.stack([shows[dealt == fold].sum(axis=0) for fold in range(folds)])
    while True:
        gaps = int((held == 0).sum())
        step = next(_better(dealt, shows, held), None) if gaps else None
        if step is None:
            return gaps
        for row, fold in step:
            held[dealt[row]] -= shows[row]
            held[fold] += shows[row]
            dealt[row] = fold


def _better(dealt: np.ndarray, shows: np.ndarray, held: np.ndarray) -> Iterator[list[tuple[int, int]]]:
    """Steps, as (subject, its new fold), after which fewer classes miss a fold."""
    for fold, label in zip(*np.nonzero(held == 0), strict=True):
        for row in np.flatnonzero(shows[:, label]):
            home = dealt[row]
            before = (held[[home, fold]] == 0).sum()
            there, here = held[fold] + shows[row], held[home] - shows[row]
            # Instead of the subject that comes, one of the fold may go; nobody is the first choice.
            away = np.concatenate([np.zeros((1, shows.shape[1]), np.int64), shows[dealt == fold]])
            after = ((there - away) == 0).sum(axis=1) + ((here + away) == 0).sum(axis=1)
            best = int(after.argmin())
            if after[best] < before:
                back = [] if best == 0 else [(int(np.flatnonzero(dealt == fold)[best - 1]), int(home))]
                yield [(int(row), int(fold)), *back]


def _faces_of(subjects: Sequence[str], labels: Sequence[Any]) -> dict[str, Counter[Any]]:
    """Subject → label → faces."""
    if len(subjects) != len(labels):
        raise DataError(f"a subject and a label for every face: got {len(subjects)} and {len(labels)}")
    faces: dict[str, Counter[Any]] = defaultdict(Counter)
    for subject, label in zip(subjects, labels, strict=True):
        faces[subject][label] += 1
    return faces


def _place(seed: int, subject: str) -> str:
    return hashlib.sha256(f"{seed}:{subject}".encode()).hexdigest()
