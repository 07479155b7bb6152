"""A writer thread, so that writing and thinking overlap."""

from __future__ import annotations

import queue
import threading
import time
from types import TracebackType

import numpy as np

from lssl_augment.synthesis.writer import RunFile

__all__ = ["BackgroundWriter"]

_Block = tuple[int, np.ndarray, np.ndarray, np.ndarray]


class BackgroundWriter:
    """Writes blocks to a run file in the order they are put; use as a context manager.

    On leaving, also by an exception or Ctrl-C, everything put so far is written and marked.

    Args:
        file: where to. mark_every_s: seconds of work a kill may cost.

    Attributes:
        seconds: time spent writing and marking.
    """

    def __init__(self, file: RunFile, mark_every_s: float) -> None:
        self.seconds = 0.0
        self._file = file
        self._mark_every_s = mark_every_s
        self._queue: queue.Queue[_Block | None] = queue.Queue(maxsize=4)  # bounds the memory
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="lssl-writer", daemon=True)

    def __enter__(self) -> BackgroundWriter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()
        if kind is None:
            self._raise()

    def put(self, first_row: int, images: np.ndarray, scores: np.ndarray, accepted: np.ndarray) -> None:
        """Hand over a block (see ``RunFile.write``); raises what an earlier block's writing raised."""
        self._raise()
        self._queue.put((first_row, images, scores, accepted))

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        marked = time.monotonic()
        while (block := self._queue.get()) is not None:
            if self._error is not None:
                continue  # keep emptying the queue, so that put() never waits for ever
            begin = time.perf_counter()
            try:
                self._file.write(*block)
                if time.monotonic() - marked >= self._mark_every_s:
                    self._file.mark()
                    marked = time.monotonic()
            except BaseException as error:
                self._error = error
            self.seconds += time.perf_counter() - begin
        begin = time.perf_counter()
        try:
            if self._error is None:
                self._file.mark()
        except BaseException as error:
            self._error = error
        self.seconds += time.perf_counter() - begin
