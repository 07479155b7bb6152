"""Training the gate on tiny packs whose classes differ plainly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from lssl_augment.attributes import Vocabulary
from lssl_augment.cli.train_gate import train_gate_command
from lssl_augment.errors import DataError, LeakageError, WeightsError
from lssl_augment.faces.align import template68
from lssl_augment.faces.pack import FacePack, PackWriter
from lssl_augment.models.gate_net import GateConfig, load_gate
from lssl_augment.models.weights import read_card
from lssl_augment.training.gate import (
    GateTraining,
    calibrate,
    classification_metrics,
    save_gate,
    train_gate,
)
from lssl_augment.training.gate_views import random_views
from lssl_augment.training.metrics_log import read_stats

NETWORK = GateConfig(widths=(8, 8, 16, 16), blocks=(0, 0, 0), input_size_px=32)
QUICK = GateTraining(
    class_names=("happiness", "neutral"),
    steps=30,
    batch_size=16,
    mixup=0.0,
    ema_decay=0.5,
    learning_rate=1e-2,
)
VOCABULARY = Vocabulary(("neutral", "happiness", "anger"))


def write_pack(path: Path, per_split: dict[str, int], prefix: str = "") -> FacePack:
    """Neutral faces have horizontal bars, happy ones vertical bars, with noise; each is another subject."""
    rng = np.random.default_rng(len(prefix))
    with PackWriter(path, VOCABULARY, dataset=f"bars{prefix}") as writer:
        for split, count in per_split.items():
            labels = np.arange(count, dtype=np.int64) % 2
            bars = np.where(np.arange(128) // 16 % 2 == 0, 60, 190)
            images = np.stack(
                [np.broadcast_to(bars[:, None] if label % 2 == 0 else bars, (128, 128)) for label in labels]
            )
            noisy = images[..., None] + rng.normal(0, 20, (count, 128, 128, 3))
            names = [f"{prefix}{split}{i}" for i in range(count)]
            points = np.broadcast_to(template68(), (count, 68, 2)).astype(np.float32)
            faces = noisy.clip(0, 255).astype(np.uint8)
            writer.append(faces, labels, names, [f"{n}.jpg" for n in names], points, [split] * count)
    return FacePack.open(path)


@pytest.fixture(scope="module")
def pack_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pack") / "bars.h5"
    write_pack(path, {"train": 40, "test": 12})
    return path


@pytest.fixture(scope="module")
def pack(pack_path: Path) -> FacePack:
    return FacePack.open(pack_path)


def test_learns_what_is_plain_and_says_so(pack: FacePack, tmp_path: Path) -> None:
    told: list[tuple[int, float]] = []
    state = torch.random.get_rng_state()
    result = train_gate(pack, QUICK, network=NETWORK, progress=lambda step, loss: told.append((step, loss)))
    assert torch.equal(state, torch.random.get_rng_state())
    assert [step for step, _ in told] == list(range(1, 31))
    assert result.metrics["balanced_accuracy"] > 0.9
    assert result.metrics["faces"] == {"happiness": 6, "neutral": 6}
    assert result.training["calibration_subjects"] + result.training["subjects"] == 40

    path = save_gate(tmp_path / "g.safetensors", result, licence="none", command="a test")
    card = read_card(path)
    assert card["training"]["command"] == "a test"
    assert card["training"]["data"][0]["dataset"] == "bars"
    assert card["class_names"] == ["happiness", "neutral"]
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    loaded = load_gate(path)
    assert loaded.temperature == pytest.approx(result.gate.temperature, abs=1e-5)
    torch.testing.assert_close(loaded(images), result.gate(images), rtol=2e-2, atol=2e-2)


def test_same_seed_same_gate(pack: FacePack) -> None:
    def tensors(seed: int) -> dict[str, torch.Tensor]:
        config = replace(QUICK, steps=3, mixup=0.3, seed=seed)
        return train_gate(pack, config, network=NETWORK).gate.state_dict()

    first, again, other = tensors(1), tensors(1), tensors(2)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_further_packs_are_trained_on_but_not_measured(pack: FacePack, tmp_path: Path) -> None:
    other = write_pack(tmp_path / "more.h5", {"train": 8, "test": 4}, prefix="x")
    result = train_gate(pack, replace(QUICK, steps=2), network=NETWORK, further=[other])
    assert [entry["dataset"] for entry in result.training["data"]] == ["bars", "barsx"]
    assert result.training["data"][1]["faces"] == {"happiness": 4, "neutral": 4}
    assert result.metrics["dataset"] == "bars"


def test_subjects_of_the_test_split_are_refused(pack: FacePack, tmp_path: Path) -> None:
    leaky = write_pack(tmp_path / "leaky.h5", {"train": 4}, prefix="x")
    with PackWriter(tmp_path / "same.h5", VOCABULARY, dataset="same") as writer:
        points = np.broadcast_to(template68(), (1, 68, 2)).astype(np.float32)
        face = np.zeros((1, 128, 128, 3), np.uint8)
        writer.append(face, np.zeros(1, np.int64), ["test3"], ["a.jpg"], points, ["train"])
    same = FacePack.open(tmp_path / "same.h5")
    with pytest.raises(LeakageError, match="1 test subjects are in a training split, such as 'test3'"):
        train_gate(pack, QUICK, network=NETWORK, further=[leaky, same])


def test_absent_classes_are_named(pack: FacePack) -> None:
    with pytest.raises(DataError, match=r"'train' split has no faces of anger; .*neutral, happiness, anger"):
        train_gate(pack, replace(QUICK, class_names=("neutral", "anger")), network=NETWORK)


def test_one_subject_cannot_train_and_calibrate(tmp_path: Path) -> None:
    few = write_pack(tmp_path / "few.h5", {"train": 2, "test": 2})
    with pytest.raises(DataError, match="too few training subjects show"):
        train_gate(few, QUICK, network=NETWORK)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ("neutral",)}, "two or more classes"),
        ({"class_names": ("neutral", "happy")}, "'happy' is an alias"),
        ({"steps": 0}, "steps must be 1 or more"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"weight_decay": -1.0}, "weight_decay must be 0 or more"),
        ({"mixup": -1.0}, "mixup must be 0 or more"),
        ({"label_smoothing": 1.0}, "label_smoothing must be in"),
        ({"ema_decay": float("nan")}, "ema_decay must be in"),
        ({"further_share": 1.0}, "further_share must be in"),
        ({"calibration_share": 0.0}, "calibration_share must be in"),
    ],
)
def test_bad_configs_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(QUICK, **changes)


def test_calibration_finds_the_temperature() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, 3, generator=generator) * 2
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    for factor in (0.5, 1.0, 3.0):
        assert calibrate(logits * factor, labels) == pytest.approx(factor, rel=0.1)


def test_metrics_against_hand_counted_ones() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    predicted = torch.tensor([0, 0, 0, 1, 1, 0])
    logits = torch.nn.functional.one_hot(predicted, 2).float() * 4
    metrics = classification_metrics(logits, labels, Vocabulary(("neutral", "anger")))
    assert metrics["recall"] == {"neutral": 0.75, "anger": 0.5}
    assert metrics["balanced_accuracy"] == 0.625
    assert metrics["accuracy"] == pytest.approx(4 / 6, abs=1e-4)
    assert metrics["macro_f1"] == pytest.approx((6 / 8 + 2 / 4) / 2)


def test_views_stay_in_range_and_follow_the_generator() -> None:
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def draw(seed: int) -> torch.Tensor:
        return random_views(images, torch.Generator().manual_seed(seed))

    views = draw(1)
    assert views.shape == images.shape
    assert views.dtype == torch.float32
    assert views.abs().max() <= 1
    assert torch.equal(views, draw(1))
    assert not torch.equal(views, draw(2))


def test_command(pack_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "g.safetensors"
    arguments = [str(pack_path), "--classes", "happy,neutral", "--steps", "2", "--batch-size", "4"]
    result = CliRunner().invoke(train_gate_command, [*arguments, "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "balanced accuracy" in result.stdout
    assert "recall" in result.stdout
    command = read_card(out)["training"]["command"]
    assert command.startswith("lssl-augment train-gate bars.h5 --classes happiness,neutral --steps 2")
    log = tmp_path / "g.log"
    assert (log / "command.txt").read_text().strip() == command
    assert [row["step"] for row in read_stats(log / "stats.jsonl")] == [2]
    assert json.loads((log / "config.json").read_text())["batch_size"] == 4
    with pytest.raises(WeightsError, match="--out must end in"):
        CliRunner().invoke(train_gate_command, [*arguments, "--out", "g.pt"], catch_exceptions=False)
