"""benchmarks/training_log.py: means over stretches of steps, counted by hand."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pandas as pd
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "training_log.py"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "00000-compact-folder"
    folder.mkdir()
    for name in ("command.txt", "config.json", "data.json", "environment.json"):
        (folder / name).write_text(name)
    steps = range(20, 241, 20)
    rows: list[dict[str, float]] = [{"step": step, "pair": step / 100, "seconds": 2.0 * step} for step in steps]
    rows[0]["late"] = 1.0
    lines = [*rows, {"step": 240, "warning": "sources are copied"}]
    # The last line is half of one, as a killed run leaves it.
    (folder / "stats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines) + '{"step": 2')
    return folder


def call(monkeypatch: pytest.MonkeyPatch, *args: object) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, args)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_small_form_of_a_run(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call(monkeypatch, run, tmp_path / "out", "--show", "pair")
    table = pd.read_csv(tmp_path / "out" / "stats.csv").set_index("step")
    assert table.index.tolist() == [100, 200, 300]
    assert table["pair"].tolist() == pytest.approx([0.6, 1.6, 2.3])
    assert table["seconds"].tolist() == [200, 400, 480]  # at the end of the stretch
    assert table["late"].isna().tolist() == [False, True, True]
    assert (tmp_path / "out" / "config.json").read_text() == "config.json"
    assert "warning" not in table
    assert "<polyline" in (tmp_path / "out" / "curve.svg").read_text()


def test_a_loss_that_there_is_not(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        call(monkeypatch, run, tmp_path / "out", "--show", "pair,par")
    assert "the log has no par; it has pair, late, seconds" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        call(monkeypatch, run, tmp_path / "out", "--show", "pair", "--stretch", "1000")
    assert "a curve needs two stretches" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
