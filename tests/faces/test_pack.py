"""Face packs: what is written is read, whatever is wrong is said, and no half file is left."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lssl_augment._version import __version__
from lssl_augment.attributes import BASIC5, Vocabulary
from lssl_augment.errors import DataError, SchemaError
from lssl_augment.faces.align import template68
from lssl_augment.faces.pack import FacePack, PackWriter

SIZE = 16


def block(first: int, count: int, dense: bool = True, split: str = "train") -> dict[str, Any]:
    rng = np.random.default_rng(first)
    return {
        "images": rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8),
        "labels": np.arange(first, first + count) % 5,
        "subjects": [f"person {i} é" for i in range(first, first + count)],
        "files": [f"images/{i}.jpg" for i in range(first, first + count)],
        "landmarks": rng.uniform(0, SIZE, (count, 68, 2)),
        "split": [split] * count,
        "dense": rng.uniform(0, SIZE, (count, 478, 3)) if dense else None,
    }


def write(path: Path, *blocks: dict[str, Any], **options: Any) -> Path:
    with PackWriter(path, BASIC5, dataset="toy", face_size_px=SIZE, **options) as writer:
        for values in blocks:
            writer.append(**values)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "toy.h5", block(0, 7), block(7, 3, split="test"))


def test_round_trip(tmp_path: Path) -> None:
    first, second = block(0, 7), block(7, 3, split="test")
    second["labels"] = np.array([4, -1, 4], np.int32)
    with PackWriter(tmp_path / "new" / "toy.h5", BASIC5, dataset="toy", face_size_px=SIZE) as writer:
        writer.append(**first)
        writer.append(**second)
        writer.append(**block(0, 0))
        for file, reason in (
            ("a.jpg", "unreadable: empty"),
            ("b.jpg", "blank"),
            ("c.jpg", "unreadable: cut"),
        ):
            writer.skip(file, reason)
    pack = FacePack.open(tmp_path / "new" / "toy.h5")
    assert len(pack) == 10
    assert pack.vocabulary == BASIC5
    assert (pack.dataset, pack.face_size_px) == ("toy", SIZE)
    assert np.array_equal(pack.template68, template68(SIZE))
    assert np.array_equal(pack.images[:], np.concatenate([first["images"], second["images"]]))
    assert np.array_equal(pack.images[3], first["images"][3])
    assert pack.labels.tolist() == [0, 1, 2, 3, 4, 0, 1, 4, -1, 4]
    assert pack.subjects.tolist() == first["subjects"] + second["subjects"]
    assert pack.files.tolist() == first["files"] + second["files"]
    assert pack.landmarks.dtype == np.float32
    assert np.array_equal(pack.landmarks[7:], second["landmarks"].astype(np.float32))
    assert pack.landmarks_dense is not None
    assert np.array_equal(pack.landmarks_dense[2], first["dense"][2].astype(np.float32))
    assert pack.counts["train"] == {"neutral": 2, "happiness": 2, "surprise": 1, "anger": 1, "sadness": 1}
    assert pack.counts["test"] == {"neutral": 0, "happiness": 0, "surprise": 0, "anger": 0, "sadness": 2}
    assert pack.skipped == {"unreadable": 2, "blank": 1}
    assert pack.select("test").tolist() == [7, 8, 9]
    assert pack.select("test", label=4).tolist() == [7, 9]
    assert pack.select(label=0).tolist() == [0, 5]
    assert len(pack.select()) == 10
    with pytest.raises(DataError, match="no face of split 'dev'; its splits: test, train"):
        pack.select("dev")


def test_attributes_of_the_faces(tmp_path: Path) -> None:
    options: dict[str, Any] = {"simulated": True, "notes": ["one é", "two"]}
    options |= {"yaw_from": "data set", "light_from": "photometric rule"}
    known = {
        "lights": ["normal", "weak", "dark", ""],
        "yaw_deg": np.array([-45.0, 0.0, 45.0, np.nan]),
        "intensities": [1.0, 0.0, 0.5, np.nan],
        "sequences": ["P001/anger é", "P001/anger é", "", ""],
        "frames": np.array([0, 7, 0, -1], np.int64),
        "landmarks_from": ["bundled", "precomputed", "bundled", "bundled"],
    }
    path = write(tmp_path / "a.h5", {**block(0, 4), **known}, block(4, 2), **options)
    pack = FacePack.open(path)
    assert pack.lights.tolist() == [*known["lights"], "", ""]
    assert pack.sequences.tolist() == [*known["sequences"], "", ""]
    assert pack.frames.tolist() == [0, 7, 0, -1, 0, 0]
    assert np.array_equal(pack.yaw_deg, np.array([-45, 0, 45, *[np.nan] * 3], np.float32), equal_nan=True)
    assert np.array_equal(pack.intensities, np.array([1, 0, 0.5, *[np.nan] * 3], np.float32), equal_nan=True)
    assert (pack.yaw_deg.dtype, pack.intensities.dtype, pack.frames.dtype) == (np.float32, np.float32, np.int32)
    assert (pack.simulated, pack.notes) == (True, ("one é", "two"))
    assert (pack.yaw_from, pack.light_from) == ("data set", "photometric rule")
    assert pack.landmarks_from == {"bundled": 3, "precomputed": 1}


def test_unknown_is_the_default(path: Path) -> None:
    pack = FacePack.open(path)
    assert set(pack.lights) == set(pack.sequences) == {""}
    assert np.isnan(pack.yaw_deg).all()
    assert np.isnan(pack.intensities).all()
    assert pack.frames.tolist() == [0] * 10
    assert (pack.simulated, pack.landmarks_from, pack.notes, pack.yaw_from, pack.light_from) == (False, {}, (), "", "")


@pytest.mark.parametrize("name", ["yaw_from", "light_from"])
def test_where_attributes_come_from_is_one_of_a_few(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{name} must be one of '', 'data set', .*; got 'guess'"):
        write(tmp_path / "a.h5", block(0, 1), **{name: "guess"})
    assert not list(tmp_path.iterdir())


def test_readable_with_plain_h5py(path: Path) -> None:
    with h5py.File(path) as file:
        assert file.attrs["format"] == "lssl-augment/face-pack"
        assert file.attrs["schema_version"] == 2
        assert file.attrs["package_version"] == __version__
        assert file.attrs["complete"]
        assert file["subjects"].asstr()[0] == "person 0 é"
        assert file["skipped/files"].shape == file["skipped/reasons"].shape == (0,)


def test_dense_points_are_optional(tmp_path: Path) -> None:
    assert FacePack.open(write(tmp_path / "a.h5", block(0, 2, dense=False))).landmarks_dense is None
    with pytest.raises(DataError, match="every block of faces or with none"):
        write(tmp_path / "b.h5", block(0, 2), block(2, 2, dense=False))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.h5"]


def test_an_empty_pack_opens(tmp_path: Path) -> None:
    assert len(FacePack.open(write(tmp_path / "none.h5"))) == 0


def test_same_faces_same_bytes(tmp_path: Path) -> None:
    files = [write(tmp_path / name, block(0, 5)) for name in ("a.h5", "b.h5")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("images", np.zeros((2, SIZE, SIZE, 3), np.float32), "images must be"),
        ("images", np.zeros((2, SIZE, SIZE), np.uint8), "images must be"),
        ("labels", np.array([0, 5]), "labels must be -1 to 4; got 0 to 5"),
        ("labels", np.array([0.0, 1.0]), r"labels must be \(2,\) integers"),
        ("labels", np.array([0]), "labels must be"),
        ("subjects", ["one"], "subjects: 2 faces need as many texts; got 1"),
        ("landmarks", np.full((2, 68, 2), np.nan), "landmarks must be finite"),
        ("landmarks", np.zeros((2, 5, 2)), "landmarks must be finite"),
        ("dense", np.full((2, 478, 3), np.inf), "dense must be finite"),
        ("lights", ["noon", "dark"], "lights must be normal, weak, dark, or empty where unknown; got noon"),
        ("lights", ["dark"], "lights: 2 faces need as many texts; got 1"),
        ("sequences", ["one"], "sequences: 2 faces need as many texts; got 1"),
        ("yaw_deg", np.array([0.0, 190.0]), "yaw_deg must be -180 to 180, or NaN where unknown; got 0 to 190"),
        ("yaw_deg", np.array([np.inf, 0.0]), "yaw_deg must be"),
        ("intensities", np.array([0.5, -0.1]), "intensities must be 0 to 1"),
        ("intensities", np.zeros((2, 1)), r"intensities must be \(2,\) numbers; got \(2, 1\)"),
        ("frames", np.array([0.0, 1.0]), r"frames must be \(2,\) integers"),
        ("frames", np.array([0, 1 << 31]), "frames must be 32-bit integers"),
        ("landmarks_from", ["bundled"], "landmarks_from: 2 faces need as many texts"),
    ],
)
def test_columns_that_do_not_fit(column: str, value: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        write(tmp_path / "toy.h5", {**block(0, 2), column: value})
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_kept_unless_asked(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(DataError, match="exists; choose another --out, or replace it with --overwrite"):
        write(path, block(0, 1))
    with pytest.raises(RuntimeError, match="half way"), PackWriter(path, BASIC5, dataset="x", overwrite=True):
        raise RuntimeError("half way")
    assert path.read_bytes() == before
    assert len(FacePack.open(write(path, block(0, 1), overwrite=True))) == 1
    with pytest.raises(DataError, match="is a folder"):
        write(path.parent, block(0, 1))


def test_writes_inside_its_with_block_only(tmp_path: Path) -> None:
    writer = PackWriter(tmp_path / "toy.h5", BASIC5, dataset="toy", face_size_px=SIZE)
    with pytest.raises(ValueError, match="inside its `with` block"):
        writer.append(**block(0, 1))


KILLED = """
import os, signal, sys
import numpy as np
from lssl_augment.attributes import BASIC5
from lssl_augment.faces.pack import PackWriter
with PackWriter(sys.argv[1], BASIC5, dataset="toy", face_size_px=16) as writer:
    images = np.zeros((3, 16, 16, 3), np.uint8)
    writer.append(images, np.zeros(3, int), "abc", "abc", np.zeros((3, 68, 2)), "ttt")
    print("written", flush=True)
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


