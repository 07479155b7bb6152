"""Killed anywhere and run again, a run ends with the same file, byte for byte."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest

from lssl_augment.errors import DataError, SchemaError
from lssl_augment.synthesis.dataset import SyntheticExpressionDataset
from lssl_augment.synthesis.making import Stopwatch, make_parts
from lssl_augment.synthesis.schema import journal_path, partial_path
from lssl_augment.synthesis.writer import RunFile

ROOT = Path(__file__).parents[2]
TOY = Path(__file__).with_name("toy.py")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def kill_again_and_again(scenarios: list[tuple[str, list[float], float]]) -> None:
    command = [sys.executable, str(TOY), json.dumps(scenarios)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_killed_anywhere_a_run_ends_with_the_same_bytes(toy: ModuleType, made: Path, tmp_path: Path) -> None:
    moments = np.random.default_rng(0).uniform(0.0, 0.15, 30).round(4).tolist()
    scenarios: list[tuple[str, list[float], float]] = [
        *((f"after-{rows}-{marks}", [rows], marks) for rows in (4, 32, 60) for marks in (0.0, 60.0)),
        ("twice", [20, 48], 0.0),
        *((f"moment-{i}", moments[3 * i : 3 * i + 3], 0.0) for i in range(10)),
    ]
    kill_again_and_again([(str(tmp_path / name), kills, marks) for name, kills, marks in scenarios])
    unfinished = 0
    for name, *_ in scenarios:
        out = tmp_path / name / "synthetic.h5"
        if partial_path(out).exists():
            unfinished += 1
            # Whatever the moment, the unfinished file opens.
            with h5py.File(partial_path(out)) as h5:
                assert len(h5["labels"]) == 60
            with pytest.raises(SchemaError, match=r"not finished.*--resume"):
                SyntheticExpressionDataset(out)
        toy.generate_run(toy.toy_run(out, resume=True))
        assert sha256(out) == sha256(made), name
        assert sha256(out.with_suffix(".png")) == sha256(made.with_suffix(".png"))
        assert names(out.parent) == ["synthetic.h5", "synthetic.png"]
    assert unfinished >= 7


class Stop(Exception):
    """Ends a run from inside."""


def interrupt(toy: ModuleType, out: Path, error: type[BaseException] = Stop, **wishes: object) -> None:
    def progress(done: int, total: int) -> None:
        if done >= 24:
            raise error

    with pytest.raises(error):
        toy.generate_run(toy.toy_run(out, **wishes), progress)


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt])
def test_ctrl_c_keeps_finished_rows(error: type[BaseException], toy: ModuleType, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    interrupt(toy, out, error)
    assert json.loads(journal_path(out).read_text())["rows_done"] == 24
    report = toy.generate_run(toy.toy_run(out, resume=True))
    assert report.rows_made == 36
    assert sha256(out) == sha256(made)


@pytest.mark.parametrize("journal", [None, "", "{}", '{"rows_done": 10'])
def test_a_lost_journal_costs_time_only(journal: str | None, toy: ModuleType, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    interrupt(toy, out)
    if journal is None:
        journal_path(out).unlink()
    else:
        journal_path(out).write_text(journal)
    assert toy.generate_run(toy.toy_run(out, resume=True)).rows_made == 60
    assert sha256(out) == sha256(made)


def test_a_truncated_partial_file_is_made_again(toy: ModuleType, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    interrupt(toy, out)
    os.truncate(partial_path(out), 5000)
    toy.generate_run(toy.toy_run(out, resume=True))
    assert sha256(out) == sha256(made)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"per_class": 21}, "per_class"),
        ({"intensity": (0.5, 1.0)}, "intensity"),
        ({"batch": 5}, "batch"),
        ({"min_score": 0.1}, "min_score"),
        ({"gate": False}, "gate"),
        ({"people": 10}, "people"),
        ({"targets": "anger"}, "targets"),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_resume_with_other_arguments_is_refused(
    finished: bool, change: dict[str, object], named: str, toy: ModuleType, tmp_path: Path
) -> None:
    out = tmp_path / "a.h5"
    if finished:
        toy.generate_run(toy.toy_run(out))
    else:
        interrupt(toy, out)
    before = sha256(out if finished else partial_path(out))
    with pytest.raises(DataError, match=f"another run: .*{named}"):
        toy.generate_run(toy.toy_run(out, resume=True, **change))
    assert sha256(out if finished else partial_path(out)) == before


def test_resume_with_other_weights_is_refused(toy: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    interrupt(toy, out)
    run = toy.toy_run(out, resume=True)
    run.loaded.card["sha256"] = "cd" * 32
    with pytest.raises(DataError, match=r"weights .there 'abab.*now 'cdcd"):
        toy.generate_run(run)


def test_nothing_is_replaced_unasked(toy: ModuleType, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    interrupt(toy, out)
    with pytest.raises(DataError, match=r"unfinished run.*--resume.*--overwrite"):
        toy.generate_run(toy.toy_run(out))
    toy.generate_run(toy.toy_run(out, overwrite=True))
    assert sha256(out) == sha256(made)
    with pytest.raises(DataError, match=r"a\.h5 exists already.*--overwrite"):
        toy.generate_run(toy.toy_run(out))
    out.unlink()
    with pytest.raises(DataError, match=r"a\.png exists already"):
        toy.generate_run(toy.toy_run(out))


def test_overwriting_keeps_the_old_file_until_the_new_one_is_done(toy: ModuleType, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    toy.generate_run(toy.toy_run(out))
    interrupt(toy, out, overwrite=True, seed=9)
    assert sha256(out) == sha256(made)
    toy.generate_run(toy.toy_run(out, resume=True, seed=9))
    assert sha256(out) != sha256(made)


def test_resuming_a_finished_run_changes_nothing(toy: ModuleType, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    first = toy.generate_run(toy.toy_run(out))
    again = toy.generate_run(toy.toy_run(out, resume=True))
    assert (again.rows_made, again.rows, again.accepted) == (0, 60, first.accepted)
    assert sha256(out) == sha256(made)


def test_killed_between_the_last_row_and_the_new_name(toy: ModuleType, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    run = toy.toy_run(out)
    file = RunFile.create(out, run.plan, run.attributes(), 32)
    for part in make_parts(run, 0, Stopwatch()):
        file.write(part.rows.start, part.images, part.scores, run.accepted(part.scores))
    file.mark()
    file.close()
    assert toy.generate_run(toy.toy_run(out, resume=True)).rows_made == 0
    assert sha256(out) == sha256(made)


def test_two_processes_never_write_one_file(toy: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    run = toy.toy_run(out)
    file = RunFile.create(out, run.plan, run.attributes(), 32)
    for wish in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(DataError, match="another process is writing"):
            toy.generate_run(toy.toy_run(out, **wish))
    file.close()


def test_rows_out_of_order_are_refused(toy: ModuleType, tmp_path: Path) -> None:
    run = toy.toy_run(tmp_path / "a.h5")
    file = RunFile.create(run.config.out, run.plan, run.attributes(), 32)
    with pytest.raises(ValueError, match="expected row 0, got 4"):
        file.write(4, np.zeros((1, 32, 32, 3), np.uint8), np.zeros(1), np.ones(1, bool))
    file.close()


def test_a_disk_too_small_is_said_before_any_work(
    toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs(tmp_path)
    free = real.f_bavail * real.f_frsize
    run = toy.toy_run(tmp_path / "a.h5")
    with pytest.raises(DataError, match=r"a\.h5 needs .* GB and the disk has .* free"):
        RunFile.create(run.config.out, run.plan, run.attributes(), int((free / 100) ** 0.5))
    assert names(tmp_path) == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="finds the open file in /proc")
def test_an_error_while_writing_reaches_the_caller(toy: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"

    def progress(done: int, total: int) -> None:
        for entry in Path("/proc/self/fd").iterdir():
            if entry.is_symlink() and os.readlink(entry) == str(partial_path(out)):
                # The writer's file turns read-only under its hands, as when a disk goes away.
                reader = os.open(os.devnull, os.O_RDONLY)
                os.dup2(reader, int(entry.name))
                os.close(reader)

    with pytest.raises(OSError, match="Bad file descriptor"):
        toy.generate_run(toy.toy_run(out), progress)
    toy.generate_run(toy.toy_run(out, resume=True))
