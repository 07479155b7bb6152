"""Pictures of known scenes: where things are, which way they turn, what hides what, and the way back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lssl_augment.errors import DataError
from lssl_augment.simulation.camera import Camera, frame
from lssl_augment.simulation.mesh import Mesh, merge
from lssl_augment.simulation.render import Rendering, render

RED, GREEN, BLUE, WHITE = (250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 250)
BACKGROUND = (10, 20, 30)
UNIT = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float64)
TWO = np.array([[0, 1, 2], [0, 2, 3]])


def square(texture: np.ndarray, z: float = 0.0, side: float = 10.0) -> Mesh:
    """A square in the middle, facing the viewer, that shows the whole texture."""
    return Mesh((UNIT - (0.5, 0.5, 0)) * side + (0, 0, z), TWO, UNIT[:, :2], TWO, texture)


def plain(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((4, 4, 3), colour, np.uint8)


def ball(radius: float = 50.0, rings: int = 40) -> Mesh:
    """A sphere whose half to the viewer's right is red and the other one blue, its pole towards the viewer."""
    polar, around = np.meshgrid(np.linspace(0, np.pi, rings), np.linspace(0, 2 * np.pi, 2 * rings), indexing="ij")
    xyz = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=-1)
    cells = (np.arange(rings - 1)[:, None] * 2 * rings + np.arange(2 * rings - 1)).ravel()
    below, right = cells + 2 * rings, cells + 1
    triangles = np.concatenate([np.stack([cells, below, below + 1], 1), np.stack([cells, below + 1, right], 1)])
    places = xyz.reshape(-1, 3) * radius
    texture = np.zeros((2, 2, 3), np.uint8)
    texture[:, 0], texture[:, 1] = BLUE, RED
    uv = np.stack([0.5 + 0.5 * np.sign(places[:, 0]), np.zeros(len(places))], axis=1)
    return Mesh(places, triangles, uv, triangles, texture)


CAMERA = Camera((0.0, 0.0, 0.0), scale_px=2.0, size_px=41)


def shot(mesh: Mesh, **options: Any) -> Rendering:
    return render(mesh, **{"camera": CAMERA, "background": BACKGROUND, **options})


def test_a_square_is_where_it_should_be() -> None:
    picture = shot(square(plain(RED)), supersample=1)
    # 10 units at 2 px each about the middle pixel 20: from 10 to 30, borders included.
    expected = np.full((41, 41, 3), BACKGROUND, np.uint8)
    expected[10:31, 10:31] = RED
    np.testing.assert_array_equal(picture.image, expected)
    assert (picture.depth[10:31, 10:31] == 0).all()
    assert np.isinf(picture.depth).sum() == 41**2 - 21**2


def test_borders_are_smooth() -> None:
    picture = shot(square(plain(RED)), supersample=2)
    mixed = (np.array(RED) + BACKGROUND) / 2
    np.testing.assert_allclose(picture.image[20, 10], mixed, atol=1)  # half of this pixel's samples are inside
    np.testing.assert_allclose(picture.image[20, 30], mixed, atol=1)
    np.testing.assert_array_equal(picture.image[11:30, 11:30], np.broadcast_to(RED, (19, 19, 3)))


def test_texture_is_the_right_way_up() -> None:
    texture = np.zeros((2, 2, 3), np.uint8)
    texture[0, 0], texture[0, 1], texture[1, 0], texture[1, 1] = RED, GREEN, BLUE, WHITE
    image = shot(square(texture)).image
    for (y, x), colour in {(13, 13): RED, (13, 27): GREEN, (27, 13): BLUE, (27, 27): WHITE}.items():
        np.testing.assert_array_equal(image[y, x], colour)
    # Halfway between the centres of two texels, half of each.
    np.testing.assert_allclose(image[13, 20], (np.array(RED) + GREEN) / 2, atol=1)


def test_texture_repeats_beyond_its_border() -> None:
    texture = np.zeros((1, 2, 3), np.uint8)
    texture[:, 0], texture[:, 1] = RED, GREEN
    mesh = square(texture)
    twice = Mesh(mesh.vertices, TWO, UNIT[:, :2] * (2, 1) - (1, 0), TWO, texture)
    row = shot(twice, supersample=1).image[20, 10:31]
    assert [tuple(row[x]) for x in (1, 8, 12, 19)] == [RED, GREEN, RED, GREEN]


