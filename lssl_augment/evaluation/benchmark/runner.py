"""The benchmark: prepare, divide, plan, run cell by cell, write tables and the report."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lssl_augment._version import __version__
from lssl_augment.errors import DataError, LeakageError
from lssl_augment.evaluation.benchmark.arms import find_arm
from lssl_augment.evaluation.benchmark.cells import base_of, derived_record, run_cell
from lssl_augment.evaluation.benchmark.folds import classes_of, divide_pack
from lssl_augment.evaluation.benchmark.generators import GeneratorWishes, given_generator
from lssl_augment.evaluation.benchmark.locks import only_one
from lssl_augment.evaluation.benchmark.planning import all_cells, fit_budget, step_seconds
from lssl_augment.evaluation.benchmark.records import append_record, read_records, write_csv
from lssl_augment.evaluation.benchmark.sequence_cells import SEQUENCE_REGIME, sequence_classes, why_no_sequences
from lssl_augment.evaluation.benchmark.setup import Cell, CellSetup
from lssl_augment.evaluation.protocol import BenchmarkProtocol
from lssl_augment.evaluation.sequences import parse_sequence_settings
from lssl_augment.faces.pack import FacePack
from lssl_augment.files import write_text

__all__ = ["BenchmarkConfig", "BenchmarkReport", "Progress", "Tell", "run_benchmark"]

#: Gets (cells done, cells in all, the cell just finished or None).
Progress = Callable[[int, int, Cell | None], None]
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
            words. report: file, or None. todo_s: what the cells that are left take on one worker, by that measure.
    """

    out: Path
    done: int
    ran: int
    planned: int
    steps: int
    step_seconds: float | None
    left_out: list[str]
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
        before = _settings(config.out)
        keep = config.keep_steps
        if "steps" in before and not keep:
            setup = replace(setup, protocol=replace(setup.protocol, steps=before["steps"]))
            keep = True
        done = _done(config.out, setup)
        todo = [cell for cell in cells if cell not in done]
        measured, todo_s = None, None
        own_s: dict[str, float] = {}
        if todo and (config.budget_s is not None or config.dry_run):
            with _threads(config.workers):
                measured = step_seconds(setup.protocol, len(setup.classes), config.device)
                own_s = _sequence_seconds(setup, todo)
            each = setup.protocol.steps * measured
            todo_s = sum(own_s.get(cell.arm, each) for cell in todo if base_of(cell) is None)
        if todo and config.budget_s is not None and measured is not None:
            trained = [cell for cell in todo if base_of(cell) is None]
            fitted = fit_budget(
                setup.protocol, trained, config.budget_s, measured, config.workers, keep_steps=keep, cell_seconds=own_s
            )
            there = done | set(fitted.cells)
            todo = fitted.cells + [cell for cell in todo if base_of(cell) in there]
            left_out += [f"budget: {words}" for words in fitted.left_out]
            setup = replace(setup, protocol=replace(setup.protocol, steps=fitted.steps))
        report = BenchmarkReport(
            config.out, len(done), 0, len(cells), setup.protocol.steps, measured, left_out, todo_s=todo_s
        )
        if config.dry_run:
            return report
        _keep_settings(config.out, setup, before)
        deadline = None if config.budget_s is None else begin + config.budget_s
        ran, late = _run_all(setup, todo, config.workers, deadline, progress)
        if late:
            left_out.append(f"budget: {late} more cells, as cells took longer than the measured steps promised")
        _write_json(config.out / "left_out.json", left_out)
        if tell is not None:
            tell(f"{len(done) + ran} cells in {config.out}")
        write_csv(config.out)
        return replace(report, done=len(done) + ran, ran=ran, report=_write_report(config.out, tell))


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
        if len(config.seeds) < 5:
            notes.append(f"{len(config.seeds)} seeds only")
        setup = CellSetup(
            protocol=replace(protocol, arms=tuple(arms), seeds=len(config.seeds)),
            pack=config.pack.absolute(),
            out=config.out.absolute(),
            classes=classes,
            wishes=config.wishes,
            device=config.device,
            simulated=pack.simulated,
            notes=tuple(notes),
            environment=_environment(config),
            git_commit=_commit(),
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
    if why or (wishes.trains and key not in wishes.weights):
        return why
    try:
        for fold in range(folds):
            for regime in config.protocol.regimes[:1]:
                given_generator(key, wishes, pack, splits, fold, regime)
    except LeakageError as error:
        if key in wishes.weights:
            raise
        return str(error)
    return ""


def _run_all(
    setup: CellSetup, todo: Sequence[Cell], workers: int, deadline: float | None, progress: Progress | None
) -> tuple[int, int]:
    """Run cells; every record is on disk before the next one is waited for. Returns (ran, not begun in time)."""
    tell = progress or (lambda *_: None)
    tell(0, len(todo), None)
    ran, longest = 0, 0.0
    queue = [cell for cell in todo if base_of(cell) is None]
    derived = [cell for cell in todo if base_of(cell) is not None]

    def keep(record: dict[str, Any], cell: Cell) -> None:
        nonlocal ran
        append_record(setup.out, record)
        ran += 1
        tell(ran, len(todo), cell)

    def follow(record: dict[str, Any]) -> None:
        """Cells that use the classifier of this record take no time: they are done at once."""
        for cell in [c for c in derived if base_of(c) == _cell_of(record)]:
            derived.remove(cell)
            keep(derived_record(setup, cell, record), cell)

    for record in read_records(setup.out) if derived else []:
        follow(record)

    def late() -> bool:
        # A cell that surely cannot end in time is not begun; the first one always is.
        return deadline is not None and ran > 0 and time.monotonic() + longest > deadline

    if workers == 1:
        while queue and not late():
            cell, begin = queue.pop(0), time.monotonic()
            record = run_cell(setup, cell)
            longest = time.monotonic() - begin
            keep(record, cell)
            follow(record)
        return ran, len(queue) + len(derived)
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_begin_work, initargs=(threads, os.getpid())
    ) as pool:
        running: dict[Future[dict[str, Any]], tuple[Cell, float]] = {}
        try:
            while running or (queue and not late()):
                while queue and len(running) < workers and not late():
                    cell = queue.pop(0)
                    running[pool.submit(run_cell, setup, cell)] = cell, time.monotonic()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    cell, begin = running.pop(future)
                    longest = time.monotonic() - begin
                    keep(future.result(), cell)
                    follow(future.result())
        except BaseException:
            # What has ended meanwhile is kept; what is under way is given up.
            for future in running:
                if future.done() and not future.cancelled() and future.exception() is None:
                    append_record(setup.out, future.result())
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise
    return ran, len(queue) + len(derived)


