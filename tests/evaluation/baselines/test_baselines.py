"""One battery of checks over all baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_baselines import SMALL, build, config_of
from tiny import NAMES, tiny_faces

from lssl_augment.errors import DataError
from lssl_augment.models.bundle import load_model
from lssl_augment.models.engine import ExpressionEngine
from lssl_augment.training.checkpoint import read_checkpoint
from lssl_augment.training.config import PRESET_DEFAULTS, TrainConfig
from lssl_augment.training.export import export_generator
from lssl_augment.training.loop import Hooks, TrainResult, train
from lssl_augment.training.metrics_log import read_stats
from lssl_augment.training.objective import Objective, objective_class
from lssl_augment.training.run_folder import RunFolder

every = pytest.mark.parametrize("preset", list(SMALL))


def start(root: Path, config: TrainConfig) -> RunFolder:
    return RunFolder.create(root, config, tiny_faces(config), "lssl-augment train tiny.npz")


def go(run: RunFolder, config: TrainConfig, hooks: Hooks | None = None, resume: bool = False) -> TrainResult:
    return train(build(config), config, run, total_steps=config.steps, hooks=hooks, resume=resume)


def steps(objective: Objective, count: int = 6) -> list[dict[str, float]]:
    found = [objective.step(i / count, i) for i in range(count)]
    return [{k: float(v) for k, v in values.items()} for values in found]


@every
def test_it_keeps_to_the_protocol_and_has_defaults(preset: str, tiny_pack: Path) -> None:
    config = config_of(preset, tiny_pack)
    assert isinstance(build(config), Objective)
    assert objective_class(preset).faces_per_step(config) >= config.batch
    assert preset in PRESET_DEFAULTS


@every
def test_every_weight_gets_a_gradient_and_nothing_else_moves(preset: str, tiny_pack: Path) -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    objective = build(config_of(preset, tiny_pack))
    parameters = {f"{name}.{key}": p for name, m in objective.modules.items() for key, p in m.named_parameters()}
    before = {name: p.detach().clone() for name, p in parameters.items()}
    seen: set[str] = set()
    for i in range(6):
        values = objective.step(i / 6, i)
        assert all(math.isfinite(float(v)) for v in values.values()), values
        seen |= {name for name, p in parameters.items() if p.grad is not None}
    objective.preview(objective.generator)
    assert not set(parameters) - seen
    moved = {name for name, p in parameters.items() if not torch.equal(p.detach(), before[name])}
    # What norms without scale subtract again: biases of the convolutions before them.
    assert all(name.endswith(".bias") for name in set(parameters) - moved), set(parameters) - moved
    assert all(p.requires_grad and bool(p.isfinite().all()) for p in parameters.values())
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


@every
def test_the_seed_decides_everything(preset: str, tiny_pack: Path) -> None:
    first, again = (steps(build(config_of(preset, tiny_pack))) for _ in range(2))
    assert first == again
    assert steps(build(config_of(preset, tiny_pack, seed=1))) != first


class PowerCut(BaseException):
    pass


def outcome(run: RunFolder) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    stats = [{k: v for k, v in line.items() if k != "seconds"} for line in read_stats(run.path / "stats.jsonl")]
    state = read_checkpoint(sorted((run.path / "checkpoints").glob("step-*"))[-1])
    del state["seconds"]
    stats.append({"simulated": state["objective"].pop("simulated", None)})  # text, which no tolerance compares
    return stats, state


@every
def test_a_killed_run_resumes_to_the_last_digit(preset: str, tiny_pack: Path, tmp_path: Path) -> None:
    config = config_of(preset, tiny_pack)
    whole, broken = start(tmp_path, config), start(tmp_path, config)
    go(whole, config)

    def cut(step: int, progress: float, losses: Mapping[str, float]) -> None:
        if step == 5:
            raise PowerCut

    with pytest.raises(PowerCut):
        go(broken, config, Hooks(on_step=cut))
    go(broken, config, resume=True)
    assert outcome(broken)[0] == outcome(whole)[0]
    torch.testing.assert_close(outcome(broken)[1], outcome(whole)[1], rtol=0, atol=0)


@every
def test_released_weights_edit_faces_in_the_engine(preset: str, tiny_pack: Path, tmp_path: Path) -> None:
    config = config_of(preset, tiny_pack, steps=2)
    run, objective = start(tmp_path, config), build(config)
    result = train(objective, config, run, total_steps=2)
    path = export_generator(objective, config, run, result)
    bundle = load_model(path)
    engine = ExpressionEngine(bundle, precision="fp32")
    assert engine.vocabulary.names == NAMES
    random = torch.Generator().manual_seed(0)
    images, labels = torch.rand(3, 3, 32, 32, generator=random) * 2 - 1, torch.arange(3)
    faces = engine.encode(images, labels=labels)  # no landmarks, and none are looked for
    full, seeds = torch.ones(3), torch.zeros(3, dtype=torch.int64)
    targets = labels if preset == "simgan" else labels.roll(1)
    out = engine.edit(faces, targets, full, seeds)
    assert out.shape == (3, 3, 32, 32)
    assert float(out.abs().max()) <= 1
    # The average in half precision is what was released.
    stored = {k: v.half().float() if v.is_floating_point() else v for k, v in result.generator.state_dict().items()}
    result.generator.load_state_dict(stored)
    wanted = torch.nn.functional.one_hot(targets, 3).float()
    with torch.no_grad():
        torch.testing.assert_close(out, result.generator(images, wanted, labels), atol=1e-5, rtol=0)
    alone = engine.edit(faces.select(torch.tensor([2])), targets[2:], full[2:], seeds[2:])
    torch.testing.assert_close(alone[0], out[2], atol=1e-4, rtol=0)
    if preset == "simgan":
        for bad in ((labels.roll(1), full), (labels, full / 2)):
            with pytest.raises(DataError, match="keeps its expression; 3 of 3"):
                engine.edit(faces, *bad, seeds)
        with pytest.raises(DataError, match="source of unknown class"):
            engine.edit(engine.encode(images), labels, full, seeds)
        return
    # Intensity 0 is the face at rest, whatever the target.
    rest = engine.edit(faces, torch.tensor([1, 2, 1]), full * 0, seeds)
    torch.testing.assert_close(rest, engine.edit(faces, seeds, full, seeds), atol=1e-5, rtol=0)
    with pytest.raises(DataError, match="images must be float with shape"):
        engine.encode(images[..., :30])


@every
def test_bf16_and_one_class_too_few_parts(preset: str, tiny_pack: Path) -> None:
    values = steps(build(config_of(preset, tiny_pack, precision="bf16")), 3)
    assert all(math.isfinite(v) for step in values for v in step.values())
    if preset != "stargan":
        with pytest.raises(DataError, match="one process without accumulation"):
            build(config_of(preset, tiny_pack, accumulate=2))


def test_stargan_accumulates_to_the_same_step(tiny_pack: Path) -> None:
    whole = build(config_of("stargan", tiny_pack, batch=4))
    parts = build(config_of("stargan", tiny_pack, batch=2, accumulate=2))
    first, second = steps(whole, 1)[0], steps(parts, 1)[0]
    for name in ("critic/total", "generator/total"):
        assert second[name] == pytest.approx(first[name], rel=1e-4)


@pytest.mark.parametrize(
    ("preset", "objective", "message"),
    [
        ("stargan", {"critic_steps": 0}, "critic_steps must be at least 1"),
        ("stargan", {"lambda_bi": 1.0}, "unknown setting lambda_bi; allowed: lambda_gp"),
        ("cyclegan", {"pool": -1}, "pool must be at least 0"),
        ("icgan", {"gan_share": 1.0}, "gan_share inside"),
        ("simgan", {"refiner_steps": 0}, "refiner_steps"),
        ("simgan", {"first_critic_steps": -1}, "must not be negative"),
    ],
)
def test_bad_numbers(preset: str, objective: dict[str, Any], message: str, tiny_pack: Path) -> None:
    with pytest.raises(DataError, match=message):
        build(config_of(preset, tiny_pack, objective=objective))


def test_without_neutral_the_rest_of_an_intensity_stays_away(tiny_pack: Path) -> None:
    classes = ["happiness", "anger"]
    star = build(config_of("stargan", tiny_pack, classes=classes)).generator
    assert star.hub is None
    assert build(config_of("cyclegan", tiny_pack, classes=classes)).generator.hub == 0
    half = torch.tensor([[0.0, 0.5]])
    assert torch.equal(star.full_attributes(half), half)
    neutral = build(config_of("stargan", tiny_pack)).generator
    assert neutral.full_attributes(torch.tensor([[0.0, 0.25, 0.0]])).tolist() == [[0.75, 0.25, 0.0]]
