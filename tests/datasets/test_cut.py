"""One photograph → one face or a reason, with backends that answer what the test says, and with the real ones."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lssl_augment.datasets.cut import CutFace, FaceCutter
from lssl_augment.datasets.landmark_file import LandmarkFile
from lssl_augment.datasets.records import Locate, Record
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError, ImageError
from lssl_augment.faces.align import FACE_SIZE_PX, align_face, template68
from lssl_augment.faces.backends.base import FoundFace, LandmarkBackend
from lssl_augment.faces.backends.bundled import BundledBackend
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE
from lssl_augment.simulation.face_model import load_face_model

GOOD = template68() + 16
RAMP = np.tile(np.arange(160, dtype=np.uint8), (160, 1))
Sample = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Says:
    """A backend that answers the same to every photo."""

    found: FoundFace | None
    gives_dense: bool = True
    name: str = "says"
    notes: tuple[str, ...] = ()

    def load(self) -> None:
        pass

    def __call__(self, photo: np.ndarray) -> FoundFace | None:
        return self.found


def face(points: np.ndarray = GOOD, dense: bool = True) -> FoundFace:
    all_points = np.zeros((478, 3))
    all_points[SPARSE_FROM_DENSE, :2] = points
    return FoundFace(points, all_points if dense else None, 1.0)


def cutter(
    root: Path, backend: LandmarkBackend | None = None, *, use_file: bool = True, dense: bool = False
) -> FaceCutter:
    return FaceCutter(FileTree(root), use_file, backend, keep_dense=dense)


def record(points: np.ndarray | None = None, dense: np.ndarray | None = None) -> Record:
    return Record("x", 0, "s", "train", RAMP, points, dense)


@pytest.fixture(scope="module")
def person() -> Sample:
    images, dense = load_face_model().sample(np.array([4]))
    return images[0], dense[0].astype(np.float64)


# --- reasons -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (None, "no landmarks in the data set"),
        (np.where(np.arange(136).reshape(68, 2) == 7, np.nan, GOOD), "landmarks not finite"),
        (np.full((68, 2), 30.0), "face too small"),
        (GOOD / 5, "face too small"),
        (GOOD + [120, 0], "face mostly outside the image"),
        (GOOD - [0, 400], "face mostly outside the image"),
        (np.where(np.arange(136).reshape(68, 2) == 130, 1e9, GOOD), "face mostly outside the image"),
    ],
)
def test_reasons(points: np.ndarray | None, reason: str, tmp_path: Path) -> None:
    assert cutter(tmp_path)(record(points)) == reason
    # The backend is asked where the landmarks of the data set are no good.
    assert cutter(tmp_path, Says(None))(record(points)) == "no face found"
    cut = cutter(tmp_path, Says(face()), dense=True)(record(points))
    assert isinstance(cut, CutFace)
    assert cut.dense is not None
    assert np.allclose(cut.landmarks, template68(), atol=1e-3)


def test_the_backend_alone(tmp_path: Path) -> None:
    assert isinstance(cutter(tmp_path, Says(None))(record(GOOD)), CutFace)
    assert cutter(tmp_path, Says(None), use_file=False)(record(GOOD)) == "no face found"
    assert cutter(tmp_path, Says(face(GOOD + np.inf)))(record()) == "landmarks not finite"


def test_a_few_points_may_lie_outside(tmp_path: Path) -> None:
    assert isinstance(cutter(tmp_path)(record(GOOD - [45, 0])), CutFace)


def test_files(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    Image.new("RGB", (160, 160), (9, 9, 9)).save(tmp_path / "blank.png")
    cut = cutter(tmp_path)
    photo = replace(record(GOOD), image=None)
    assert cut(replace(photo, file="none.png")) == "file missing"
    assert str(cut(replace(photo, file="bad.png"))).startswith("unreadable image: not an image of a known format")
    assert cut(replace(photo, file="blank.png")) == "blank image"


def test_what_the_backend_saw_is_told(tmp_path: Path) -> None:
    cut = cutter(tmp_path, Says(replace(face(), turn_deg=90, faces=3)))(record())
    assert isinstance(cut, CutFace)
    assert (cut.turn_deg, cut.faces, cut.dense) == (90, 3, None)
    own = cutter(tmp_path)(record(GOOD))
    assert isinstance(own, CutFace)
    assert (own.turn_deg, own.faces) == (0, 1)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 60), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_points_give_a_face_or_a_reason(seed: int, spread: float, wild: bool) -> None:
    rng = np.random.default_rng(seed)
    points = GOOD + rng.normal(0, spread, (68, 2))
    if wild:
        points[rng.integers(68)] = rng.choice([np.nan, np.inf, 1e300, -1e9])
    result = cutter(Path(__file__).parent)(record(points))
    if isinstance(result, CutFace):
        assert result.image.shape == (FACE_SIZE_PX, FACE_SIZE_PX, 3)
        assert np.isfinite(result.landmarks).all()
    else:
        assert result in ("landmarks not finite", "face too small", "face mostly outside the image")


# --- dense points ------------------------------------------------------------------------------------------------


def test_dense_for_all_or_for_none(tmp_path: Path) -> None:
    sparse = Says(face(dense=False), gives_dense=False)
    with pytest.raises(DataError, match="says finds 68 points and no dense ones"):
        cutter(tmp_path, sparse, dense=True)
    assert cutter(tmp_path, dense=True)(record(GOOD)) == "no dense landmarks in the data set"
    without = cutter(tmp_path, sparse)(record())
    assert isinstance(without, CutFace)
    assert without.dense is None


def test_dense_points_are_filled_in(person: Sample, tmp_path: Path) -> None:
    image, dense = person
    photo = np.pad(image, ((30, 10), (20, 40), (0, 0)), mode="edge")
    points = dense[SPARSE_FROM_DENSE, :2] + [20, 30]
    Image.fromarray(photo).save(tmp_path / "a.png")
    rec = Record("a.png", 0, "s", "train")
    for backend, own in ((None, points), (Says(FoundFace(points, None, 1.0), gives_dense=False), None)):
        fill = FaceCutter(FileTree(tmp_path), True, backend, keep_dense=True, fill_dense=True)
        cut = fill(replace(rec, points68=own))
        assert isinstance(cut, CutFace)
        assert cut.dense is not None
        # The 68 place the face …
        assert np.array_equal(cut.image, align_face(photo, points)[0])
        # … and the network's points lie on it, the new 68 among them.
        assert np.array_equal(cut.landmarks, cut.dense[SPARSE_FROM_DENSE, :2])
        assert np.linalg.norm(cut.landmarks - template68(), axis=1).mean() < 8
        assert (cut.landmarks.dtype, cut.dense.dtype) == (np.float32, np.float32)


def test_known_dense_points_are_not_replaced(tmp_path: Path) -> None:
    fill = FaceCutter(FileTree(tmp_path), True, None, keep_dense=True, fill_dense=True)
    cut = fill(record(GOOD, face().dense))
    assert isinstance(cut, CutFace)
    assert np.allclose(cut.landmarks, template68(), atol=1e-3)


# --- turned photos -----------------------------------------------------------------------------------------------


def test_a_lying_face_is_put_upright(person: Sample, tmp_path: Path) -> None:
    image, _ = person
    photo = np.pad(image, 16, mode="edge")[..., 16:-16]
    Image.fromarray(photo).save(tmp_path / "up.png")
    Image.fromarray(np.rot90(photo)).save(tmp_path / "lying.png")
    both = [cutter(tmp_path, BundledBackend())(Record(f, 0, "s", "train")) for f in ("up.png", "lying.png")]
    up, lying = both
    assert isinstance(up, CutFace)
    assert isinstance(lying, CutFace)
    assert (up.turn_deg, lying.turn_deg) == (0, 90)
    # Within a pixel or two of the same crop; lying it would differ by tens of grey values.
    assert np.abs(up.image.astype(float) - lying.image).mean() < 4


# --- photographs that are made -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """A photo source: a person, with or without its points, or what went wrong."""

    photo: np.ndarray
    dense: np.ndarray | None = None
    error: Exception | None = None

    def __call__(self, tree: FileTree, locate: Locate | None) -> tuple[np.ndarray, np.ndarray | None]:
        if self.error is not None:
            raise self.error
        return self.photo, self.dense


def made(source: Callable[..., tuple[np.ndarray, np.ndarray | None]]) -> Record:
    return Record("view", 0, "s", "train", photo=source)


def test_made_photos_bring_their_points(person: Sample, tmp_path: Path) -> None:
    image, dense = person
    cut = cutter(tmp_path, dense=True)(made(Made(image, dense)))
    assert isinstance(cut, CutFace)
    assert np.array_equal(cut.image, align_face(image, dense[SPARSE_FROM_DENSE, :2])[0])
    assert cutter(tmp_path)(made(Made(image))) == "no landmarks in the data set"
    assert cutter(tmp_path, Says(None), use_file=False)(made(Made(image, dense))) == "no face found"
    assert cutter(tmp_path)(made(Made(image, error=FileNotFoundError("x")))) == "file missing"
    damaged = made(Made(image, error=ImageError("no mesh in it")))
    assert cutter(tmp_path)(damaged) == "unreadable image: no mesh in it"


def test_made_photos_may_ask_for_points(person: Sample, tmp_path: Path) -> None:
    image, dense = person
    asked: list[np.ndarray | None] = []

    def source(tree: FileTree, locate: Locate | None) -> tuple[np.ndarray, np.ndarray | None]:
        asked.append(None if locate is None else locate(image))
        return image, asked[-1]

    assert cutter(tmp_path)(made(source)) == "no landmarks in the data set"
    assert asked == [None]
    points = dense[SPARSE_FROM_DENSE, :2]
    # A backend of 68 points only: the dense ones are found on the aligned face, and brought back to the photo.
    assert isinstance(cutter(tmp_path, Says(FoundFace(points, None, 1.0), False))(made(source)), CutFace)
    found = asked[-1]
    assert found is not None
    eyes = np.linalg.norm(points[36] - points[45])
    assert np.linalg.norm(found[SPARSE_FROM_DENSE, :2] - points, axis=1).mean() < 0.1 * eyes
    assert cutter(tmp_path, Says(None))(made(source)) == "no landmarks in the data set" or asked[-1] is None


def test_cutters_are_plain_data(tmp_path: Path) -> None:
    one = cutter(tmp_path, BundledBackend())
    assert replace(one, keep_dense=True).backend == one.backend
    assert pickle.loads(pickle.dumps(one.backend)) == one.backend


# --- landmarks of a data set -------------------------------------------------------------------------------------


def pts(points: np.ndarray) -> str:
    return "version: 1\nn_points: 68\n{\n" + "\n".join(f"{x} {y}" for x, y in points + 1) + "\n}\n"


def test_files_beside_the_photos(draw: Callable[..., None], tmp_path: Path) -> None:
    for name in ("a/one.png", "a/two.PNG", "b/three.png", "four.png"):
        draw(tmp_path / name)
    (tmp_path / "a" / "one.pts").write_text(pts(GOOD))
    (tmp_path / "a" / "two.PTS").write_text("half of a file {")
    columns = ",".join(["confidence", *(f" {axis}_{i}" for axis in "xy" for i in range(68))])
    row = ",".join(map(str, [0.9, *GOOD.T.ravel()]))
    (tmp_path / "b" / "three.csv").write_text(f"{columns}\n{row}\n")
    (tmp_path / "four.csv").write_text("nothing,of,landmarks\n1,2,3\n")
    found = LandmarkFile.read(FileTree(tmp_path))
    assert found is not None
    assert found.dense is None
    assert set(found.rows) == {"a/one.png", "a/two.PNG", "b/three.png"}
    for name in ("a/one.png", "b/three.png"):
        points, dense = found.of(name)
        assert points is not None
        assert np.allclose(points, GOOD)
        assert dense is None
    damaged, _ = found.of("a/two.PNG")
    assert cutter(tmp_path)(Record("a/two.PNG", 0, "s", "train", points68=damaged)) == "landmarks not finite"
    assert found.of("four.png") == (None, None)


def test_one_csv_for_all(draw: Callable[..., None], tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    assert LandmarkFile.read(FileTree(tmp_path)) is None
    columns = ",".join(f"x{i},y{i}" for i in range(68))
    row = ",".join(map(str, GOOD.ravel()))
    (tmp_path / "landmarks.csv").write_text(f"file,{columns}\na.png,{row}\n")
    found = LandmarkFile.read(FileTree(tmp_path))
    assert found is not None
    points, _ = found.of("a.png")
    assert points is not None
    assert np.allclose(points, GOOD)
    (tmp_path / "landmarks.csv").write_text(f"{columns}\n{row}\n")
    with pytest.raises(DataError, match="must have a column file"):
        LandmarkFile.read(FileTree(tmp_path))
    # landmarks.npz goes before it, alone.
    np.savez(tmp_path / "landmarks.npz", files=np.array(["b.png"]), points68=GOOD[None])
    found = LandmarkFile.read(FileTree(tmp_path))
    assert found is not None
    assert list(found.rows) == ["b.png"]
