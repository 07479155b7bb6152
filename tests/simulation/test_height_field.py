"""A face as a height field: its picture comes back when it is seen from the front."""

from __future__ import annotations

import numpy as np
import pytest

from lssl_augment.errors import DataError
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE, eye_distance_px
from lssl_augment.simulation.camera import Camera
from lssl_augment.simulation.height_field import EYE_DISTANCE_MM, height_field
from lssl_augment.simulation.mesh import Mesh
from lssl_augment.simulation.render import render
from tests.tiny_faces import mean_face

SIZE = 128


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.stack([x * 2, y * 2, 255 - x], axis=-1).astype(np.uint8)


def as_photographed(mesh: Mesh, dense: np.ndarray) -> Camera:
    """The camera that took the picture which the mesh was made from."""
    eyes = float(eye_distance_px(dense[SPARSE_FROM_DENSE, :2]))
    return Camera((0, 0, 0), eyes / EYE_DISTANCE_MM, SIZE)


def test_from_the_front_it_is_the_picture(picture: np.ndarray) -> None:
    dense = mean_face()
    mesh = height_field(dense, SIZE)
    mesh = Mesh(mesh.vertices, mesh.triangles, mesh.uv, mesh.uv_triangles, picture)
    view = render(mesh, camera=as_photographed(mesh, dense))
    # The middle of the mesh is the middle of the picture here, not that of the face.
    moved = np.round(dense[:, :2] - view.project(_places(mesh, dense))[:, :2], 6)
    assert (moved == moved[0]).all()
    at = view.project(_places(mesh, dense))[[4, 33, 263, 61, 291, 152], :2]
    for (x, y), (right, down) in zip(at, at + moved[0], strict=True):
        shown = view.image[round(y), round(x)].astype(float)
        expected = (2 * (right + round(x) - x), 2 * (down + round(y) - y), 255 - right - round(x) + x)
        np.testing.assert_allclose(shown, expected, atol=2.5)


def _places(mesh: Mesh, dense: np.ndarray) -> np.ndarray:
    """The vertices of the dense points, found by their texture coordinates and depth."""
    assert mesh.uv is not None
    pixels = mesh.uv * (SIZE, -SIZE) + (-0.5, SIZE - 0.5)
    gap = np.linalg.norm(pixels[None] - dense[:, None, :2], axis=2)
    assert gap.min(axis=1).max() < 1e-9
    return mesh.vertices[gap.argmin(axis=1)]


def test_it_is_of_natural_size_and_faces_the_viewer() -> None:
    dense = mean_face()
    mesh = height_field(dense, SIZE)
    places = _places(mesh, dense)
    assert eye_distance_px(places[SPARSE_FROM_DENSE, :2]) == pytest.approx(EYE_DISTANCE_MM)
    assert places[4, 2] > places[234, 2]  # the nose is nearer than the ears
    assert places[10, 1] > places[152, 1]  # the forehead is above the chin
    a, b, c = (mesh.vertices[mesh.triangles[:, i]] for i in range(3))
    assert (np.cross(b - a, c - a)[:, 2] >= 0).all()
    # Beyond the face the surface falls back.
    assert mesh.vertices[:, 2].min() < places[:, 2].min() - 20


def test_rings_stay_inside_of_the_picture() -> None:
    mesh = height_field(mean_face() + (25, 30, 0), SIZE)
    inside = height_field(mean_face(), SIZE)
    assert mesh.uv is not None
    assert inside.uv is not None
    assert mesh.uv.min() == 0
    assert 0 <= inside.uv.min() < inside.uv.max() <= 1


@pytest.mark.parametrize(
    ("dense", "says"),
    [
        (np.zeros((68, 3)), r"dense must be \(478, 3\) finite numbers; got \(68, 3\)"),
        (np.full((478, 3), np.nan), "finite numbers"),
        (np.zeros((478, 3)), "both eyes are in one place"),
        (np.linspace(0, 100, 478)[:, None] * (1, 1, 1), "all points lie in a line"),
    ],
)
def test_what_is_no_face_is_refused(dense: np.ndarray, says: str) -> None:
    with pytest.raises(DataError, match=says):
        height_field(dense, SIZE)
