"""insightface as a backend: its real code on a pack that the tests write."""

from __future__ import annotations

import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lssl_augment.errors import DataError, WeightsError
from lssl_augment.faces.backends import insightface_pack
from lssl_augment.faces.backends.base import turned
from lssl_augment.faces.backends.bundled import BundledBackend
from lssl_augment.faces.backends.choose import LANDMARK_SOURCES, describe, first_use_notes, open_backend
from lssl_augment.faces.backends.insightface_backend import InsightFaceBackend
from lssl_augment.faces.backends.insightface_pack import KNOWN_PACKS, check_pack, find_pack
from tests.faces.tiny_insightface import BOXES, PHOTO_PX, photo, points_in, write_pack


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("packs") / "tiny")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of this machine is read or written, and nothing is fetched."""
    import insightface.utils.storage as storage

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("insightface tried to download")

    monkeypatch.setattr(storage, "download_file", refuse)
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LSSL_AUGMENT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "home"


@pytest.fixture
def pack(written: Path, home: Path) -> Path:
    """A fresh copy of the pack in insightface's usual place."""
    return Path(shutil.copytree(written, home / "models" / "tiny"))


# --- what it finds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pick", ["largest", "central"])
@pytest.mark.parametrize("turn_deg", [0, 90, 180, 270])
def test_finds_and_picks(pack: Path, pick: str, turn_deg: int) -> None:
    backend = InsightFaceBackend(pack, pick)
    # The photo shows its faces once it is turned on by turn_deg.
    found = backend(turned(photo(), -turn_deg % 360))
    assert found is not None
    assert (found.turn_deg, found.faces, found.dense) == (turn_deg, 2, None)
    assert found.score == pytest.approx({"largest": 0.8, "central": 0.9}[pick])
    expected = points_in(BOXES[pick]) - (PHOTO_PX - 1) / 2
    # A quarter turn back, counter-clockwise as seen: (x, y) → (y, −x).
    for _ in range(turn_deg // 90):
        expected = np.stack([expected[:, 1], -expected[:, 0]], axis=1)
    assert found.points68.dtype == np.float64
    assert np.allclose(found.points68, expected + (PHOTO_PX - 1) / 2, atol=0.05)


def test_scales_to_the_photo(pack: Path) -> None:
    found = InsightFaceBackend(pack)(photo(4 * PHOTO_PX, 4 * PHOTO_PX))
    assert found is not None
    assert np.allclose(found.points68, points_in(np.array(BOXES["largest"]) * 4), atol=0.2)


def test_no_face(pack: Path) -> None:
    backend = InsightFaceBackend(pack)
    assert backend(np.full((50, 70, 3), 30, np.uint8)) is None
    # The corner must be red, not blue: channels are in the right order.
    assert backend(np.ascontiguousarray(photo()[..., [2, 1, 0]] * np.array([0, 1, 1], np.uint8))) is None


def test_threads_and_pickles(pack: Path) -> None:
    backend = InsightFaceBackend(pack, "central")
    again: InsightFaceBackend = pickle.loads(pickle.dumps(backend))
    assert again == backend
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(again, [photo()] * 12))
    expected = backend(photo())
    assert expected is not None
    assert all(f is not None and np.array_equal(f.points68, expected.points68) for f in found)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (np.zeros((8, 8), np.uint8), DataError),
        (np.zeros((8, 8, 3), np.float32), DataError),
        (np.zeros((0, 8, 3), np.uint8), DataError),
        ([[0]], TypeError),
    ],
)
def test_no_photo(value: object, error: type[Exception], pack: Path) -> None:
    for backend in (InsightFaceBackend(pack), BundledBackend()):
        with pytest.raises(error, match="photo must"):
            backend(value)  # type: ignore[arg-type]


def test_devices(pack: Path) -> None:
    with pytest.raises(DataError, match="unknown device 'tpu'"):
        InsightFaceBackend(pack, device="tpu").load()
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(DataError, match="onnxruntime-gpu"):
            InsightFaceBackend(pack, device="cuda:0").load()
        InsightFaceBackend(pack, device="auto").load()


# --- which packs are used ----------------------------------------------------------------------------------------


