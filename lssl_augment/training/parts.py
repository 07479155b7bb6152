"""A step's batch in parts: some for each process, some one after another to save memory.

What a step draws, it draws for the whole batch, and each process keeps its parts. So two processes, or one process that
accumulates two parts, learn from the same faces with the same targets as one process with a batch twice as large.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lssl_augment.errors import TrainingError
from lssl_augment.training.config import TrainConfig
from lssl_augment.training.distributed import average_gradients, process_count, process_rank

__all__ = ["Parts", "fit_to_processes", "part_generator", "update"]


@dataclass(frozen=True)
class Parts:
    """Which parts of a step's batch are this process's.

    Attributes:
        total: parts in all, each of ``config.batch`` faces; mine: numbers of this process's.
    """

    total: int
    mine: range

    @classmethod
    def of(cls, config: TrainConfig) -> Parts:
        """``config.accumulate`` parts for each process."""
        count, first = config.accumulate, process_rank() * config.accumulate
        return cls(process_count() * count, range(first, first + count))

    def slices(self, rows: int) -> list[slice]:
        """Rows of each part of mine in what was drawn for the whole batch of ``rows``."""
        size = rows // self.total
        return [slice(part * size, (part + 1) * size) for part in self.mine]


def part_generator(seed: int, step: int, part: int) -> np.random.Generator:
    """For objectives that draw part by part: a generator keyed on (seed, step, part)."""
    # Steps stay below 2^48; part 0 is keyed as if there were no parts.
    return np.random.Generator(np.random.Philox(key=[seed, step + (part << 48)]))


def update(
    name: str,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    parts: Sequence[Sequence[Any]],
    terms: Callable[..., Mapping[str, Tensor]],
    *,
    max_norm: float | None = None,
) -> dict[str, Tensor]:
    """One optimiser step on all parts of a batch, over all processes.

    Args:
        name: ``terms(*part)[f"{name}/total"]`` is the loss, one sum for one backward pass; a mean over rows.
        parts: this process's. max_norm: of the gradient of the whole batch, which is cut to it.

    Returns:
        Means of the terms over this process's parts, detached; with ``max_norm`` also ``f"{name}/grad_norm"``.
    """
    optimizer.zero_grad(set_to_none=True)
    found = []
    for part in parts:
        values = terms(*part)
        (values[f"{name}/total"] / len(parts)).backward()
        found.append({key: value.detach() for key, value in values.items()})
    average_gradients(module)
    norm = None if max_norm is None else nn.utils.clip_grad_norm_(module.parameters(), max_norm)
    optimizer.step()
    means = found[0] if len(found) == 1 else _means(found)
    return means if norm is None else {**means, f"{name}/grad_norm": norm.detach()}


def fit_to_processes(config: TrainConfig) -> TrainConfig:
    """The configuration for as many processes as there are now, with as many parts a step as before.

    A run that began with four processes goes on in one that accumulates four parts, and learns from the same batches.

    Raises:
        TrainingError: the parts cannot be shared out evenly.
    """
    total, count = config.processes * config.accumulate, process_count()
    if total % count:
        raise TrainingError(
            f"a step of this run has {total} parts ({config.processes} processes, accumulate {config.accumulate}), "
            f"which {count} processes cannot share evenly; go on with a number of processes that divides {total}"
        )
    return replace(config, processes=count, accumulate=total // count)


def _means(found: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    rows = list(found)
    return {key: torch.stack([row[key].float() for row in rows]).mean() for key in rows[0]}