def started(path: Path, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", KILLED, str(path), how]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_kill_leaves_no_file_of_that_name(tmp_path: Path) -> None:
    path = tmp_path / "toy.h5"
    with started(path, "kill") as process:
        assert process.wait(60) == -signal.SIGKILL
    assert [entry.name for entry in tmp_path.iterdir()] == [".toy.h5.tmp"]
    write(path, block(0, 2))
    assert [entry.name for entry in tmp_path.iterdir()] == ["toy.h5"]


@pytest.mark.skipif(os.name != "posix", reason="needs file locks")
def test_two_writers_of_one_file(tmp_path: Path) -> None:
    path = tmp_path / "toy.h5"
    with started(path, "wait") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        with pytest.raises(DataError, match=r"another process is writing toy\.h5"):
            write(path, block(0, 2))
        process.communicate("go on")
    assert len(FacePack.open(path)) == 3  # the first one was not disturbed


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_clear_line(error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    path = tmp_path / "toy.h5"
    with pytest.raises(DataError, match=r"the disk is full: toy\.h5 had \d+ MB") as caught:  # noqa: PT012
        with PackWriter(path, BASIC5, dataset="toy", face_size_px=SIZE) as writer:
            writer.append(**block(0, 2))
            monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
            writer.append(**block(2, 2))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


LIMITED = """
import resource, signal, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (6_000_000, 6_000_000))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import numpy as np
from lssl_augment.attributes import BASIC5
from lssl_augment.errors import DataError
from lssl_augment.faces.pack import PackWriter
try:
    with PackWriter(sys.argv[1], BASIC5, dataset="toy") as writer:
        for _ in range(40):
            n = 16
            images = np.zeros((n, 128, 128, 3), np.uint8)
            writer.append(images, np.zeros(n, int), "s" * n, "f" * n, np.zeros((n, 68, 2)), "t" * n)
except DataError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="needs posix_fallocate")
def test_no_more_room_really(tmp_path: Path) -> None:
    """The file may not grow: the process ends in order, and nothing is left."""
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "toy.h5")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("the disk is full")
    assert not list(tmp_path.iterdir())


def damage(path: Path, how: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "r+") as file:
        how(file)


def without(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file.__delitem__(name)


def attribute(name: str, value: object) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__setitem__(name, value)


def replaced(name: str, value: object) -> Callable[[h5py.File], None]:
    def how(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return how


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            attribute("format", "lssl-augment/synthetic"),
            "is not a face pack: its format is 'lssl-augment/synthetic'",
        ),
        (
            attribute("schema_version", 1),
            "has schema version 1; this package reads version 2: prepare it again .`lssl-augment prepare",
        ),
        (attribute("schema_version", 3), "has schema version 3; .* a newer version of the package wrote it"),
        (without("lights"), "lacks lights"),
        (attribute("notes", "["), "an attribute cannot be read"),
        (lambda file: file.attrs.__delitem__("simulated"), "lacks simulated"),
        (replaced("yaw_deg", np.zeros(10)), "yaw_deg must be"),
        (replaced("yaw_deg", np.full(10, 200, np.float32)), "yaw_deg must be -180 to 180"),
        (replaced("intensities", np.full(10, 2, np.float32)), "intensities must be 0 to 1"),
        (replaced("frames", np.zeros(10)), "frames must be"),
        (replaced("lights", ["noon"] * 10), "lights must be normal, weak, dark or empty"),
        (attribute("complete", False), "is not finished"),
        (attribute("class_names", "{"), "an attribute cannot be read"),
        (attribute("class_names", '["neutral", "happy"]'), "an attribute cannot be read"),
        (attribute("class_names", '["neutral"]'), "labels must be -1 to 0"),
        (attribute("template68", np.zeros(3)), "template68 must have shape"),
        (attribute("face_size_px", 64), r"images must be \(10, 64, 64, 3\) uint8"),
        (lambda file: file.attrs.__delitem__("counts"), "lacks counts"),
        (without("labels"), "lacks labels"),
        (without("split"), "lacks split"),
        (replaced("labels", np.zeros(9, np.int64)), "images must be"),
        (replaced("labels", np.zeros(10, np.float64)), "labels must be"),
        (replaced("landmarks", np.zeros((10, 5, 2), np.float32)), "landmarks must be"),
        (replaced("landmarks_dense", np.zeros((10, 68, 3), np.float32)), "landmarks_dense must be"),
        (replaced("subjects", np.zeros(10)), "subjects must be 10 UTF-8 texts"),
    ],
)
def test_damaged_packs(how: Callable[[h5py.File], None], message: str, path: Path) -> None:
    damage(path, how)
    with pytest.raises(SchemaError, match=message) as caught:
        FacePack.open(path)
    assert str(caught.value).startswith("toy.h5")
    path.unlink()  # nothing holds it open


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_truncated(keep: float, path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(SchemaError, match=r"toy\.h5 is no readable HDF5 file, perhaps truncated"):
        FacePack.open(path)


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no face pack .*none\.h5"):
        FacePack.open(tmp_path / "none.h5")
    with pytest.raises(SchemaError, match="no readable HDF5 file"):
        FacePack.open(tmp_path)
    (tmp_path / "text.h5").write_text("not a pack")
    with pytest.raises(SchemaError, match="no readable HDF5 file"):
        FacePack.open(tmp_path / "text.h5")


def first_pixel(pack: FacePack) -> int:
    return int(pack.images[0, 0, 0, 0])


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_worker_processes(method: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    pack = FacePack.open(path.name)
    expected = first_pixel(pack)  # opened here, then used elsewhere
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(first_pixel, [pack] * 4) == [expected] * 4
    assert first_pixel(pack) == expected


def test_pickles_without_its_handle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = FacePack.open(path)
    copy = pickle.loads(pickle.dumps(pack))
    monkeypatch.chdir("/")
    assert np.array_equal(copy.images[:], pack.images[:])
    pack.close()
    assert first_pixel(pack) == first_pixel(copy)  # opened again
    with pack as same:
        assert same is pack
    assert "toy.h5" in repr(pack)


def test_the_vocabulary_is_the_writers(tmp_path: Path) -> None:
    words = Vocabulary(("frown", "neutral"))
    with PackWriter(tmp_path / "a.h5", words, dataset="mine", face_size_px=SIZE) as writer:
        writer.append(**{**block(0, 2), "labels": np.array([1, 0])})
    pack = FacePack.open(tmp_path / "a.h5")
    assert pack.vocabulary == words
    assert pack.counts == {"train": {"frown": 1, "neutral": 1}}
