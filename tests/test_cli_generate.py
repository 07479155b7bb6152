"""``lssl-augment generate`` and ``export`` as a user runs them, with a small real generator."""

from __future__ import annotations

import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from small_weights import bare_weights

from lssl_augment.attribute_vector import AttributeSpec
from lssl_augment.attributes import Vocabulary
from lssl_augment.cli.generate import human_seconds
from lssl_augment.cli.main import main
from lssl_augment.faces.align import template68
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE
from lssl_augment.faces.pack import FacePack, PackWriter
from lssl_augment.faces.resize import resize_images, scale_dense
from lssl_augment.models.presets import PRESETS, build_generator
from lssl_augment.models.weights import write_weights
from lssl_augment.synthesis.dataset import SyntheticExpressionDataset

CLASSES = Vocabulary(("neutral", "happiness", "anger"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    preset = PRESETS["paper"].with_numbers(generator={"width": 4, "blocks": 1})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = build_generator(preset, len(CLASSES), 128)
    card = {
        "kind": "generator",
        "architecture": {"kind": "paper", "generator": dict(preset.generator)},
        "class_names": list(CLASSES.names),
        "face_size_px": 128,
        "training": {"data": "none: random weights for a test"},
        "metrics": {},
        "licence": "CC0-1.0",
        "intended_use": "tests",
    }
    tensors = {f"generator.{name}": tensor for name, tensor in generator.state_dict().items()}
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors", tensors, card)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pack") / "faces.h5"
    rng = np.random.default_rng(0)
    dense = np.zeros((6, 478, 3), np.float32)
    dense[:, SPARSE_FROM_DENSE, :2] = template68() + rng.normal(0, 1, (6, 68, 2))
    with PackWriter(path, CLASSES, dataset="test") as writer:
        writer.append(
            rng.integers(0, 256, (6, 128, 128, 3), dtype=np.uint8),
            np.array([0, 0, 0, 1, 2, 0]),
            list("abcdef"),
            [f"{i}.png" for i in range(6)],
            dense[:, SPARSE_FROM_DENSE, :2],
            ["train"] * 5 + ["test"],
            dense,
        )
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    said = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, said.out, said.err


def generate(
    capsys: pytest.CaptureFixture[str], pack: Path, weights: Path, out: Path, *more: object
) -> tuple[int, str, str]:
    basic = ("generate", "--source", pack, "--weights", weights, "--no-gate", "--device", "cpu", "--out", out)
    return run(capsys, *basic, *more)


def test_generate_resume_and_export(
    capsys: pytest.CaptureFixture[str], pack: Path, weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "synthetic.h5"
    status, said, _ = generate(capsys, pack, weights, out, "--per-class", 4, "--batch", 2)
    assert status == 0
    assert "12 images from 5 sources" in said
    assert "% of the network's time" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["synthetic.h5", "synthetic.png"]
    data = SyntheticExpressionDataset(out)
    assert np.bincount(data.targets).tolist() == [4, 4, 4]
    assert data.info.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert data.info.weights_card["class_names"] == list(CLASSES.names)
    assert set(data.folds.tolist()) == {"train"}
    assert "f" not in data.subjects  # a test subject
    with h5py.File(out) as h5:
        images = h5["images"][:]
    assert len(np.unique(images.reshape(12, -1), axis=0)) == 12
    before = out.read_bytes()

    status, _, error = generate(capsys, pack, weights, out, "--per-class", 4, "--batch", 2)
    assert status == 1
    assert "synthetic.h5 exists already" in error
    status, said, _ = generate(capsys, pack, weights, out, "--per-class", 4, "--batch", 2, "--resume")
    assert status == 0
    assert "nothing was made" in said
    status, _, error = generate(capsys, pack, weights, out, "--per-class", 5, "--batch", 2, "--resume")
    assert status == 1
    assert "per_class (there 4, now 5)" in error
    status, said, _ = generate(capsys, pack, weights, out, "--per-class", 4, "--batch", 2, "--overwrite")
    assert status == 0
    assert out.read_bytes() == before

    status, said, _ = run(capsys, "export", out, tmp_path / "faces")
    assert status == 0
    assert said.endswith("faces: 12 images\n")
    assert len(list((tmp_path / "faces").rglob("*.png"))) == 12


def test_balance(capsys: pytest.CaptureFixture[str], pack: Path, weights: Path, tmp_path: Path) -> None:
    status, said, _ = generate(capsys, pack, weights, tmp_path / "a.h5", "--targets", "balance")
    assert status == 0
    assert "4 images from" in said
    assert SyntheticExpressionDataset(tmp_path / "a.h5").info.counts == {
        "neutral": 0,
        "happiness": 2,
        "anger": 2,
    }


def test_dry_run_writes_nothing(capsys: pytest.CaptureFixture[str], pack: Path, weights: Path, tmp_path: Path) -> None:
    status, said, _ = generate(capsys, pack, weights, tmp_path / "a.h5", "--per-class", 1000, "--dry-run")
    assert status == 0
    words = said.split()
    assert words[words.index("anger") + 1] == "1000"
    assert words[words.index("total") + 1] == "3000"
    assert "147 MB" in said
    assert "time        about" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--per-class N"),
        (["--per-class", "2", "--targets", "bored"], "unknown expression 'bored'; allowed: neutral"),
        (["--per-class", "2", "--intensity", "2"], "VALUE or LOW:HIGH"),
        (["--per-class", "2", "--split", "test"], "--allow-test-subjects"),
        (["--per-class", "2", "--device", "abacus"], "unknown device 'abacus'"),
        (["--per-class", "2", "--people", "3"], "people counts built-in people"),
        (["--per-class", "2", "--resume", "--overwrite"], "choose one"),
        (["--per-class", "2", "--weights", "nothing"], "nothing"),
        (["--per-class", "2", "--source", "nowhere.h5"], "there is no face pack"),
    ],
)
def test_user_errors_are_one_line(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    pack: Path,
    weights: Path,
    tmp_path: Path,
) -> None:
    status, said, error = generate(capsys, pack, weights, tmp_path / "a.h5", *arguments)
    assert status == 1
    assert said == ""
    assert error.count("\n") == 1
    assert message in error
    assert list(tmp_path.iterdir()) == []


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "generate", "--per-class", "0")[0] == 2
    assert run(capsys, "export", "a.h5")[0] == 2
    assert run(capsys, "export", "a.h5", "b", "--to", "zip")[0] == 2


