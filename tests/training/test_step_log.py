"""The log of commands that have no run folder: means by hand, and what a run that goes on leaves of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lssl_augment.errors import DataError
from lssl_augment.training.metrics_log import read_stats
from lssl_augment.training.step_log import StepLog


def run(out: Path, steps: range, *, stop: int | None = None) -> None:
    with StepLog(out, "lssl-augment train-x", {"seed": 3, "steps": None}, "cpu", stretch=4) as log:
        for step in steps:
            if step == stop:
                raise KeyboardInterrupt
            log.add(step, loss=float(step))


def test_means_over_stretches_and_the_rest(tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    run(out, range(1, 11))
    stats = read_stats(tmp_path / "x.log" / "stats.jsonl")
    assert [(row["step"], row["loss"]) for row in stats] == [(4, 2.5), (8, 6.5), (10, 9.5)]
    assert (tmp_path / "x.log" / "command.txt").read_text() == "lssl-augment train-x\n"
    assert json.loads((tmp_path / "x.log" / "config.json").read_text()) == {"seed": 3, "steps": None}
    assert "torch" in json.loads((tmp_path / "x.log" / "environment.json").read_text())
    assert not out.exists()


def test_a_file_in_the_place_of_the_log_is_named_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text("output of the command")
    with pytest.raises(DataError, match=r"x\.log is a file"):
        run(tmp_path / "x.safetensors", range(1, 3))
    assert (tmp_path / "x.log").read_text() == "output of the command"


def test_a_command_that_is_refused_leaves_the_log_that_is_there(tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    run(out, range(1, 3))
    with pytest.raises(ValueError, match="refused"), StepLog(out, "another", {}, "cpu"):
        raise ValueError("refused")
    assert (tmp_path / "x.log" / "command.txt").read_text() == "lssl-augment train-x\n"
    assert len(read_stats(tmp_path / "x.log" / "stats.jsonl")) == 1


def test_a_run_that_goes_on_writes_again_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    with pytest.raises(KeyboardInterrupt):
        run(out, range(1, 20), stop=12)
    assert [row["step"] for row in read_stats(tmp_path / "x.log" / "stats.jsonl")] == [4, 8, 11]
    run(out, range(9, 14))  # the checkpoint was of step 8
    stats = read_stats(tmp_path / "x.log" / "stats.jsonl")
    assert [(row["step"], row["loss"]) for row in stats] == [(4, 2.5), (8, 6.5), (12, 10.5), (13, 13.0)]
