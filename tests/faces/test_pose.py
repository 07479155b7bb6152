from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lssl_augment.errors import DataError
from lssl_augment.faces.align import similarity, transform_points
from lssl_augment.faces.dense_flip import flip_dense
from lssl_augment.faces.landmarks import DENSE_COUNT, SPARSE_FROM_DENSE, flip_points68
from lssl_augment.faces.pose import _MEAN_SHAPE, _stable, head_pose, yaw_deg

ANGLES = st.floats(-50, 50)


def head(nod_deg: float = 0.0) -> np.ndarray:
    """Dense points (478, 3) whose stable points are the mean shape and whose other points lie on a ball."""
    points = np.random.default_rng(0).normal(size=(DENSE_COUNT, 3))
    points *= 40 / np.linalg.norm(points, axis=1, keepdims=True)
    rows, shape = _stable()
    points[rows] = shape
    # What the rule for 68 points reads: the tip of the nose, and eyes that are level.
    points[4] = [0, 24, -25]
    eyes = SPARSE_FROM_DENSE[36:48]
    points[eyes] = np.concatenate([np.repeat([[-17.0, 6, -2]], 6, 0), np.repeat([[17.0, 6, -2]], 6, 0)])
    points[rows] = shape
    return turned(points, 0, nod_deg, 0)


def turned(points: np.ndarray, yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Nose to the viewer's right by ``yaw``, down by ``pitch``, then the picture turned clockwise by ``roll``."""
    y, p, r = np.deg2rad([yaw, pitch, roll])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return points @ (about_z @ about_y @ about_x).T


def test_signs_are_those_of_the_viewer() -> None:
    nose, centre = 4, head().mean(0)
    right = turned(head(), 30, 0, 0)
    assert right[nose, 0] - centre[0] > 5  # the nose points to larger x
    assert head_pose(right).yaw == pytest.approx(30)
    assert yaw_deg(right[SPARSE_FROM_DENSE, :2]) > 20
    down = turned(head(), 0, 20, 0)
    assert down[nose, 1] > head()[nose, 1] + 5
    assert head_pose(down).pitch == pytest.approx(20)
    clockwise = turned(head(), 0, 0, 15)
    assert clockwise[10, 0] > head()[10, 0] + 5  # the forehead moves to the viewer's right
    assert head_pose(clockwise).roll == pytest.approx(15)


@given(yaw=ANGLES, pitch=ANGLES, roll=ANGLES, scale=st.floats(0.2, 9), shift=st.floats(-500, 500))
def test_all_angles_come_back_whatever_the_size_and_place(
    yaw: float, pitch: float, roll: float, scale: float, shift: float
) -> None:
    found = head_pose(scale * turned(head(), yaw, pitch, roll) + shift)
    assert [found.yaw, found.pitch, found.roll] == pytest.approx([yaw, pitch, roll], abs=1e-6)


@given(yaw=st.floats(-45, 45), roll=ANGLES, scale=st.floats(0.2, 9), shift=st.floats(-500, 500))
def test_turning_the_photograph_does_not_change_yaw(yaw: float, roll: float, scale: float, shift: float) -> None:
    dense = turned(head(), yaw, 0, 0)
    ends = np.array([[0.0, 0], [1, 0]])
    r = np.deg2rad(roll)
    matrix = similarity(ends, np.array([[0, 0], [np.cos(r), np.sin(r)]]) * scale + shift)
    moved = transform_points(matrix, dense)
    assert yaw_deg(moved) == pytest.approx(yaw, abs=1e-6)
    before, after = (yaw_deg(points[SPARSE_FROM_DENSE, :2]) for points in (dense, moved))
    assert after == pytest.approx(before, abs=1e-6)
    assert abs(before - yaw) < 5


@given(yaw=ANGLES, pitch=ANGLES, roll=ANGLES)
def test_a_mirrored_face_is_turned_the_other_way(yaw: float, pitch: float, roll: float) -> None:
    dense = turned(head(), yaw, pitch, roll) + 64
    here, there = head_pose(dense), head_pose(flip_dense(dense, 128))
    assert [there.yaw, there.pitch, there.roll] == pytest.approx([-here.yaw, here.pitch, -here.roll], abs=1e-6)
    points = dense[SPARSE_FROM_DENSE, :2]
    assert yaw_deg(flip_points68(points, 128)) == pytest.approx(-yaw_deg(points), abs=1e-6)


def test_shapes_follow_the_input() -> None:
    many = np.stack([turned(head(), yaw, 0, 0) for yaw in (-30, 0, 15, 45, 0, 0)]).reshape(2, 3, DENSE_COUNT, 3)
    assert yaw_deg(many) == pytest.approx(np.array([[-30, 0, 15], [45, 0, 0]]), abs=1e-6)
    assert yaw_deg(many[..., SPARSE_FROM_DENSE, :2]).shape == (2, 3)
    assert yaw_deg(many[:0]).shape == (0, 3)
    assert yaw_deg(many[:0][..., SPARSE_FROM_DENSE, :2]).shape == (0, 3)
    assert head_pose(many.astype(np.float32)).pitch.dtype == np.float64


def test_a_profile_is_no_more_than_a_right_angle() -> None:
    points = head()[SPARSE_FROM_DENSE, :2].copy()
    points[16, 0] = points[0, 0] - 5  # the far temple behind the near one
    points[30, 0] = points[0, 0] + 30
    assert yaw_deg(points) == pytest.approx(90)


def test_the_mean_shape_is_a_face() -> None:
    for x, _, _ in _MEAN_SHAPE.values():
        assert x <= 0  # the viewer's left half; the other is its mirror image
    rows, shape = _stable()
    assert len(set(rows.tolist())) == 36
    assert np.abs(shape.mean(0)).max() < 1e-12


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((68, 3)), r"got \(68, 3\)"),
        (np.zeros((478, 2)), r"got \(478, 2\)"),
        (np.zeros(3), r"got \(3,\)"),
        (np.full((478, 3), np.nan), "1434 numbers are not"),
        (np.full((2, 68, 2), np.inf), "272 numbers are not"),
        (np.zeros((478, 3)), "coincide"),
        (np.zeros((68, 2)), "eyes coincide"),
    ],
)
def test_unusable_points_are_named(points: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        yaw_deg(points)
    with pytest.raises(DataError):
        head_pose(points)
