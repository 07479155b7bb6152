"""Sequence classifiers as arms: the folds of the other arms, records and a section of their own, no test across."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from lssl_augment.attributes import Vocabulary
from lssl_augment.cli.main import cli
from lssl_augment.datasets.oulu import read_oulu
from lssl_augment.datasets.records import ReadOptions
from lssl_augment.datasets.sequences import key_faces
from lssl_augment.datasets.split_file import read_splits
from lssl_augment.errors import DataError, SchemaError
from lssl_augment.evaluation.benchmark import sequence_time
from lssl_augment.evaluation.benchmark.arms import find_arm
from lssl_augment.evaluation.benchmark.cells import Cell
from lssl_augment.evaluation.benchmark.folds import fold_faces
from lssl_augment.evaluation.benchmark.generators import GeneratorWishes
from lssl_augment.evaluation.benchmark.planning import all_cells, fit_budget
from lssl_augment.evaluation.benchmark.records import RECORDS_FILE, check_record, read_records
from lssl_augment.evaluation.benchmark.runner import BenchmarkConfig, run_benchmark
from lssl_augment.evaluation.protocol import PROTOCOL_NAMES, read_protocol
from lssl_augment.evaluation.sequences import SEQUENCE_CLASSIFIERS, evaluate_sequences, parse_sequence_settings
from lssl_augment.evaluation.statistics import read_cells, summarise_cells
from lssl_augment.faces.pack import FacePack
from tests.evaluation.benchmark.test_runner import write_pack
from tests.evaluation.sequences.toy import sequence_pack

WORDS = (
    "frames=6", "size_px=32", "hog3d.blocks=1,3,3", "hog3d.parts=1", "adalbp.rounds=4", "adalbp.rows=3",
    "adalbp.columns=3", "dtagn.width=4", "dtagn.hidden=8", "dtagn.steps=2", "dtagn.joint_steps=1", "dtagn.batch=4",
)  # fmt: skip
CLASSES = ["anger", "happiness", "surprise"]


def configured(tmp_path: Path, name: str = "oulu", **changes: Any) -> BenchmarkConfig:
    pack = tmp_path / "pack.h5"
    if not pack.exists():
        sequence_pack(pack, 10, "oulu").close()
    small = {"classifier": "tiny", "face_size_px": 16, "steps": 1, "batch": 4, "sequence_settings": WORDS}
    small |= {"arms": ("balanced", *SEQUENCE_CLASSIFIERS), "regimes": ("full",)}
    small |= {k: changes.pop(k) for k in ("arms", "regimes", "sequence_settings") if k in changes}
    protocol = replace(read_protocol(name), **small)
    values = {"wishes": GeneratorWishes({}), "seeds": (0,), "all_folds": False, **changes}
    return BenchmarkConfig(protocol=protocol, **{"pack": pack, "out": tmp_path / "run", **values})


def test_sequence_arms_beside_an_arm_of_faces(tmp_path: Path) -> None:
    config = configured(tmp_path, seeds=(0, 1))
    report = run_benchmark(config)
    assert (report.done, report.left_out) == (8, [])
    records = {r["arm"]: r for r in read_records(config.out) if r["seed"] == 1}
    cells = {c.arm: c for c in read_cells(config.out) if c.record["seed"] == 1}
    people = read_splits(config.out / "splits.json").subjects(0, "test")
    assert records["balanced"]["test_item"] == "face"
    for arm in SEQUENCE_CLASSIFIERS:
        record = records[arm]
        assert (record["test_item"], record["classifier"], record["classes"]) == ("sequence", arm, CLASSES)
        assert record["n_train"] == dict.fromkeys(CLASSES, 9)
        assert record["n_test"] == dict.fromkeys(CLASSES, 1)
        assert record["n_synthetic"] == {}
        assert record["steps"] == (5 if arm == "dtagn" else 0)
        assert (record["sequence_settings"]["frames"], record["sequence_settings"]["size_px"]) == (6, 32)
        assert any("the pack holds 120 of the 210 frames" in note for note in record["notes"])
        assert set(cells[arm].subjects) == people == set(cells["balanced"].subjects)
        assert cells[arm].files.tolist() == [f"{next(iter(people))}/{word}" for word in CLASSES]
    assert records["hog3d"]["sequence_settings"]["blocks"] == [1, 3, 3]
    assert (config.out / "results.csv").read_text().count("sequence") >= 6
    settings = parse_sequence_settings(WORDS)
    with FacePack.open(config.pack) as pack:
        alone = evaluate_sequences(
            pack, read_splits(config.out / "splits.json"), 0, "dtagn", 1, frames=6, size_px=32, classes=CLASSES,
            **settings.arguments["dtagn"],
        )  # fmt: skip
    np.testing.assert_allclose(cells["dtagn"].probabilities, alone["probabilities"], atol=1e-6)


def test_they_have_a_section_and_tests_of_their_own(tmp_path: Path) -> None:
    config = configured(tmp_path, seeds=(0, 1), all_folds=True, arms=("real", "balanced", "hog3d", "adalbp"))
    report = run_benchmark(config)
    faces, sequences = summarise_cells(read_cells(config.out), draws=20)
    assert (faces.test_item, list(faces.arms)) == ("face", ["balanced", "real"])
    assert (sequences.test_item, set(sequences.arms)) == ("sequence", {"hog3d", "adalbp"})
    for group in (faces, sequences):
        for arm in group.arms.values():
            assert {g.other for g in (arm.to_baseline, arm.to_best_real) if g is not None} <= set(group.arms)
    other = next(arm for arm in sequences.arms.values() if arm.name != sequences.best_real)
    assert other.to_best_real is not None
    assert other.to_best_real.pairs == 20
    assert report.report is not None
    text = (config.out / "report.md").read_text(encoding="utf-8")
    before, after = text.split("oulu, full, sequence classifiers", 1)
    assert "| balanced | 20 |" in before
    assert "| hog3d |" not in before
    assert "30 test sequences of 10 people over 10 folds" in after
    section = after.split("\n## ", 1)[0]
    assert "| hog3d | 20 |" in section
    assert "balanced |" not in section.replace("balanced accuracy", "")
    assert "| DTAGN | 81.46 |" in section
    assert "StarGAN" not in section
    assert "| DTAGN (sequences) | 81.46 |" in before


def test_a_stopped_run_goes_on_and_other_settings_are_refused(tmp_path: Path) -> None:
    config = configured(tmp_path, arms=("balanced", "hog3d", "dtagn"))

    def stop(done: int, total: int, cell: Cell | None) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_benchmark(config, stop)
    first = (config.out / RECORDS_FILE).read_bytes()
    report = run_benchmark(config)
    assert (report.done, report.ran) == (3, 1)
    assert (config.out / RECORDS_FILE).read_bytes().startswith(first)
    changed = replace(config, protocol=replace(config.protocol, sequence_settings=(*WORDS, "dtagn.steps=3")))
    with pytest.raises(DataError, match="other settings: sequence_settings"):
        run_benchmark(changed)


@pytest.mark.slow
def test_in_two_processes(tmp_path: Path) -> None:
    config = configured(tmp_path, arms=("hog3d", "adalbp"), workers=2)
    assert run_benchmark(config).done == 2


@pytest.mark.parametrize(("name", "said"), [
    ("lfw-expressions", r"has no sequences, only single faces; sequences come with packs of oulu, mug and ckplus"),
    ("mug", "mug judges generated faces"),
])  # fmt: skip
def test_where_they_cannot_run_they_are_left_out_with_the_reason(tmp_path: Path, name: str, said: str) -> None:
    pack = write_pack(tmp_path / "pack.h5", name)
    config = configured(tmp_path, name, arms=("real", "hog3d", "dtagn"), pack=pack)
    report = run_benchmark(config)
    assert report.done == 1
    assert [words.split(":")[0] for words in report.left_out] == ["hog3d", "dtagn"]
    assert all(said in words for words in report.left_out)
    assert said in (config.out / "report.md").read_text(encoding="utf-8")


def test_other_regimes_and_missing_classes(tmp_path: Path) -> None:
    config = configured(tmp_path, arms=("balanced", "hog3d"), regimes=("share-50", "full"), dry_run=True)
    report = run_benchmark(config)
    assert report.planned == 3
    assert report.left_out == ["hog3d: not in share-50, which thin single faces"]
    assert report.todo_s is not None
    assert report.step_seconds is not None
    assert report.todo_s > 2 * report.step_seconds
    only = replace(config, protocol=replace(config.protocol, regimes=("share-50",)))
    assert "hog3d: sequence classifiers run in the regime full only; got share-50" in run_benchmark(only).left_out[0]
    # Of a pack whose one person with surprise is tested on, no sequence of surprise is left to train on.
    few = tmp_path / "few"
    few.mkdir()
    with FacePack.open(config.pack) as pack:
        splits = read_splits(config.out / "splits.json")
        tested = sorted(splits.subjects(0, "test"))[0]
        gone = (pack.subjects != tested) & np.char.endswith(pack.sequences.astype(str), "surprise")
    _without(config.pack, few / "pack.h5", np.flatnonzero(gone))
    lacking = configured(few, arms=("balanced", "hog3d"), all_folds=True, dry_run=True)
    words = run_benchmark(lacking).left_out
    assert "no training sequence of surprise" in words[0]


def _without(source: Path, target: Path, rows: np.ndarray) -> None:
    """A copy in which some faces are of no sequence any more, but still have their label."""
    shutil.copyfile(source, target)
    with h5py.File(target, "r+") as file:
        names = file["sequences"][:]
        names[rows] = b""
        file["sequences"][:] = names


def test_single_faces_are_key_frames_whichever_the_pack_holds(tmp_path: Path) -> None:
    root = tmp_path / "VL" / "Strong"
    for person, count in (("P001", 9), ("P002", 2), ("P003", 4)):
        for word in ("Anger", "Fear"):
            (root / person / word).mkdir(parents=True)
            for i in range(count):
                (root / person / word / f"{i + (person == 'P003') * 3:03d}.jpeg").touch()
    wanted = {r.file for r in read_oulu(tmp_path, ReadOptions()).records}
    for frames in ("peak", "all"):
        rows = read_oulu(tmp_path, ReadOptions(frames=frames)).records
        keep = key_faces(
            np.array([r.sequence for r in rows]),
            np.array([r.frame for r in rows]),
            np.array([np.nan if r.intensity is None else r.intensity for r in rows]),
        )
        assert {r.file for r, kept in zip(rows, keep, strict=True) if kept} == wanted
    assert key_faces(np.array(["", ""]), np.zeros(2), np.full(2, np.nan)).all()
    assert read_protocol("oulu").key_frames
    assert not any(read_protocol(name).key_frames for name in PROTOCOL_NAMES if name != "oulu")


def test_faces_of_a_fold_are_key_frames_and_sequences_are_whole(tmp_path: Path) -> None:
    sequence_pack(tmp_path / "pack.h5", 10, "oulu", length=7).close()
    config = configured(tmp_path, arms=("balanced", "hog3d"))
    run_benchmark(config)
    faces, sequences = read_records(config.out)
    alone = "P0" in read_splits(config.out / "splits.json").subjects(0, "train")  # has a neutral face of no sequence
    assert faces["n_train"] == {"neutral": 27 + alone, **dict.fromkeys(CLASSES, 27)}
    assert sequences["n_train"] == dict.fromkeys(CLASSES, 9)
    assert any("holds 210 of the 390 frames" in note for note in sequences["notes"])
    vocabulary = Vocabulary(("neutral", *CLASSES))
    with FacePack.open(config.pack) as pack:
        splits = read_splits(config.out / "splits.json")
        assert fold_faces(pack, splits, 0, "full", vocabulary, 16).train.counts["anger"] == 9 * 6


def test_a_budget_pays_for_sequence_cells_by_the_clock() -> None:
    protocol = replace(read_protocol("oulu"), arms=("balanced", "hog3d", "dtagn"), steps=100, regimes=("full",))
    cells = all_cells(protocol, 2, range(1))
    assert [c.arm for c in cells] == ["balanced"] * 2 + ["hog3d"] * 2 + ["dtagn"] * 2
    own = {"hog3d": 5.0, "dtagn": 1000.0}
    # 800 s to spend: 200 for two classifiers of 100 steps, 10 for hog3d, and no dtagn fits.
    fitted = fit_budget(protocol, cells, 1000, 1.0, 1, keep_steps=True, cell_seconds=own)
    assert [c.arm for c in fitted.cells] == ["balanced", "balanced", "hog3d", "hog3d"]
    assert fitted.left_out == ["dtagn in full: all cells"]
    assert len(fit_budget(protocol, cells, 3000, 1.0, 1, keep_steps=True, cell_seconds=own).cells) == 6


def test_estimates_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10**6))
    monkeypatch.setattr(sequence_time.time, "perf_counter", lambda: float(next(ticks)))
    settings = parse_sequence_settings((*WORDS, "dtagn.steps=40", "dtagn.joint_steps=7"))
    # One tick a step.
    assert sequence_time.sequence_seconds("dtagn", 3, 500, settings, "cpu") == 87
    # One tick for twelve videos.
    assert sequence_time.sequence_seconds("hog3d", 3, 480, settings, "cpu") == 40


def test_records_say_what_a_test_item_is(tmp_path: Path) -> None:
    config = configured(tmp_path, arms=("hog3d",))
    run_benchmark(config)
    record = json.loads((config.out / RECORDS_FILE).read_text())
    assert check_record(record, "here") == record
    with pytest.raises(SchemaError, match="test_item is 'video'; allowed: face, sequence"):
        check_record({**record, "test_item": "video"}, "here")
    with pytest.raises(SchemaError, match="test_item is a int"):
        check_record({**record, "test_item": 3}, "here")
    old = {k: v for k, v in record.items() if k not in ("test_item", "sequence_settings")}
    assert check_record(old, "here") == old  # records from before there were sequences


def test_bad_settings_are_refused_at_the_door(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unknown setting 'dtagn\.stops=3'"):
        configured(tmp_path, sequence_settings=("dtagn.stops=3",))


def test_there_is_no_prior_of_sequences() -> None:
    with pytest.raises(DataError, match="there is no arm 'hog3d-prior'"):
        find_arm("hog3d-prior")


@pytest.mark.slow
def test_simulated_oulu_from_the_command_line(tmp_path: Path) -> None:
    words = [w for word in WORDS for w in ("--sequence-set", word)]
    result = CliRunner().invoke(cli, [
        "benchmark", "oulu", "--simulated", "--out", str(tmp_path / "run"), "--folds", "fixed", "--seeds", "1",
        "--steps", "1", "--batch", "4", "--size", "16", "--classifier", "tiny",
        "--arms", "balanced,hog3d,adalbp,dtagn", *words,
    ])  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "4 of 4 cells done" in result.output
    records = {r["arm"]: r for r in read_records(tmp_path / "run")}
    for arm in SEQUENCE_CLASSIFIERS:
        assert list(records[arm]["n_test"].values()) == [1] * 6
        assert list(records[arm]["n_train"].values()) == [9] * 6
        assert not any("the pack holds" in note for note in records[arm]["notes"])  # all frames were prepared
    # Nine people: a neutral face of each sequence, and the last three of each expression.
    assert set(records["balanced"]["n_train"].values()) == {27, 54}
    assert "SIMULATED" in (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