def test_fine_textures_become_grey_not_noise() -> None:
    texture = (np.indices((801, 801)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    image = shot(square(texture)).image[12:29, 12:29]
    assert 110 < image.min() <= image.max() < 146


def test_what_is_nearer_hides_what_is_behind() -> None:
    far, near = square(plain(RED), z=-3), square(plain(GREEN), z=4, side=4)
    two = merge([far, near], np.concatenate([plain(RED), plain(GREEN)], axis=1))
    two = Mesh(two.vertices, two.triangles, two.uv * (0, 1) + np.repeat([[0.1, 0], [0.9, 0]], 4, axis=0),
               two.uv_triangles, two.texture)  # fmt: skip
    picture = shot(two)
    assert tuple(picture.image[20, 20]) == GREEN
    assert tuple(picture.image[20, 12]) == RED
    assert (picture.depth[20, 20], picture.depth[20, 12]) == (-8, 6)  # smaller is nearer, in pixels
    behind = shot(two, camera=CAMERA.turned(180))
    assert tuple(behind.image[20, 20]) == RED


def test_yaw_turns_to_the_viewers_right_and_pitch_up() -> None:
    # A nose: a point in front of the centre.
    nose = np.array([0.0, 0.0, 5.0])
    for yaw, pitch, x, y in ((30, 0, 5, 0), (-30, 0, -5, 0), (0, 30, 0, -5), (0, -30, 0, 5)):
        np.testing.assert_allclose(CAMERA.turned(yaw, pitch).project(nose)[:2] - 20, (x, y), atol=1e-12)
    # The middle line of a ball that is red to the viewer's right moves with it.
    for yaw in (-30, 0, 30):
        row = render(ball(), yaw_deg=yaw, size_px=128, supersample=1).image[64].astype(int)
        border = np.flatnonzero(row[:, 0] > row[:, 2])[0]
        middle, radius = 63.5, 0.8 * 64
        assert abs(border - (middle + radius * np.sin(np.deg2rad(yaw)))) < 2.5


def test_a_ball_has_the_depth_of_a_ball() -> None:
    picture = render(ball(), size_px=128, yaw_deg=20, pitch_deg=-10)
    y, x = np.mgrid[:128, :128] - 63.5
    radius = 0.8 * 64
    inside = np.hypot(x, y) < radius - 3
    expected = -np.sqrt(radius**2 - x[inside] ** 2 - y[inside] ** 2)
    np.testing.assert_allclose(picture.depth[inside], expected, atol=0.6)
    assert np.isinf(picture.depth[np.hypot(x, y) > radius + 2]).all()


def test_backs_are_drawn_or_hidden() -> None:
    mesh = square(plain(RED))
    behind = CAMERA.turned(180)
    assert tuple(shot(mesh, camera=behind).image[20, 20]) == RED
    assert tuple(shot(mesh, camera=behind, hide_backs=True).image[20, 20]) == BACKGROUND
    assert tuple(shot(mesh, hide_backs=True).image[20, 20]) == RED
    whole = render(ball(), yaw_deg=25, size_px=64)
    np.testing.assert_array_equal(render(ball(), yaw_deg=25, size_px=64, hide_backs=True).image, whole.image)


def test_clay_is_brighter_where_it_faces_the_viewer() -> None:
    mesh = ball()
    image = render(Mesh(mesh.vertices, mesh.triangles), size_px=64).image.astype(int)
    assert image[32, 32, 0] > 190
    assert 100 < image[32, 8, 0] < 160


@settings(max_examples=30, deadline=None)
@given(
    angles=st.tuples(st.floats(-90, 90), st.floats(-60, 60)),
    place=st.tuples(*[st.floats(-100, 100)] * 3),
    scale=st.floats(0.01, 100),
)
def test_unproject_undoes_project(angles: tuple[float, float], place: tuple[float, ...], scale: float) -> None:
    camera = Camera((3.0, -4.0, 5.0), scale, 256, *angles)
    np.testing.assert_allclose(camera.unproject(camera.project(np.array(place))), place, atol=1e-9)
    np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(camera.rotation) > 0


def test_lifted_pixels_lie_on_the_surface_and_project_back() -> None:
    frontal = render(ball(), size_px=128)
    points = np.random.default_rng(0).uniform(30, 98, (200, 2))
    points = points[np.hypot(*(points - 63.5).T) < 45]
    lifted = frontal.lift(points)
    np.testing.assert_allclose(np.linalg.norm(lifted, axis=1), 50, atol=0.6)
    np.testing.assert_allclose(frontal.project(lifted)[:, :2], points, atol=1e-9)
    # Seen from the side, the same places are found at the same points of the surface.
    turned = render(ball(), yaw_deg=30, size_px=128)
    seen = turned.project(lifted)
    there = turned.depth_at(seen[:, :2])
    visible = seen[:, 2] < -10
    assert visible.sum() > 50
    np.testing.assert_allclose(there[visible], seen[visible, 2], atol=1.0)


def test_nothing_is_lifted_from_nowhere() -> None:
    frontal = render(ball(), size_px=64)
    outside = np.array([[1.0, 1.0], [-5.0, 30.0], [30.0, 200.0], [np.nan, 30.0], [63.4, 0.0], [np.inf, 0.0]])
    assert np.isnan(frontal.lift(outside)).any(axis=1).all()
    # At the border of the surface the pixels that are there count.
    left = int(np.flatnonzero(np.isfinite(frontal.depth[32]))[0])
    assert frontal.depth_at(np.array([[left - 0.4, 32.0]]))[0] == pytest.approx(frontal.depth[32, left])


def test_the_mesh_stays_inside_at_any_yaw() -> None:
    mesh = Mesh(np.array([[-5.0, 0, -90], [5, 0, -90], [0, 60, 90], [0, -60, 0]]), np.array([[0, 1, 2], [0, 1, 3]]))
    camera = frame(mesh, 100, fill=0.9)
    reached = [camera.turned(yaw).project(mesh.vertices)[:, :2] for yaw in range(-90, 91, 5)]
    assert min(p.min() for p in reached) >= 4.5
    assert 93 < max(p.max() for p in reached) <= 94.5


def test_rendering_is_deterministic() -> None:
    first, second = (render(ball(), yaw_deg=-15, size_px=64) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.depth, second.depth)
    assert (first.image.dtype, first.image.shape) == (np.uint8, (64, 64, 3))
    assert (first.depth.dtype, first.depth.shape) == (np.float32, (64, 64))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size_px": 0}, "size_px must be 1 to 2048; got 0"),
        ({"size_px": 4000}, "size_px must be 1 to 2048; got 4000"),
        ({"size_px": 2048, "supersample": 4}, "at most 4096; got 8192"),
        ({"supersample": 0}, "supersample must be 1 to 8; got 0"),
        ({"background": (0, 0, 256)}, "background must be three values in 0–255"),
        ({"yaw_deg": float("nan")}, "a camera needs finite numbers"),
        ({"yaw_deg": 10, "camera": CAMERA}, "either a camera or angles"),
    ],
)
def test_bad_values_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        render(square(plain(RED)), **options)


