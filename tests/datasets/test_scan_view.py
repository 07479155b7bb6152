"""Views of a scan: one picture a pose, points that agree between poses, scans read once, and what damage is told."""

from __future__ import annotations

import pickle
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lssl_augment.datasets import scan_view
from lssl_augment.datasets.scan_view import ScanView, lift_points
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import ImageError
from lssl_augment.faces.landmarks import FACE_OVAL, SPARSE_FROM_DENSE, eye_distance_px
from lssl_augment.models.landmark_net import load_landmark_net, locate_face
from lssl_augment.simulation.camera import Camera, frame
from lssl_augment.simulation.face_model import load_face_model
from lssl_augment.simulation.height_field import EYE_DISTANCE_MM, height_field
from lssl_augment.simulation.mesh import Mesh
from lssl_augment.simulation.render import Rendering
from lssl_augment.simulation.vrml import read_vrml, write_vrml
from tests.tiny_faces import mean_face

SIZE = 128
SCAN, TEXTURE = "F0001/F0001_AN01WH_F3D.wrl", "F0001/F0001_AN01WH_F3D.bmp"


def places_of(dense: np.ndarray) -> np.ndarray:
    """Where the dense points are in their height field."""
    eyes = float(eye_distance_px(dense[SPARSE_FROM_DENSE, :2]))
    return (dense - dense[list(FACE_OVAL)].mean(axis=0)) * (1, -1, -1) * (EYE_DISTANCE_MM / eyes)


class Knowing:
    """Finds the points of a face whose scan it knows, in the scan's frontal view, with depth as networks have it."""

    def __init__(self, dense: np.ndarray) -> None:
        self.places = places_of(dense)
        self.mesh = height_field(dense, SIZE)
        self.calls = 0

    def camera(self, size_px: int = 256) -> Camera:
        return frame(self.mesh, size_px)

    def __call__(self, photo: np.ndarray) -> np.ndarray | None:
        self.calls += 1
        points = self.camera(len(photo)).project(self.places)
        return points - (0, 0, points[:, 2].mean())


@pytest.fixture
def locate() -> Knowing:
    return Knowing(mean_face())


