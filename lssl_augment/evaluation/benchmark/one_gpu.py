"""Cells on one GPU: worker processes draw the batches, this one trains all their classifiers in turn.

Processes that each train on the same GPU spend their time waiting for it. Here the workers never touch it: each puts
the batches of its cell into a ring of shared memory and, when the classifier has been tested, writes the record.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lssl_augment.errors import LSSLError, TrainingError
from lssl_augment.evaluation.benchmark.arms import find_arm
from lssl_augment.evaluation.benchmark.cells import cell_faces, classifier_config, draw_batches, finish_cell, tested
from lssl_augment.evaluation.benchmark.setup import Cell, CellSetup
from lssl_augment.evaluation.benchmark.workers import begin_work
from lssl_augment.evaluation.classifiers.precision import uses_bf16
from lssl_augment.evaluation.classifiers.trainee import BatchForm, Trainee

__all__ = ["share_one_gpu", "shares_a_gpu"]

#: Batches that a worker may be ahead.
_AHEAD = 24
#: Bytes between the two counters and what a batch begins at a multiple of: the two sides share no cache line.
_APART = 64
#: Seconds that a worker or this process looks away when there is nothing to do.
_WAIT_S = 0.0003


def shares_a_gpu(setup: CellSetup, cell: Cell, workers: int) -> bool:
    """Whether a cell is one of those that :func:`share_one_gpu` runs."""
    arm = find_arm(cell.arm)
    one = setup.device.startswith("cuda") and workers > 1 and not setup.protocol.classifier.startswith("timm:")
    return one and setup.protocol.task != "judge" and not arm.sequences and arm.extra != "loop"


class _Ring:
    """Batches of one worker in shared memory: the worker writes, the trainer reads, each counts its own."""

    def __init__(self, form: BatchForm, name: str | None = None) -> None:
        self._form, self._slot = form, -(-form.size // _APART) * _APART
        size = 2 * _APART + _AHEAD * self._slot
        self.memory = SharedMemory(name=name, create=name is None, size=size)
        self.bytes = torch.frombuffer(self.memory.buf, dtype=torch.uint8, count=size)
        self._written = np.ndarray((1,), np.int64, buffer=self.memory.buf)
        self._read = np.ndarray((1,), np.int64, buffer=self.memory.buf, offset=_APART)
        if name is None:
            self._written[0] = self._read[0] = 0

    def _place(self, index: int) -> Tensor:
        begin = 2 * _APART + (index % _AHEAD) * self._slot
        return self.bytes[begin : begin + self._form.size]

    def put(self, images: Tensor, labels: Tensor) -> None:
        while self._written[0] - self._read[0] >= _AHEAD:
            time.sleep(_WAIT_S)
        self._form.write(self._place(int(self._written[0])), images, labels)
        self._written[0] += 1

    def next(self) -> Tensor | None:
        """The next batch, if it is there; it stays until :meth:`release`."""
        return self._place(int(self._read[0])) if self._written[0] > self._read[0] else None

    def release(self) -> None:
        self._read[0] += 1

    def clear(self) -> None:
        """Pass over what a worker wrote that will write no more of it."""
        self._read[0] = self._written[0]

    def close(self, *, unlink: bool) -> None:
        del self.bytes, self._written, self._read
        try:
            self.memory.close()
        except BufferError:  # something still looks at it; it goes with the process
            pass
        if unlink:
            self.memory.unlink()


def share_one_gpu(
    setup: CellSetup,
    workers: int,
    next_cell: Callable[[], Cell | None],
    ended: Callable[[Cell, dict[str, Any], float], None],
    failed: Callable[[Cell, LSSLError], None],
) -> None:
    """Run cells until there is none left.

    Args:
        setup: whose ``device`` trains; synthetic faces are made by the workers, on the CPU.
        next_cell: the next one to begin; None: no more. ended: gets a cell, its record and its seconds. failed: gets a
            cell that cannot be run, and why.

    Raises:
        what ``ended`` and ``failed`` raise; workers are then stopped.
    """
    device = torch.device(setup.device)
    config = classifier_config(setup, 0)
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // workers)
    team: list[_Member] = []
    try:
        with torch.backends.cudnn.flags(deterministic=True, benchmark=False):
            for _ in range(workers):
                team.append(_Member(setup, config, device, context, threads))
            # A member without work may get some later, when a cell fails and others take its place.
            while any([member.go_on(next_cell, ended, failed) for member in team]):
                if not any(member.moved for member in team):
                    time.sleep(_WAIT_S)
    finally:
        for member in team:
            member.stop()


class _Member:
    """A worker, its ring and the classifier that it feeds."""

    def __init__(self, setup: CellSetup, config: Any, device: torch.device, context: Any, threads: int) -> None:
        self.trainee = Trainee(len(setup.classes), config, setup.protocol.batch, device)
        self.ring = _Ring(self.trainee.form)
        if device.type == "cuda":  # copied from without a detour; where that is refused, with one
            torch.cuda.cudart().cudaHostRegister(self.ring.bytes.data_ptr(), self.ring.bytes.numel(), 0)
        self.line, theirs = context.Pipe()
        bf16 = uses_bf16(config.precision, device)
        args = (replace(setup, device="cpu"), theirs, self.ring.memory.name, bf16, threads, os.getpid())
        self.process = context.Process(target=_work, args=args)
        self.process.start()
        theirs.close()
        self.steps = setup.protocol.steps
        self.cell: Cell | None = None
        self.begun = 0.0
        self.test: Tensor | None = None
        self.reading = False
        #: Whether the last :meth:`go_on` did anything.
        self.moved = False

    def go_on(self, next_cell: Any, ended: Any, failed: Any) -> bool:
        """Do what can be done without waiting; returns whether there is anything left to wait for."""
        self.moved = False
        if self.cell is None:
            self.cell = next_cell()
            if self.cell is None:
                return False
            self.begun, self.moved = time.monotonic(), True
            self._tell(self.cell)
        if self.test is not None:
            self._train()
        if not self.moved:  # a worker speaks before its batches, after them, and where it fails
            if self.line.poll():
                self._hear(ended, failed)
            else:
                self._worker_there()
        return True

    def _worker_there(self) -> None:
        if not self.process.is_alive():
            assert self.cell is not None
            raise TrainingError(
                f"a worker was ended while it drew batches of {self.cell.name}, for want of memory perhaps; start "
                "the command again with fewer --workers: finished cells are kept"
            )

    def _tell(self, what: Any) -> None:
        try:
            self.line.send(what)
        except OSError:  # nobody is there to read it
            self.process.join()
            self._worker_there()
            raise

    def _hear(self, ended: Any, failed: Any) -> None:
        assert self.cell is not None
        try:
            what, said = self.line.recv()
        except (EOFError, OSError):  # it ended in the middle of a word, or before it
            self.process.join()
            self._worker_there()
            raise
        self.moved = True
        if what == "test":
            self.test = said
            self.trainee.begin(self.cell.seed)
            return
        cell, self.cell, self.test = self.cell, None, None
        self._forget()
        if what == "record":
            ended(cell, said, time.monotonic() - self.begun)
        elif isinstance(said, LSSLError):
            failed(cell, said)
        else:
            raise said

    def _forget(self) -> None:
        """A cell that failed among its batches leaves some behind, and perhaps a step under way; the next has none."""
        while not self.trainee.idle():
            time.sleep(_WAIT_S)
        self.ring.clear()
        self.reading = False

    def _train(self) -> None:
        if self.reading:
            if not self.trainee.idle():
                return
            self.ring.release()
            self.reading, self.moved = False, True
            if self.trainee.steps == self.steps:
                assert self.test is not None
                try:
                    answer: Any = self.trainee.predict(self.test).numpy()
                except TrainingError as error:
                    answer = error
                self._tell(answer)
                self.test = None
                return
        data = self.ring.next()
        if data is not None:
            self.trainee.step(data)
            self.reading = self.moved = True

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        if self.trainee.device.type == "cuda":
            torch.cuda.synchronize(self.trainee.device)
            torch.cuda.cudart().cudaHostUnregister(self.ring.bytes.data_ptr())
        self.ring.close(unlink=True)


def _work(setup: CellSetup, line: Connection, ring_name: str, bf16: bool, threads: int, parent: int) -> None:
    """In a worker: draw the batches of cells as they come, write their records."""
    begin_work(threads, parent)
    form = BatchForm(setup.protocol.batch, setup.protocol.face_size_px, len(setup.classes), bf16=bf16)
    ring = _Ring(form, ring_name)
    while True:
        try:
            cell: Cell = line.recv()
        except (EOFError, KeyboardInterrupt):  # the run has ended
            return
        begin = time.perf_counter()
        try:
            faces = cell_faces(setup, cell.fold, cell.regime, setup.protocol.face_size_px)
            drawn = draw_batches(setup, cell, find_arm(cell.arm), faces)
            line.send(("test", faces.test.images))
            own = torch.Generator().manual_seed(cell.seed)
            for _ in range(setup.protocol.steps):
                ring.put(*drawn.batches(own))
            answer = line.recv()
            if isinstance(answer, Exception):
                raise answer
            result = tested(drawn, faces, answer)
            line.send(("record", finish_cell(setup, cell, faces, result, time.perf_counter() - begin)))
        except Exception as error:
            line.send(("failed", error))
