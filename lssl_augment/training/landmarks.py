"""Training of the landmark network on ``lfw-expressions``."""

from __future__ import annotations

import copy
import math
import pickle
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

from lssl_augment.datasets.splits import subject_split
from lssl_augment.errors import DataError, TrainingError
from lssl_augment.faces.align import FACE_SIZE_PX, transform_points
from lssl_augment.faces.landmarks import DENSE_COUNT, SPARSE_FROM_DENSE
from lssl_augment.faces.pose import yaw_deg
from lssl_augment.files import whole_file
from lssl_augment.models.eight_bit import from_eight_bit, to_eight_bit
from lssl_augment.models.landmark_net import LandmarkConfig, LandmarkNet, architecture_card
from lssl_augment.models.weights import write_weights
from lssl_augment.training.landmark_crops import (
    Photos,
    aligned_matrix,
    augment_crop,
    crops_to_tensor,
    cut,
    loose_matrix,
    read_photos,
)
from lssl_augment.training.landmark_evaluation import evaluate_landmarks

__all__ = ["LandmarkTraining", "landmark_loss", "train_landmarks"]

_IRIS = slice(468, DENSE_COUNT)
_DEPTH_WEIGHT = 0.3


@dataclass(frozen=True)
class LandmarkTraining:
    """How to train.

    Args:
        steps: optimiser steps; ``None`` trains for ``minutes`` instead, the schedule following the clock
            (then two runs differ; with ``steps`` the same seed repeats the same draws).
        loose_fraction: share of the crops that are loose, the others are nearly aligned.
        loose_weight: weight of a loose crop in the loss; all it must do is tell where to look again.
        save_minutes: time between two checkpoints.
        bf16: train in bfloat16 autocast.

    Raises:
        DataError: values out of range.
    """

    steps: int | None = None
    minutes: float = 15.0
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    ema: float = 0.999
    loose_fraction: float = 0.4
    loose_weight: float = 0.5
    seed: int = 0
    save_minutes: float = 2.0
    bf16: bool = True

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise DataError(f"steps must be at least 1; got {self.steps}")
        for name in ("minutes", "batch_size", "learning_rate", "save_minutes"):
            if not getattr(self, name) > 0:
                raise DataError(f"{name} must be above 0; got {getattr(self, name)}")
        if self.batch_size < 2:
            raise DataError(f"batch_size must be at least 2 (batch norm); got {self.batch_size}")
        if not 0 <= self.ema < 1:
            raise DataError(f"ema must be in [0, 1); got {self.ema}")
        for name in ("loose_fraction", "loose_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise DataError(f"{name} must be in [0, 1]; got {getattr(self, name)}")


def point_weights() -> Tensor:
    """Weight of each dense point in the loss, ``(478, 1)``, mean 1: the 68 count more, lids and lips most."""
    weights = torch.ones(DENSE_COUNT)
    weights[SPARSE_FROM_DENSE.tolist()] = 3.0
    weights[SPARSE_FROM_DENSE[36:].tolist()] = 5.0
    weights[_IRIS] = 2.0
    return (weights / weights.mean())[:, None]


def landmark_loss(predicted: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Weighted L1 of the points as a fraction of the distance between the eyes (in 3D: turning keeps it).

    Args:
        predicted, target: ``(B, 478, 3)`` in one unit.
        weights: ``(478, 1)``.

    Returns:
        Loss of each face, ``(B,)``.
    """
    eyes = target[:, SPARSE_FROM_DENSE[36:48].tolist()].unflatten(1, (2, 6)).mean(2)
    distance = (eyes[:, 0] - eyes[:, 1]).norm(dim=-1).clamp_min(1e-3)
    per_axis = (predicted - target).abs() * predicted.new_tensor([1.0, 1.0, _DEPTH_WEIGHT])
    return (per_axis * weights).mean(dim=(1, 2)).div(distance)


def _place(
    dense: np.ndarray, config: LandmarkTraining, size_px: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Where a training crop lies: matrix (2, 3), points in it in half sides (478, 3), whether it is loose."""
    loose = bool(rng.random() < config.loose_fraction)
    matrix = (loose_matrix if loose else aligned_matrix)(dense, size_px, rng)
    return matrix, in_half_sides(transform_points(matrix, dense), size_px), loose


def in_half_sides(points: np.ndarray, size_px: int) -> np.ndarray:
    """Pixels of a square crop → the network's unit, half sides from the centre."""
    return (points - [(size_px - 1) / 2, (size_px - 1) / 2, 0]) / (size_px / 2)


def draw_batch(
    photos: Photos, rows: np.ndarray, chances: np.ndarray, config: LandmarkTraining, size_px: int, step: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What one step learns from; pure in (seed, step).

    Returns:
        Crops ``(B, 3, S, S)`` in [-1, 1], points ``(B, 478, 3)`` in half sides, weight of each crop ``(B,)``.
    """
    rng = np.random.default_rng((config.seed, step))
    crops = np.empty((config.batch_size, size_px, size_px, 3), np.uint8)
    points = np.empty((config.batch_size, DENSE_COUNT, 3), np.float32)
    weights = np.ones(config.batch_size, np.float32)
    for i, row in enumerate(rng.choice(rows, config.batch_size, p=chances)):
        matrix, _, loose = _place(photos.dense[row], config, size_px, rng)
        crop, found = cut(photos, int(row), matrix, size_px, rng)
        crops[i], points[i] = augment_crop(crop, rng), in_half_sides(found, size_px)
        weights[i] = config.loose_weight if loose else 1.0
    return crops_to_tensor(crops), torch.from_numpy(points), torch.from_numpy(weights)


def sampling_chances(photos: Photos, rows: np.ndarray) -> np.ndarray:
    """Chance of each row: rare expressions and turned heads come more often than their share."""
    _, inverse, counts = np.unique(photos.labels[rows], return_inverse=True, return_counts=True)
    chances = 1 / np.sqrt(np.maximum(counts, 25))[inverse]
    chances = chances * (1 + np.abs(yaw_deg(photos.dense[rows])) / 20)
    return chances / chances.sum()


def train_landmarks(
    root: Path,
    out: Path,
    config: LandmarkTraining,
    *,
    architecture: LandmarkConfig | None = None,
    command: str = "",
    device: str | torch.device = "cpu",
    report: Callable[[dict[str, float]], None] = lambda row: None,
) -> dict[str, Any]:
    """Train on the training subjects, evaluate on the test subjects, write weights and card.

    A checkpoint ``OUT.ckpt`` is kept while training; run again with the same config it continues there.

    Args:
        root: unpacked ``lfw-expressions`` folder.
        out: weights file to write, ``*.safetensors``.
        command: what the user typed, for the card.
        report: receives ``step``, ``loss``, ``progress`` (in [0, 1]) after every step.

    Returns:
        The card's metrics.

    Raises:
        DataError: unusable data. TrainingError: the loss is not finite, or a checkpoint of another config.
    """
    photos = read_photos(root)
    split = np.array(subject_split(photos.subjects.tolist(), photos.labels.tolist()))
    train, test = np.flatnonzero(split == "train"), np.flatnonzero(split == "test")
    net = LandmarkNet(architecture)
    average, steps = fit(net, photos, train, config, out.with_suffix(".ckpt"), device, report)
    fused = average.fused().cpu()
    stored = to_eight_bit(fused.state_dict())
    fused.load_state_dict(from_eight_bit(stored))  # measured as it will be read
    metrics = evaluate_landmarks(fused, photos, test, seed=config.seed)
    card = {
        "kind": "landmarks",
        "architecture": architecture_card(net.config),
        "class_names": None,
        "face_size_px": FACE_SIZE_PX,
        "training": {
            "data": "lfw-expressions (Labeled Faces in the Wild, deep-funneled) with points of MediaPipe Face Mesh",
            "photos": len(train),
            "subjects": len(set(photos.subjects[train])),
            "split": "datasets.splits.subject_split, seed 0: training subjects only",
            "steps": steps,
            "command": command,
            **asdict(config),
        },
        "metrics": metrics,
        "licence": "weights: as the package; the photographs they were learned from are provided for research",
        "intended_use": "points of one face per image, for aligning it and for drawing its side image; "
        "not for telling who someone is",
    }
    write_weights(out, stored, card)
    out.with_suffix(".ckpt").unlink(missing_ok=True)
    return metrics


def fit(
    net: LandmarkNet,
    photos: Photos,
    rows: np.ndarray,
    config: LandmarkTraining,
    checkpoint: Path,
    device: str | torch.device,
    report: Callable[[dict[str, float]], None],
) -> tuple[LandmarkNet, int]:
    """Train ``net`` in place on these rows.

    Returns:
        The moving average of the network (its answers are the better ones) and the number of steps taken.
    """
    if not len(rows):
        raise DataError("no photo of a training subject: nothing to train on")
    size_px = net.config.input_size_px
    basis, mean = _point_basis(photos, rows, config, size_px, net.config.codes)
    _initialise(net, basis, mean, config.seed)
    net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(net).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    weights, chances = point_weights().to(device), sampling_chances(photos, rows)
    step, spent = _resume(checkpoint, net, average, optimiser, config)
    begun = time.monotonic() - spent
    saved = time.monotonic()

    def draw(at: int) -> tuple[Tensor, Tensor, Tensor]:
        return draw_batch(photos, rows, chances, config, size_px, at)

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(draw, step)
        while (progress := _progress(step, time.monotonic() - begun, config)) < 1:
            images, target, share = coming.result()
            coming = pool.submit(draw, step + 1)
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * min(1.0, (step + 1) / 200) * _cosine(progress)
            images = images.to(device, memory_format=torch.channels_last)
            bf16 = torch.autocast(torch.device(device).type, torch.bfloat16) if config.bf16 else nullcontext()
            with bf16:
                predicted = net(images)
            losses = landmark_loss(predicted.float(), target.to(device), weights)
            loss = (losses * share.to(device)).mean()
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
            _follow(average, net, min(config.ema, (1 + step) / (10 + step)))
            report({"step": step, "loss": value, "progress": progress})
            if time.monotonic() - saved > 60 * config.save_minutes:
                _save(checkpoint, net, average, optimiser, config, step, time.monotonic() - begun)
                saved = time.monotonic()
    return average, step


def _progress(step: int, seconds: float, config: LandmarkTraining) -> float:
    return step / config.steps if config.steps is not None else seconds / (60 * config.minutes)


def _cosine(progress: float) -> float:
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _point_basis(
    photos: Photos, rows: np.ndarray, config: LandmarkTraining, size_px: int, count: int
) -> tuple[Tensor, Tensor]:
    """Principal components of the points of training crops times their deviations, (1434, count); the mean.

    Started from these the codes are numbers of one size, most of place and pose in the first few, and
    training is several times as quick as from a random last layer.
    """
    rng = np.random.default_rng((config.seed, 0, 1))
    chosen = rng.choice(rows, min(4000, 40 * count))
    crops = [_place(photos.dense[row], config, size_px, rng)[1] for row in chosen]
    points = torch.from_numpy(np.stack(crops)).float().flatten(1)
    mean = points.mean(0)
    _, sizes, directions = torch.linalg.svd(points - mean, full_matrices=False)
    return (directions[:count] * sizes[:count, None]).T / len(points) ** 0.5, mean


def _initialise(net: LandmarkNet, basis: Tensor, mean: Tensor, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                module.weight.normal_(0, math.sqrt(2 / module.weight[0].numel()), generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
        net.codes.weight.mul_(0.3)
        net.points.weight.copy_(basis)
        net.points.bias.copy_(mean)


@torch.no_grad()
def _follow(average: LandmarkNet, net: LandmarkNet, decay: float) -> None:
    ours, theirs = average.state_dict(), net.state_dict()
    floating = [key for key, value in ours.items() if value.is_floating_point()]
    torch._foreach_lerp_([ours[k] for k in floating], [theirs[k] for k in floating], 1 - decay)


def _save(
    path: Path,
    net: LandmarkNet,
    average: LandmarkNet,
    optimiser: torch.optim.Optimizer,
    config: LandmarkTraining,
    step: int,
    seconds: float,
) -> None:
    state = {
        "config": asdict(config),
        "net": net.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
        "seconds": seconds,
    }
    with whole_file(path) as file:
        torch.save(state, file)


def _resume(
    path: Path,
    net: LandmarkNet,
    average: LandmarkNet,
    optimiser: torch.optim.Optimizer,
    config: LandmarkTraining,
) -> tuple[int, float]:
    if not path.is_file():
        return 0, 0.0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["config"] != asdict(config):
            raise TrainingError(f"{path} belongs to a run with another config; remove it or use that config")
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
    except (RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        if isinstance(error, TrainingError):
            raise
        raise TrainingError(f"{path} is damaged or of another network ({error}); remove it") from error
    return int(state["step"]), float(state["seconds"])
