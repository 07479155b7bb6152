"""Alignment: similarity transforms and what they do to pixels and points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lssl_augment.errors import DataError
from lssl_augment.faces.align import (
    FACE_SIZE_PX,
    STABLE_WEIGHTS,
    align_face,
    face_transform,
    similarity,
    template68,
    transform_points,
)
from lssl_augment.faces.landmarks import GROUPS68, eye_distance_px, flip_points68

turns = st.floats(-3.0, 3.0)
scales = st.floats(0.1, 10.0)
shifts = st.floats(-500.0, 500.0)


def matrix(turn: float, scale: float, x: float, y: float) -> np.ndarray:
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    return np.array([[c, -s, x], [s, c, y]])


@given(turns, scales, shifts, shifts)
def test_similarity_finds_the_transform(turn: float, scale: float, x: float, y: float) -> None:
    expected = matrix(turn, scale, x, y)
    moved = transform_points(expected, template68())
    found = similarity(template68(), moved)
    assert np.allclose(found, expected, atol=1e-6 * (1 + abs(x) + abs(y)))
    assert np.allclose(similarity(template68(), moved, STABLE_WEIGHTS), expected, atol=1e-6 * (1 + abs(x) + abs(y)))


@given(turns, scales, shifts, shifts)
def test_a_face_anywhere_lands_on_the_template(turn: float, scale: float, x: float, y: float) -> None:
    points = transform_points(matrix(turn, scale, x, y), template68())
    assert np.allclose(transform_points(face_transform(points), points), template68(), atol=1e-6)


def test_never_a_mirror_image() -> None:
    mirrored = template68() * [-1, 1]
    assert np.linalg.det(similarity(mirrored, template68())[:, :2]) > 0


def test_expressions_do_not_move_the_face() -> None:
    points = template68() + [40, 20]
    smiling = points.copy()
    smiling[GROUPS68["outer_lips"]] += [0, 6]
    smiling[GROUPS68["inner_lips"]] += [0, 9]
    smiling[GROUPS68["brows"]] -= [0, 5]
    smiling[5:12] += [0, 8]  # the jaw drops
    assert np.array_equal(face_transform(smiling), face_transform(points))


def test_unusable_points() -> None:
    with pytest.raises(DataError, match="coincide"):
        face_transform(np.full((68, 2), 7.0))
    with pytest.raises(DataError, match="not finite"):
        face_transform(np.full((68, 2), np.nan))
    with pytest.raises(DataError, match=r"shape \(68, 2\); got \(5, 2\)"):
        face_transform(np.zeros((5, 2)))


@pytest.mark.parametrize("size", [64, 128, 256])
def test_template(size: int) -> None:
    points = template68(size)
    assert points.shape == (68, 2)
    assert points.min() > 0
    assert points.max() < size - 1
    assert np.allclose(flip_points68(points, size), points, atol=0.01)  # symmetric
    assert np.isclose(eye_distance_px(points), 36 * size / FACE_SIZE_PX, atol=0.05)
    points += 1  # a copy: the template itself stays
    assert not np.allclose(points, template68(size))


def test_depth_is_scaled_only() -> None:
    dense = np.random.default_rng(0).normal(size=(478, 3))
    moved = transform_points(matrix(0.3, 2.0, 5, 6), dense)
    assert np.allclose(moved[:, 2], 2 * dense[:, 2])
    assert np.allclose(moved[:, :2], transform_points(matrix(0.3, 2.0, 5, 6), dense[:, :2]))


@pytest.mark.parametrize("scale", [0.7, 1.0, 2.5, 5.0])
def test_pixels_follow_the_points(scale: float) -> None:
    """A photo with a soft white dot on each eye corner: the dots lie on the template's eye corners."""
    points = transform_points(matrix(0.4, scale, 150 * scale, 60 * scale), template68())
    side = int(points.max() + 40 * scale)
    y, x = np.mgrid[:side, :side]
    corners = [36, 39, 42, 45]
    dots = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * (2 * scale) ** 2)) for px, py in points[corners])
    photo = np.repeat((255 * np.clip(dots, 0, 1)).astype(np.uint8)[..., None], 3, axis=2)
    face, found = align_face(photo, points)
    assert face.shape == (FACE_SIZE_PX, FACE_SIZE_PX, 3)
    assert face.dtype == np.uint8
    weights = face[..., 0].astype(float)
    yy, xx = np.mgrid[:FACE_SIZE_PX, :FACE_SIZE_PX]
    for px, py in transform_points(found, points)[corners]:
        near = weights * (np.hypot(xx - px, yy - py) < 6)
        centre = np.array([(near * xx).sum(), (near * yy).sum()]) / near.sum()
        assert np.abs(centre - [px, py]).max() < 0.15
