"""How a worker process of a benchmark begins."""

from __future__ import annotations

import os
import threading
import time

import torch

from lssl_augment.memory import keep_memory

__all__ = ["begin_work"]


def begin_work(threads: int, parent: int) -> None:
    """In a worker: its share of threads, and an end when the run is killed, or it would wait for work for ever."""
    keep_memory()
    torch.set_num_threads(threads)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
