"""Which triangle is seen at which sample of a picture: a z-buffer in numpy, without a loop over triangles.

Triangles are cut into rows and rows into samples, all at once for as many as fit in a block of memory; so the
cost goes with the area that is covered and hardly with the shape of the triangles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["Fragments", "rasterise"]

#: Samples and rows that are worked on at a time: about 20 MB.
_BLOCK = 1 << 18
#: Twice the area, in squared samples, under which a triangle is taken for seen edge-on.
_LEAST_AREA = 1e-6
#: Samples this close outside of an edge count as inside, so that no gap is left between neighbours.
_TOLERANCE = 1e-7


@dataclass(frozen=True, eq=False)
class Fragments:
    """What is seen at each sample.

    Args:
        triangle: row of the triangle, −1 where there is none, ``(H, W)`` int64. depth: ``(H, W)`` float64, smaller is
            nearer; infinite where there is none.
        seen: the flat indices of samples that show something, ascending, ``(N,)`` int64. weights: barycentric
            coordinates there, ``(N, 3)`` float64, in [0, 1], sum 1.
    """

    triangle: np.ndarray
    depth: np.ndarray
    seen: np.ndarray
    weights: np.ndarray


def rasterise(points: np.ndarray, triangles: np.ndarray, size: tuple[int, int]) -> Fragments:
    """Find the nearest triangle at each sample; of two at the same depth the one with the lower row.

    Args:
        points: x right, y down, sample centres at integers, and depth, ``(V, 3)`` float64. triangles: ``(T, 3)``.
        size: height and width of the grid of samples.
    """
    height, width = size
    planes = _Planes(points[triangles])
    depth = np.full(height * width, np.inf)
    owner = np.full(height * width, len(triangles), np.int64)
    for at, z, rows in _samples(planes, height, width):
        before = depth[at]
        np.minimum.at(depth, at, z)
        nearest = depth[at]
        owner[at[nearest < before]] = len(triangles)  # what owned it lies behind
        hit = z == nearest
        np.minimum.at(owner, at[hit], rows[hit])
    owner[owner == len(triangles)] = -1
    seen = np.flatnonzero(owner >= 0)
    weights = planes.weights(owner[seen], seen % width, seen // width)
    return Fragments(owner.reshape(size), depth.reshape(size), seen, weights)


class _Planes:
    """Corners and slopes of triangles; places are relative to the first corner, for precision."""

    def __init__(self, corners: np.ndarray) -> None:
        self.corners = corners
        self.x, self.y, self.z = corners[:, 0].T
        (x1, y1, z1), (x2, y2, z2) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
        area = x1 * y2 - x2 * y1
        self.broad = np.abs(area) > _LEAST_AREA
        area = np.where(self.broad, area, 1.0)
        # Weight of corner i at (dx, dy) is first_i + dx · across_i + dy · down_i.
        self.across = np.stack([(y1 - y2) / area, y2 / area, -y1 / area])
        self.down = np.stack([(x2 - x1) / area, -x2 / area, x1 / area])
        self.z_across = z1 * self.across[1] + z2 * self.across[2]
        self.z_down = z1 * self.down[1] + z2 * self.down[2]

    def weights(self, rows: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Barycentric coordinates of places, ``(N, 3)``."""
        dx, dy = x - self.x[rows], y - self.y[rows]
        weights = dx * self.across[:, rows] + dy * self.down[:, rows]
        weights[0] += 1.0
        weights = weights.clip(0, 1).T
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _samples(planes: _Planes, height: int, width: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Blocks of samples covered by triangles in the order of their rows: flat index, depth, row of the triangle."""
    low, high = planes.corners[..., :2].min(axis=1), planes.corners[..., :2].max(axis=1)
    first = np.ceil(low - _TOLERANCE).clip(0, [width, height])
    last = np.floor(high + _TOLERANCE).clip(-1, [width - 1, height - 1])
    kept = np.flatnonzero((first <= last).all(axis=1) & planes.broad)
    first, last = first[kept].astype(np.int64), last[kept].astype(np.int64)
    for block in _blocks(last[:, 1] - first[:, 1] + 1):
        which, step = _expand((last[:, 1] - first[:, 1] + 1)[block])
        y = first[block, 1][which] + step
        rows = kept[block][which]
        left, right = _spans(planes, rows, y, first[block, 0][which], last[block, 0][which])
        counts = right - left + 1
        filled = np.flatnonzero(counts > 0)
        y, rows, left, counts = y[filled], rows[filled], left[filled], counts[filled]
        start = planes.z[rows] + (y - planes.y[rows]) * planes.z_down[rows]
        start += (left - planes.x[rows]) * planes.z_across[rows]
        for inner in _blocks(counts):
            which, step = _expand(counts[inner])
            z = start[inner][which] + step * planes.z_across[rows[inner]][which]
            yield (y[inner] * width + left[inner])[which] + step, z, rows[inner][which]


def _spans(
    planes: _Planes, rows: np.ndarray, y: np.ndarray, first: np.ndarray, last: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """First and last sample inside of a triangle in one row of samples; the last before the first if there is none."""
    left, right = first.astype(np.float64), last.astype(np.float64)
    x0, dy = planes.x[rows], y - planes.y[rows]
    for corner in range(3):
        across = planes.across[corner, rows]
        rest = dy * planes.down[corner, rows]
        if corner == 0:
            rest += 1.0
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            bound = x0 - rest / across
        np.maximum(left, bound - _TOLERANCE, out=left, where=across > 0)
        np.minimum(right, bound + _TOLERANCE, out=right, where=across < 0)
        right[(across == 0) & (rest < -_TOLERANCE)] = -1.0
    # Bounds far outside would not fit into integers.
    left = np.ceil(left).clip(first, last + 1)
    right = np.floor(right).clip(first - 1, last)
    return left.astype(np.int64), right.astype(np.int64)


def _blocks(counts: np.ndarray) -> Iterator[slice]:
    """Slices with at most ``_BLOCK`` items in all, or one with more."""
    ends = np.cumsum(counts)
    at = 0
    while at < len(counts):
        done = ends[at - 1] if at else 0
        upto = max(at + 1, int(np.searchsorted(ends, done + _BLOCK, side="right")))
        yield slice(at, upto)
        at = upto


def _expand(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of ``counts[i]`` items its i, and its place among them."""
    which = np.repeat(np.arange(len(counts)), counts)
    return which, np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