@pytest.fixture
def tree(tmp_path: Path) -> FileTree:
    """One scan: a face whose left half is darker."""
    picture = np.full((SIZE, SIZE, 3), 200, np.uint8)
    picture[:, : SIZE // 2] = 90
    folder = tmp_path / "F0001"
    folder.mkdir()
    Image.fromarray(picture).save(tmp_path / TEXTURE)
    (tmp_path / SCAN).write_bytes(write_vrml(height_field(mean_face(), SIZE), "F0001_AN01WH_F3D.bmp"))
    return FileTree(tmp_path)


def test_points_agree_with_the_scan_in_every_view(tree: FileTree, locate: Knowing) -> None:
    for yaw in (-45.0, -15.0, 0.0, 30.0, 45.0):
        image, dense = ScanView(SCAN, TEXTURE, yaw)(tree, locate)
        assert (image.shape, image.dtype) == ((256, 256, 3), np.uint8)
        assert dense is not None
        assert (dense.shape, dense.dtype) == ((478, 3), np.float64)
        expected = locate.camera().turned(yaw).project(locate.places)
        # Rounded off: the mesh has pleats where the lips and lids of the drawn face overlap.
        assert np.quantile(np.abs(dense[:, :2] - expected[:, :2]), 0.95) < 1.0
    assert locate.calls == 1


def test_nose_and_eyes_go_to_the_side_the_head_turns_to(tree: FileTree, locate: Knowing) -> None:
    seen = {}
    for yaw in (-30.0, 0.0, 30.0):
        image, dense = ScanView(SCAN, TEXTURE, yaw)(tree, locate)
        assert dense is not None
        nose, ears = dense[4, 0], dense[[234, 454], 0].mean()
        shown = image[round(dense[4, 1]), :, 0]
        border = np.flatnonzero((shown > 180) & (np.arange(256) > 60))[0]  # dark left, light right half
        seen[yaw] = (nose - ears, border)
        assert abs(border - nose) < 6
    assert seen[-30.0][0] < -15 < 15 < seen[30.0][0]
    assert abs(seen[0.0][0]) < 2
    assert seen[-30.0][1] < seen[0.0][1] < seen[30.0][1]


def test_depth_is_measured_from_where_the_network_measures_it(tree: FileTree, locate: Knowing) -> None:
    _, frontal = ScanView(SCAN, TEXTURE, 0.0)(tree, locate)
    _, turned = ScanView(SCAN, TEXTURE, 45.0)(tree, locate)
    assert frontal is not None
    assert turned is not None
    found = locate(np.zeros((256, 256, 3), np.uint8))
    assert found is not None
    np.testing.assert_allclose(np.median(frontal[:, 2]), np.median(found[:, 2]), atol=1.0)
    # A turn about the zero: distances in space from it stay.
    middle = np.append(found[:, :2].mean(axis=0), 0.0)
    moved_middle = turned[:, :2].mean(axis=0)
    assert abs(moved_middle[0] - middle[0]) < 60
    lengths = np.linalg.norm(frontal[:, None] - frontal[None, ::40], axis=2)
    np.testing.assert_allclose(np.linalg.norm(turned[:, None] - turned[None, ::40], axis=2), lengths, atol=1e-6)


def test_points_beside_the_face_keep_the_depth_they_were_found_with(locate: Knowing) -> None:
    depth = np.full((256, 256), np.inf, np.float32)
    depth[60:200, 60:200] = 30.0
    depth[100:110, :] = -200.0  # spikes
    camera = Camera((0.0, 0.0, 0.0), 1.0, 256)
    dense = locate(np.zeros((256, 256, 3), np.uint8))
    assert dense is not None
    dense[:, :2] = np.random.default_rng(0).uniform(70, 190, (478, 2))
    dense[SPARSE_FROM_DENSE[36:42], :2], dense[SPARSE_FROM_DENSE[42:48], :2] = (90, 120), (150, 120)
    dense[:, 2] = 2.0
    dense[[4, 5], :2] = (10, 10), (128, 105)  # outside, and on the spike
    solid = lift_points(Rendering(np.zeros((256, 256, 3), np.uint8), depth, camera), dense)
    assert solid is not None
    places = solid.seen_by(camera)
    np.testing.assert_allclose(places[:, :2], dense[:, :2], atol=1e-9)
    np.testing.assert_allclose(places[:, 2], 2.0, atol=1e-9)  # 30 is where 2 is expected
    np.testing.assert_allclose(camera.project(solid.places)[:, 2], 30.0, atol=1e-9)


def test_points_that_are_not_on_the_scan_are_none(tree: FileTree) -> None:
    view = ScanView(SCAN, TEXTURE, 15.0)
    assert view(tree, None)[1] is None
    assert view(tree, lambda photo: None)[1] is None
    assert view(tree, lambda photo: mean_face() * 0.05)[1] is None  # in the corner
    assert view(tree, lambda photo: np.full((478, 3), 128.0))[1] is None  # all in one place


def test_a_released_network_and_the_scan_agree(tmp_path: Path) -> None:
    """Points found on the frontal view of a face of known shape are right at 45°, for the inner face."""
    net = load_landmark_net()
    faces, points = load_face_model().sample(np.array([3]))
    picture = cv2.resize(faces[0], (256, 256), interpolation=cv2.INTER_CUBIC)
    dense = (points[0].astype(np.float64) + (0.5, 0.5, 0)) * 2 - (0.5, 0.5, 0)
    mesh = height_field(dense, 256)
    (tmp_path / "face.wrl").write_bytes(write_vrml(mesh, "face.bmp"))
    Image.fromarray(picture).save(tmp_path / "face.bmp")
    _, found = ScanView("face.wrl", None, 45.0)(FileTree(tmp_path), lambda photo: locate_face(net, photo)[0])
    assert found is not None
    expected = frame(mesh, 256).turned(45.0).project(places_of(dense))
    inner = SPARSE_FROM_DENSE[17:]
    errors = np.linalg.norm(found[inner, :2] - expected[inner, :2], axis=1)
    eyes = float(eye_distance_px(frame(mesh, 256).project(places_of(dense))[SPARSE_FROM_DENSE, :2]))
    assert errors.mean() < 0.06 * eyes


def test_views_of_one_scan_read_it_once(tree: FileTree, locate: Knowing, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, lock = [], threading.Lock()
    real = scan_view.read_vrml

    def counting(data: bytes) -> object:
        with lock:
            reads.append(len(data))
        return real(data)

    monkeypatch.setattr(scan_view, "read_vrml", counting)
    views = [ScanView(SCAN, TEXTURE, yaw) for yaw in (-45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda view: view(tree, locate), views))
    assert (len(reads), locate.calls) == (1, 1)
    alone = [view(FileTree(tree.root), locate) for view in views]
    assert len(reads) == 1 + len(views)  # another tree may hold other files
    for (image, dense), (again, same) in zip(together, alone, strict=True):
        np.testing.assert_array_equal(image, again)
        np.testing.assert_array_equal(dense, same)


def test_what_is_handed_out_is_the_callers(tree: FileTree, locate: Knowing) -> None:
    view = ScanView(SCAN, TEXTURE, 0.0)
    image, dense = view(tree, locate)
    kept, points = image.copy(), dense.copy()  # type: ignore[union-attr]
    image[:], dense[:] = 0, 0  # type: ignore[index]
    np.testing.assert_array_equal(view(tree, locate)[0], kept)
    np.testing.assert_array_equal(view(tree, locate)[1], points)


def test_only_a_few_scans_are_remembered(tree: FileTree) -> None:
    recent = scan_view._RecentScans()
    for size in range(20, 30):
        recent.get(tree, ScanView(SCAN, TEXTURE, 0.0, size))
    assert len(recent._slots) == 4
    assert recent.get(tree, ScanView(SCAN, TEXTURE, 45.0, 29)) is recent.get(tree, ScanView(SCAN, TEXTURE, 0.0, 29))


def test_pickles_and_reads_from_archives(tree: FileTree, tmp_path: Path) -> None:
    view = pickle.loads(pickle.dumps(ScanView(SCAN, TEXTURE, -15.0, 64)))
    assert view == ScanView(SCAN, TEXTURE, -15.0, 64)
    with zipfile.ZipFile(tmp_path / "scans.zip", "w") as archive:
        for name in (SCAN, TEXTURE):
            archive.write(tree.root / name, f"BU/{name}")
    np.testing.assert_array_equal(view(FileTree(tmp_path / "scans.zip"), None)[0], view(tree, None)[0])


def test_the_texture_is_the_one_the_scan_names_if_it_is_there(tree: FileTree) -> None:
    mesh = height_field(mean_face(), SIZE)
    for colour, name in ((10, "Other.bmp"), (250, "F0001_AN01WH_F3D.bmp")):
        Image.new("RGB", (8, 8), (colour,) * 3).save(tree.root / "F0001" / name)

    def brightness(url: str | None) -> int:
        (tree.root / SCAN).write_bytes(write_vrml(mesh, url))
        return int(ScanView(SCAN, TEXTURE, 0.0, 64)(FileTree(tree.root), None)[0][32, 32, 0])

    assert brightness("Other.bmp") == 10
    assert brightness("C:\\scans\\new\\Other.bmp") == 10
    assert brightness("http://lab/../Other.bmp") == 10
    assert brightness("gone.bmp") == brightness("..") == brightness("a/") == brightness(None) == 250


def damaged(tree: FileTree, texture: str | None = TEXTURE) -> str:
    with pytest.raises(ImageError) as caught:
        ScanView(SCAN, texture, 0.0)(FileTree(tree.root), None)
    assert str(caught.value).startswith(f"{SCAN}: ")
    return str(caught.value)[len(SCAN) + 2 :]


def test_damage_is_told(tree: FileTree) -> None:
    scan, texture = tree.root / SCAN, tree.root / TEXTURE
    whole, picture = scan.read_bytes(), texture.read_bytes()
    texture.write_bytes(picture[:60])
    assert "its texture F0001/F0001_AN01WH_F3D.bmp cannot be used (image: " in damaged(tree)
    texture.unlink()
    assert damaged(tree) == "its texture F0001/F0001_AN01WH_F3D.bmp is missing"
    assert damaged(tree, None) == "its texture F0001_AN01WH_F3D.bmp is not beside it"
    texture.write_bytes(picture)
    scan.write_bytes(whole[: len(whole) // 2])
    assert "it may be cut short" in damaged(tree)
    scan.write_bytes(b"")
    assert "must begin with '#VRML V2.0'" in damaged(tree)
    mesh = read_vrml(whole)[0].mesh
    scan.write_bytes(write_vrml(Mesh(mesh.vertices, mesh.triangles), "F0001_AN01WH_F3D.bmp"))
    assert damaged(tree) == "a texture needs texture coordinates; the mesh has none"
    scan.write_bytes(write_vrml(Mesh(mesh.vertices, mesh.triangles)))
    assert damaged(tree, None) == "its texture (it names none) is not beside it"
    second = write_vrml(mesh, "second.bmp").split(b"\n", 1)[1]
    scan.write_bytes(whole + second)
    assert "2 textures (F0001_AN01WH_F3D.bmp, second.bmp); scans with one are read" in damaged(tree)
    scan.unlink()
    with pytest.raises(FileNotFoundError):
        ScanView(SCAN, TEXTURE, 0.0)(FileTree(tree.root), None)


def test_shapes_with_one_texture_are_one_scan(tree: FileTree) -> None:
    whole = (tree.root / SCAN).read_bytes()
    before = ScanView(SCAN, TEXTURE, 30.0, 64)(FileTree(tree.root), None)[0]
    (tree.root / SCAN).write_bytes(whole + whole.split(b"\n", 1)[1])
    np.testing.assert_array_equal(ScanView(SCAN, TEXTURE, 30.0, 64)(FileTree(tree.root), None)[0], before)
