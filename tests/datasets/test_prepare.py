"""From a data set to a face pack: faces, counts, reasons, determinism, and the command."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from lssl_augment.cli.prepare import prepare_command
from lssl_augment.datasets.prepare import PrepareConfig, prepare, write_faces
from lssl_augment.datasets.records import ReadOptions, RecordTable
from lssl_augment.datasets.registry import DATASET_NAMES, find_dataset
from lssl_augment.errors import DataError
from lssl_augment.faces.align import align_face, template68
from lssl_augment.faces.backends.base import FoundFace
from lssl_augment.faces.backends.choose import LANDMARK_SOURCES
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE
from lssl_augment.faces.light import light_names
from lssl_augment.faces.pack import FacePack
from lssl_augment.faces.pose import yaw_deg

Zipped = Callable[..., Path]


def test_lfw_pack(lfw: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    out = tmp_path / "lfw.h5"
    report = prepare("lfw-expressions", lfw, PrepareConfig(out), progress=lambda *at: seen.append(at))
    pack = FacePack.open(out)
    assert seen == [(i, 7) for i in range(1, 8)]
    assert (report.faces, len(pack), pack.dataset) == (7, 7, "lfw-expressions")
    assert report.counts == pack.counts
    assert list(report.counts) == ["train", "test"]
    assert (report.unlabelled, report.dense, report.skipped) == (0, True, {})
    # The points were the template, moved: aligned, they are the template, and the face is that part of the photo.
    assert np.allclose(pack.landmarks, template68(), atol=1e-3)
    assert pack.landmarks_dense is not None
    assert np.array_equal(pack.landmarks_dense[:][:, SPARSE_FROM_DENSE, :2], pack.landmarks)
    for i, file in enumerate(pack.files[:5]):
        photo = np.asarray(Image.open(lfw / file))
        cut = photo[16:144, 16 + i : 144 + i]
        assert np.abs(pack.images[i].astype(int) - cut).max() <= 1


def test_result_is_the_same_for_any_number_of_workers(lfw: Path, tmp_path: Path, zipped: Zipped) -> None:
    roots = {"one.h5": (lfw, 1), "four.h5": (lfw, 4), "zip.h5": (zipped(lfw), 3)}
    data = []
    for name, (root, workers) in roots.items():
        prepare("lfw-expressions", root, PrepareConfig(tmp_path / name, workers=workers))
        data.append((tmp_path / name).read_bytes())
    assert data[0] == data[1] == data[2]


def test_limit_takes_faces_from_the_whole_list(lfw: Path, tmp_path: Path) -> None:
    full = prepare("lfw-expressions", lfw, PrepareConfig(tmp_path / "a.h5"))
    assert full.faces == 7
    prepare("lfw-expressions", lfw, PrepareConfig(tmp_path / "b.h5", limit=3))
    everyone, few = FacePack.open(tmp_path / "a.h5"), FacePack.open(tmp_path / "b.h5")
    rows = [everyone.files.tolist().index(file) for file in few.files]
    assert rows == [0, 2, 4]
    assert few.split.tolist() == everyone.split[rows].tolist()


def test_what_is_left_out_is_counted_and_stored(lfw: Path, tmp_path: Path, landmarks: Callable[..., None]) -> None:
    files = sorted(path.relative_to(lfw).as_posix() for path in lfw.rglob("*.png"))
    data = (lfw / files[0]).read_bytes()
    (lfw / files[0]).write_bytes(data[: len(data) // 2])
    (lfw / files[1]).write_bytes(b"")
    (lfw / files[2]).unlink()
    Image.new("RGB", (160, 160), (9, 9, 9)).save(lfw / files[3])
    landmarks(lfw, files[:-1])  # none for the last
    report = prepare("lfw-expressions", lfw, PrepareConfig(tmp_path / "lfw.h5", landmarks="precomputed"))
    reasons = {
        "unreadable image": 2,
        "file missing": 1,
        "blank image": 1,
        "no landmarks in the data set": 1,
    }
    assert report.faces == 2
    assert report.skipped == reasons
    pack = FacePack.open(tmp_path / "lfw.h5")
    assert pack.skipped == reasons
    stored = dict(zip(*(pack.images.file[f"skipped/{c}"].asstr()[:] for c in ("files", "reasons")), strict=True))
    assert set(stored) == {*files[:4], files[-1]}
    assert stored[files[1]] == "unreadable image: the file is empty"
    assert stored[files[0]].startswith("unreadable image: damaged or truncated")


def test_nothing_usable(lfw: Path, tmp_path: Path) -> None:
    shutil.rmtree(lfw / "images")
    with pytest.raises(DataError, match=r"none of 7 photographs gave a face: file missing \(7\)"):
        prepare("lfw-expressions", lfw, PrepareConfig(tmp_path / "lfw.h5"))
    with pytest.raises(DataError, match=r"holds no photograph to use: expression not in --classes \(7\)"):
        prepare("lfw-expressions", lfw, PrepareConfig(tmp_path / "lfw.h5"), ReadOptions(classes=("fear",)))
    assert not list(tmp_path.glob("*.h5*"))
    assert not list(tmp_path.glob(".*.tmp"))


def test_grey_pixels_of_a_csv(tmp_path: Path, landmarks: Callable[..., None]) -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 6), dtype=np.uint8)
    grey = cv2.resize(coarse, (48, 48), interpolation=cv2.INTER_CUBIC)
    line = " ".join(map(str, grey.ravel().tolist()))
    root = tmp_path / "fer"
    root.mkdir()
    (root / "icml_face_data.csv").write_text(f"emotion, Usage, pixels\n3, PrivateTest, {line}\n")
    landmarks(root, ["icml_face_data.csv#00002"], kind="sparse", scale=48 / 160)
    report = prepare("fer2013", root, PrepareConfig(tmp_path / "fer.h5"))
    pack = FacePack.open(tmp_path / "fer.h5")
    assert report.counts["private_test"]["happiness"] == report.faces == 1
    assert (report.dense, pack.landmarks_dense) == (False, None)
    face = pack.images[0]
    assert np.array_equal(face[..., 0], face[..., 2])
    points = template68() * 0.3 + [4.8, 4.8]
    assert np.array_equal(face, align_face(np.repeat(grey[..., None], 3, axis=2), points)[0])


# --- what is known of the faces -----------------------------------------------------------------------------------


def table(lfw: Path, **changes: object) -> RecordTable:
    read = find_dataset("lfw-expressions").read(lfw, ReadOptions())
    records = tuple(replace(r, **{k: v[i] for k, v in changes.items()}) for i, r in enumerate(read.records))  # type: ignore[index, arg-type]
    return replace(read, records=records, notes=("one", "two"))


def test_attributes_reach_the_pack(lfw: Path, tmp_path: Path) -> None:
    changes = {
        "light": ["normal", "weak", "dark", "", "", "", "weak"],
        "yaw_deg": [None, 30.0, -45.0, 0.0, None, None, 15.0],
        "intensity": [0.0, 1.0, None, 0.25, None, None, 0.5],
        "sequence": ["a/1", "a/1", "", "", "", "", "b/2"],
        "frame": [0, 9, 0, 0, 0, 0, 3],
    }
    report = write_faces(table(lfw, **changes), PrepareConfig(tmp_path / "a.h5", landmarks="precomputed"))
    pack = FacePack.open(tmp_path / "a.h5")
    assert pack.lights.tolist() == changes["light"]
    assert pack.sequences.tolist() == changes["sequence"]
    assert pack.frames.tolist() == changes["frame"]
    for stored, given in ((pack.yaw_deg, "yaw_deg"), (pack.intensities, "intensity")):
        assert [None if np.isnan(v) else float(v) for v in stored] == changes[given]
    assert (pack.yaw_from, pack.light_from, pack.simulated) == ("data set", "data set", False)
    assert pack.landmarks_from == report.landmarks_from == {"precomputed": 7}
    assert pack.notes == report.notes == ("one", "two", "landmarks of the data set only")


def test_yaw_is_measured_where_nobody_says_it(lfw: Path, tmp_path: Path) -> None:
    write_faces(table(lfw), PrepareConfig(tmp_path / "a.h5", landmarks="precomputed"))
    pack = FacePack.open(tmp_path / "a.h5")
    assert (pack.yaw_from, pack.light_from) == ("landmarks", "")
    assert pack.landmarks_dense is not None
    assert np.allclose(pack.yaw_deg, yaw_deg(pack.landmarks_dense[:]), atol=1e-4)
    assert np.isnan(pack.intensities).all()
    assert set(pack.lights) == {""}


def test_light_is_measured_only_when_asked(lfw: Path, tmp_path: Path) -> None:
    config = PrepareConfig(tmp_path / "a.h5", landmarks="precomputed", light_rule="photometric")
    write_faces(table(lfw), config)
    pack = FacePack.open(tmp_path / "a.h5")
    assert pack.light_from == "photometric rule"
    assert pack.lights.tolist() == light_names(pack.images[:]).tolist()
    stated = table(lfw, light=["dark"] * 7)
    with pytest.raises(DataError, match="states the light of its photographs"):
        write_faces(stated, PrepareConfig(tmp_path / "b.h5", light_rule="photometric"))


class Blind:
    """A backend that finds the template in every photo, 68 points only."""

    name, gives_dense, notes = "blind", False, ("found blindly",)

    def load(self) -> None:
        return

    def __call__(self, photo: np.ndarray) -> FoundFace:
        return FoundFace(template68() + 16, None, 1.0)


def test_what_found_the_landmarks_is_counted(lfw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lssl_augment.datasets.prepare.open_backend", lambda *_, **__: Blind())
    known = table(lfw)
    # One face without landmarks, one whose landmarks are no good: the backend is asked for both.
    points = [None, np.full((68, 2), 30.0), *(record.points68 for record in known.records[2:])]
    dense = [None, None, *(record.dense for record in known.records[2:])]
    for workers in (1, 3):
        config = PrepareConfig(tmp_path / f"{workers}.h5", workers=workers)
        report = write_faces(table(lfw, points68=points, dense=dense), config)
        assert report.landmarks_from == {"precomputed": 5, "blind": 2}
        assert not report.dense  # as two of them have none
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "3.h5").read_bytes()
    assert "found blindly" in report.notes
    # What was at hand and not needed is not mentioned.
    assert "found blindly" not in write_faces(table(lfw), PrepareConfig(tmp_path / "none.h5")).notes


# --- the command -------------------------------------------------------------------------------------------------


def run(*arguments: object) -> Result:
    return CliRunner().invoke(prepare_command, [str(a) for a in arguments])


def test_command(lfw: Path, tmp_path: Path) -> None:
    out = tmp_path / "packs" / "lfw.h5"
    (lfw / "images" / "Bob_B" / "Bob_B_0001.png").write_bytes(b"no picture")
    result = run("lfw-expressions", "--root", lfw, "--out", out, "--seed", 3, "--workers", 2)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["train", "test", "all"]
    assert lines[1][0] == "neutral"
    assert lines[1][3] == "2"
    assert lines[9][0] == "all"
    assert lines[9][3] == "6"
    assert result.stdout.splitlines()[10:12] == ["left out: 1:", "  1 × unreadable image"]
    assert result.stdout.splitlines()[-1].endswith("lfw.h5: 6 faces with 68 and 478 landmarks (precomputed 6)")
    assert "7/7" in result.stderr
    before = out.read_bytes()
    again = run("lfw-expressions", "--root", lfw, "--out", out)
    assert isinstance(again.exception, DataError)
    assert "--overwrite" in str(again.exception)
    assert out.read_bytes() == before
    assert run("lfw-expressions", "--root", lfw, "--out", out, "--overwrite", "--limit", 2).exit_code == 0
    assert len(FacePack.open(out)) == 2


def test_command_reads_its_options(tmp_path: Path, draw: Callable[..., None], landmarks: Callable[..., None]) -> None:
    root = tmp_path / "mine"
    files = ["grin/p1_1.png", "plain/p1_2.png", "plain/p2_1.png"]
    for i, file in enumerate(files):
        draw(root / file, seed=i)
    landmarks(root, files)
    out = tmp_path / "mine.h5"
    result = run(
        *("folder", "--root", root, "--out", out, "--landmarks", "precomputed", "--classes", "happy,neutral"),
        *("--alias", "grin=happiness", "--alias", "plain=neutral", "--subject-pattern", r"(p\d)_"),
    )
    assert result.exit_code == 0, result.output
    pack = FacePack.open(out)
    assert pack.vocabulary.names == ("happiness", "neutral")
    assert pack.labels.tolist() == [0, 1, 1]
    assert pack.subjects.tolist() == ["p1", "p1", "p2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing",), "'nothing' is not one of"),
        (("folder", "--views", "left"), "--views must be angles in degrees such as -30,0,30; got 'left'"),
        (("folder", "--subjects", "3"), "--subjects is for --simulated only"),
        (("folder", "--alias", "grin"), "--alias must be NAME=EXPRESSION; got 'grin'"),
        (("folder", "--limit", "0"), "0 is not in the range x>=1"),
        (("folder", "--landmarks", "some"), "'some' is not one of"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    result = run(*arguments, "--root", tmp_path, "--out", tmp_path / "x.h5")
    assert result.exit_code == 2
    assert message in result.stderr


def test_command_and_library_know_the_same_data_sets() -> None:
    (argument,) = (p for p in prepare_command.params if p.name == "name")
    assert list(argument.type.choices) == list(DATASET_NAMES)  # type: ignore[attr-defined]
    (sources,) = (p for p in prepare_command.params if p.name == "landmarks")
    assert list(sources.type.choices) == list(LANDMARK_SOURCES)  # type: ignore[attr-defined]


def test_command_says_where_to_ask_for_a_copy(tmp_path: Path) -> None:
    result = run("oulu", "--out", tmp_path / "x.h5")
    assert result.exit_code == 2
    info = find_dataset("oulu").info
    for part in ("--root DIR is missing", "--simulated", info.ask.split()[0], info.layout.split()[0]):
        assert part in " ".join(result.stderr.split())
    assert "--simulated" not in run("folder", "--out", tmp_path / "x.h5").stderr


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("csv", ("--subject-pattern", "x"), "csv does not know --subject-pattern .*it knows no option"),
        ("fer2013", ("--frames", "all"), "fer2013 does not know --frames .*it knows --label-file"),
        ("folder", ("--lights", "weak"), "folder does not know --lights .*it knows --subject-pattern"),
        ("mug", ("--views", "0,30"), "mug does not know --views .*it knows --frames"),
        ("lfw-expressions", ("--modality", "NI"), "lfw-expressions does not know --modality"),
        ("rafd", ("--label-file", "x.csv"), "rafd does not know --label-file"),
    ],
)
def test_options_that_a_data_set_does_not_know(
    name: str, option: tuple[str, str], message: str, tmp_path: Path
) -> None:
    result = run(name, "--root", tmp_path, "--out", tmp_path / "x.h5", *option)
    assert isinstance(result.exception, DataError)
    with pytest.raises(DataError, match=message):
        raise result.exception


def test_config_and_names_are_checked(lfw: Path, tmp_path: Path) -> None:
    for wrong in ({"landmarks": "file"}, {"limit": 0}, {"workers": 0}, {"pick": "any"}, {"light_rule": "x"}):
        with pytest.raises(DataError, match=next(iter(wrong))):
            PrepareConfig(tmp_path / "x.h5", **wrong)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="unknown data set 'mnist'; known: oulu, mug, "):
        prepare("mnist", lfw, PrepareConfig(tmp_path / "x.h5"))
    (lfw / "landmarks.npz").unlink()
    with pytest.raises(DataError, match="has no landmarks of its own; with --landmarks auto, "):
        prepare("lfw-expressions", lfw, PrepareConfig(tmp_path / "x.h5", landmarks="precomputed"))


def test_ctrl_c_leaves_nothing_behind(lfw: Path, tmp_path: Path) -> None:
    def progress(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("lfw-expressions", lfw, PrepareConfig(tmp_path / "lfw.h5", workers=2), progress=progress)
    assert [entry.name for entry in tmp_path.iterdir()] == ["lfw"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_does_not_hang(lfw: Path, tmp_path: Path) -> None:
    os.mkfifo(lfw / "images" / "pipe.png")
    with (lfw / "labels.csv").open("a", encoding="utf-8") as file:
        file.write("images/pipe.png,Eve_E,anger\nimages,Eve_E,anger\n")
    report = prepare("lfw-expressions", lfw, PrepareConfig(tmp_path / "lfw.h5", landmarks="precomputed"))
    assert report.skipped == {"unreadable image": 2}


def test_a_disk_too_small_is_known_before_the_work(lfw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100_000))
    with pytest.raises(
        DataError, match=r"lfw\.h5 needs about 0.8 MB while it is made, and the disk has 0.1 MB free; make"
    ):
        prepare("lfw-expressions", lfw, PrepareConfig(tmp_path / "new" / "lfw.h5"))
    assert not (tmp_path / "new").exists()
