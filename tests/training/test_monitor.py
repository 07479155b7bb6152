"""What the monitor says of previews whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import NAMES, tiny_config, tiny_faces

from lssl_augment.errors import WeightsError
from lssl_augment.models.recogniser_net import RecogniserConfig, build_recogniser
from lssl_augment.training.loop import Hooks, train
from lssl_augment.training.metrics_log import read_stats
from lssl_augment.training.monitor import Monitor, load_monitor
from lssl_augment.training.objective import Preview
from lssl_augment.training.paper_objective import PaperObjective
from lssl_augment.training.run_folder import RunFolder

GREYS = (-0.8, 0.0, 0.8)


def by_grey(images: torch.Tensor) -> torch.Tensor:
    """Names a face by its brightness: dark neutral, middling happiness, bright anger."""
    return torch.bucketize(images.float().mean((1, 2, 3)), torch.tensor([85.0, 170.0]))


def preview(edits: list[list[float]]) -> Preview:
    """Two neutral sources, each with three edits of one grey."""
    grey = torch.tensor(edits)[:, :, None, None, None].expand(-1, -1, 3, 32, 32)
    return Preview(torch.full((2, 3, 32, 32), GREYS[0]), grey, NAMES)


def test_a_heedful_generator_is_counted_by_hand() -> None:
    monitor = Monitor(by_grey, NAMES)
    # The neutral column does not count: its sources are named neutral already. Three of four others are right.
    seen = monitor.look(preview([[-0.8, 0.0, 0.8], [-0.8, 0.0, 0.0]]))
    assert seen.values == {
        "monitor/judge_accuracy": 0.75,
        "monitor/judge_accuracy/happiness": 1.0,
        "monitor/judge_accuracy/anger": 0.5,
    }
    assert seen.warnings == ()


def test_copies_are_told() -> None:
    net = build_recogniser(RecogniserConfig((4, 4, 4, 4), (1, 1, 1), 8, 16), 0).eval()
    own = torch.Generator().manual_seed(0)
    sources = torch.rand(2, 3, 32, 32, generator=own) * 0.4 - 1
    seen = Monitor(by_grey, NAMES, net).look(Preview(sources, sources[:, None].expand(-1, 3, -1, -1, -1), NAMES))
    assert seen.values["monitor/judge_accuracy"] == 0
    assert seen.values["monitor/identity_to_source"] == pytest.approx(1, abs=1e-5)
    assert seen.values["monitor/identity_other_people"] < 1
    assert len(seen.warnings) == 2
    assert "copies the source or ignores" in seen.warnings[0]
    assert "all but copies" in seen.warnings[1]


def test_targets_the_judge_does_not_know_are_left_out() -> None:
    seen = Monitor(by_grey, ("neutral", "happiness")).look(preview([[-0.8, 0.0, 0.8]] * 2))
    assert set(seen.values) == {"monitor/judge_accuracy", "monitor/judge_accuracy/happiness"}


def test_nothing_to_look_with_is_nothing_seen() -> None:
    assert Monitor().look(preview([[0.0, 0.0, 0.0]] * 2)).values == {}


def test_a_gate_is_no_judge(tiny_pack: Path) -> None:
    gate = Path(__file__).parents[2] / "lssl_augment" / "weights" / "gate.safetensors"
    with pytest.raises(WeightsError, match="'judge' is needed"):
        load_monitor(tiny_config(tiny_pack, monitor_judge=str(gate)))


def test_a_run_logs_identity_with_its_sheets(tiny_pack: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_pack, steps=1, sheet_every_steps=1)
    run = RunFolder.create(tmp_path, config, tiny_faces(config), "a test")
    said: list[str] = []
    train(PaperObjective(config, tiny_faces(config)), config, run, total_steps=1, hooks=Hooks(on_warning=said.append))
    logged = {key for line in read_stats(run.path / "stats.jsonl") for key in line}
    assert {"monitor/identity_to_source", "monitor/identity_other_people"} <= logged
    assert "monitor/judge_accuracy" not in logged
    without = replace(config, monitor_recogniser="")
    assert load_monitor(without).recogniser is None
