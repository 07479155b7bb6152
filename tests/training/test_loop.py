from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import NAMES, tiny_config, tiny_faces

from lssl_augment.cli.train import train_command
from lssl_augment.errors import DataError, TrainingError
from lssl_augment.models.weights import read_weights
from lssl_augment.training.checkpoint import read_checkpoint
from lssl_augment.training.config import TrainConfig
from lssl_augment.training.export import export_generator
from lssl_augment.training.loop import Hooks, TrainResult, train
from lssl_augment.training.metrics_log import read_stats
from lssl_augment.training.objective import Objective
from lssl_augment.training.paper_objective import PaperObjective
from lssl_augment.training.run_folder import RunFolder


class PowerCut(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


def start(root: Path, config: TrainConfig) -> RunFolder:
    return RunFolder.create(root, config, tiny_faces(config), "lssl-augment train tiny.npz")


def go(run: RunFolder, config: TrainConfig, hooks: Hooks | None = None, resume: bool = False) -> TrainResult:
    objective = PaperObjective(config, tiny_faces(config))
    return train(objective, config, run, total_steps=config.steps, hooks=hooks, resume=resume)


def outcome(run: RunFolder) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Log and newest checkpoint without what the clock says."""
    stats = [
        {k: v for k, v in line.items() if k != "seconds"} for line in read_stats(run.path / "stats.jsonl")
    ]
    state = read_checkpoint(sorted((run.path / "checkpoints").iterdir())[-1])
    del state["seconds"]
    return stats, state


@pytest.fixture(scope="module")
def reference(tiny_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    config = tiny_config(tiny_pack)
    run = start(tmp_path_factory.mktemp("reference"), config)
    go(run, config)
    return run


def test_what_a_run_leaves(reference: RunFolder, tiny_pack: Path) -> None:
    assert reference.path.name == "00000-paper-tiny"
    assert reference.read_config() == tiny_config(tiny_pack)
    assert reference.read_data()["counts"] == {"neutral": 15, "happiness": 10, "anger": 5}
    assert reference.read_data()["faces"] == 30  # the test split stays out
    stats, state = outcome(reference)
    assert [line["step"] for line in stats] == [2, 3, 4, 6, 6]
    assert {"critic/penalty", "generator/bidirectional", "lr"} <= set(stats[0])
    assert "sensitivity/between_targets_grey" in stats[1]
    assert state["step"] == 6
    assert sorted(p.name for p in (reference.path / "checkpoints").iterdir()) == [
        "step-00000004.safetensors",
        "step-00000006.safetensors",
    ]
    sheet = np.asarray(Image.open(reference.path / "sheets" / "step-00000006.png"))
    assert sheet.shape[1] == (1 + len(NAMES)) * 34  # source, then targets across
    assert sheet.shape[0] > 3 * 34  # sources down


@pytest.mark.parametrize("kill_at", [1, 3, 5])
def test_a_killed_run_resumes_to_the_last_digit(
    kill_at: int, reference: RunFolder, tiny_pack: Path, tmp_path: Path
) -> None:
    config = tiny_config(tiny_pack, checkpoint_every_steps=2 if kill_at == 3 else 1)

    def cut(step: int, progress: float, losses: Mapping[str, float]) -> None:
        if step == kill_at:
            raise PowerCut

    run = start(tmp_path, config)
    with pytest.raises(PowerCut):
        go(run, config, Hooks(on_step=cut))
    if kill_at == 1:  # before the first checkpoint there is nothing to go on from
        with pytest.raises(TrainingError, match="no checkpoint to resume from"):
            go(run, config, resume=True)
        return
    go(run, config, resume=True)
    stats, state = outcome(run)
    expected_stats, expected = outcome(reference)
    assert stats == expected_stats
    torch.testing.assert_close(state, expected, rtol=0, atol=0)


def test_bf16_resumes_exactly_too(tiny_pack: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_pack, precision="bf16", steps=4, checkpoint_every_steps=2, balanced=True)
    whole = start(tmp_path, config)
    go(whole, config)

    def cut(step: int, progress: float, losses: Mapping[str, float]) -> None:
        if step == 3:
            raise PowerCut

    broken = start(tmp_path, config)
    assert broken.path.name == "00001-paper-tiny"
    with pytest.raises(PowerCut):
        go(broken, config, Hooks(on_step=cut))
    go(broken, config, resume=True)
    torch.testing.assert_close(outcome(broken), outcome(whole), rtol=0, atol=0)


def test_ctrl_c_writes_a_checkpoint_first(reference: RunFolder, tiny_pack: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_pack)

    def press(step: int, progress: float, losses: Mapping[str, float]) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    run = start(tmp_path, config)
    before = signal.getsignal(signal.SIGINT)
    result = go(run, config, Hooks(on_step=press))
    assert signal.getsignal(signal.SIGINT) is before
    assert result.interrupted
    assert result.step == 3
    assert result.checkpoint.name == "step-00000003.safetensors"
    again = go(run, config, resume=True)
    assert not again.interrupted
    assert outcome(run)[0] == outcome(reference)[0]


def test_nan_stops_and_names_the_last_good_checkpoint(tiny_pack: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_pack, checkpoint_every_steps=2)
    objective = PaperObjective(config, tiny_faces(config))

    def blow_up(step: int, progress: float, losses: Mapping[str, float]) -> None:
        if step == 3:
            with torch.no_grad():
                for weight in objective.modules["critic"].parameters():
                    weight.fill_(1e30)

    run = start(tmp_path, config)
    with pytest.raises(TrainingError, match=r"step 4: critic/.* = (nan|-?inf)") as caught:
        train(objective, config, run, total_steps=6, hooks=Hooks(on_step=blow_up))
    kept = run.path / "checkpoints" / "step-00000002.safetensors"
    assert f"the last good checkpoint is {kept}" in str(caught.value)
    good = read_checkpoint(kept)["modules"]["critic"]
    assert all(bool((tensor.abs() < 1e3).all()) for tensor in good.values())
    assert go(run, config, resume=True).step == 6


def test_weights_that_are_not_finite_are_never_saved(tiny_pack: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_pack)
    objective = PaperObjective(config, tiny_faces(config))

    def spoil(step: int, progress: float, losses: Mapping[str, float]) -> None:
        if step == 4:
            with torch.no_grad():
                next(objective.generator.parameters()).fill_(float("nan"))

    run = start(tmp_path, config)
    with pytest.raises(TrainingError, match=r"generator weights are not finite .* no checkpoint had been"):
        train(objective, config, run, total_steps=6, hooks=Hooks(on_step=spoil))
    assert not (run.path / "checkpoints").exists()


def test_hours_end_a_run(tiny_pack: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_pack, steps=None, hours=2 / 3600)
    run = start(tmp_path, config)
    shares: list[float] = []
    begun = time.monotonic()
    result = train(
        PaperObjective(config, tiny_faces(config)),
        config,
        run,
        total_steps=config.total_steps(30, 4),
        hooks=Hooks(on_step=lambda step, progress, losses: shares.append(progress)),
    )
    assert time.monotonic() - begun < 20
    assert not result.interrupted
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert result.seconds >= 2


def test_only_the_newest_checkpoints_stay(tiny_pack: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_pack, checkpoint_every_steps=1, keep_checkpoints=2)
    run = start(tmp_path, config)
    go(run, config)
    names = sorted(p.name for p in (run.path / "checkpoints").iterdir())
    assert names == ["step-00000005.safetensors", "step-00000006.safetensors"]


def test_resuming_with_another_configuration_or_other_faces_is_refused(
    reference: RunFolder, tiny_pack: Path
) -> None:
    other = tiny_config(tiny_pack, generator={"width": 6, "blocks": 1})
    with pytest.raises(TrainingError, match="of another configuration"):
        go(reference, other, resume=True)
    faces = tiny_faces(tiny_config(tiny_pack, classes=["neutral", "anger"]))
    with pytest.raises(TrainingError, match="other faces: 30 of 'tiny', now 20 of 'tiny'"):
        reference.check_faces(faces)
    with pytest.raises(TrainingError, match="is no run folder"):
        RunFolder.open(tiny_pack.parent)


def test_export_writes_the_average_and_an_honest_card(tiny_pack: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_pack, steps=2)
    run = start(tmp_path, config)
    objective = PaperObjective(config, tiny_faces(config))
    result = train(objective, config, run, total_steps=2)
    path = export_generator(objective, config, run, result)
    assert path == run.path / "weights" / "paper-32.safetensors"
    tensors, card = read_weights(path, "generator")
    for name, tensor in result.generator.state_dict().items():
        assert torch.equal(tensors[f"generator.{name}"], tensor.half().float())
    assert card["class_names"] == list(NAMES)
    assert card["architecture"]["generator"]["width"] == 4
    assert card["training"]["subjects"] == 30
    assert card["training"]["steps"] == 2
    assert card["training"]["command"] == "lssl-augment train tiny.npz"


def test_the_objective_keeps_to_the_protocol(tiny_pack: Path) -> None:
    config = tiny_config(tiny_pack)
    objective = PaperObjective(config, tiny_faces(config))
    assert isinstance(objective, Objective)
    assert config.total_steps(30, PaperObjective.faces_per_step(config)) == 6
    epochs = tiny_config(tiny_pack, steps=None, epochs=2)
    assert epochs.total_steps(30, PaperObjective.faces_per_step(epochs)) == 15


def test_one_step_moves_every_network_and_no_global_generator(tiny_pack: Path) -> None:
    config = tiny_config(tiny_pack)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    objective = PaperObjective(config, tiny_faces(config))
    before = {k: [p.detach().clone() for p in m.parameters()] for k, m in objective.modules.items()}
    losses = objective.step(0.75, 0)
    objective.preview(objective.generator)
    for name, module in objective.modules.items():
        moved = [not torch.equal(a, b) for a, b in zip(before[name], module.parameters(), strict=True)]
        assert sum(moved) > len(moved) / 2, name
        assert all(p.requires_grad for p in module.parameters())
    assert losses["lr"] == pytest.approx(0.5e-4)  # half-way down the second half
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_totals_are_the_weighted_terms(tiny_pack: Path) -> None:
    config = tiny_config(tiny_pack, objective={"critic_steps": 1, "lambda_bi": 2.0, "lambda_id": 3.0})
    v = {k: float(x) for k, x in PaperObjective(config, tiny_faces(config)).step(0.0, 0).items()}
    assert v["critic/total"] == pytest.approx(-v["critic/gan"] + v["critic/cls_real"], rel=1e-5)
    total = v["generator/gan"] + 2 * v["generator/bidirectional"] + v["generator/cls_fake"]
    total += 10 * v["generator/parsing"]
    assert v["generator/total"] == pytest.approx(total + 3 * v["generator/identity"], rel=1e-5)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"bidirectional": "half"}, "bidirectional must be full or image or none"),
        ({"critic_steps": 0}, "critic_steps must be at least 1"),
        ({"constant_share": 2.0}, "constant_share"),
        ({"lambda_xx": 1.0}, "unknown setting lambda_xx; allowed: lambda_bi"),
    ],
)
def test_bad_numbers_of_the_objective(objective: dict[str, Any], message: str, tiny_pack: Path) -> None:
    config = tiny_config(tiny_pack, objective=objective)
    with pytest.raises(DataError, match=message):
        PaperObjective(config, tiny_faces(config))


@pytest.mark.parametrize("best_is", ["highest", "lowest"])
def test_the_best_checkpoint_is_the_best_of_the_log(best_is: str, tiny_pack: Path, tmp_path: Path) -> None:
    metric = "generator/identity"
    config = tiny_config(
        tiny_pack, log_every_steps=1, checkpoint_every_steps=3, keep_checkpoints=1, best_metric=metric, best_is=best_is
    )

    def cut(step: int, progress: float, losses: Mapping[str, float]) -> None:
        if step == 5:
            raise PowerCut

    run = start(tmp_path, config)
    with pytest.raises(PowerCut):
        go(run, config, Hooks(on_step=cut))
    result = go(run, config, resume=True)
    values = {line["step"]: line[metric] for line in read_stats(run.path / "stats.jsonl") if metric in line}
    step = (max if best_is == "highest" else min)(values, key=values.__getitem__)
    assert result.best is not None
    assert result.best.name == f"best-{step:08d}.safetensors"
    state = read_checkpoint(result.best)
    assert (state["step"], state["best"]) == (step, values[step])
    assert len(list((run.path / "checkpoints").iterdir())) == 2


def test_a_metric_that_is_not_logged_is_said(tiny_pack: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_pack, best_metric="judge/fidelity")
    said: list[str] = []
    result = go(start(tmp_path, config), config, Hooks(on_warning=said.append))
    assert result.best is None
    assert any("no 'judge/fidelity' so far; it has generator" in text.replace("critic", "generator") for text in said)


def test_deterministic_runs_equal_plain_ones_on_a_cpu(
    reference: RunFolder, tiny_pack: Path, tmp_path: Path
) -> None:
    config = tiny_config(tiny_pack, deterministic=True)
    run = start(tmp_path, config)
    go(run, config)
    assert outcome(run)[0] == outcome(reference)[0]
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_penalty_stays_float32_under_bf16(tiny_pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(tiny_pack, precision="bf16")
    objective = PaperObjective(config, tiny_faces(config))
    seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}

    def look(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        # Of its three calls in a critic step only the penalty's asks for gradients of the face.
        seen[bool(inputs[0].requires_grad and inputs[0].is_leaf)].add(output.src.dtype)

    objective.modules["critic"].register_forward_hook(look)
    objective.step(0.0, 0)
    assert seen == {True: {torch.float32}, False: {torch.bfloat16}}
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in objective.modules["critic"].parameters())


COMMAND = (
    "--preset paper --steps 6 --batch 2 --device cpu --set face_size_px=32 --set generator.width=4 --set "
    "generator.blocks=1 --set critic.width=4 --set objective.critic_steps=2 --set log_every_steps=2 --set "
    "sheet_every_steps=3 --set sheet_sources=3 --set checkpoint_every_steps=2"
)


def test_the_command_trains_and_resumes(
    reference: RunFolder, tiny_pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tiny_pack), *COMMAND.split(), "--out", str(tmp_path)]
    assert train_command.main([*arguments, "--dry-run"], standalone_mode=False) == 0
    assert "ends after: 6 steps" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert train_command.main(arguments, standalone_mode=False) == 0
    run = RunFolder.open(tmp_path / "00000-paper-tiny")
    printed = capsys.readouterr()
    assert printed.out.strip() == str(run.path / "weights" / "paper-32.safetensors")
    assert "generator/total" in printed.err
    assert list((run.path / "tensorboard").iterdir())
    assert outcome(run)[0] == outcome(reference)[0]
    # Two more steps on top.
    assert train_command.main(["--resume", str(run.path), "--steps", "8"], standalone_mode=False) == 0
    assert outcome(run)[1]["step"] == 8
    assert run.read_config().steps == 8


@pytest.mark.slow
def test_sigkill_and_sigint_of_the_real_command(tiny_pack: Path, tmp_path: Path) -> None:
    program = [sys.executable, "-c", "from lssl_augment.cli.main import main; main()", "train"]
    arguments = [*program, str(tiny_pack), *COMMAND.split(), "--out", str(tmp_path), "--steps", "60"]
    whole = subprocess.run(
        [*arguments, "--set", "tensorboard=false"], capture_output=True, text=True, check=True
    )
    assert whole.stdout.strip().endswith("paper-32.safetensors")
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    run = RunFolder(tmp_path / "00001-paper-tiny")
    for number, steps in ((signal.SIGKILL, 10), (signal.SIGINT, 20)):
        wanted = f"step-{steps:08d}.safetensors"
        deadline = time.monotonic() + 120
        folder = run.path / "checkpoints"
        while not folder.is_dir() or max((p.name for p in folder.glob("step-*")), default="") < wanted:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
        assert process.wait() == (-signal.SIGKILL if number == signal.SIGKILL else 130)
        process = subprocess.Popen([*program, "--resume", str(run.path)], stderr=subprocess.DEVNULL)
    assert process.wait() == 0
    expected = outcome(RunFolder(tmp_path / "00000-paper-tiny"))
    assert outcome(run)[0] == expected[0]
    torch.testing.assert_close(outcome(run)[1], expected[1], rtol=0, atol=0)
