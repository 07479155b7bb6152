"""Which cells a run has, in which order, and which of them fit a budget."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from lssl_augment.errors import DataError
from lssl_augment.evaluation.benchmark.arms import find_arm
from lssl_augment.evaluation.benchmark.sequence_cells import SEQUENCE_REGIME
from lssl_augment.evaluation.benchmark.setup import Cell
from lssl_augment.evaluation.classifiers import ClassifierConfig, train_classifier
from lssl_augment.evaluation.protocol import BenchmarkProtocol

__all__ = ["Fitted", "all_cells", "fit_budget", "parse_budget", "step_seconds"]

#: Part of a budget kept for reading, synthesis, prediction and the report.
_ASIDE = 0.2
#: Optimiser steps below which a classifier has learned too little to be compared at all.
_FEWEST = 100


def parse_budget(text: str) -> float:
    """``'2h'``, ``'15m'``, ``'90s'``, ``'1h30m'`` → seconds; ``DataError`` for anything else."""
    import re

    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip().lower())
    numbers = [float(n or 0) for n in match.groups()] if match else []
    seconds = sum(n * unit for n, unit in zip(numbers, (3600, 60, 1), strict=False))
    if seconds <= 0:
        raise DataError(f"a budget is a time such as 2h, 15m or 1h30m; got {text!r}")
    return seconds


def all_cells(protocol: BenchmarkProtocol, folds: int, seeds: Sequence[int]) -> list[Cell]:
    """All cells in the order they are run: the first arms of the first regime, with every seed side by side, then its
    other arms, then the next regime. Sequence classifiers run in the regime ``full`` only.
    """
    cells = []
    first = [arm for arm in protocol.arms if arm in protocol.first_arms]
    blocks = [(regime, first) for regime in protocol.regimes]
    others = [arm for arm in protocol.arms if arm not in first]
    # First arms of all regimes, then one arm after the other in all regimes.
    blocks += [(regime, [arm]) for arm in others for regime in protocol.regimes]
    for regime, arms in blocks:
        wishes = [(arm, amount) for arm in arms for amount in _amounts(protocol, arm)]
        cells += [Cell(regime, a, n, fold, seed) for seed in seeds for fold in range(folds) for a, n in wishes]
    return [c for c in cells if c.regime == SEQUENCE_REGIME or not find_arm(c.arm).sequences]


def _amounts(protocol: BenchmarkProtocol, arm: str) -> tuple[int | None, ...]:
    extra = find_arm(arm).extra
    return protocol.amounts if extra in ("stored", "upsampled") else (None,)


@dataclass(frozen=True)
class Fitted:
    """What fits. Args: cells: in order. steps: of every arm. left_out: in words. together: so many of the first cells
    are worth nothing without each other.
    """

    cells: list[Cell]
    steps: int
    left_out: list[str]
    together: int = 1


def fit_budget(
    protocol: BenchmarkProtocol,
    cells: Sequence[Cell],
    seconds: float,
    second_per_step: float,
    workers: int,
    *,
    keep_steps: bool,
    cell_seconds: Mapping[str, float] | None = None,
    making_s: float = 0.0,
) -> Fitted:
    """As many cells as a budget pays for, from the front: pairs of the first arms stay together.

    Where not even the first arms of the first regime fit with every seed, steps are cut first, down to the protocol's
    least; then seeds, and what that frees goes to the steps of the others. The first pair of cells is always run, on a
    slow machine with fewer steps than the protocol's least: a budget buys at least a comparison.

    Args:
        cells: in order. seconds: of the budget. second_per_step: of one classifier. keep_steps: the steps were asked
            for, or earlier cells have them. cell_seconds: of a cell of each arm that is not paid by the step.
            making_s: of the budget, what making synthetic faces takes.
    """
    # Optimiser steps that can be paid for.
    left = max(seconds * (1 - _ASIDE) - making_s, 0.0) * workers / second_per_step
    head = cells[0].regime if cells else ""
    first = [c for c in cells if c.regime == head and c.arm in protocol.first_arms]
    pairs = max(1, sum(1 for c in first if (c.fold, c.seed) == (first[0].fold, first[0].seed)) if first else 1)
    steps = protocol.steps
    if not keep_steps and first and left < len(first) * steps:
        least = min(steps, protocol.least_steps)
        fitting = min(len(first), max(1, int(left / least / pairs)) * pairs)
        steps = max(min(least, _FEWEST), min(steps, int(left / fitting)))
    own = {arm: s / second_per_step for arm, s in (cell_seconds or {}).items()}
    paid = itertools.accumulate(own.get(c.arm, steps) for c in cells)
    count = max(sum(1 for total in paid if total <= left), pairs)
    if count < len(first):
        count -= count % pairs
    chosen, rest = list(cells[:count]), list(cells[count:])
    words = [] if steps == protocol.steps else [f"steps cut from {protocol.steps} to {steps} in every arm"]
    if steps < min(protocol.steps, protocol.least_steps):
        words.append(f"{steps} steps are fewer than the {protocol.least_steps} the protocol asks for: a first look")
    return Fitted(chosen, steps, words + _missing(cells, rest), pairs)


def _missing(cells: Sequence[Cell], rest: Sequence[Cell]) -> list[str]:
    """What is left out, in words: arms in part each for itself, arms that are missing alike together."""
    words: list[str] = []
    whole: dict[str, list[str]] = {}
    for arm in dict.fromkeys(c.arm for c in rest):
        for regime in dict.fromkeys(c.regime for c in rest if c.arm == arm):
            missing = sum(1 for c in rest if (c.arm, c.regime) == (arm, regime))
            total = sum(1 for c in cells if (c.arm, c.regime) == (arm, regime))
            if missing < total:
                words.append(f"{arm}, {regime}: {missing} of {total} cells")
            else:
                whole.setdefault(arm, []).append(regime)
    for regimes in dict.fromkeys(tuple(r) for r in whole.values()):
        arms = [arm for arm, missing_in in whole.items() if tuple(missing_in) == regimes]
        words.append(f"{', '.join(arms)} in {', '.join(regimes)}: all cells")
    return words


def step_seconds(protocol: BenchmarkProtocol, classes: int, device: str) -> float:
    """Seconds of one optimiser step of the classifier here: the median of three after two to warm up."""
    size = protocol.face_size_px
    config = ClassifierConfig(name=protocol.classifier, steps=5, face_size_px=size)
    times = [time.perf_counter()]

    def batch(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        faces = torch.rand(protocol.batch, 3, size, size, generator=generator) * 2 - 1
        return faces, torch.randint(classes, (protocol.batch,), generator=generator)

    train_classifier(batch, classes, config, device, lambda *_: times.append(time.perf_counter()))
    return statistics.median(b - a for a, b in itertools.pairwise(times[2:]))
