"""Photographs → faces in parts: here, in threads, or in worker processes; the parts are the same however made.

A worker process takes a part at a time, writes it to the journal itself and says only that it has. It works with
one thread in torch and OpenCV, ends with the process that started it, and leaves Ctrl-C to that.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lssl_augment.datasets.cut import CutFace, FaceCutter
from lssl_augment.datasets.prepare_journal import FacePart, write_part
from lssl_augment.datasets.records import Record
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError
from lssl_augment.faces.align import FACE_SIZE_PX
from lssl_augment.faces.backends.base import FoundFace, LandmarkBackend

__all__ = ["PRECOMPUTED", "Chunk", "cut_chunk", "cut_here", "cut_in_processes"]

#: Photographs of one part, with its number.
Chunk = tuple[int, Sequence[Record]]
#: What landmarks are "from" that came with the data set, or with the photograph that was made.
PRECOMPUTED = "precomputed"

#: Photographs that wait, cut, until those before them are.
_AHEAD = 16


class _OneThread:
    """One thread in torch from :meth:`begin` on, so that sums are added up in the same order in every worker."""

    def __init__(self) -> None:
        self._before: int | None = None
        self._lock = threading.Lock()

    def begin(self) -> None:
        import torch  # late: not every data set needs a network

        with self._lock:
            if self._before is None:
                self._before = torch.get_num_threads()
                torch.set_num_threads(1)

    def end(self) -> None:
        if self._before is not None:
            sys.modules["torch"].set_num_threads(self._before)


class _Watched:
    """A backend that remembers, for the thread that calls it, whether it was asked."""

    def __init__(self, backend: LandmarkBackend, one_thread: _OneThread) -> None:
        self._backend, self._one_thread = backend, one_thread
        self._local = threading.local()
        self.name, self.gives_dense, self.notes = backend.name, backend.gives_dense, backend.notes

    def load(self) -> None:
        self._backend.load()

    def __call__(self, photo: np.ndarray) -> FoundFace | None:
        self._local.asked = True
        self._one_thread.begin()
        return self._backend(photo)

    def forget(self) -> None:
        self._local.asked = False

    @property
    def asked(self) -> bool:
        return bool(getattr(self._local, "asked", False))


class _Cut:
    """Cuts one photograph and tells what found its landmarks."""

    def __init__(self, cutter: FaceCutter) -> None:
        self._one_thread = _OneThread()
        self._watched = None if cutter.backend is None else _Watched(cutter.backend, self._one_thread)
        self._cutter = replace(cutter, backend=self._watched)
        if cutter.fill_dense:
            self._one_thread.begin()

    def __call__(self, record: Record) -> tuple[CutFace | str, str]:
        if self._watched is None:
            return self._cutter(record), PRECOMPUTED
        self._watched.forget()
        face = self._cutter(record)
        return face, self._watched.name if self._watched.asked else PRECOMPUTED

    def end(self) -> None:
        self._one_thread.end()


def cut_chunk(records: Sequence[Record], cutter: FaceCutter) -> FacePart:
    """The part of some photographs."""
    cut = _Cut(cutter)
    try:
        return _part([cut(record) for record in records])
    finally:
        cut.end()


def cut_here(
    chunks: Sequence[Chunk], cutter: FaceCutter, workers: int, folder: Path, progress: Callable[[int], None]
) -> None:
    """Make parts in threads of this process and write them to the journal, in order.

    Args:
        chunks: to be made. workers: threads. folder: of the journal. progress: gets 1 after each photograph.
    """
    cut = _Cut(cutter)
    try:
        with contextlib.closing(_in_order(chunks, cut, workers)) as results:
            for index, records in chunks:
                done = []
                for _ in records:
                    done.append(next(results))
                    progress(1)
                write_part(folder, index, _part(done))
    finally:
        cut.end()


def cut_in_processes(
    chunks: Sequence[Chunk], cutter: FaceCutter, workers: int, folder: Path, progress: Callable[[int], None]
) -> None:
    """Make parts in worker processes, which write them to the journal.

    Args:
        chunks: to be made. workers: processes. folder: of the journal.
        progress: gets the number of photographs of each part that is done.

    Raises:
        DataError: a worker was killed, or the disk is full.
    """
    context = multiprocessing.get_context("spawn")  # forked workers inherit locks that other threads hold
    stop = context.Event()
    # A tree does not travel: each worker opens its own.
    arguments = (cutter.tree.root, cutter.use_file, cutter.backend, cutter.keep_dense, cutter.fill_dense, folder, stop)
    pool = ProcessPoolExecutor(workers, context, _start_worker, arguments)
    waiting: dict[Future[int], int] = {}
    todo = iter(chunks)
    try:
        while True:
            # A few more than there are workers, as the records of a part may be megabytes.
            for index, records in todo:
                waiting[pool.submit(_work, index, records)] = index
                if len(waiting) >= 2 * workers:
                    break
            if not waiting:
                break
            finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                del waiting[future]
                progress(future.result())
    except BrokenProcessPool as error:
        raise DataError(
            "a worker process was killed, perhaps because memory ran out; finished parts are kept. Run the same "
            "command again to go on, with fewer --workers if it happens again (a script that calls prepare with "
            'several workers must do so under `if __name__ == "__main__":`)'
        ) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _in_order(chunks: Sequence[Chunk], cut: _Cut, workers: int) -> Generator[tuple[CutFace | str, str], None, None]:
    """Cut in several threads, give in the order of the photographs; only a bounded number waits in memory."""
    records = (record for _, chunk in chunks for record in chunk)
    if workers == 1:
        yield from map(cut, records)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prepare")
    waiting: deque[Future[tuple[CutFace | str, str]]] = deque()
    try:
        for record in records:
            waiting.append(pool.submit(cut, record))
            if len(waiting) >= _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _part(results: Sequence[tuple[CutFace | str, str]]) -> FacePart:
    faces = [(i, face, found_by) for i, (face, found_by) in enumerate(results) if isinstance(face, CutFace)]
    skipped = [(i, face) for i, (face, _) in enumerate(results) if isinstance(face, str)]
    size = FACE_SIZE_PX
    dense = [face.dense for _, face, _ in faces if face.dense is not None]
    return FacePart(
        rows=np.array([i for i, _, _ in faces], np.int64),
        images=np.array([face.image for _, face, _ in faces], np.uint8).reshape(-1, size, size, 3),
        landmarks=np.array([face.landmarks for _, face, _ in faces], np.float32).reshape(-1, 68, 2),
        dense=np.array(dense, np.float32) if dense else None,
        landmarks_from=np.array([found_by for _, _, found_by in faces], np.str_),
        skipped=np.array([i for i, _ in skipped], np.int64),
        reasons=np.array([reason for _, reason in skipped], np.str_),
    )


# --- in a worker process -----------------------------------------------------------------------------------------

_worker: dict[str, Any] = {}


def _start_worker(
    root: Path,
    use_file: bool,
    backend: LandmarkBackend | None,
    keep_dense: bool,
    fill_dense: bool,
    folder: Path,
    stop: Any,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import cv2

    cv2.setNumThreads(1)
    cutter = FaceCutter(FileTree(root), use_file, backend, keep_dense, fill_dense)
    _worker.update(cut=_Cut(cutter), folder=folder, stop=stop)


def _work(index: int, records: Sequence[Record]) -> int:
    """Make and write one part; the number of its photographs, or 0 where work is to stop."""
    results = []
    for record in records:
        if _worker["stop"].is_set():
            return 0
        results.append(_worker["cut"](record))
    write_part(_worker["folder"], index, _part(results))
    return len(records)


def _end_with_parent() -> None:
    # A parent that is killed cannot tell its workers, and they would wait for work for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
