"""The benchmark: prepare, divide, plan, run cell by cell, write tables and the report."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lssl_augment.checkout import commit
from lssl_augment.errors import DataError, LeakageError
from lssl_augment.evaluation.benchmark.arms import find_arm
from lssl_augment.evaluation.benchmark.cells import base_of, making_s
from lssl_augment.evaluation.benchmark.environment import environment
from lssl_augment.evaluation.benchmark.folds import classes_of, divide_pack
from lssl_augment.evaluation.benchmark.generators import GeneratorWishes, given_generator, initial_notes
from lssl_augment.evaluation.benchmark.identity import keep_settings, read_settings
from lssl_augment.evaluation.benchmark.locks import only_one
from lssl_augment.evaluation.benchmark.planning import all_cells, fit_budget, step_seconds
from lssl_augment.evaluation.benchmark.records import read_records, write_csv
from lssl_augment.evaluation.benchmark.running import Progress, run_cells
from lssl_augment.evaluation.benchmark.sequence_cells import SEQUENCE_REGIME, sequence_classes, why_no_sequences
from lssl_augment.evaluation.benchmark.setup import Cell, CellSetup, cell_of
from lssl_augment.evaluation.protocol import BenchmarkProtocol
from lssl_augment.evaluation.sequences import parse_sequence_settings
from lssl_augment.faces.pack import FacePack
from lssl_augment.files import write_json

__all__ = ["BenchmarkConfig", "BenchmarkReport", "Progress", "Tell", "run_benchmark"]

#: Gets a sentence for the user.
Tell = Callable[[str], None]


@dataclass(frozen=True)
class BenchmarkConfig:
    """One run.

    Args:
        protocol: with the user's changes. pack: face pack. out: folder of the run; a run that is there goes on.
        wishes: for generators. seeds: of the classifiers. all_folds: None: as the protocol says.
        workers: cells at once. budget_s: seconds; None: no end. keep_steps: the steps were asked for. device: of
            classifiers and generators. command: for the records. dry_run: plan and time only.

    Raises:
        DataError: a value out of range.
    """

    protocol: BenchmarkProtocol
    pack: Path
    out: Path
    wishes: GeneratorWishes
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    all_folds: bool | None = None
    workers: int = 1
    budget_s: float | None = None
    keep_steps: bool = False
    device: str = "cpu"
    command: str = ""
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise DataError(f"workers must be at least 1; got {self.workers}")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise DataError(f"seeds must be distinct whole numbers from 0 on; got {list(self.seeds)}")
        for arm in self.protocol.arms:
            find_arm(arm)
        parse_sequence_settings(self.protocol.sequence_settings)


@dataclass(frozen=True)
class BenchmarkReport:
    """What a run did.

    Args:
        out: the folder. done: finished cells in it. ran: by this call. planned: cells of the plan. steps: of every
            arm but those of sequence classifiers. step_seconds: measured, None where that was not needed. left_out: in
            words. failed: what could not be run, and why. report: file, or None. todo_s: what the cells
            that are left take on one worker, by that measure.
    """

    out: Path
    done: int
    ran: int
    planned: int
    steps: int
    step_seconds: float | None
    left_out: list[str]
    failed: list[str]
    report: Path | None = None
    todo_s: float | None = None


def run_benchmark(
    config: BenchmarkConfig, progress: Progress | None = None, tell: Tell | None = None
) -> BenchmarkReport:
    """Run, or go on with, a benchmark. A cell that was finished is never run again.

    Raises:
        DataError: the folder holds another benchmark, or the pack cannot be used.
        LeakageError: given weights saw test people.
        SchemaError: results that cannot be read.
    """
    begin = time.monotonic()
    config.out.mkdir(parents=True, exist_ok=True)
    with only_one(config.out):
        setup, cells, left_out = _plan(config)
        before = read_settings(config.out)
        keep = config.keep_steps
        if "steps" in before and not keep:
            setup = replace(setup, protocol=replace(setup.protocol, steps=before["steps"]))
            keep = True
        done = _done(config.out, setup)
        todo = [cell for cell in cells if cell not in done]
        measured, todo_s = None, None
        own_s: dict[str, float] = {}
        together = 1
        if todo and (config.budget_s is not None or config.dry_run):
            with _threads(config.workers):
                measured = step_seconds(setup.protocol, len(setup.classes), config.device)
                own_s = _sequence_seconds(setup, todo)
            each = setup.protocol.steps * measured
            todo_s = sum(own_s.get(cell.arm, each) for cell in todo if base_of(cell) is None)
        if todo and config.budget_s is not None and measured is not None:
            trained = [cell for cell in todo if base_of(cell) is None]
            # On one GPU, workers only draw batches: steps follow each other.
            at_once = 1 if config.device.startswith("cuda") else config.workers
            fitted = fit_budget(
                setup.protocol,
                trained,
                config.budget_s,
                measured,
                at_once,
                keep_steps=keep,
                cell_seconds=own_s,
                making_s=_making_seconds(setup, trained),
            )
            there = done | set(fitted.cells)
            todo = fitted.cells + [cell for cell in todo if base_of(cell) in there]
            left_out += [f"budget: {words}" for words in fitted.left_out]
            together = fitted.together
            setup = replace(setup, protocol=replace(setup.protocol, steps=fitted.steps))
        report = BenchmarkReport(
            config.out, len(done), 0, len(cells), setup.protocol.steps, measured, left_out, [], todo_s=todo_s
        )
        if config.dry_run:
            return report
        keep_settings(config.out, setup, before)
        deadline = None if config.budget_s is None else begin + config.budget_s
        ran, late, failed = run_cells(setup, todo, config.workers, deadline, progress, together)
        if late:
            left_out.append(f"budget: {late} more cells, as cells took longer than the measured steps promised")
        left_out += [f"failed: {words}" for words in failed]
        write_json(config.out / "left_out.json", left_out)
        if tell is not None:
            tell(f"{len(done) + ran} cells in {config.out}")
        write_csv(config.out)
        return replace(report, done=len(done) + ran, ran=ran, failed=failed, report=_write_report(config.out, tell))


def _plan(config: BenchmarkConfig) -> tuple[CellSetup, list[Cell], list[str]]:
    protocol = config.protocol
    with FacePack.open(config.pack) as pack:
        fixed = protocol.fixed if config.all_folds is None else not config.all_folds
        splits, notes = divide_pack(protocol, pack, config.out / "splits.json", fixed=fixed)
        folds = 1 if fixed else len(splits.folds)
        classes = classes_of(protocol, pack).names
        left_out, arms = [], []
        sequences = [name for name in protocol.arms if find_arm(name).sequences]
        no_sequences = why_no_sequences(protocol, pack, splits, folds, classes) if sequences else ""
        for name in _with_bases(protocol.arms):
            why = no_sequences if name in sequences else _lacking(config, name, pack, splits, folds)
            if why:
                left_out.append(f"{name}: {why}")
            else:
                arms.append(name)
        if not arms:
            raise DataError(f"no arm can be run: {'; '.join(left_out)}")
        others = [regime for regime in protocol.regimes if regime != SEQUENCE_REGIME]
        if sequences and not no_sequences and others:
            left_out.append(f"{', '.join(sequences)}: not in {', '.join(others)}, which thin single faces")
        if pack.simulated:
            notes = ["SIMULATED: synthetic people; results say nothing about real faces", *notes]
        setup = CellSetup(
            protocol=replace(protocol, arms=tuple(arms), seeds=len(config.seeds)),
            pack=config.pack.absolute(),
            out=config.out.absolute(),
            classes=classes,
            wishes=config.wishes,
            device=config.device,
            simulated=pack.simulated,
            notes=tuple(notes),
            environment=environment(config.workers, config.device),
            git_commit=commit() or "",
            command=config.command,
        )
    return setup, all_cells(setup.protocol, folds, config.seeds), left_out


def _with_bases(arms: Sequence[str]) -> list[str]:
    """Arms, each after the one whose classifiers it uses."""
    return list(dict.fromkeys(name for arm in arms for name in (find_arm(arm).of, arm) if name))


def _lacking(config: BenchmarkConfig, name: str, pack: FacePack, splits: Any, folds: int) -> str:
    """Why an arm cannot run; empty: it can. Weights that the user named and that leak raise."""
    key, wishes = find_arm(name).generator, config.wishes
    if not key:
        return ""
    why = wishes.lacking(key)
    if why:
        return why
    if wishes.trains and key not in wishes.weights:
        for fold in range(folds):
            initial_notes(key, wishes, pack, splits, fold)  # a leak is known before anything is trained
        return ""
    try:
        for fold in range(folds):
            for regime in config.protocol.regimes[:1]:
                given_generator(key, wishes, pack, splits, fold, regime)
    except LeakageError as error:
        if key in wishes.weights:
            raise
        return str(error)
    return ""


def _done(out: Path, setup: CellSetup) -> set[Cell]:
    """Cells that are finished; ``DataError`` where they are of another benchmark."""
    found = set()
    for r in read_records(out):
        mine: tuple[Any, ...] = (setup.protocol.name, setup.protocol.classifier, list(setup.classes))
        if find_arm(r["arm"]).sequences:
            mine = (setup.protocol.name, r["arm"], list(sequence_classes(setup.classes)))
        if (r["protocol"], r["classifier"], r["classes"]) != mine:
            raise DataError(f"{out} holds results of {r['protocol']} with {r['classifier']}; choose another --out")
        found.add(cell_of(r))
    return found


def _sequence_seconds(setup: CellSetup, todo: Sequence[Cell]) -> dict[str, float]:
    """Seconds of a cell of each sequence classifier that is still to run, measured."""
    from lssl_augment.evaluation.benchmark.sequence_time import sequence_seconds

    names = [name for name in dict.fromkeys(cell.arm for cell in todo) if find_arm(name).sequences]
    if not names:
        return {}
    with FacePack.open(setup.pack) as pack:
        videos = len(set(pack.sequences.tolist()) - {""})
    settings, classes = parse_sequence_settings(setup.protocol.sequence_settings), sequence_classes(setup.classes)
    return {name: sequence_seconds(name, len(classes), videos, settings, setup.device) for name in names}


def _making_seconds(setup: CellSetup, trained: Sequence[Cell]) -> float:
    """Seconds that synthetic faces of the first arms of the first regime take, one fold timed."""
    regimes = [cell.regime for cell in trained[:1]]
    head = [c for c in trained if c.regime in regimes and c.arm in setup.protocol.first_arms]
    by_maker: dict[str, Cell] = {}
    for cell in head:
        by_maker.setdefault(find_arm(cell.arm).generator, cell)
    return len({cell.fold for cell in head}) * sum(making_s(setup, cell) for cell in by_maker.values())


def _write_report(out: Path, tell: Tell | None) -> Path | None:
    """Sample sheets and the report; a report that cannot be made costs no results."""
    from lssl_augment.evaluation.report import write_report

    for sheet in sorted((out / "synthetic").glob("*-fold0-*.png")):
        (out / "sheets").mkdir(exist_ok=True)
        shutil.copyfile(sheet, out / "sheets" / f"{sheet.name.split('-', 1)[0]}.png")
    try:
        return write_report(out)[1]
    except DataError as error:
        if tell is not None:
            tell(f"no report: {error}")
        return None


@contextmanager
def _threads(workers: int) -> Iterator[None]:
    """Measure with as many threads as a worker gets."""
    before = torch.get_num_threads()
    if workers > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)