def test_meshes_without_a_surface_are_refused() -> None:
    with pytest.raises(DataError, match="no triangles"):
        frame(Mesh(UNIT, np.empty((0, 3), int)))
    with pytest.raises(DataError, match="in one place"):
        frame(Mesh(UNIT, np.array([[1, 1, 1]])))
    with pytest.raises(DataError, match=r"fill must be in \(0, 1\]"):
        frame(square(plain(RED)), fill=0)
    with pytest.raises(DataError, match="no mesh"):
        merge([])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"vertices": UNIT[:, :2]}, r"vertices must have shape \(N, 3\)"),
        ({"vertices": UNIT * np.nan}, "vertices must be finite; 4 rows are not"),
        ({"triangles": TWO + 2}, "triangles must name rows 0 to 3; got 2 to 5"),
        ({"triangles": TWO * 1.0}, r"triangles must be \(T, 3\) integers"),
        ({"uv": None}, "belong together"),
        ({"uv_triangles": TWO[:1]}, "a row for each of 2 triangles; got 1"),
        ({"texture": np.zeros((2, 2, 3))}, r"texture must be \(H, W, 3\) uint8"),
        ({"uv": None, "uv_triangles": None}, "a texture needs texture coordinates"),
    ],
)
def test_meshes_are_checked(change: dict[str, Any], says: str) -> None:
    fields = {"vertices": UNIT, "triangles": TWO, "uv": UNIT[:, :2], "uv_triangles": TWO, "texture": plain(RED)}
    with pytest.raises(DataError, match=says):
        Mesh(**{**fields, **change})
