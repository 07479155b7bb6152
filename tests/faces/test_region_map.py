from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_faces import mean_face

from lssl_augment.errors import DataError
from lssl_augment.faces.dense_flip import flip_dense
from lssl_augment.faces.landmarks import DENSE_COUNT, FACE_OVAL, INNER_LIPS, OUTER_LIPS
from lssl_augment.faces.region_map import (
    _EYE_RINGS,
    _LAYERS,
    HELEN_LABELS,
    HELEN_REGIONS,
    REGION_NAMES,
    Region,
    colour_regions,
    region_maps,
)
from lssl_augment.models.parser_net import PARSER_CLASSES


def ellipse(centre: tuple[float, float], radii: tuple[float, float], count: int) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([centre[0] + radii[0] * np.cos(angle), centre[1] + radii[1] * np.sin(angle)], axis=1)


#: Centre and radii of each layer's ellipse, in the order of ``_LAYERS``.
SHAPES = (
    ((64.0, 64.0), (45.0, 55.0)),
    ((45.3, 50.4), (9.0, 4.0)),
    ((82.7, 50.4), (9.0, 4.0)),
    ((64.0, 92.0), (18.0, 9.0)),
    ((64.0, 92.0), (13.0, 4.0)),
)


def face() -> np.ndarray:
    """478 points whose rings are ellipses."""
    points = np.full((DENSE_COUNT, 3), 64.0)
    for (ring, _), (centre, radii) in zip(_LAYERS, SHAPES, strict=True):
        points[list(ring), :2] = ellipse(centre, radii, len(ring))
    return points


def test_regions_are_where_and_as_large_as_the_outlines_say() -> None:
    found = region_maps(face()[None])[0]
    assert found.shape == (128, 128)
    assert found.dtype == np.uint8
    assert found[64, 64] == Region.SKIN
    assert found[50, 45] == found[50, 83] == Region.EYES
    assert found[85, 64] == Region.LIPS
    assert found[92, 64] == Region.BACKGROUND  # an open mouth
    assert found[2, 2] == Region.BACKGROUND
    # Areas of the polygons themselves, to within a few pixels: nothing grows by its outline.
    area = [cv2.contourArea(face()[list(ring), :2].astype(np.float32)) for ring, _ in _LAYERS]
    assert abs((found == Region.EYES).sum() - area[1] - area[2]) < 8
    assert abs((found == Region.LIPS).sum() - (area[3] - area[4])) < 8
    assert abs((found == Region.SKIN).sum() - (area[0] - area[1] - area[2] - area[3])) < 12


@pytest.mark.parametrize("size_px", [64, 128, 256])
def test_maps_of_any_size_lie_over_the_face(size_px: int) -> None:
    found = region_maps(face()[None], size_px)[0]
    ys, xs = np.indices(found.shape)
    xs, ys = ((v + 0.5) * 128 / size_px - 0.5 for v in (xs, ys))
    for region, shape in ((Region.EYES, SHAPES[1]), (Region.LIPS, SHAPES[3])):
        (cx, cy), (rx, ry) = shape
        rows = (found == region) & (xs < 64) if region == Region.EYES else found == region
        assert [xs[rows].mean(), ys[rows].mean()] == pytest.approx([cx, cy], abs=0.5)
        # Pixel centres: the outermost may lie up to a pixel of the map, and what a corner loses, further in.
        assert xs[rows].min() == pytest.approx(cx - rx, abs=0.6 + 128 / size_px)
        assert ys[rows].max() == pytest.approx(cy + ry, abs=0.6 + 128 / size_px)
    share = (found == Region.SKIN).mean()
    assert share == pytest.approx((region_maps(face()[None]) == Region.SKIN).mean(), abs=0.01)


@given(st.integers(-20, 20), st.integers(-20, 20))
def test_shifted_by_whole_pixels_the_map_is_the_same(x: int, y: int) -> None:
    here, there = region_maps(np.stack([face(), face() + [x, y, 0]]))
    rows, columns = slice(max(0, -y), 128 - max(0, y)), slice(max(0, -x), 128 - max(0, x))
    moved = there[rows.start + y : rows.stop + y, columns.start + x : columns.stop + x]
    # Half-way places may be rounded either way.
    assert (moved != here[rows, columns]).mean() < 0.002


def test_a_mirrored_face_has_the_mirrored_map() -> None:
    dense = mean_face()[None] + np.random.default_rng(0).normal(0, 0.5, (3, DENSE_COUNT, 3))
    found, mirrored = region_maps(dense), region_maps(flip_dense(dense, 128))
    # A point half-way between two samples may fall to either side.
    assert (found != mirrored[:, :, ::-1]).mean() < 0.005


def test_a_closed_mouth_has_no_background_between_the_lips() -> None:
    points = face()
    points[INNER_LIPS, 1] = 92.0
    found = region_maps(points[None])[0]
    assert (found[84:100, 64] == Region.LIPS).all()


def test_rings_are_rings() -> None:
    dense = mean_face()[:, :2].astype(np.float32)
    for ring in (FACE_OVAL, *_EYE_RINGS, OUTER_LIPS, INNER_LIPS):
        assert len(set(ring)) == len(ring)
        steps = np.linalg.norm(dense[list(ring)] - dense[list(np.roll(ring, 1))], axis=1)
        # Neighbours in the list are neighbours on the face: no step crosses the ring.
        assert steps.max() < 0.7 * np.ptp(dense[list(ring)], axis=0).max()


def test_faces_far_outside_or_none_are_fine() -> None:
    assert region_maps(np.zeros((0, DENSE_COUNT, 2))).shape == (0, 128, 128)
    assert (region_maps(face()[None] + [1e9, 0, 0]) == Region.BACKGROUND).all()
    assert region_maps(face()[None, :, :2]).any()


@pytest.mark.parametrize(
    ("dense", "sizes", "message"),
    [
        (np.zeros((DENSE_COUNT, 3)), {}, r"\(N, 478, 2 or 3\); got \(478, 3\)"),
        (np.zeros((1, 68, 2)), {}, r"got \(1, 68, 2\)"),
        (np.full((1, DENSE_COUNT, 3), np.nan), {}, "finite"),
        (np.zeros((1, DENSE_COUNT, 3)), {"size_px": 0}, "got 0 and 128"),
        (np.zeros((1, DENSE_COUNT, 3)), {"face_size_px": -1}, "got 128 and -1"),
    ],
)
def test_unusable_points_are_named(dense: np.ndarray, sizes: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        region_maps(dense, **sizes)  # type: ignore[arg-type]


def test_names_and_colours() -> None:
    assert REGION_NAMES == PARSER_CLASSES
    assert len(HELEN_LABELS) == len(HELEN_REGIONS) == 11
    assert {name: HELEN_REGIONS[HELEN_LABELS.index(name)] for name in ("nose", "hair", "left eye", "lower lip")} == {
        "nose": Region.SKIN,
        "hair": Region.BACKGROUND,
        "left eye": Region.EYES,
        "lower lip": Region.LIPS,
    }
    picture = colour_regions(np.array([[0, 1], [2, 3]], np.uint8))
    assert picture.shape == (2, 2, 3)
    assert len({tuple(colour) for colour in picture.reshape(-1, 3).tolist()}) == 4
    for bad in (np.array([4]), np.array([-1]), np.array([0.5])):
        with pytest.raises(DataError, match="integers from 0 to 3"):
            colour_regions(bad)
