"""Near-duplicates: the same photograph twice, perhaps cropped, recompressed, brightened, shifted or mirrored.

Two passes. All pairs are compared by a small descriptor: the face in 16×16 grey cells, with slow changes of
brightness taken away, at unit length, so that a matrix product gives all correlations. What looks alike is
compared again at 48×48 cells, over shifts of one cell (two or three pixels of a 128-pixel face) each way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from lssl_augment.errors import DataError

__all__ = ["MAX_DISTANCE", "DuplicatePair", "duplicate_groups", "find_duplicates"]

#: Largest distance (1 − correlation) at which two faces count as one photograph; docs/protocols.md shows why.
MAX_DISTANCE = 0.1

#: Side of the grey faces that are compared; the outer cells are left away, they are mostly background.
_SIDE, _BORDER = 64, 6
_CELLS, _SHIFT = 16, 1
#: Correlation of the descriptors from which on a pair is looked at again.
_ALIKE = 0.85
#: By how much the mirrored face must correlate better to be called mirrored: symmetric faces are not.
_CLEARLY = 0.01
_READ, _BLOCK, _PAIRS = 512, 1024, 2048

Progress = Callable[[int, int], None]


class DuplicatePair(NamedTuple):
    """Two faces that are one photograph.

    Attributes:
        i, j: rows, i < j. distance: 1 − correlation, in [0, 0.15]; 0 is equal.
        kind: ``"exact"``: the same pixels; ``"near"``: nearly so; ``"mirrored"``: nearly so, and
            clearly more so after mirroring one of them.
    """

    i: int
    j: int
    distance: float
    kind: str


@dataclass(frozen=True)
class _Looks:
    """What is compared. coarse: ``(N, 256)``, mirrored: the same of mirrored faces, fine: ``(N, 52, 52)``."""

    coarse: np.ndarray
    mirrored: np.ndarray
    fine: np.ndarray


def find_duplicates(
    images: Any, max_distance: float = MAX_DISTANCE, progress: Progress | None = None
) -> list[DuplicatePair]:
    """All pairs of faces that are the same photograph, or nearly.

    Whether two faces are a pair depends on these two only. Faces without any contrast equal no other face,
    except in every pixel.

    Args:
        images: aligned faces ``(N, S, S, 3)`` RGB or ``(N, S, S)`` grey, uint8, S at least 32; an array, or
            anything that gives one when sliced, such as ``pack.images``.
        max_distance: largest distance of near pairs, in [0, 0.15]: the first pass does not look beyond.
        progress: gets (done, total): every face counts once when it is read and once when it is compared.

    Returns:
        Pairs, sorted by rows. One photograph in n copies makes n(n−1)/2 of them.

    Raises:
        DataError: images of another kind, or a distance out of range.
    """
    shape = tuple(images.shape)
    if len(shape) not in (3, 4) or shape[1] != shape[2] or shape[3:] not in ((), (3,)) or images.dtype != np.uint8:
        raise DataError(f"images must be (N, S, S, 3) or (N, S, S) uint8; got {shape} {images.dtype}")
    if shape[1] < 32:
        raise DataError(f"faces must be at least 32 px wide to be compared; got {shape[1]}")
    if not 0 <= max_distance <= 1 - _ALIKE:
        raise DataError(f"max_distance must be between 0 and {1 - _ALIKE:g}; got {max_distance}")
    looks, first_of = _look(images, progress)
    unique = np.flatnonzero(first_of == np.arange(len(first_of)))
    copies: dict[int, list[int]] = {int(row): [] for row in unique}
    for row, first in enumerate(first_of.tolist()):
        copies[first].append(row)
    pairs = []
    for rows in copies.values():
        pairs += [DuplicatePair(a, b, 0.0, "exact") for n, a in enumerate(rows) for b in rows[n + 1 :]]

    def compared(done: int) -> None:
        if progress is not None:
            progress(2 * len(first_of) - len(unique) + done, 2 * len(first_of))

    for k, m, distance, kind in _near(looks, max_distance, compared):
        for a in copies[int(unique[k])]:
            pairs += [DuplicatePair(min(a, b), max(a, b), distance, kind) for b in copies[int(unique[m])]]
    return sorted(pairs)


def duplicate_groups(pairs: Iterable[DuplicatePair]) -> list[tuple[int, ...]]:
    """Faces joined by pairs, directly or through others: rows, increasing; groups in the order of their first."""
    group: dict[int, list[int]] = {}
    for pair in pairs:
        one, other = group.setdefault(pair.i, [pair.i]), group.setdefault(pair.j, [pair.j])
        if one is not other:
            if len(one) < len(other):
                one, other = other, one
            one += other
            for row in other:
                group[row] = one
    return sorted({tuple(sorted(rows)) for rows in {id(rows): rows for rows in group.values()}.values()})


def _look(images: Any, progress: Progress | None) -> tuple[_Looks, np.ndarray]:
    """Descriptors of the faces that equal none before them, and for every face the first one equal to it."""
    seen: dict[bytes, int] = {}
    first_of = np.zeros(images.shape[0], np.int64)
    fine: list[np.ndarray] = []
    coarse: list[np.ndarray] = []
    for start in range(0, len(first_of), _READ):
        for row, image in enumerate(np.asarray(images[start : start + _READ]), start=start):
            first_of[row] = seen.setdefault(hashlib.sha256(np.ascontiguousarray(image).data).digest(), row)
            if first_of[row] == row:
                grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
                small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
                fine.append(_without_slow(small, 0.7, 5.0)[_BORDER:-_BORDER, _BORDER:-_BORDER])
                coarse.append(_cells(small))
        if progress is not None:
            progress(min(start + _READ, len(first_of)), 2 * len(first_of))
    if not fine:
        return _Looks(np.zeros((0, _CELLS**2)), np.zeros((0, _CELLS**2)), np.zeros((0, 1, 1))), first_of
    cells = np.stack(coarse)
    mirrored = np.ascontiguousarray(cells[:, :, ::-1]).reshape(len(cells), -1)
    return _Looks(cells.reshape(len(cells), -1), mirrored, np.stack(fine)), first_of


def _without_slow(grey: np.ndarray, smooth: float, slow: float) -> np.ndarray:
    """Band of a grey image between two blurs: neither noise nor light."""
    smoothed = cv2.GaussianBlur(grey, (0, 0), smooth)
    return smoothed - cv2.GaussianBlur(smoothed, (0, 0), slow)


def _cells(small: np.ndarray) -> np.ndarray:
    inner = cv2.GaussianBlur(small, (0, 0), 1.0)[_BORDER:-_BORDER, _BORDER:-_BORDER]
    cells = cv2.resize(inner, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    cells = cells - cv2.GaussianBlur(cells, (0, 0), 3.0)
    return _unit(cells[None], (1, 2))[0]


def _unit(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Without mean and at unit length over some axes; what has no contrast becomes zero."""
    values = values - values.mean(axes, keepdims=True)
    length = np.sqrt((values**2).sum(axes, keepdims=True))
    return np.where(length > 1e-3, values / np.maximum(length, 1e-3), 0).astype(np.float32)


