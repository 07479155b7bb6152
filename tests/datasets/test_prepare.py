"""From a data set to a face pack: faces, counts, reasons, determinism, and the command."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from lssl_augment.cli.prepare import prepare_command
from lssl_augment.datasets.cut import CutFace, FaceCutter
from lssl_augment.datasets.locate import NetworkLocator
from lssl_augment.datasets.prepare import DATASETS, PrepareConfig, prepare
from lssl_augment.datasets.records import ReadOptions, Record
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError
from lssl_augment.faces.align import align_face, template68
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE
from lssl_augment.faces.pack import FacePack

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
    report = prepare("lfw-expressions", lfw, PrepareConfig(tmp_path / "lfw.h5", landmarks="file"))
    reasons = {
        "unreadable image": 2,
        "file missing": 1,
        "blank image": 1,
        "no landmarks in landmarks.npz": 1,
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


# --- one photograph ----------------------------------------------------------------------------------------------


def cutter(tmp_path: Path, found: np.ndarray | None = None, locate: bool = False, use_file: bool = True) -> FaceCutter:
    return FaceCutter(FileTree(tmp_path), use_file, (lambda photo: found) if locate else None, keep_dense=True)


def record(points: np.ndarray | None, image: np.ndarray | None = None) -> Record:
    if image is None:
        image = np.tile(np.arange(160, dtype=np.uint8), (160, 1))
    return Record("x", 0, "s", "train", image, points)


GOOD = template68() + 16


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (None, "no landmarks in landmarks.npz"),
        (np.where(np.arange(136).reshape(68, 2) == 7, np.nan, GOOD), "landmarks not finite"),
        (np.full((68, 2), 30.0), "face too small"),
        (GOOD / 5, "face too small"),
        (GOOD + [120, 0], "face mostly outside the image"),
        (GOOD - [0, 400], "face mostly outside the image"),
    ],
)
def test_reasons(points: np.ndarray | None, reason: str, tmp_path: Path) -> None:
    assert cutter(tmp_path)(record(points)) == reason
    # The landmark network is asked where the file's landmarks are no good …
    assert cutter(tmp_path, None, locate=True)(record(points)) == "no face found"
    dense = np.zeros((478, 3))
    dense[SPARSE_FROM_DENSE, :2] = GOOD
    face = cutter(tmp_path, dense, locate=True)(record(points))
    assert isinstance(face, CutFace)
    assert face.dense is not None
    assert np.allclose(face.landmarks, template68(), atol=1e-3)


def test_the_network_alone(tmp_path: Path) -> None:
    # … and only there, unless nothing else is wanted.
    assert isinstance(cutter(tmp_path, None, locate=True)(record(GOOD)), CutFace)
    assert cutter(tmp_path, None, locate=True, use_file=False)(record(GOOD)) == "no face found"
    assert cutter(tmp_path, np.full((478, 3), np.inf), locate=True)(record(None)) == "landmarks not finite"


def test_a_few_points_may_lie_outside(tmp_path: Path) -> None:
    assert isinstance(cutter(tmp_path)(record(GOOD - [45, 0])), CutFace)


def test_network_locator_answers_as_the_network(tmp_path: Path) -> None:
    import torch

    from lssl_augment.models import landmark_net
    from lssl_augment.models.weights import write_weights

    torch.manual_seed(0)
    config = landmark_net.LandmarkConfig(widths=(8, 8), blocks=(1, 1), neck=4, hidden=8, codes=4)
    net = landmark_net.LandmarkNet(config).fused()
    card = {
        "kind": "landmarks",
        "architecture": landmark_net.architecture_card(config),
        "class_names": None,
        "face_size_px": 128,
        "training": {"data": "none"},
        "metrics": {},
        "licence": "none",
        "intended_use": "tests",
    }
    write_weights(tmp_path / "tiny.safetensors", net.state_dict(), card)
    locator = NetworkLocator(tmp_path / "tiny.safetensors")
    photo = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    dense, spread = landmark_net.locate_face(locator.load(), photo)
    found = locator(photo)
    if spread > landmark_net.FACE_SPREAD_LIMIT:
        assert found is None
    else:
        assert found is not None
        assert np.allclose(found, dense)
    assert locator.load() is locator.load()


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
    assert result.stdout.splitlines()[-1].endswith("lfw.h5: 6 faces with 68 and 478 landmarks")
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
        *("folder", "--root", root, "--out", out, "--landmarks", "file", "--classes", "happy,neutral"),
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
        (("csv", "--subject-pattern", "x"), "--subject-pattern is for `folder` only"),
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
    assert list(argument.type.choices) == list(DATASETS)  # type: ignore[attr-defined]


def test_config_and_names_are_checked(lfw: Path, tmp_path: Path) -> None:
    for wrong in ({"landmarks": "some"}, {"limit": 0}, {"workers": 0}):
        with pytest.raises(DataError, match=next(iter(wrong))):
            PrepareConfig(tmp_path / "x.h5", **wrong)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="unknown data set 'mnist'; known: lfw-expressions, fer2013"):
        prepare("mnist", lfw, PrepareConfig(tmp_path / "x.h5"))
    (lfw / "landmarks.npz").unlink()
    with pytest.raises(DataError, match=r"has no landmarks\.npz; with --landmarks auto or network"):
        prepare("lfw-expressions", lfw, PrepareConfig(tmp_path / "x.h5", landmarks="file"))


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
    report = prepare("lfw-expressions", lfw, PrepareConfig(tmp_path / "lfw.h5", landmarks="file"))
    assert report.skipped == {"unreadable image": 2}


def test_a_disk_too_small_is_known_before_the_work(lfw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100_000))
    with pytest.raises(DataError, match=r"lfw\.h5 needs about 0.4 MB and the disk has 0.1 MB free; make room"):
        prepare("lfw-expressions", lfw, PrepareConfig(tmp_path / "new" / "lfw.h5"))
    assert not (tmp_path / "new").exists()
