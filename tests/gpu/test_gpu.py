"""What the CPU computes, a GPU computes too. Skipped where there is none."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from drawn_people import write_people
from small_weights import compact_weights
from tiny_faces import NAMES, as_tensors, compact_config, posed_bundle, training_faces

from lssl_augment import LSSLAugment
from lssl_augment.cli.benchmark import benchmark_command
from lssl_augment.cli.generate import generate_command
from lssl_augment.evaluation.classifiers import ClassifierConfig, predict, train_classifier
from lssl_augment.evaluation.classifiers.trainee import Trainee
from lssl_augment.models.engine import ExpressionEngine
from lssl_augment.training.compact_objective import CompactObjective
from lssl_augment.training.config import make_config
from lssl_augment.training.objective import objective_class

#: ``LSSL_TEST_DEVICE=cpu`` runs this file without a GPU, to try the tests themselves.
DEVICE = os.environ.get("LSSL_TEST_DEVICE", "cuda")

pytestmark = pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gpu")
    write_people(path / "drawn.h5")
    compact_weights(path / "own.safetensors")
    return path


def first_step(device: str, **values: Any) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    objective = CompactObjective(compact_config(device=device, **values), training_faces())
    losses = {name: float(value) for name, value in objective.step(0.0, 0).items()}
    for index in (1, 2):
        assert all(math.isfinite(float(v)) for v in objective.step(index / 4, index).values())
    return losses, {k: v.cpu() for k, v in objective.generator.state_dict().items()}


@pytest.mark.parametrize("attributes", [("expression",), ("expression", "signed-pose:30")])
def test_a_step_of_compact_loses_what_it_loses_on_the_cpu(attributes: tuple[str, ...]) -> None:
    there, weights = first_step(DEVICE, attributes=attributes)
    here, _ = first_step("cpu", attributes=attributes)
    assert there == pytest.approx(here, rel=0.02, abs=0.01)
    assert all(bool(torch.isfinite(v.float()).all()) for v in weights.values())


def test_bfloat16_trains() -> None:
    there, _ = first_step(DEVICE, precision="bf16")
    here, _ = first_step("cpu")
    assert there == pytest.approx(here, rel=0.15, abs=0.1)


@pytest.mark.parametrize("preset", ["paper", "stargan", "cyclegan", "icgan"])
def test_the_other_methods_step(preset: str) -> None:
    narrow = {"generator": {"width": 8}, "critic": {"width": 8}, "batch": 2}
    config = make_config(preset, {"pack": "drawn.h5", "face_size_px": 64, "steps": 4, "device": DEVICE, **narrow})
    objective = objective_class(config.networks.kind)(config, training_faces())
    for index in range(2):
        losses = objective.step(index / 4, index)
        assert losses
        assert all(math.isfinite(float(v)) for v in losses.values())
    assert {p.device.type for p in objective.generator.parameters()} == {torch.device(DEVICE).type}


def test_edits_are_those_of_the_cpu() -> None:
    bundle = posed_bundle(-15, 0, 15)
    images, dense, labels = as_tensors(np.arange(12))
    targets, seeds = torch.arange(12) % len(NAMES), torch.arange(12)
    yaw = torch.linspace(-15, 15, 12)
    made = []
    for device in ("cpu", DEVICE):
        engine = ExpressionEngine(bundle, device)
        there = [x.to(device) for x in (images, dense, labels)]
        faces = engine.encode(there[0], there[1], there[2])
        how = [x.to(device) for x in (targets, torch.full((12,), 0.8), seeds)]
        made.append(engine.edit(faces, *how, yaw_deg=yaw.to(device)).cpu())
    difference = (made[0] - made[1]).abs() * 127.5
    assert float(difference.mean()) < 0.5  # grey values
    assert float((difference > 8).float().mean()) < 0.01


def test_the_transform_serves_a_training_loop_there(folder: Path) -> None:
    images, dense, labels = as_tensors(np.arange(12))
    augment = LSSLAugment(p=1.0, weights=str(folder / "own.safetensors"), classes=NAMES, seed=0,
                          value_range=(-1, 1))  # fmt: skip
    record = augment.draw(labels)
    here, named = augment.replay(images, labels, record, landmarks=dense)
    there, named_there = augment.replay(images.to(DEVICE), labels.to(DEVICE), record, landmarks=dense.to(DEVICE))
    assert there.device.type == named_there.device.type == torch.device(DEVICE).type
    assert torch.equal(named_there.cpu(), named)
    assert float((there.cpu() - here).abs().mean()) < 0.01
    assert not torch.equal(here, images)


def test_files_hold_the_rows_of_the_cpu(folder: Path) -> None:
    read = []
    for device in ("cpu", DEVICE):
        out = folder / f"made-{len(read)}.h5"
        words = ["--weights", str(folder / "own.safetensors"), "--source", str(folder / "drawn.h5"), "--out", str(out)]
        words += ["--per-class", "8", "--min-score", "0", "--device", device]
        result = CliRunner().invoke(generate_command, words)
        assert result.exit_code == 0, result.output
        with h5py.File(out) as file:
            read.append({key: file[key][:] for key in ("images", "labels")})
    assert np.array_equal(read[0]["labels"], read[1]["labels"])
    assert np.abs(read[0]["images"].astype(int) - read[1]["images"]).mean() < 0.5


@pytest.mark.skipif(DEVICE == "cpu", reason="steps are recorded on a GPU alone")
def test_recorded_steps_of_stargan_learn_what_others_learn() -> None:
    narrow = {"generator": {"width": 8}, "critic": {"width": 8}, "batch": 4}
    seen = []
    for recorded in (False, True):
        values = {"pack": "drawn.h5", "face_size_px": 64, "steps": 8, "device": DEVICE, "record_steps": recorded}
        objective = objective_class("stargan")(make_config("stargan", {**values, **narrow}), training_faces())
        seen.append([{k: float(v) for k, v in objective.step(i / 8, i).items()} for i in range(8)])
    for plain, recorded_ in zip(*seen, strict=True):
        assert recorded_ == pytest.approx(plain, rel=0.05, abs=0.02)
    assert len({values["critic/total"] for values in seen[1]}) == 8
    assert [values["lr"] for values in seen[1]] == [values["lr"] for values in seen[0]]


def test_a_classifier_learns_there() -> None:
    images = torch.randint(0, 90, (64, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(64) % 2
    images[labels == 1, :, :16] += 120

    def batch(rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        rows = torch.randint(64, (16,), generator=rng)
        return images[rows].float() / 127.5 - 1, labels[rows]

    config = ClassifierConfig(name="tiny", steps=30, face_size_px=32, precision="fp32")
    losses: dict[str, list[float]] = {"cpu": [], DEVICE: []}
    for device, curve in losses.items():
        train_classifier(batch, 2, config, device, on_step=lambda _, loss, curve=curve: curve.append(loss))
    # The first steps run as they are, later ones are replayed: all of them step.
    assert losses[DEVICE][:12] == pytest.approx(losses["cpu"][:12], rel=0.1, abs=0.02)
    assert len(set(losses[DEVICE])) == 30
    twice = [predict(train_classifier(batch, 2, config, DEVICE), images) for _ in range(2)]
    assert float((twice[0].argmax(1) == labels).float().mean()) == 1.0
    assert torch.allclose(twice[0], twice[1], atol=1e-3)


@pytest.mark.parametrize("name", ["resnet18", "vgg-face"])
def test_a_recorded_step_takes_soft_labels_and_odd_batches(name: str) -> None:
    rng = np.random.default_rng(0)

    def batch(_: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        count = 6 if rng.random() < 0.2 else 8
        labels = torch.from_numpy(rng.dirichlet(np.ones(3), count).astype(np.float32))
        return torch.from_numpy(rng.normal(0, 0.5, (count, 3, 64, 64)).astype(np.float32)), labels

    seen: list[float] = []
    config = ClassifierConfig(name=name, steps=12, face_size_px=64, learning_rate=1e-4)
    model = train_classifier(batch, 3, config, DEVICE, on_step=lambda _, loss: seen.append(loss))
    assert len(seen) == len(set(seen)) == 12  # a step that was not taken would tell the loss of the one before
    assert all(bool(torch.isfinite(v.float()).all()) for v in model.state_dict().values())


def test_classifiers_that_train_in_turn() -> None:
    rng = torch.Generator().manual_seed(0)
    batches = [(torch.rand(16, 3, 32, 32, generator=rng) * 2 - 1, torch.arange(16) % 4) for _ in range(20)]
    test = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=rng)
    config = ClassifierConfig(name="tiny", steps=20, face_size_px=32, precision="fp32", learning_rate=1e-4)
    trainees = [Trainee(4, config, 16, torch.device(DEVICE)) for _ in range(3)]
    for first_seed in (5, 0):  # each is used twice
        for seed, trainee in enumerate(trainees, first_seed):
            trainee.begin(seed)
        for images, labels in batches:
            for trainee in trainees:
                while not trainee.idle():
                    time.sleep(0.0001)
                data = torch.zeros(trainee.form.size, dtype=torch.uint8)
                trainee.form.write(data, images, labels)
                trainee.step(data)
        for seed, trainee in enumerate(trainees, first_seed):
            queue = iter(batches)
            alone = train_classifier(lambda _, q=queue: next(q), 4, replace(config, seed=seed), DEVICE)  # type: ignore[misc]
            assert torch.allclose(trainee.predict(test), predict(alone, test), atol=0.02)
    assert not torch.allclose(trainees[0].predict(test), trainees[1].predict(test), atol=0.02)


@pytest.mark.slow
def test_a_benchmark_with_workers(folder: Path) -> None:
    out = folder / "bench"
    words = ["folder", "--pack", str(folder / "drawn.h5"), "--out", str(out), "--device", DEVICE]
    words += ["--classifier", "tiny", "--steps", "3", "--seeds", "2", "--folds", "fixed", "--regimes", "full"]
    words += ["--arms", "balanced,lssl,lssl-loop", "--amounts", "6", "--workers", "2"]
    words += ["--weights", f"lssl={folder / 'own.safetensors'}", "--allow-leak"]
    result = CliRunner().invoke(benchmark_command, words)
    assert result.exit_code == 0, result.output
    records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert len(records) == 6


@pytest.mark.slow
def test_torchrun_trains_there(folder: Path) -> None:
    """One process, so that one GPU is enough; the group is nccl's there."""
    small = ["generator.width=8", "critic.width=8", "tensorboard=false", "sheet_sources=2", "face_size_px=64"]
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "1", "--no-python"]
    words = ["lssl-augment", "train", str(folder / "drawn.h5"), "--preset", "paper", "--steps", "2", "--batch", "2"]
    words += ["--device", DEVICE, "--out", str(folder / "runs"), *(w for s in small for w in ("--set", s))]
    done = subprocess.run([*program, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((folder / "runs").glob("*/weights/*.safetensors"))
