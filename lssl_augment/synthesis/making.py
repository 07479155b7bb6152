"""From a resolved run to images: sources in blocks, each encoded once, edited part by part.

Blocks and parts follow from the plan and the batch size alone, so that the networks see the same batches
however often a run is killed and resumed; that is what makes the bytes the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lssl_augment.faces.resize import resize_images, scale_dense
from lssl_augment.synthesis.run import Run

__all__ = ["Part", "Sources", "Stopwatch", "encode", "load_sources", "make_part", "make_parts", "parts_of"]

#: What is timed.
STAGES = ("sources", "network", "gate", "writing")


class Stopwatch:
    """Seconds spent in each stage.

    Attributes:
        seconds: stage → seconds.
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self._last = time.perf_counter()

    def begin(self) -> None:
        """Forget the time since the last stage."""
        self._last = time.perf_counter()

    def end(self, stage: str) -> None:
        """Count the time since :meth:`begin` or the last stage's end."""
        now = time.perf_counter()
        self.seconds[stage] += now - self._last
        self._last = now


@dataclass(frozen=True, eq=False)
class Sources:
    """The source faces of a block.

    Attributes:
        images: ``(B, S, S, 3)`` uint8. dense: ``(B, 478, 3)`` float32, or None. labels: ``(B,)`` int64.
        owner: which of the B each row of the block is made from, ``(R,)`` int64.
        seconds: taken to get them.
    """

    images: np.ndarray
    dense: np.ndarray | None
    labels: np.ndarray
    owner: np.ndarray
    seconds: float


@dataclass(frozen=True, eq=False)
class Part:
    """Finished rows of the plan: images ``(R, S, S, 3)`` uint8 and scores ``(R,)`` float32, NaN where unscored."""

    rows: slice
    images: np.ndarray
    scores: np.ndarray


def make_parts(run: Run, done: int, watch: Stopwatch) -> Iterator[Part]:
    """Make the rows from ``done`` on, in order; the next block's sources are fetched in the background.

    Args:
        run: what to make. done: rows that are there already; an end of a part. watch: counts the seconds.
    """
    todo = [block for block in run.plan.blocks(run.config.batch) if block.stop > done]
    with ThreadPoolExecutor(1, thread_name_prefix="lssl-sources") as pool:
        waiting = [pool.submit(load_sources, run, block) for block in todo[:1]]
        for i, block in enumerate(todo):
            sources = waiting.pop().result()
            waiting += [pool.submit(load_sources, run, later) for later in todo[i + 1 : i + 2]]
            watch.seconds["sources"] += sources.seconds
            watch.begin()
            faces = encode(run, sources)
            watch.end("network")
            for rows in parts_of(run, block):
                if rows.start >= done:
                    watch.begin()
                    yield make_part(run, faces, sources.owner[rows.start - block.start :], rows, watch)


def parts_of(run: Run, block: slice) -> list[slice]:
    """Runs of at most ``batch`` rows: what is edited at once and what a journal can point between."""
    edges = [*range(block.start, block.stop, run.config.batch), block.stop]
    return [slice(a, b) for a, b in pairwise(edges)]


def load_sources(run: Run, block: slice) -> Sources:
    """Get the faces of a block, at the generator's size."""
    begin = time.perf_counter()
    ids = run.plan.source_ids[block]
    starts = np.diff(ids, prepend=ids[:1] - 1) != 0
    images, dense = run.source.load(ids[starts])
    size = run.loaded.engine.face_size_px
    if images.shape[1] != size:
        dense = None if dense is None else scale_dense(dense, size / images.shape[1])
        images = resize_images(images, size)
    labels = run.plan.source_labels[block][starts]
    return Sources(images, dense, labels, np.cumsum(starts) - 1, time.perf_counter() - begin)


@torch.inference_mode()
def encode(run: Run, sources: Sources) -> Any:
    """Encode each source of a block once."""
    device = run.loaded.device
    dense = None if sources.dense is None else torch.from_numpy(sources.dense).to(device)
    return run.loaded.engine.encode(to_unit(sources.images, device), dense, torch.from_numpy(sources.labels).to(device))


@torch.inference_mode()
def make_part(run: Run, faces: Any, owner: np.ndarray, rows: slice, watch: Stopwatch) -> Part:
    """Edit and score consecutive rows of the plan.

    Args:
        faces: encoded sources of the block. owner: which of them each row is made from; more may follow.
        rows: of the plan. watch: counts the seconds.
    """
    plan, device = run.plan, run.loaded.device
    # Asked for only where it is wanted: an engine of one's own need not know of poses.
    yaws = plan.yaws[rows]
    turned = {} if np.isnan(yaws).all() else {"yaw_deg": torch.from_numpy(yaws).to(device)}
    edited = run.loaded.engine.edit(
        faces.select(torch.from_numpy(owner[: rows.stop - rows.start]).to(device)),
        torch.from_numpy(plan.targets[rows]).to(device),
        torch.from_numpy(plan.intensities[rows]).to(device),
        torch.from_numpy(plan.seeds[rows]).to(device),
        **turned,
    )
    images = to_uint8(edited)  # waits for the device, so the seconds are the network's own
    watch.end("network")
    scores = np.full(len(images), np.nan, np.float32)
    if run.gate is not None:
        scores = run.gate(edited, plan.targets[rows])
        watch.end("gate")
    return Part(rows, images, scores)


def to_unit(images: np.ndarray, device: str) -> Tensor:
    """``(B, S, S, 3)`` uint8 → ``(B, 3, S, S)`` float32 in [-1, 1] on the device."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def to_uint8(images: Tensor) -> np.ndarray:
    """``(R, 3, S, S)`` float in [-1, 1] → ``(R, S, S, 3)`` uint8 on the CPU."""
    scaled = images.float().add(1.0).mul(127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
