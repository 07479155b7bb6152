"""A small residual classifier for 64×64 faces, trained for a fixed number of optimiser steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lssl_augment.errors import DataError, TrainingError

__all__ = ["FaceClassifier", "NextBatch", "TrainConfig", "build_classifier", "predict", "train_classifier"]

#: Given the run's generator: images (B, 3, S, S) float32 in [-1, 1] and labels (B,) int64.
NextBatch = Callable[[torch.Generator], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class TrainConfig:
    """How a classifier is trained; the same for every arm of a comparison.

    Args:
        steps: optimiser steps, ≥ 1.
        learning_rate: peak, reached after ``warmup`` of the steps and then lowered to 0 by a cosine.
        weight_decay: of AdamW, on weights of more than one dimension.
        warmup: fraction of the steps, in [0, 1).
        width: channels of the first stage; they double three times.
        seed: of the initial weights and of everything the batches draw.

    Raises:
        DataError: for a value outside its range.
    """

    steps: int = 600
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    width: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        checks = {
            "steps": (self.steps >= 1, "at least 1"),
            "learning_rate": (0 < self.learning_rate < math.inf, "above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "at least 0"),
            "warmup": (0 <= self.warmup < 1, "in [0, 1)"),
            "width": (self.width >= 1, "at least 1"),
            "seed": (self.seed >= 0, "at least 0"),
        }
        for name, (fine, allowed) in checks.items():
            if not fine:
                raise DataError(f"{name} must be {allowed}; got {getattr(self, name)!r}")


class _Block(nn.Module):
    """Two 3×3 convolutions with batch norm around a shortcut (He et al. 2016)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class FaceClassifier(nn.Module):
    """ResNet-18's plan at a narrower width: 64×64 faces → 32, 32, 16, 8, 4 pixels, two blocks a stage.

    Shape:
        - input: ``(B, 3, 64, 64)`` float in [-1, 1] (other sizes divisible by 16 work too)
        - output: logits, ``(B, num_classes)``
    """

    def __init__(self, num_classes: int, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        blocks: list[nn.Module] = []
        before = width
        for stage in range(4):
            after = width * 2**stage
            blocks += [_Block(before, after, 1 if stage == 0 else 2), _Block(after, after, 1)]
            before = after
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(before, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.blocks(self.stem(images)).mean(dim=(2, 3))
        return self.head(features)


def build_classifier(num_classes: int, width: int, seed: int) -> FaceClassifier:
    """A classifier whose initial weights depend on ``seed`` alone; no global generator is moved."""
    own = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        model = FaceClassifier(num_classes, width)
    model.to_empty(device="cpu")
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=own)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01, generator=own)
            nn.init.zeros_(module.bias)
    return model


def train_classifier(
    next_batch: NextBatch,
    num_classes: int,
    config: TrainConfig,
    device: torch.device | str = "cpu",
    on_step: Callable[[int, float], None] | None = None,
) -> FaceClassifier:
    """Train for exactly ``config.steps`` optimiser steps, in bfloat16 autocast and channels-last.

    Args:
        next_batch: draws one batch with the generator it is given, which is seeded by ``config.seed``.
        on_step: called with (steps done, loss).

    Returns:
        The trained classifier in eval mode.

    Raises:
        TrainingError: when the loss is not finite.
    """
    device = torch.device(device)
    model = build_classifier(num_classes, config.width, config.seed)
    model = model.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=config.learning_rate,
        fused=True,
    )
    own = torch.Generator().manual_seed(config.seed)
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * _schedule(step / config.steps, config.warmup)
        images, labels = next_batch(own)
        images = images.to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            logits = model(images)
        loss = F.cross_entropy(logits.float(), labels.to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"the classifier's loss is {value} at step {step + 1}; lower the learning rate"
            )
        if on_step is not None:
            on_step(step + 1, value)
    return model.eval()


@torch.no_grad()
def predict(model: FaceClassifier, images: Tensor, batch: int = 256) -> Tensor:
    """Class probabilities in float32.

    Args:
        images: shape ``(N, 3, S, S)`` uint8.

    Returns:
        Shape ``(N, num_classes)`` float32 on the CPU, rows sum to 1.
    """
    device = next(model.parameters()).device
    out = []
    for part in images.split(batch):
        unit = part.to(device).float() / 127.5 - 1.0
        out.append(model(unit.contiguous(memory_format=torch.channels_last)).softmax(dim=1).cpu())
    return torch.cat(out)


def _schedule(done: float, warmup: float) -> float:
    if done < warmup:
        return (done + 1e-3) / (warmup + 1e-3)
    return 0.5 + 0.5 * math.cos(math.pi * (done - warmup) / (1.0 - warmup))