def test_find_pack(pack: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_pack("tiny") == find_pack(pack) == pack
    with pytest.raises(WeightsError, match=r"no model pack of insightface in .*buffalo_l\.zip"):
        find_pack(None)
    with pytest.raises(WeightsError, match=r"no model pack 'buffalo_s'.*fetch https://.*buffalo_s\.zip"):
        find_pack("buffalo_s")
    with pytest.raises(WeightsError, match="known packs: buffalo_l, antelopev2, buffalo_s"):
        find_pack("bufalo")
    (home / "models" / "antelopev2").mkdir()
    assert find_pack(None).name == "antelopev2"


def test_a_half_unpacked_folder(pack: Path) -> None:
    known = pack.with_name("buffalo_l")
    known.mkdir()
    with pytest.raises(WeightsError, match=r"1k3d68\.onnx is missing.*w600k_r50\.onnx is missing.*unpack"):
        InsightFaceBackend(known).load()
    (known / "det_10g.onnx").touch()
    with pytest.raises(WeightsError, match=r"genderage\.onnx is missing.*det_10g\.onnx is empty"):
        InsightFaceBackend(known).load()
    for name in KNOWN_PACKS["buffalo_l"]:
        (known / name).write_bytes(b"half of it")
    with pytest.raises(WeightsError, match=r"1k3d68\.onnx is truncated, damaged or another file.*published"):
        InsightFaceBackend(known).load()
    shutil.rmtree(known)
    (known / "buffalo_l").mkdir(parents=True)
    (known / "buffalo_l" / "det_10g.onnx").touch()
    with pytest.raises(WeightsError, match="one folder deeper"):
        InsightFaceBackend(known).load()


@pytest.mark.parametrize("name", ["detector.onnx", "landmarks.onnx"])
def test_a_truncated_file(name: str, pack: Path) -> None:
    data = (pack / name).read_bytes()
    (pack / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match="no model pack that insightface can use"):
        InsightFaceBackend(pack).load()
    (pack / name).unlink()
    with pytest.raises(WeightsError, match=r"face detector|no model for landmark_3d_68"):
        InsightFaceBackend(pack).load()
    # Nothing of what did not work is remembered: the whole file is welcome.
    (pack / name).write_bytes(data)
    InsightFaceBackend(pack).load()


def test_an_empty_folder(pack: Path) -> None:
    for file in pack.iterdir():
        file.unlink()
    with pytest.raises(WeightsError, match=r"no \.onnx file in it"):
        InsightFaceBackend(pack).load()


def test_hashes_of_the_first_use_are_kept(pack: Path, tmp_path: Path) -> None:
    InsightFaceBackend(pack).load()
    assert check_pack(pack).trusted == ("detector.onnx", "landmarks.onnx")
    with (pack / "landmarks.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(WeightsError, match=r"landmarks\.onnx.*first use here.*or delete .*insightface\.json"):
        check_pack(pack)
    (tmp_path / "cache" / "insightface.json").write_text('{"packs": []}')
    with pytest.raises(WeightsError, match="delete it to start anew"):
        check_pack(pack)
    (tmp_path / "cache" / "insightface.json").unlink()
    check_pack(pack)


def test_a_cache_that_cannot_be_written(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in its place")
    backend = InsightFaceBackend(pack)
    with pytest.raises(WeightsError, match="cannot be read"):
        backend.load()


def test_known_hashes() -> None:
    for files in KNOWN_PACKS.values():
        assert len(files) == 5
        assert all(sha is None or (len(sha) == 64 and int(sha, 16)) for sha in files.values())
        assert "1k3d68.onnx" in files


# --- choosing ----------------------------------------------------------------------------------------------------


def test_open_backend(pack: Path) -> None:
    assert LANDMARK_SOURCES == ("auto", "precomputed", "insightface", "bundled")
    assert open_backend("precomputed") is None
    assert describe(None) == ("landmarks of the data set only",)
    bundled = open_backend("bundled", device="cpu")
    assert isinstance(bundled, BundledBackend)
    assert open_backend("insightface", pick="central", pack=pack) == InsightFaceBackend(pack, "central")
    assert open_backend("auto", pack="tiny") == InsightFaceBackend(pack)
    for arguments, message in (
        (("network",), "landmarks must be one of auto, precomputed, insightface, bundled; got 'network'"),
        (("auto", "smallest"), "pick must be one of largest, central; got 'smallest'"),
    ):
        with pytest.raises(DataError, match=message):
            open_backend(arguments[0], pick=arguments[-1] if len(arguments) > 1 else "largest")
    with pytest.raises(DataError, match="leave it out"):
        open_backend("bundled", pack="tiny")
    with pytest.raises(WeightsError, match="no model pack of insightface"):
        open_backend("insightface")


def test_auto_says_what_it_takes(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_backend("auto") == open_backend()
    notes = describe(open_backend("auto", pick="central"))
    assert notes[1:] == (
        "insightface is not used: none of its model packs is here",
        "pick 'central' changes nothing: the landmark network sees one face a photo",
    )
    monkeypatch.setattr(insightface_pack, "KNOWN_PACKS", {"tiny": {"detector.onnx": None, "landmarks.onnx": None}})
    backend = open_backend("auto", pick="central")
    assert backend == InsightFaceBackend(pack, "central")
    assert "model pack tiny (non-commercial research only)" in describe(backend)[0]
    assert backend.name == "insightface"
    assert not backend.gives_dense
    (pack / "landmarks.onnx").write_bytes(b"")
    backend = open_backend("auto")
    assert isinstance(backend, BundledBackend)
    assert "insightface is not used: tiny is not whole: landmarks.onnx is empty" in describe(backend)[1]
    assert str(pack) not in describe(backend)[1]


def test_terms_are_told_once(pack: Path) -> None:
    backend = InsightFaceBackend(pack)
    assert "non-commercial research only" in first_use_notes(backend)[0]
    assert first_use_notes(backend) == ()
    assert first_use_notes(BundledBackend()) == first_use_notes(None) == ()
