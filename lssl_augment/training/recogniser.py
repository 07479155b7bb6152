"""Train the recogniser on the people of a face pack, and measure it on people it never saw.

Margin softmax over the training subjects: CosFace (Wang et al. 2018, eq. 4), an additive margin on the cosine. It
begins at 0 and grows over the first third of the steps, since a small network from scratch does not start under a full
margin. That the expression does not matter is learned from different photos of one person; people with a single photo
are classes too, drawn less often: they say what another person looks like.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lssl_augment._version import __version__
from lssl_augment.datasets.splits import check_apart
from lssl_augment.errors import DataError, TrainingError
from lssl_augment.faces.align import FACE_SIZE_PX
from lssl_augment.faces.pack import FacePack
from lssl_augment.models.recogniser_net import RecogniserConfig, RecogniserNet, build_recogniser, embed
from lssl_augment.models.verification import pair_scores, verify
from lssl_augment.models.weights import write_weights
from lssl_augment.training.gate_views import random_views

__all__ = ["RecogniserResult", "RecogniserTraining", "margin_softmax", "save_recogniser", "train_recogniser"]

_BLOCK = 256


@dataclass(frozen=True)
class RecogniserTraining:
    """How a recogniser is trained.

    Args:
        steps: optimiser steps.
        batch_size: faces a step.
        learning_rate: peak of AdamW's one-cycle schedule.
        weight_decay: of AdamW.
        margin: taken off the cosine of the right person.
        scale: cosines times this are the logits.
        single_share: share of a batch drawn from people with one photo.
        ema_decay: of the averaged weights, which are the ones kept.
        seed: of everything random.
    """

    steps: int = 2000
    batch_size: int = 96
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    margin: float = 0.25
    scale: float = 24.0
    single_share: float = 0.25
    ema_decay: float = 0.99
    seed: int = 0

    def __post_init__(self) -> None:
        checks = {
            "steps": (self.steps >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 2, "at least 2"),
            "learning_rate": (0 < self.learning_rate < math.inf, "above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "at least 0"),
            "margin": (0 <= self.margin < 1, "in [0, 1)"),
            "scale": (0 < self.scale < math.inf, "above 0"),
            "single_share": (0 <= self.single_share < 1, "in [0, 1)"),
            "ema_decay": (0 <= self.ema_decay < 1, "in [0, 1)"),
            "seed": (self.seed >= 0, "at least 0"),
        }
        for name, (fine, allowed) in checks.items():
            if not fine:
                raise DataError(f"{name} must be {allowed}; got {getattr(self, name)!r}")


@dataclass(frozen=True)
class RecogniserResult:
    """A trained recogniser with what its card says."""

    net: RecogniserNet
    config: RecogniserTraining
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]


def margin_softmax(cosines: Tensor, people: Tensor, margin: float, scale: float) -> Tensor:
    """CosFace (Wang et al. 2018, eq. 4): cross-entropy of ``scale · (cos − margin at the right person)``.

    Args:
        cosines: ``(B, people)``; people: ``(B,)`` int64.

    Returns:
        Mean loss, a scalar.
    """
    right = F.one_hot(people, cosines.shape[1]).to(cosines.dtype)
    return F.cross_entropy(scale * (cosines - margin * right), people)


def train_recogniser(
    pack: FacePack,
    config: RecogniserTraining,
    *,
    device: torch.device | str = "cpu",
    network: RecogniserConfig | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> RecogniserResult:
    """Train on the training subjects of a pack and verify its test subjects; labels are not looked at.

    Raises:
        DataError: the pack lacks a split, or people with two photos.
        LeakageError: a subject of the test split is in the training split.
        TrainingError: the loss is not finite.
    """
    device = torch.device(device)
    train, test = pack.select(split="train"), pack.select(split="test")
    subjects = np.asarray(pack.subjects)
    check_apart(subjects[train].tolist(), subjects[test].tolist(), "in the training split")
    images = _shrink(_load(pack, train))
    people, person, counts = np.unique(subjects[train], return_inverse=True, return_counts=True)
    draw = _Draw(person, counts, config)
    net = build_recogniser(network or RecogniserConfig(), config.seed)
    net = net.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    own = torch.Generator().manual_seed(config.seed + 1)
    # One direction a person; the margin softmax's other half, thrown away after training.
    centres = torch.nn.Parameter(torch.randn(len(people), net.config.embedding, generator=own).to(device) * 0.05)
    optimiser = torch.optim.AdamW(
        [{"params": list(net.parameters())}, {"params": [centres]}],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, total_steps=config.steps + 1, pct_start=0.15
    )
    averaged = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema_decay), use_buffers=True
    )
    for step in range(config.steps):
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        rows = draw(generator)
        unit = images[rows].to(device).float() / 127.5 - 1
        vectors = net(random_views(unit, generator))
        margin = config.margin * min(1.0, 3 * step / config.steps)
        cosines = vectors @ F.normalize(centres, dim=1).T
        loss = margin_softmax(cosines, torch.from_numpy(person[rows.numpy()]).to(device), margin, config.scale)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(f"the recogniser's loss is {value} at step {step + 1}; lower the learning rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        averaged.update_parameters(net)
        if progress is not None:
            progress(step + 1, value)
    kept: RecogniserNet = averaged.module.cpu().eval().requires_grad_(False)  # type: ignore[assignment]
    vectors = embed(kept, _load(pack, test))
    found = verify(*pair_scores(vectors.numpy(), subjects[test]))
    training = {
        "data": [{"dataset": pack.dataset, "split": "train", "faces": len(train)}],
        "subjects": len(people),
        "subjects_with_two_photos": int((counts > 1).sum()),
        **asdict(config),
        "package_version": __version__,
    }
    metrics = {
        "dataset": pack.dataset,
        "split": "test",
        "subjects": len(set(subjects[test])),
        **{k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(found).items()},
    }
    return RecogniserResult(kept, config, training, metrics)


def save_recogniser(
    path: str | os.PathLike[str], result: RecogniserResult, *, licence: str, command: str | None = None
) -> Path:
    """Write a recogniser and its card; see ``write_weights`` for what is raised."""
    card = {
        "kind": "recogniser",
        "architecture": result.net.config.to_card(),
        "class_names": None,
        "face_size_px": FACE_SIZE_PX,
        "training": {**result.training, "command": command},
        "metrics": dict(result.metrics),
        "licence": licence,
        "intended_use": (
            "Measuring whether edited faces of this package stay the same person, beside the same measure of real "
            "pairs. It is weak, learned from a few thousand people, and a substitute of a real recogniser: not for "
            "recognising, finding or admitting anybody."
        ),
    }
    return write_weights(path, result.net.state_dict(), card)


class _Draw:
    """Rows of a batch: people with several photos come in pairs, the others once."""

    def __init__(self, person: np.ndarray, counts: np.ndarray, config: RecogniserTraining) -> None:
        order = np.argsort(person, kind="stable")
        rows = np.split(order, np.cumsum(counts)[:-1])
        self.several = [r for r in rows if len(r) > 1]
        self.single = np.array([r[0] for r in rows if len(r) == 1], np.int64)
        if not self.several:
            raise DataError("the training split has nobody with two photos; a recogniser is learned from such people")
        share = config.single_share if len(self.single) else 0.0
        self.singles = round(share * config.batch_size)
        self.pairs = math.ceil((config.batch_size - self.singles) / 2)
        # Between one vote a person and one a photo.
        self.weights = torch.tensor([math.sqrt(min(len(r), 20)) for r in self.several])

    def __call__(self, generator: torch.Generator) -> Tensor:
        chosen = torch.multinomial(self.weights, self.pairs, len(self.several) < self.pairs, generator=generator)
        rows: list[int] = []
        for person in chosen.tolist():
            own = self.several[person]
            rows += own[torch.randperm(len(own), generator=generator)[:2].numpy()].tolist()
        if self.singles:
            rows += self.single[torch.randint(len(self.single), (self.singles,), generator=generator).numpy()].tolist()
        return torch.tensor(rows)


def _shrink(images: Tensor) -> Tensor:
    """Training faces at three quarters of their size: the crop of it is still wider than what the network sees."""
    parts = [F.interpolate(part.float(), scale_factor=0.75, mode="area") for part in images.split(_BLOCK)]
    return torch.cat([part.round().to(torch.uint8) for part in parts])


def _load(pack: FacePack, rows: np.ndarray) -> Tensor:
    """Faces ``(R, 3, S, S)`` uint8."""
    parts = [
        torch.from_numpy(np.asarray(pack.images[rows[start : start + _BLOCK]])) for start in range(0, len(rows), _BLOCK)
    ]
    return torch.cat(parts).permute(0, 3, 1, 2).contiguous()