def test_export_refuses_other_files(capsys: pytest.CaptureFixture[str], pack: Path, tmp_path: Path) -> None:
    status, _, error = run(capsys, "export", pack, tmp_path / "x")
    assert status == 1
    assert "faces.h5 is not a synthetic file" in error


def test_the_main_job_needs_no_other_argument(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, _ = run(capsys, "generate", "--per-class", 3)
    assert status == 0
    data = SyntheticExpressionDataset("synthetic.h5", accepted_only=False)
    counts = np.bincount(data.targets, minlength=len(data.classes))
    assert counts.tolist() == [3] * len(data.classes)
    assert data.info.source["kind"] == "built-in"
    assert len(set(data.subjects.tolist())) == 3
    known = ~np.isnan(data.scores)
    assert known.any()
    assert ((data.scores[known] >= 0) & (data.scores[known] <= 1)).all()
    assert (tmp_path / "synthetic.png").exists()
    first = Path("synthetic.h5").read_bytes()
    assert run(capsys, "generate", "--per-class", 3, "--overwrite")[0] == 0
    assert Path("synthetic.h5").read_bytes() == first


@pytest.mark.parametrize(("seconds", "text"), [(5.04, "5.0 s"), (75.2, "1 min 15 s"), (3725, "1 h 2 min")])
def test_seconds_in_words(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text


def test_sources_larger_than_the_generator_are_brought_to_its_size(
    capsys: pytest.CaptureFixture[str], pack: Path, tmp_path: Path
) -> None:
    """As if the pack had been made at that size, landmarks too."""
    half = bare_weights(tmp_path / "half.safetensors", AttributeSpec(CLASSES), size_px=64, blocks=1)
    with FacePack.open(pack) as large, PackWriter(tmp_path / "small.h5", CLASSES, dataset="test", face_size_px=64) as w:
        assert large.landmarks_dense is not None
        dense = scale_dense(large.landmarks_dense[:], 0.5)
        images = resize_images(large.images[:], 64)
        assert np.abs(images.astype(float) - large.images[:].reshape(6, 64, 2, 64, 2, 3).mean((2, 4))).max() <= 0.5
        w.append(images, large.labels, large.subjects, large.files, dense[:, SPARSE_FROM_DENSE, :2], large.split, dense)
    made = []
    for name in (pack, tmp_path / "small.h5"):
        out = tmp_path / f"of-{name.stem}.h5"
        assert generate(capsys, name, half, out, "--per-class", "3")[0] == 0
        with h5py.File(out) as file:
            made.append(file["images"][:])
        assert out.with_suffix(".png").exists()
    assert made[0].shape == (9, 64, 64, 3)
    np.testing.assert_allclose(made[0].astype(int), made[1].astype(int), atol=1)


def test_landmarks_stay_on_the_pixels_they_mark() -> None:
    image = np.zeros((1, 128, 128, 3), np.uint8)
    image[0, 40:44, 80:84] = 255  # centre at (81.5, 41.5)
    small = resize_images(image, 32)
    row, column = np.unravel_index(small[0, :, :, 0].argmax(), (32, 32))
    point = scale_dense(np.array([[[81.5, 41.5, 8.0]]], np.float32), 0.25)
    assert point[0, 0].tolist() == [float(column), float(row), 2.0]
