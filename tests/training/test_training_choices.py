"""benchmarks/training_choices.py: a short run of drawn faces, and its table by hand."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_faces import as_tensors, compact_config, training_faces

from lssl_augment.models.bundle import load_model
from lssl_augment.models.engine import ExpressionEngine
from lssl_augment.training.compact_faces import CompactFaces
from lssl_augment.training.compact_objective import CompactNumbers
from lssl_augment.training.config import from_mapping

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "training_choices.py"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def test_every_choice_is_another_and_the_last_is_what_train_does(script: dict[str, Any]) -> None:
    made = [from_mapping(CompactNumbers, numbers) for numbers in script["CHOICES"].values()]
    assert made[-1] == CompactNumbers()
    assert not any("," in name for name in script["CHOICES"])  # --choices separates them by commas
    assert all(one not in made[:i] for i, one in enumerate(made))


def test_a_run_ends_by_processor_time_and_is_released(script: dict[str, Any], tmp_path: Path) -> None:
    config = compact_config(objective={"critic_first_steps": 1})
    source = CompactFaces(training_faces(), config.face_size_px, 0, torch.device("cpu"))
    objective, average, steps = script["train"](source, config, 1.0)
    assert steps >= 1
    script["store"](objective, average, steps, tmp_path / "run.safetensors")
    engine = ExpressionEngine(load_model(tmp_path / "run.safetensors"))
    faces = engine.encode(*as_tensors([0]))
    out = engine.edit(faces, torch.tensor([1]), torch.ones(1), torch.zeros(1, dtype=torch.int64))
    assert bool(out.isfinite().all())


def test_table(script: dict[str, Any]) -> None:
    def row(choice: str, seed: int, named: float, identity: float | None) -> dict[str, Any]:
        measured = {"label_fidelity": {"balanced": named}, "kid": {"a": seed, "b": 2.0 + seed}, "identity": identity}
        measured["sharpness"] = 0.5
        return {"choice": choice, "seed": seed, "steps": 100 if choice == "recipe" else 0, **measured}

    rows = [row("recipe", 0, 0.70, 0.9), row("recipe", 1, 0.74, 0.9), row(script["UNTRAINED"], 0, 0.5, None)]
    lines = script["table"](rows).splitlines()
    assert lines[2] == "| recipe | 2 | 100 ± 0 | 72.0 ± 2.8 | 1.50 ± 0.71 | 90.0 ± 0.0 | 0.50 ± 0.00 |"
    assert lines[3] == "| no network | 1 | 0 | 50.0 | 1.00 |  | 0.50 |"
    assert len(lines) == 4


def test_what_cannot_be_measured_is_refused_before_anything_is_trained(
    script: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for choices, message in (("lean", "--out needs the choice recipe"), ("recipe,none", "unknown choice 'none'")):
        words = ["x.h5", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "o.json"), "--choices", choices]
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words])
        with pytest.raises(SystemExit, match=message):
            script["main"]()
    assert list(tmp_path.iterdir()) == []
