"""Random words for one row of one batch, keyed on numbers alone.

Row *i* gets the same words whatever the batch around it, and no global generator is read or moved. The words
come from numpy's ``SeedSequence``, whose output is promised never to change between numpy versions.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import get_worker_info

__all__ = ["MAX_SEED", "DrawKey", "fresh_seed", "unit_interval", "worker_place"]

#: Largest seed accepted; seeds are stored as int64.
MAX_SEED = 2**63 - 1


def fresh_seed() -> int:
    """A seed from the operating system's entropy, in [0, 2**63)."""
    return int.from_bytes(os.urandom(8), "little") >> 1


def worker_place() -> tuple[int, int]:
    """``(worker, base_seed)`` of this process: 0 and 0 outside a ``DataLoader`` worker, else id + 1 and the
    loader's base seed, which the loader draws anew every epoch."""
    info = get_worker_info()
    return (0, 0) if info is None else (info.id + 1, info.seed - info.id)


@dataclass(frozen=True)
class DrawKey:
    """What a draw depends on besides the row.

    Args:
        seed: the transform's seed.
        epoch: as set by ``set_epoch``, or None when it never was.
        worker: 0 in the main process, id + 1 in a ``DataLoader`` worker.
        base_seed: the loader's seed of the epoch; 0 in the main process or when the epoch was set.
        call: number of batches drawn before this one, in this process and epoch.
        by_index: the rows are dataset indices, so worker and call are left out.
    """

    seed: int
    epoch: int | None
    worker: int
    base_seed: int
    call: int
    by_index: bool

    def words(self, rows: Sequence[int], count: int = 4) -> np.ndarray:
        """Independent random words for each row, shape ``(len(rows), count)`` uint64."""
        epoch = 0 if self.epoch is None else self.epoch + 1
        fixed = [self.seed, epoch, self.worker, self.base_seed % 2**64, self.call, int(self.by_index)]
        out = np.empty((len(rows), count), np.uint64)
        for i, row in enumerate(rows):
            # Fixed-width words: a list of plain integers would make (2**32,) and (0, 1) the same entropy.
            entropy = np.array([*fixed, row], np.uint64).view(np.uint32)
            out[i] = np.random.SeedSequence(entropy.tolist()).generate_state(count, np.uint64)
        return out


def unit_interval(words: np.ndarray) -> np.ndarray:
    """uint64 words → float64 in [0, 1), 53 bits each."""
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
