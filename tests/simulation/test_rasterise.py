"""The z-buffer against a plain loop over samples and triangles, and the cases that loops get wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lssl_augment.simulation import rasterise as module
from lssl_augment.simulation.rasterise import Fragments, rasterise

SIZE = (9, 11)


def fan(corners: list[tuple[float, float, float]], rows: list[tuple[int, int, int]]) -> Fragments:
    return rasterise(np.array(corners, np.float64).reshape(-1, 3), np.array(rows, np.int64).reshape(-1, 3), SIZE)


def one_by_one(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Depth at each sample by solving for barycentric coordinates of every triangle there."""
    depth = np.full(SIZE, np.inf)
    for rows in triangles:
        (x0, y0, z0), (x1, y1, z1), (x2, y2, z2) = points[rows]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if abs(area) < 1e-6:
            continue
        for y in range(SIZE[0]):
            for x in range(SIZE[1]):
                b = ((x - x0) * (y2 - y0) - (x2 - x0) * (y - y0)) / area
                c = ((x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)) / area
                if min(b, c, 1 - b - c) >= 0:
                    depth[y, x] = min(depth[y, x], z0 + b * (z1 - z0) + c * (z2 - z0))
    return depth


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 6), reach=st.sampled_from([3.0, 12.0, 80.0]))
def test_same_as_a_loop(seed: int, count: int, reach: float) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-reach, reach, (9, 3)) + (5, 4, 0)
    triangles = rng.integers(0, 9, (count, 3))
    found, expected = rasterise(points, triangles, SIZE), one_by_one(points, triangles)
    np.testing.assert_array_equal(np.isfinite(found.depth), np.isfinite(expected))
    shown = np.isfinite(expected)
    np.testing.assert_allclose(found.depth[shown], expected[shown], rtol=1e-6, atol=1e-6 * reach)
    # The weights bring the corners to the sample.
    y, x = np.divmod(found.seen, SIZE[1])
    corners = points[triangles[found.triangle.ravel()[found.seen]]]
    places = (found.weights[:, :, None] * corners).sum(axis=1)
    np.testing.assert_allclose(places[:, :2], np.stack([x, y], axis=1), atol=1e-5 * reach)
    np.testing.assert_allclose(places[:, 2], found.depth.ravel()[found.seen], atol=1e-4 * reach)


def test_borders_belong_to_the_triangle() -> None:
    found = fan([(2, 2, 0), (6, 2, 0), (2, 6, 0)], [(0, 1, 2)])
    expected = np.full(SIZE, -1)
    for y in range(2, 7):
        expected[y, 2 : 9 - y] = 0
    np.testing.assert_array_equal(found.triangle, expected)


def test_nearest_wins_in_any_order_and_ties_go_to_the_first() -> None:
    corners = [(x, y, z) for z in (5.0, -5.0) for x, y in ((-9, -9), (40, -9), (-9, 40))]
    assert set(fan(corners, [(0, 1, 2), (3, 4, 5)]).triangle.ravel()) == {1}
    assert set(fan(corners, [(3, 4, 5), (0, 1, 2)]).triangle.ravel()) == {0}
    assert set(fan(corners, [(3, 4, 5), (3, 5, 4)]).triangle.ravel()) == {0}


def test_triangles_that_cross_are_both_seen() -> None:
    across = [(-9.0, -9.0, -9.0), (29.0, -9.0, 29.0), (-9.0, 40.0, -9.0)]  # z = x
    flat = [(-9.0, -9.0, 5.0), (40.0, -9.0, 5.0), (-9.0, 40.0, 5.0)]
    found = fan(across + flat, [(0, 1, 2), (3, 4, 5)])
    np.testing.assert_array_equal(found.triangle[2], [0] * 6 + [1] * 5)
    np.testing.assert_allclose(found.depth[2], [0, 1, 2, 3, 4, 5, 5, 5, 5, 5, 5], atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_no_gaps_between_neighbours(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axis = np.linspace(-3, 14, 30)
    x, y = np.meshgrid(axis, axis)
    # Rounded, so that many edges go right through samples.
    points = np.stack([x, y, rng.normal(size=x.shape)], axis=-1).reshape(-1, 3)
    points[:, :2] = (points[:, :2] + rng.uniform(-0.2, 0.2, (900, 2))).round(1)
    a = (np.arange(29)[:, None] * 30 + np.arange(29)).ravel()
    cells = [np.stack([a, a + 1, a + 30], axis=1), np.stack([a + 1, a + 31, a + 30], axis=1)]
    assert (rasterise(points, np.concatenate(cells), SIZE).triangle >= 0).all()


def test_flat_tiny_and_far_away_triangles_show_nothing() -> None:
    corners = [(1, 1, 0), (9, 9, 0), (5, 5, 0), (1e12, 3, 0), (1e12, 5, 0), (2e12, 4, 0), (3.2, 3.2, 0), (3.4, 3.2, 0)]
    corners += [(3.3, 3.4, 0), (-50, -40, 0), (-30, -20, 0), (-20, -40, 0)]
    found = fan(corners, [(0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11), (0, 0, 0)])
    assert not len(found.seen)
    assert np.isinf(found.depth).all()
    assert not len(fan([], []).seen)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    points, triangles = rng.uniform(-5, 15, (40, 3)), rng.integers(0, 40, (60, 3))
    whole = rasterise(points, triangles, SIZE)
    monkeypatch.setattr(module, "_BLOCK", 7)
    pieces = rasterise(points, triangles, SIZE)
    np.testing.assert_array_equal(pieces.triangle, whole.triangle)
    np.testing.assert_array_equal(pieces.depth, whole.depth)
    np.testing.assert_array_equal(pieces.weights, whole.weights)
