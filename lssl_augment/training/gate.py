"""Train the gate on the real faces of training splits.

The first pack is the one that counts: a share of its training *subjects* is kept back to choose the
temperature that calibrates the probabilities, and its test subjects are measured on. Further packs only add
training faces, which matters where the first has a few dozen of a class. Each class is drawn equally
often.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lssl_augment._version import __version__
from lssl_augment.attributes import BASIC5, Vocabulary
from lssl_augment.datasets.splits import check_apart
from lssl_augment.errors import DataError, TrainingError
from lssl_augment.faces.align import FACE_SIZE_PX
from lssl_augment.faces.pack import FacePack
from lssl_augment.models.gate_net import GateConfig, GateNet, fold_batch_norm
from lssl_augment.models.weights import write_weights
from lssl_augment.training.gate_views import random_views

__all__ = ["GateResult", "GateTraining", "calibrate", "classification_metrics", "save_gate", "train_gate"]


@dataclass(frozen=True)
class GateTraining:
    """How a gate is trained.

    Args:
        class_names: expressions to tell apart; the first pack must have each of them in both splits.
        steps: optimiser steps.
        batch_size: faces a step.
        learning_rate: peak of AdamW's one-cycle schedule.
        weight_decay: of AdamW.
        label_smoothing: share of each label spread over all classes.
        mixup: parameter of the symmetric beta distribution of mixing shares; 0 for none.
        ema_decay: of the averaged weights, which are the ones kept.
        further_share: share of the faces drawn from further packs, where they have the class.
        calibration_share: share of the first pack's training subjects kept back for the temperature.
        seed: of everything random.
        bfloat16: convolutions in bfloat16 while training.
    """

    class_names: tuple[str, ...] = BASIC5.names
    steps: int = 3000
    batch_size: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    mixup: float = 0.3
    ema_decay: float = 0.998
    further_share: float = 0.5
    calibration_share: float = 0.12
    seed: int = 0
    bfloat16: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", Vocabulary(self.class_names).names)
        if len(self.class_names) < 2:
            raise DataError(f"a gate tells two or more classes apart; got {', '.join(self.class_names)}")
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise DataError(f"{name} must be 1 or more; got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise DataError(f"learning_rate must be above 0; got {self.learning_rate}")
        for name in ("weight_decay", "mixup"):
            if not getattr(self, name) >= 0:
                raise DataError(f"{name} must be 0 or more; got {getattr(self, name)}")
        for name in ("label_smoothing", "ema_decay", "further_share"):
            if not 0 <= getattr(self, name) < 1:
                raise DataError(f"{name} must be in [0, 1); got {getattr(self, name)}")
        if not 0 < self.calibration_share < 1:
            raise DataError(f"calibration_share must be in (0, 1); got {self.calibration_share}")


@dataclass(frozen=True)
class GateResult:
    """A trained gate, folded and calibrated, with what its card says."""

    gate: GateNet
    config: GateTraining
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class _Faces:
    """Faces at the network's size, ``(N, 3, S, S)`` uint8, with labels of the gate's vocabulary."""

    images: Tensor
    labels: Tensor
    subjects: np.ndarray

    def rows(self, mask: np.ndarray) -> _Faces:
        keep = torch.from_numpy(mask)
        return _Faces(self.images[keep], self.labels[keep], self.subjects[mask])


def train_gate(
    pack: FacePack,
    config: GateTraining,
    *,
    further: Sequence[FacePack] = (),
    device: torch.device | str = "cpu",
    network: GateConfig | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> GateResult:
    """Train, fold, calibrate and measure a gate.

    Args:
        pack: real faces with the splits ``train`` and ``test``.
        config: classes, steps, seed and the like.
        further: packs whose training splits are trained on too.
        device: where to train.
        network: widths of the network; the default is the released one.
        progress: called after each step with the number of steps done and the loss.

    Raises:
        DataError: the pack lacks a split or a class.
        LeakageError: a subject of the test split is in a training split.
        TrainingError: the loss is not finite.
    """
    device = torch.device(device)
    vocabulary = Vocabulary(config.class_names)
    with torch.random.fork_rng(devices=[]):  # layers draw from the global generator before they are set below
        net = GateNet(vocabulary, network)
    train, test = _load(pack, net, "train"), _load(pack, net, "test")
    _check_classes(train, pack, vocabulary, "train")
    _check_classes(test, pack, vocabulary, "test")
    held = _calibration_rows(train, config)
    fitted = [train.rows(~held), *(_load(other, net, "train") for other in further)]
    for faces in (train, *fitted[1:]):
        check_apart(faces.subjects, test.subjects, "in a training split")
    _initialise(net, torch.Generator().manual_seed(config.seed))
    net = net.to(device).to(memory_format=torch.channels_last)
    averaged = _fit(net, fitted, config, device, progress)
    gate = fold_batch_norm(averaged.cpu().eval()).to(memory_format=torch.channels_last)
    calibration = train.rows(held)
    gate.temperature = calibrate(_logits(gate, calibration), calibration.labels)
    metrics = classification_metrics(_logits(gate, test) / gate.temperature, test.labels, vocabulary)
    training = {
        "data": [
            {
                "dataset": source.dataset,
                "split": "train",
                "faces": {n: int((faces.labels == i).sum()) for i, n in enumerate(vocabulary.names)},
            }
            for source, faces in zip((pack, *further), fitted, strict=True)
        ],
        "subjects": len(set(fitted[0].subjects)),
        "calibration_subjects": len(set(calibration.subjects)),
        **{k: v for k, v in asdict(config).items() if k != "class_names"},
        "package_version": __version__,
    }
    metrics = {"dataset": pack.dataset, "split": "test", "subjects": len(set(test.subjects)), **metrics}
    return GateResult(gate, config, training, metrics)


def save_gate(
    path: str | os.PathLike[str], result: GateResult, *, licence: str, command: str | None = None
) -> Path:
    """Write a gate and its card; see ``write_weights`` for what is raised."""
    gate = result.gate
    card = {
        "kind": "gate",
        "architecture": gate.config.to_card(),
        "class_names": list(gate.vocabulary.names),
        "face_size_px": FACE_SIZE_PX,
        "temperature": round(gate.temperature, 6),
        "training": {**result.training, "command": command},
        "metrics": dict(result.metrics),
        "licence": licence,
        "intended_use": (
            "Filtering synthetic faces of this package by how plainly they show their target expression. "
            "Not for judging data sets that it filtered, and not for inferring what a person feels."
        ),
    }
    return write_weights(path, gate.state_dict(), card)


def calibrate(logits: Tensor, labels: Tensor) -> float:
    """Temperature with the lowest class-balanced cross-entropy (Guo et al. 2017, with equal class priors).

    Args:
        logits: ``(N, C)``; labels: ``(N,)``.
    """
    temperatures = torch.logspace(-1, 1, 201).tolist()
    losses = [_balanced_nll((logits / t).log_softmax(1), labels) for t in temperatures]
    return float(temperatures[int(np.argmin(losses))])


def classification_metrics(logits: Tensor, labels: Tensor, vocabulary: Vocabulary) -> dict[str, Any]:
    """Balanced accuracy, accuracy, macro-F1, recall of each class and class-balanced cross-entropy.

    Args:
        logits: calibrated, ``(N, C)``; labels: ``(N,)``, every class at least once.
    """
    predicted, truth = logits.argmax(1).numpy(), labels.numpy()
    confusion = np.zeros((len(vocabulary), len(vocabulary)), np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    hits, rows, columns = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    recall = hits / rows
    return {
        "balanced_accuracy": round(float(recall.mean()), 4),
        "accuracy": round(float(hits.sum() / rows.sum()), 4),
        "macro_f1": round(float((2 * hits / (rows + columns)).mean()), 4),
        "balanced_cross_entropy": round(_balanced_nll(logits.log_softmax(1), labels), 4),
        "recall": {n: round(float(r), 4) for n, r in zip(vocabulary.names, recall, strict=True)},
        "faces": {n: int(r) for n, r in zip(vocabulary.names, rows, strict=True)},
    }


def _balanced_nll(log_probabilities: Tensor, labels: Tensor) -> float:
    losses = F.nll_loss(log_probabilities.double(), labels, reduction="none")
    return float(np.mean([losses[labels == c].mean() for c in labels.unique()]))


def _load(pack: FacePack, net: GateNet, split: str) -> _Faces:
    rows = np.asarray(pack.select(split=split))
    mapping = net.vocabulary.mapping_from(pack.vocabulary)
    labels = np.array([mapping.get(int(label), -1) for label in np.asarray(pack.labels)[rows]], np.int64)
    rows, labels = rows[labels >= 0], labels[labels >= 0]
    size = net.config.input_size_px
    images = [torch.empty(0, 3, size, size, dtype=torch.uint8)]
    for start in range(0, len(rows), 256):
        block = torch.from_numpy(np.stack([pack.images[int(r)] for r in rows[start : start + 256]]))
        small = net.resize(block.permute(0, 3, 1, 2).float())
        images.append(small.round().clamp(0, 255).to(torch.uint8))
    return _Faces(torch.cat(images), torch.from_numpy(labels), np.asarray(pack.subjects)[rows])


def _check_classes(faces: _Faces, pack: FacePack, vocabulary: Vocabulary, split: str) -> None:
    absent = [n for i, n in enumerate(vocabulary.names) if not (faces.labels == i).any()]
    if absent:
        raise DataError(
            f"the pack's {split!r} split has no faces of {', '.join(absent)}; name only classes it has "
            f"(it knows {', '.join(pack.vocabulary.names)})"
        )


def _calibration_rows(faces: _Faces, config: GateTraining) -> np.ndarray:
    """True for the faces of held-back subjects: a share of those of each class, rarest class first."""
    rng = np.random.default_rng([config.seed, 1])
    labels = faces.labels.numpy()
    held: set[Any] = set()
    taken: set[Any] = set()
    for label in np.argsort(np.bincount(labels)):
        subjects = np.array(sorted(set(faces.subjects[labels == label]) - taken))
        count = max(1, round(config.calibration_share * len(subjects))) if len(subjects) else 0
        held |= set(rng.permutation(subjects)[:count].tolist())
        taken |= set(subjects.tolist())
    mask = np.isin(faces.subjects, sorted(held))
    for label, name in enumerate(config.class_names):
        if mask[labels == label].all() or not mask[labels == label].any():
            raise DataError(
                f"too few training subjects show {name}: some must train the gate and some calibrate it"
            )
    return mask


def _initialise(net: GateNet, generator: torch.Generator) -> None:
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01, generator=generator)
            nn.init.zeros_(module.bias)


class _Pools:
    """Rows of each class in the first pack and in the further ones; draws balanced batches."""

    def __init__(self, labels: Tensor, first: int, config: GateTraining) -> None:
        self.config = config
        rows = torch.arange(len(labels))
        self.pools = [
            [rows[(labels == c) & (rows < first)].tolist(), rows[(labels == c) & (rows >= first)].tolist()]
            for c in range(len(config.class_names))
        ]

    def draw(self, generator: torch.Generator) -> Tensor:
        """Rows ``(batch_size,)`` int64: class, then pack, then face."""
        draws = torch.rand(self.config.batch_size, 3, generator=generator, dtype=torch.float64).tolist()
        rows = []
        for u_class, u_pack, u_face in draws:
            first, further = self.pools[int(u_class * len(self.pools))]
            pool = further if further and u_pack < self.config.further_share else first
            rows.append(pool[int(u_face * len(pool))])
        return torch.tensor(rows)


def _to_float(images: Tensor, device: torch.device) -> Tensor:
    return (images.to(device).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def _fit(
    net: GateNet,
    sources: Sequence[_Faces],
    config: GateTraining,
    device: torch.device,
    progress: Callable[[int, float], None] | None,
) -> GateNet:
    images = torch.cat([faces.images for faces in sources])
    labels = torch.cat([faces.labels for faces in sources])
    pools = _Pools(labels, len(sources[0].labels), config)
    optimiser = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, total_steps=config.steps + 1, pct_start=0.1
    )
    averaged = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema_decay), use_buffers=True
    )
    net.train()
    for step in range(config.steps):
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        rows = pools.draw(generator)
        views = random_views(_to_float(images[rows], device), generator)
        targets = F.one_hot(labels[rows], len(config.class_names)).float().to(device)
        if config.mixup > 0:
            share = float(np.random.default_rng([config.seed, 2, step]).beta(config.mixup, config.mixup))
            other = torch.randperm(config.batch_size, generator=generator).to(device)
            views, targets = views.lerp(views[other], share), targets.lerp(targets[other], share)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bfloat16):
            logits = net(views)
        loss = F.cross_entropy(logits.float(), targets, label_smoothing=config.label_smoothing)
        value = float(loss.detach())
        if not np.isfinite(value):
            raise TrainingError(
                f"the gate's loss is {value} at step {step + 1}; a lower learning rate may help"
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        averaged.update_parameters(net)
        if progress is not None:
            progress(step + 1, value)
    return cast(GateNet, averaged.module)


@torch.inference_mode()
def _logits(gate: GateNet, faces: _Faces) -> Tensor:
    blocks = faces.images.split(256)
    return torch.cat([gate(_to_float(block, torch.device("cpu"))).float() for block in blocks])
