"""The training loop: drives any objective, keeps the average, logs, checkpoints, stops and resumes."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from lssl_augment.errors import TrainingError
from lssl_augment.training.checkpoint import CheckpointFolder
from lssl_augment.training.config import TrainConfig
from lssl_augment.training.distributed import check_same_weights, exchange, process_count, process_rank, wait_for_all
from lssl_augment.training.ema import Ema
from lssl_augment.training.metrics_log import Means, MetricsLog
from lssl_augment.training.modes import compile_generator, deterministic
from lssl_augment.training.monitor import Monitor, load_monitor
from lssl_augment.training.objective import Objective
from lssl_augment.training.run_folder import RunFolder
from lssl_augment.training.sheets import condition_sensitivity, write_sheet

__all__ = ["Hooks", "TrainResult", "train"]


def _ignore(*_: object) -> None:
    return


@dataclass(frozen=True)
class Hooks:
    """What the caller wants to hear while training goes on; by default nothing.

    Attributes:
        on_step: called with (steps done, progress in [0, 1], losses of the step).
        on_warning: called with a sentence for people.
    """

    on_step: Callable[[int, float, Mapping[str, float]], None] = _ignore
    on_warning: Callable[[str], None] = _ignore


@dataclass(frozen=True)
class TrainResult:
    """How a run, or this part of it, ended.

    Attributes:
        step: steps done in all.
        seconds: time spent in all.
        interrupted: a signal ended it before its time.
        checkpoint: the newest; best: the best by ``config.best_metric``, None where there is none.
        generator: the averaged generator.
        stats: last means of the losses and the last condition sensitivity.
    """

    step: int
    seconds: float
    interrupted: bool
    checkpoint: Path
    generator: nn.Module
    stats: dict[str, float]
    best: Path | None = None


class _Run:
    """State of the loop; one object so that saving and loading are each in one place."""

    def __init__(self, objective: Objective, config: TrainConfig, folder: RunFolder) -> None:
        self.objective = objective
        self.config = config
        self.folder = folder
        self.first = process_rank() == 0
        self.best: float | None = None
        self.checkpoints = CheckpointFolder(folder.path / "checkpoints", config.keep_checkpoints)
        self.ema = Ema(objective.generator, config.ema_decay)
        # Only the first process draws sheets.
        self.monitor = load_monitor(config, config.device) if self.first else Monitor()
        self.means = Means()
        self.stats: dict[str, float] = {}
        self.step = 0
        self.seconds_before = 0.0
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    def save(self, *, best: bool = False) -> None:
        """Write a checkpoint; called in every process, written by the first."""
        for name, module in self.objective.modules.items():
            _check_finite(name, module, self.step, self.checkpoints)
        check_same_weights(self.objective.modules.items(), self.step)
        if not self.first:
            return
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "means": self.means.state_dict(),
            "stats": self.stats,
            "ema": self.ema.state_dict(),
            "modules": {name: m.state_dict() for name, m in self.objective.modules.items()},
            "optimizers": {name: o.state_dict() for name, o in self.objective.optimizers.items()},
            "objective": self.objective.state_dict(),
            "best": self.best,
        }
        (self.checkpoints.write_best if best else self.checkpoints.write)(self.step, state)

    def is_best(self, values: Mapping[str, float]) -> bool:
        """Whether new log values hold the best of ``config.best_metric`` so far; remembers it."""
        value = values.get(self.config.best_metric)
        if value is None or not math.isfinite(value):
            return False
        sign = 1 if self.config.best_is == "highest" else -1
        if self.best is not None and sign * value <= sign * self.best:
            return False
        self.best = value
        return True

    def load(self) -> None:
        state = self.checkpoints.read_newest()
        try:
            for name, module in self.objective.modules.items():
                module.load_state_dict(state["modules"][name])
            for name, optimizer in self.objective.optimizers.items():
                optimizer.load_state_dict(state["optimizers"][name])
            self.objective.load_state_dict(state["objective"])
            self.ema.load_state_dict(state["ema"])
            self.means.load_state_dict(state["means"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise TrainingError(
                f"the checkpoint in {self.checkpoints.folder} is of another configuration: {error}"
            ) from error
        self.stats, self.best = dict(state["stats"]), state.get("best")
        self.step, self.seconds_before = int(state["step"]), float(state["seconds"])


def train(
    objective: Objective,
    config: TrainConfig,
    folder: RunFolder,
    *,
    total_steps: int | None,
    resume: bool = False,
    hooks: Hooks | None = None,
) -> TrainResult:
    """Train until the steps are done, the hours are over or a signal comes.

    SIGINT and SIGTERM end the run after the step at hand, with a checkpoint; a second one ends it at once.

    Args:
        objective: what to train, freshly built.
        config: how often to log, save and draw; ``config.hours`` counts when ``total_steps`` is None.
        folder: where everything goes.
        total_steps: where to end (:meth:`TrainConfig.total_steps`).
        resume: go on from the newest checkpoint of ``folder``; on a CPU with the same number of threads
            the rest of the run is the same to the last digit as if it had never stopped (with ``hours``, as
            far as the clock allows).
        hooks: what the caller wants to hear.

    Raises:
        TrainingError: a loss or a weight is not finite (the last good checkpoint is named), or the checkpoint
            cannot be used.
        OSError: the folder cannot be written.
    """
    hooks = hooks or Hooks()
    with deterministic(config.deterministic):
        return _train(objective, config, folder, total_steps, resume, hooks)


def _train(
    objective: Objective, config: TrainConfig, folder: RunFolder, total_steps: int | None, resume: bool, hooks: Hooks
) -> TrainResult:
    run = _Run(objective, config, folder)
    if resume:
        run.load()
    device = torch.device(config.device)
    if config.compile:
        compile_generator(objective.generator, device)
    log = MetricsLog(folder.path, run.step, tensorboard=config.tensorboard) if run.first else None
    limit_s = (config.hours or 0.0) * 3600
    run.started = saved_at = time.monotonic()
    saved_step = run.step if resume else -1

    def progress() -> float:
        return min(1.0, run.seconds / limit_s if total_steps is None else run.step / total_steps)

    with _signals() as stop:
        try:
            # Read once a step: a run that ends by the clock must not end between two looks, its last log unwritten.
            _, (share,) = exchange([], [progress()], device)
            stopping = False
            while share < 1.0 and not stopping:
                values = _floats(objective.step(share, run.step))
                run.step += 1
                # Every process goes by the same means, the first one's clock, and a signal that any of them got.
                minutes = (time.monotonic() - saved_at) / 60
                (stopped, *means), (share, minutes) = exchange(
                    [float(stop.is_set()), *values.values()], [progress(), minutes], device
                )
                stopping, values = stopped > 0, dict(zip(values, means, strict=True))
                _check_losses(values, run.step, run.checkpoints)
                run.ema.update(objective.generator)
                run.means.add(values)
                hooks.on_step(run.step, share, values)
                # A signal that came meanwhile, from the caller's own hook for example, need not wait for a step.
                stopping = stopping or (process_count() == 1 and stop.is_set())
                done = share >= 1.0
                logging = run.step % config.log_every_steps == 0 or done
                looking = run.step % config.sheet_every_steps == 0 or done
                fresh: dict[str, float] = {}
                if logging:
                    fresh.update(run.means.take())
                    if log is not None:
                        log.write(run.step, {**fresh, "seconds": round(run.seconds, 3)})
                if looking and log is not None:
                    fresh.update(_look(run, log, hooks))
                run.stats.update(fresh)
                if config.best_metric and (looking or logging):
                    _, (better,) = exchange([], [float(run.is_best(fresh))], device)
                    if better:
                        run.save(best=True)
                    elif looking and run.first and run.best is None:
                        names = ", ".join(run.stats)
                        hooks.on_warning(f"best_metric: the log has no {config.best_metric!r} so far; it has {names}")
                if (
                    run.step % config.checkpoint_every_steps == 0
                    or minutes >= config.checkpoint_every_minutes
                ):
                    run.save()
                    saved_at, saved_step = time.monotonic(), run.step
            if saved_step != run.step:
                run.save()
        finally:
            if log is not None:
                log.close()
    wait_for_all()
    interrupted = share < 1.0
    newest = run.checkpoints.paths()[-1]
    best = run.checkpoints.best()
    return TrainResult(run.step, run.seconds, interrupted, newest, run.ema.module, dict(run.stats), best)


def _look(run: _Run, log: MetricsLog, hooks: Hooks) -> dict[str, float]:
    """Draw a sheet and measure it; returns what was measured."""
    preview = run.objective.preview(run.ema.module)
    write_sheet(run.folder.path / "sheets" / f"step-{run.step:08d}.png", preview)
    found = condition_sensitivity(preview)
    values = {
        "sensitivity/between_targets_grey": found.between_targets_grey,
        "sensitivity/from_source_grey": found.from_source_grey,
    }
    seen = run.monitor.look(preview)
    values |= seen.values
    warnings = [text for text in (found.warning(), *seen.warnings) if text is not None]
    log.write(run.step, {**values, "warning": "; ".join(warnings)} if warnings else values)
    for warning in warnings:
        hooks.on_warning(f"step {run.step}: {warning}")
    return values


def _floats(losses: Mapping[str, float | Tensor]) -> dict[str, float]:
    """All losses as numbers, with one transfer from the device."""
    tensors = {k: v.detach().float().reshape(()) for k, v in losses.items() if isinstance(v, Tensor)}
    moved = torch.stack(list(tensors.values())).tolist() if tensors else []
    found = dict(zip(tensors, moved, strict=True))
    return {k: found[k] if k in found else float(v) for k, v in losses.items()}


def _check_losses(values: Mapping[str, float], step: int, checkpoints: CheckpointFolder) -> None:
    bad = [f"{name} = {value}" for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise TrainingError(f"step {step}: {', '.join(bad)}; {_last_good(checkpoints)}")


def _check_finite(name: str, module: nn.Module, step: int, checkpoints: CheckpointFolder) -> None:
    tensors: Iterator[tuple[str, Tensor]] = module.named_parameters()
    bad = [key for key, tensor in tensors if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise TrainingError(
            f"step {step}: {name} weights are not finite ({bad[0]}); {_last_good(checkpoints)}"
        )


def _last_good(checkpoints: CheckpointFolder) -> str:
    paths = checkpoints.paths()
    kept = f"the last good checkpoint is {paths[-1]}" if paths else "no checkpoint had been written yet"
    return f"training stopped, {kept}; a lower learning rate or --set precision=fp32 may help"


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; a second signal raises KeyboardInterrupt at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set
        yield stop
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before: dict[int, Any] = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