def _near(looks: _Looks, max_distance: float, compared: Callable[[int], None]) -> Iterator[tuple[int, int, float, str]]:
    """(row, later row, distance, kind) of near pairs among faces that all differ."""
    for start in range(0, len(looks.coarse), _BLOCK):
        block = looks.coarse[start : start + _BLOCK]
        plain = block @ looks.coarse[start:].T
        # Near in one way is enough to be looked at in both: a frontal face resembles its mirror image.
        rows, others = np.nonzero(np.maximum(plain, block @ looks.mirrored[start:].T, out=plain) > _ALIKE)
        rows, others = rows[rows < others] + start, others[rows < others] + start
        for at in range(0, len(rows), _PAIRS):
            k, m = rows[at : at + _PAIRS], others[at : at + _PAIRS]
            same = _correlation(looks.fine[k], looks.fine[m])
            mirrored = _correlation(looks.fine[k], looks.fine[m][:, :, ::-1])
            best = np.maximum(same, mirrored)
            for n in np.flatnonzero(best >= 1 - max_distance):
                kind = "near" if same[n] >= mirrored[n] - _CLEARLY else "mirrored"
                yield int(k[n]), int(m[n]), round(float(max(0.0, 1 - best[n])), 4), kind
        compared(min(start + _BLOCK, len(looks.coarse)))


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Best correlation over shifts, ``(P,)``, of faces ``(P, side, side)``."""
    side = first.shape[1] - 2 * _SHIFT
    middle = _unit(first[:, _SHIFT : _SHIFT + side, _SHIFT : _SHIFT + side], (1, 2))
    best = np.full(len(first), -1.0, np.float32)
    for dy in range(2 * _SHIFT + 1):
        for dx in range(2 * _SHIFT + 1):
            moved = _unit(second[:, dy : dy + side, dx : dx + side], (1, 2))
            np.maximum(best, np.einsum("pyx,pyx->p", middle, moved), out=best)
    return best