def _begin_work(threads: int, parent: int) -> None:
    """In a worker: its share of threads, and an end when the run is killed, or it would wait for work for ever."""
    torch.set_num_threads(threads)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _done(out: Path, setup: CellSetup) -> set[Cell]:
    """Cells that are finished; ``DataError`` where they are of another benchmark."""
    found = set()
    for r in read_records(out):
        mine: tuple[Any, ...] = (setup.protocol.name, setup.protocol.classifier, list(setup.classes))
        if find_arm(r["arm"]).sequences:
            mine = (setup.protocol.name, r["arm"], list(sequence_classes(setup.classes)))
        if (r["protocol"], r["classifier"], r["classes"]) != mine:
            raise DataError(f"{out} holds results of {r['protocol']} with {r['classifier']}; choose another --out")
        found.add(_cell_of(r))
    return found


def _cell_of(record: dict[str, Any]) -> Cell:
    return Cell(*(record[key] for key in Cell._fields))


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


def _identity(setup: CellSetup) -> dict[str, Any]:
    """What must be the same for two cells to be compared, or to be put into one folder."""
    p = setup.protocol
    values = {
        k: getattr(p, k) for k in ("name", "task", "classifier", "face_size_px", "steps", "batch", "learning_rate")
    }
    values |= {"key_frames": p.key_frames, "sequence_settings": list(p.sequence_settings)}
    values |= {"targets": p.targets, "share": p.share, "classes": list(setup.classes), "amounts": list(p.amounts)}
    w = setup.wishes
    values |= {"weights": dict(w.weights), "train_steps": w.steps, "train_hours": w.hours, "min_score": w.min_score}
    return values | {"settings": list(w.settings), "lssl_preset": w.lssl_preset, "simulated": setup.simulated}


def _settings(out: Path) -> dict[str, Any]:
    path = out / "settings.json"
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return values


def _keep_settings(out: Path, setup: CellSetup, before: dict[str, Any]) -> None:
    now = _identity(setup)
    # Further generators may join later; those that were used must stay.
    changed = [k for k in now if k in before and k != "weights" and before[k] != now[k]]
    weights = {**before.get("weights", {}), **now["weights"]}
    changed += [f"weights of {k}" for k, v in before.get("weights", {}).items() if weights[k] != v]
    if changed:
        told = ", ".join(f"{k} (there {before.get(k)!r}, now {now.get(k)!r})" for k in changed)
        raise DataError(f"{out} holds a benchmark with other settings: {told}; choose another --out")
    _write_json(out / "settings.json", {**now, "weights": weights})


def _write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


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


def _environment(config: BenchmarkConfig) -> dict[str, Any]:
    threads = torch.get_num_threads() if config.workers == 1 else max(1, (os.cpu_count() or 1) // config.workers)
    cuda = torch.cuda.get_device_name() if config.device.startswith("cuda") else ""
    return {
        "lssl_augment": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": threads,
        "workers": config.workers,
        "device": cuda or config.device,
    }


def _commit() -> str:
    """Of the package's own checkout; empty when it is installed."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return ""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


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
