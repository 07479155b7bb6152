"""The interface of landmark backends, the landmark network as one, and the forms of landmark files."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lssl_augment.errors import DataError, WeightsError
from lssl_augment.faces.align import transform_points
from lssl_augment.faces.backends.base import TURNS_DEG, FoundFace, LandmarkBackend, check_photo, turn_back, turned
from lssl_augment.faces.backends.bundled import BundledBackend, dense_of_faces
from lssl_augment.faces.backends.precomputed import has_point_columns, read_csv_points, read_pts
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE, eye_distance_px
from lssl_augment.simulation.face_model import load_face_model

# --- turning -----------------------------------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from(TURNS_DEG), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_points_turn_back_with_the_photo(width: int, height: int, turn_deg: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    photo = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = turned(photo, turn_deg)
    assert image.flags.c_contiguous
    ys, xs = np.mgrid[: image.shape[0], : image.shape[1]]
    back = turn_back(np.stack([xs, ys, xs * 0 + 7], axis=-1), turn_deg, width, height)
    assert np.array_equal(photo[back[..., 1].astype(int), back[..., 0].astype(int)], image)
    assert (back[..., 2] == 7).all()


def test_turns_are_clockwise() -> None:
    photo = np.zeros((2, 3, 3), np.uint8)
    photo[0, 0] = 255
    assert turned(photo, 90)[0, 1].all()  # top left goes to the top right
    assert turned(photo, 180)[1, 2].all()
    assert turned(photo, 270)[2, 0].all()
    assert turned(photo, 0) is photo


def test_check_photo() -> None:
    check_photo(np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(DataError, match=r"shape \(H, W, 3\), dtype uint8; got \(4, 4, 4\), uint8"):
        check_photo(np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(TypeError, match="got str"):
        check_photo("photo.jpg")  # type: ignore[arg-type]


# --- the landmark network ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def people() -> tuple[np.ndarray, np.ndarray]:
    """Three built-in people and their dense points."""
    return load_face_model().sample(np.arange(3))


def error(found: np.ndarray, true: np.ndarray) -> float:
    """Mean distance of the 68, in distances between the eyes."""
    return float(np.linalg.norm(found - true, axis=1).mean() / eye_distance_px(true))


@pytest.mark.parametrize("turn_deg", TURNS_DEG)
def test_bundled_finds_turned_faces(people: tuple[np.ndarray, np.ndarray], turn_deg: int) -> None:
    backend: LandmarkBackend = BundledBackend()
    image, dense = people[0][0], people[1][0].astype(np.float64)
    photo = np.pad(image, ((10, 20), (15, 5), (0, 0)), mode="edge")
    true = dense[SPARSE_FROM_DENSE, :2] + [15, 10]
    # Turned to the left by so much: it is the turn to the right that shows the face upright.
    lying = turned(photo, -turn_deg % 360)
    found = backend(lying)
    assert isinstance(found, FoundFace)
    assert (found.turn_deg, found.faces) == (turn_deg, 1)
    assert 0.5 <= found.score <= 1
    assert found.dense is not None
    assert found.dense.shape == (478, 3)
    assert np.array_equal(found.points68, found.dense[SPARSE_FROM_DENSE, :2])
    expected = turn_back(true, turn_deg, lying.shape[1], lying.shape[0])
    assert error(found.points68, expected) < 0.1


def test_bundled_sees_no_face_where_there_is_none() -> None:
    backend = BundledBackend()
    noise = np.random.default_rng(0).integers(0, 256, (80, 90, 3), dtype=np.uint8)
    assert backend(noise) is None
    assert (backend.name, backend.gives_dense, len(backend.notes)) == ("bundled", True, 1)


def test_bundled_threads_pickles_and_read_only_photos(people: tuple[np.ndarray, np.ndarray]) -> None:
    backend: BundledBackend = pickle.loads(pickle.dumps(BundledBackend()))
    assert backend == BundledBackend()
    photo = people[0][1].copy()
    photo.setflags(write=False)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(backend, [photo] * 6))
    first = found[0]
    assert first is not None
    assert all(f is not None and np.array_equal(f.points68, first.points68) for f in found)


def test_bundled_fails_early(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.safetensors"):
        BundledBackend(tmp_path / "none.safetensors").load()
    with pytest.raises(DataError, match="unknown device"):
        BundledBackend(device="tpu2").load()


def test_dense_of_aligned_faces(people: tuple[np.ndarray, np.ndarray]) -> None:
    images, dense = people
    found = dense_of_faces(images)
    assert found.shape == (3, 478, 3)
    assert found.dtype == np.float64
    for one, true in zip(found, dense, strict=True):
        assert error(one[SPARSE_FROM_DENSE, :2], true[SPARSE_FROM_DENSE, :2]) < 0.1
    assert np.allclose(dense_of_faces(images[1:2])[0], found[1], atol=1e-2)
    identity = np.array([[1.0, 0, 0], [0, 1, 0]])
    assert np.array_equal(transform_points(identity, found), found)


# --- landmark files ----------------------------------------------------------------------------------------------

POINTS = np.random.default_rng(3).uniform(0, 200, (68, 2)).round(3)


def pts(points: np.ndarray, count: int | None = None) -> bytes:
    rows = "\n".join(f"{x} {y}" for x, y in points + 1)
    return f"version: 1\nn_points:  {len(points) if count is None else count}\n{{\n{rows}\n}}\n".encode()


def test_pts() -> None:
    assert np.allclose(read_pts(pts(POINTS), "a.pts"), POINTS)
    assert np.allclose(read_pts(pts(POINTS).replace(b"\n", b"\r\n"), "a.pts"), POINTS)
    with pytest.raises(DataError, match=r"a\.pts holds 39 points"):
        read_pts(pts(POINTS[:39]), "a.pts")


@given(st.binary(max_size=300) | st.integers(0, len(pts(POINTS)) - 3).map(lambda n: pts(POINTS)[:n]))
@settings(max_examples=100, deadline=None)
def test_damaged_pts_give_no_number(data: bytes) -> None:
    points = read_pts(data, "a.pts")
    assert points.shape == (68, 2)
    assert not np.isfinite(points).all()


def openface(rows: list[tuple[str, np.ndarray]], extra: str = "", file: bool = True, gap: str = " ") -> bytes:
    names = [f"x_{i}" for i in range(68)] + [f"y_{i}" for i in range(68)]
    head = (["file"] if file else []) + (extra.split(",") if extra else []) + names
    lines = [f",{gap}".join(head)]
    lines += [name + ",".join(f"{v:.3f}" for v in points.T.ravel()) for name, points in rows]
    return ("\ufeff" + "\n".join(lines) + "\n").encode()


def test_csv_of_openface() -> None:
    data = openface([("a/b.jpg,", POINTS), ("c.jpg,", POINTS + 1)])
    assert has_point_columns(data)
    found = read_csv_points(data, "landmarks.csv")
    assert list(found) == ["a/b.jpg", "c.jpg"]
    assert np.allclose(found["c.jpg"], POINTS + 1)
    # One photo, two faces: the surer one; a third that OpenFace did not find.
    rows = [("0.4,1,", POINTS), ("0.9,1,", POINTS + 5), ("0.99,0,", POINTS * 0)]
    one = read_csv_points(openface(rows, "confidence,success", file=False), "a.csv")
    assert list(one) == [""]
    assert np.allclose(one[""], POINTS + 5)


def test_csv_of_pairs() -> None:
    names = ",".join(f"x{i},y{i}" for i in range(68))
    data = f"file,{names}\na.jpg,{','.join(map(str, POINTS.ravel()))}\nb.jpg,1,2,three\n".encode()
    found = read_csv_points(data, "landmarks.csv")
    assert np.array_equal(found["a.jpg"], POINTS)
    assert np.array_equal(found["b.jpg"][0], [1, 2])
    assert np.isnan(found["b.jpg"][1:]).all()


def test_csv_that_is_none() -> None:
    assert not has_point_columns(b"file,expression\n")
    assert not has_point_columns(b"")
    with pytest.raises(DataError, match="must have columns x_0"):
        read_csv_points(b"file,expression\na,b\n", "l.csv")
    with pytest.raises(DataError, match=r"several rows for a\.jpg"):
        read_csv_points(openface([("a.jpg,", POINTS), ("a.jpg,", POINTS)]), "l.csv")
