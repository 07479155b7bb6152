"""From cells on disk to summaries: numbers agree with pandas, pairs are pairs, faults are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lssl_augment.errors import DataError, SchemaError
from lssl_augment.evaluation.statistics import CELL_METRICS, mcnemar, read_cells, summarise_cells, wilcoxon
from tests.evaluation.drawn_cells import draw_cell, draw_results, drawn

SKILLS = {"real": 0.5, "balanced": 1.0, "mixup": 1.4, "lssl": 3.0, "stargan": 0.2}


def test_numbers_agree_with_pandas(tmp_path: Path) -> None:
    cells = drawn(tmp_path, SKILLS)
    (regime,) = summarise_cells(cells, draws=60)
    frame = pd.DataFrame([{"arm": c.arm, "fold": c.key[0], "seed": c.key[1], **c.record["metrics"]} for c in cells])
    assert list(regime.arms) == list(SKILLS)
    for name, arm in regime.arms.items():
        rows = frame[frame["arm"] == name]
        for metric in CELL_METRICS:
            assert arm.mean[metric] == pytest.approx(rows[metric].mean())
            assert arm.sd[metric] == pytest.approx(rows[metric].std())
    assert regime.baseline == "balanced"
    assert regime.best_real == "mixup"
    assert [name for name, arm in regime.arms.items() if arm.synthetic] == ["lssl", "stargan"]
    table = frame.set_index(["arm", "fold", "seed"])["balanced_accuracy"]
    steps = table["lssl"] - table["balanced"]
    gap = regime.arms["lssl"].to_baseline
    assert gap is not None
    assert gap.pairs == 6
    assert gap.mean["balanced_accuracy"] == pytest.approx(steps.mean())
    assert gap.wilcoxon == wilcoxon(steps.to_numpy())
    assert gap.wilcoxon_holm >= gap.wilcoxon.p
    assert gap.outcome == "helped"
    best = regime.arms["stargan"].to_best_real
    assert best is not None
    assert (best.other, best.outcome) == ("mixup", "hurt")
    assert regime.arms["balanced"].to_baseline is None
    assert regime.arms["lssl"].confusion.sum() == 6 * 77


def test_mcnemar_for_each_fold_is_on_the_seeds_together(tmp_path: Path) -> None:
    cells = drawn(tmp_path, {"balanced": 1.0, "lssl": 2.0})
    (regime,) = summarise_cells(cells, draws=10)
    gap = regime.arms["lssl"].to_baseline
    assert gap is not None

    def right(arm: str, fold: int) -> Any:
        group = [c for c in cells if c.arm == arm and c.key[0] == fold]
        return np.mean([c.probabilities for c in group], axis=0).argmax(1) == group[0].labels

    assert gap.folds == {str(f): mcnemar(right("lssl", f), right("balanced", f)) for f in (0, 1)}
    assert gap.mcnemar.gained == sum(t.gained for t in gap.folds.values())


def test_regimes_and_amounts_are_told_apart(tmp_path: Path) -> None:
    draw_results(tmp_path, {"real": 1.0}, folds=1)
    for amount in (500, 1000):
        draw_results(tmp_path, {"lssl": 2.0}, folds=1, amount=amount)
    draw_results(tmp_path, {"lssl": 2.0}, folds=1, regime="10 %")
    first, second = summarise_cells(read_cells(tmp_path), draws=10)
    assert (first.name, list(first.arms), first.baseline) == ("all", ["real", "lssl, 500", "lssl, 1000"], "real")
    assert (second.name, second.baseline, second.best_real) == ("10 %", None, None)


def test_a_cell_run_twice_counts_once(tmp_path: Path) -> None:
    draw_cell(tmp_path, "real", skill=0.0)
    draw_cell(tmp_path, "real", skill=3.0)
    (cell,) = read_cells(tmp_path)
    assert cell.record["metrics"]["accuracy"] > 0.7
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"schema_version": 1, "prot')  # killed while writing
    assert len(read_cells(tmp_path)) == 1


@pytest.mark.parametrize(
    ("change", "faces", "synthetic"),
    [
        ({"n_synthetic": {"neutral": 0, "happiness": 0, "surprise": 0}}, 0, False),
        ({"n_synthetic": {"neutral": 0, "happiness": 5, "surprise": 7}}, 12, True),
        ({"n_synthetic": 9}, 9, True),
        ({"n_synthetic": 0, "generator": {"name": "in the loop"}}, 0, True),
    ],
)
def test_what_counts_as_synthetic(tmp_path: Path, change: dict[str, Any], faces: int, synthetic: bool) -> None:
    draw_cell(tmp_path, "arm", **change)
    (cell,) = read_cells(tmp_path)
    assert (cell.synthetic_faces, cell.synthetic) == (faces, synthetic)


def test_arms_on_other_faces_are_not_compared(tmp_path: Path) -> None:
    draw_results(tmp_path, {"real": 1.0}, folds=1)
    draw_results(tmp_path, {"lssl": 2.0}, folds=1, prefix="generated/")
    (regime,) = summarise_cells(read_cells(tmp_path), draws=10)
    assert regime.arms["lssl"].to_baseline is None
    assert regime.arms["lssl"].interval["accuracy"][0] > 0
    assert regime.notes == ("lssl was tested on other faces, folds or seeds than real: not compared.",)


def test_classes_must_agree(tmp_path: Path) -> None:
    draw_cell(tmp_path, "real")
    draw_cell(tmp_path, "lssl", classes=["a", "b", "c"])
    with pytest.raises(DataError, match="different classes"):
        summarise_cells(read_cells(tmp_path), draws=10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "line 1 is no cell"),
        ({"seed": "0"}, "lacks seed"),
        ({"predictions": "../x.npz"}, "outside"),
        ({"predictions": "cells/none.npz"}, "cannot be used"),
        ({"classes": ["a", "b"]}, "cannot be used"),
    ],
)
def test_faults_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    draw_cell(tmp_path, "real", **change)
    with pytest.raises(SchemaError, match=message):
        read_cells(tmp_path)


def test_not_a_results_folder(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="cannot read"):
        read_cells(tmp_path)
    (tmp_path / "results.jsonl").write_text("\n")
    with pytest.raises(SchemaError, match="no cell yet"):
        read_cells(tmp_path)
    (tmp_path / "results.jsonl").write_text("{\n")
    with pytest.raises(SchemaError, match="line 1 is not JSON"):
        read_cells(tmp_path)
    (tmp_path / "results.jsonl").write_text(json.dumps({"schema_version": 1}) + "\n")
    with pytest.raises(SchemaError, match="lacks protocol"):
        read_cells(tmp_path)
