"""Training of the face parser, on Helen or on region maps drawn from a face pack's landmarks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lssl_augment.errors import DataError, TrainingError
from lssl_augment.models.parser_net import PARSER_CLASSES, ParserConfig, ParserNet, architecture_card
from lssl_augment.models.weights import write_weights
from lssl_augment.training.checkpoint import read_checkpoint, write_checkpoint
from lssl_augment.training.ema import Ema
from lssl_augment.training.parser_evaluation import evaluate_parser, write_parses
from lssl_augment.training.parser_faces import ParserData, ParserFaces, faces_to_tensor, random_view

__all__ = ["ParserTraining", "class_weights", "fit_parser", "train_parser"]

_WARM_UP_STEPS = 100


@dataclass(frozen=True)
class ParserTraining:
    """How to train.

    Args:
        steps: optimiser steps; ``None`` trains for ``minutes`` instead, the schedule following the clock
            (then two runs differ; with ``steps`` the same seed repeats the same draws).
        rarity: pixels of a class weigh (1 / its share) ** rarity in the loss: 0 for all alike, 1 for every
            class the same.
        save_minutes: time between two checkpoints.
        bf16: train in bfloat16 autocast; quicker on GPUs and on processors with AMX, slower on others.

    Raises:
        DataError: values out of range.
    """

    steps: int | None = None
    minutes: float = 40.0
    batch_size: int = 16
    learning_rate: float = 8e-3
    weight_decay: float = 0.02
    ema: float = 0.998
    rarity: float = 0.25
    seed: int = 0
    save_minutes: float = 2.0
    bf16: bool = False

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise DataError(f"steps must be at least 1; got {self.steps}")
        for name in ("minutes", "batch_size", "learning_rate", "save_minutes"):
            if not getattr(self, name) > 0:
                raise DataError(f"{name} must be above 0; got {getattr(self, name)}")
        if self.batch_size < 2:
            raise DataError(f"batch_size must be at least 2 (batch norm); got {self.batch_size}")
        if not self.weight_decay >= 0:
            raise DataError(f"weight_decay must be 0 or more; got {self.weight_decay}")
        if not 0 <= self.ema < 1:
            raise DataError(f"ema must be in [0, 1); got {self.ema}")
        if not 0 <= self.rarity <= 1:
            raise DataError(f"rarity must be in [0, 1]; got {self.rarity}")


def class_weights(regions: np.ndarray, rarity: float) -> Tensor:
    """Weight of each class in the loss, ``(4,)`` float32, mean 1 over the pixels of some region maps.

    Raises:
        DataError: a class that no pixel shows.
    """
    counts = np.bincount(regions.ravel(), minlength=len(PARSER_CLASSES))
    absent = [name for name, count in zip(PARSER_CLASSES, counts, strict=True) if not count]
    if absent:
        raise DataError(f"no pixel of the training faces shows {', '.join(absent)}")
    share = counts / counts.sum()
    weights = share**-rarity
    return torch.from_numpy(weights / (share * weights).sum()).float()


@torch.no_grad()
def match_shares(net: ParserNet, faces: ParserFaces, count: int = 512) -> None:
    """Shift the answers, in place, so that regions are found as large as they are.

    Weighted cross-entropy draws rare regions too large, and taking its weights out of the answers again leaves a part
    of that. So each class gets the offset with which it takes, over ``count`` faces that were trained on, the share of
    the pixels that it should.
    """
    assert net.head.bias is not None
    rows = np.unique(np.linspace(0, len(faces) - 1, min(count, len(faces))).round().astype(int))
    device = net.head.bias.device
    parts = np.array_split(rows, len(rows) // 16 + 1)
    answers = [net(faces_to_tensor(faces.images[part]).to(device)).cpu() for part in parts]
    logits = torch.cat(answers).permute(0, 2, 3, 1).flatten(0, 2)
    classes = len(PARSER_CLASSES)
    wanted = np.bincount(faces.regions[rows].ravel(), minlength=classes)
    offset = torch.zeros(classes)
    for _ in range(40):
        found = torch.bincount((logits + offset).argmax(1), minlength=classes)
        # At most by half a logit: a class that is not found at all is approached, not jumped at.
        offset += (torch.from_numpy(wanted) / found.clamp_min(1)).clamp_min(1e-6).log().clamp(-0.5, 0.5).float()
    # Channels of the head are class by class, four sub-pixels each.
    net.head.bias.add_((offset - offset.mean()).repeat_interleave(4).to(net.head.bias))


def train_parser(
    data: ParserData,
    out: Path,
    config: ParserTraining,
    *,
    architecture: ParserConfig | None = None,
    licence: str = "as the data it was trained on",
    command: str = "",
    device: str | torch.device = "cpu",
    sheet: Path | None = None,
    report: Callable[[dict[str, float]], None] = lambda row: None,
) -> dict[str, Any]:
    """Train, measure on unseen faces, write weights and card.

    A checkpoint ``OUT.ckpt`` is kept while training; run again with the same config and data it continues there.

    Args:
        data: from :func:`load_pack_faces` or :func:`load_helen_faces`.
        out: weights file to write, ``*.safetensors``.
        licence, command: for the card; what the user typed.
        sheet: PNG of maps over unseen faces to write.
        report: receives ``step``, ``loss``, ``progress`` (in [0, 1]) after every step.

    Returns:
        The card's metrics (:func:`evaluate_parser`).

    Raises:
        DataError: faces of a size that the network cannot take, or that lack a class.
        TrainingError: the loss is not finite, or a checkpoint of another config or of other faces.
    """
    net = _build(architecture, config.seed)
    size = data.train.images.shape[1]
    if size % net.config.stride:
        raise DataError(f"faces must be a multiple of {net.config.stride} pixels for this network; they have {size}")
    checkpoint = out.with_suffix(".ckpt")
    average, steps = fit_parser(net, data.train, config, checkpoint, device, report)
    fused = average.fused().cpu()
    match_shares(fused, data.train)
    metrics = evaluate_parser(fused, data.test)
    card = {
        "kind": "parser",
        "architecture": architecture_card(net.config),
        "class_names": list(PARSER_CLASSES),
        "face_size_px": size,
        "training": {**data.description, "command": command, **asdict(config), "steps": steps},
        "metrics": metrics,
        "licence": licence,
        "intended_use": "which pixels of an aligned face show skin, eyes or lips, to compare it with an edit of it; "
        "not for telling who someone is or what a person feels",
    }
    write_weights(out, fused.state_dict(), card)
    if sheet is not None:
        write_parses(sheet, fused, data.test)
    checkpoint.unlink(missing_ok=True)
    return metrics


def fit_parser(
    net: ParserNet,
    faces: ParserFaces,
    config: ParserTraining,
    checkpoint: Path,
    device: str | torch.device,
    report: Callable[[dict[str, float]], None],
) -> tuple[ParserNet, int]:
    """Train ``net`` in place on these faces.

    Returns:
        The moving average of the network (its answers are the better ones) and the number of steps taken.
    """
    weights = class_weights(faces.regions, config.rarity).to(device)
    # Only the images are channels_last: the optimiser's state comes contiguous from a checkpoint, and the fused
    # optimiser pairs it with the weights place by place.
    net.to(device).train()
    average = Ema(net, config.ema)
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    run = {"config": asdict(config), "architecture": architecture_card(net.config), "faces": faces.fingerprint()}
    step, spent = _resume(checkpoint, run, net, average, optimiser)
    begun, saved = time.monotonic() - spent, time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(draw_batch, faces, config, step)
        while (progress := _progress(step, time.monotonic() - begun, config)) < 1:
            images, regions = coming.result()
            coming = pool.submit(draw_batch, faces, config, step + 1)
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * _warm_up(step, progress) * _cosine(progress)
            images = images.to(device, memory_format=torch.channels_last)
            bf16 = torch.autocast(torch.device(device).type, torch.bfloat16) if config.bf16 else nullcontext()
            with bf16:
                logits = net(images)
            loss = F.cross_entropy(logits.float(), regions.to(device), weight=weights)
            if not math.isfinite(value := loss.item()):
                raise TrainingError(
                    f"the loss is {value} at step {step}; {checkpoint.name} holds the last good state; "
                    "try a smaller learning rate"
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimiser.step()
            step += 1
            average.update(net)
            report({"step": step, "loss": value, "progress": progress})
            if time.monotonic() - saved > 60 * config.save_minutes:
                state = {
                    "run": run,
                    "net": net.state_dict(),
                    "average": average.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "step": step,
                    "seconds": time.monotonic() - begun,
                }
                write_checkpoint(checkpoint, state)
                saved = time.monotonic()
    found = average.module
    assert isinstance(found, ParserNet)
    return found, step


def draw_batch(faces: ParserFaces, config: ParserTraining, step: int) -> tuple[Tensor, Tensor]:
    """What one step learns from; pure in (seed, step).

    Returns:
        Images ``(B, 3, S, S)`` in [-1, 1] and region maps ``(B, S, S)`` int64.
    """
    rng = np.random.default_rng((config.seed, step))
    rows = rng.integers(0, len(faces), config.batch_size)
    views = [random_view(faces.images[row], faces.regions[row], rng) for row in rows]
    images, regions = (np.stack(parts) for parts in zip(*views, strict=True))
    return faces_to_tensor(images), torch.from_numpy(regions.astype(np.int64))


def _build(architecture: ParserConfig | None, seed: int) -> ParserNet:
    with torch.random.fork_rng(devices=[]):  # layers draw from the global generator
        torch.manual_seed(seed)
        return ParserNet(architecture)


def _progress(step: int, seconds: float, config: ParserTraining) -> float:
    return step / config.steps if config.steps is not None else seconds / (60 * config.minutes)


def _warm_up(step: int, progress: float) -> float:
    """Over the first hundred steps, or over the first twentieth of a short run."""
    return min(1.0, max((step + 1) / _WARM_UP_STEPS, 20 * progress))


def _cosine(progress: float) -> float:
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _resume(
    path: Path, run: dict[str, Any], net: ParserNet, average: Ema, optimiser: torch.optim.Optimizer
) -> tuple[int, float]:
    """Steps done and seconds spent; both 0 without a checkpoint."""
    if not path.is_file():
        return 0, 0.0
    state = read_checkpoint(path)
    if state.get("run") != run:
        differ = [key for key in run if not isinstance(state.get("run"), dict) or state["run"].get(key) != run[key]]
        raise TrainingError(
            f"{path} belongs to a run with another {' and another '.join(differ)}; remove it, or run as before"
        )
    try:
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        return int(state["step"]), float(state["seconds"])
    except (RuntimeError, ValueError, KeyError, AssertionError) as error:
        raise TrainingError(f"{path} is damaged or of another network ({error}); remove it") from error
