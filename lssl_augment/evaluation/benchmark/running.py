"""Running cells, one after another or in worker processes; what has ended is on disk before anything else begins."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any

from lssl_augment.errors import LeakageError, LSSLError
from lssl_augment.evaluation.benchmark.cells import base_of, derived_record, run_cell
from lssl_augment.evaluation.benchmark.one_gpu import share_one_gpu, shares_a_gpu
from lssl_augment.evaluation.benchmark.records import append_record, read_records
from lssl_augment.evaluation.benchmark.setup import Cell, CellSetup, cell_of
from lssl_augment.evaluation.benchmark.workers import begin_work

__all__ = ["Progress", "run_cells"]

#: Gets (cells done, cells in all, the cell just finished or None).
Progress = Callable[[int, int, Cell | None], None]


def run_cells(
    setup: CellSetup,
    todo: Sequence[Cell],
    workers: int,
    deadline: float | None,
    progress: Progress | None,
    together: int = 1,
) -> tuple[int, int, list[str]]:
    """Run cells; every record is on disk before the next one is waited for.

    So many of the first cells are run ``together`` or not at all: a deadline does not come between them.

    A cell that cannot be run (a generator that its faces cannot train, say) takes those of its arm, regime and fold
    with it; the others go on.

    Returns:
        Cells run, cells not begun in time, and what could not be run and why.

    Raises:
        LeakageError: at once. LSSLError: no cell could be run.
    """
    tell = progress or (lambda *_: None)
    tell(0, len(todo), None)
    ran, longest = 0, 0.0
    queue = [cell for cell in todo if base_of(cell) is None]
    derived = [cell for cell in todo if base_of(cell) is not None]
    failed: list[str] = []
    begun_with = set(queue[:together])

    def keep(record: dict[str, Any], cell: Cell) -> None:
        nonlocal ran
        append_record(setup.out, record)
        ran += 1
        tell(ran, len(todo), cell)

    def follow(record: dict[str, Any]) -> None:
        """Cells that use the classifier of this record take no time: they are done at once."""
        for cell in [c for c in derived if base_of(c) == cell_of(record)]:
            derived.remove(cell)
            keep(derived_record(setup, cell, record), cell)

    for record in read_records(setup.out) if derived else []:
        follow(record)

    def give_up(cell: Cell, error: LSSLError) -> None:
        """Leave out what would fail in the same way."""
        words = f"{cell.arm}, {cell.regime}, fold {cell.fold}: {error}"
        if words not in failed:  # one that ran beside it says the same
            failed.append(words)
        for rest in (queue, derived):
            rest[:] = [c for c in rest if _group(base_of(c) or c) != _group(cell)]
        if not queue and not ran and not running and not sharing:
            raise error

    def late() -> bool:
        # A cell that surely cannot end in time is not begun; the first ones that are trained always are.
        if begun_with.intersection(queue):
            return False
        return deadline is not None and longest > 0 and time.monotonic() + longest > deadline

    running: dict[Future[dict[str, Any]], tuple[Cell, float]] = {}
    sharing: set[Cell] = set()

    def next_sharing() -> Cell | None:
        cell = None if late() else next((c for c in queue if shares_a_gpu(setup, c, workers)), None)
        if cell is not None:
            queue.remove(cell)
            sharing.add(cell)
        return cell

    def ended(cell: Cell, record: dict[str, Any], seconds: float) -> None:
        nonlocal longest
        longest = seconds
        sharing.remove(cell)
        keep(record, cell)
        follow(record)

    def could_not(cell: Cell, error: LSSLError) -> None:
        if isinstance(error, LeakageError):
            raise error
        sharing.remove(cell)
        give_up(cell, error)

    if any(shares_a_gpu(setup, cell, workers) for cell in queue):
        share_one_gpu(setup, workers, next_sharing, ended, could_not)
        workers = 1  # what is left would only wait for the same GPU
    if workers == 1:
        while queue and not late():
            cell, begin = queue.pop(0), time.monotonic()
            try:
                record = run_cell(setup, cell)
            except LSSLError as error:
                if isinstance(error, LeakageError):
                    raise
                give_up(cell, error)
                continue
            longest = time.monotonic() - begin
            keep(record, cell)
            follow(record)
        return ran, len(queue) + len(derived), failed
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=begin_work, initargs=(threads, os.getpid())
    ) as pool:
        try:
            while running or (queue and not late()):
                while queue and len(running) < workers and not late():
                    cell = queue.pop(0)
                    running[pool.submit(run_cell, setup, cell)] = cell, time.monotonic()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    cell, begin = running.pop(future)
                    why = future.exception()
                    if isinstance(why, LSSLError) and not isinstance(why, LeakageError):
                        give_up(cell, why)
                        continue
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
    return ran, len(queue) + len(derived), failed


def _group(cell: Cell) -> tuple[str, str, int]:
    return cell.arm, cell.regime, cell.fold
