"""Training for a fixed number of optimiser steps, and prediction."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lssl_augment.errors import TrainingError
from lssl_augment.evaluation.classifiers.config import ClassifierConfig
from lssl_augment.evaluation.classifiers.networks import build_network
from lssl_augment.evaluation.classifiers.precision import uses_bf16
from lssl_augment.evaluation.classifiers.rng import forked_rng
from lssl_augment.training.replay import ReplayedStep

__all__ = ["NextBatch", "adamw", "learning_rates", "optimise", "predict", "train_classifier"]

#: Given the run's generator: images (B, 3, S, S) float32 in [-1, 1] and labels, (B,) int64 or (B, C) float32 whose
#: rows sum to 1.
NextBatch = Callable[[torch.Generator], tuple[Tensor, Tensor]]


def train_classifier(
    next_batch: NextBatch,
    num_classes: int,
    config: ClassifierConfig,
    device: torch.device | str = "cpu",
    on_step: Callable[[int, float], None] | None = None,
) -> nn.Module:
    """Train for exactly ``config.steps`` optimiser steps (AdamW, channels-last, autocast where it is fast).

    The same arguments give the same weights on the same machine with the same number of threads.

    Args:
        next_batch: draws one batch with the generator it is given, which is seeded by ``config.seed``.
        on_step: called with (steps done, loss).

    Returns:
        The trained classifier in eval mode.

    Raises:
        TrainingError: when the loss is not finite.
    """
    device = torch.device(device)
    model = build_network(
        config.name,
        num_classes,
        config.seed,
        config.face_size_px,
        weights=config.weights,
        weights_sha256=config.weights_sha256,
    )
    model = model.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    graphed = device.type == "cuda" and not config.name.startswith("timm:")  # whose networks may do anything
    optimizer = adamw(model, config, device, capturable=graphed)
    bf16 = uses_bf16(config.precision, device)
    own = torch.Generator().manual_seed(config.seed)

    def step_of(images: Tensor, labels: Tensor) -> Tensor:
        return optimise(model, optimizer, images, labels, config, bf16=bf16)

    replayed = ReplayedStep(step_of, device) if graphed else None
    # Dropout knows only the global generators.
    with forked_rng(config.seed, device), torch.backends.cudnn.flags(deterministic=True, benchmark=False):
        for step, rate in enumerate(learning_rates(config)):
            for group in optimizer.param_groups:
                if graphed:
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate
            images, labels = next_batch(own)
            if replayed is not None:
                loss = replayed(images, labels)
            else:
                there = images.to(device).contiguous(memory_format=torch.channels_last)
                loss = step_of(there, labels.to(device))
            value = float(loss)
            if not math.isfinite(value):
                raise TrainingError(f"the classifier's loss is {value} at step {step + 1}; lower the learning rate")
            if on_step is not None:
                on_step(step + 1, value)
    return model.eval()


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, batch: int = 256) -> Tensor:
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


def adamw(model: nn.Module, config: ClassifierConfig, device: torch.device, *, capturable: bool) -> torch.optim.AdamW:
    """The optimiser of a classifier: no weight decay on norms and biases.

    Args:
        capturable: its step can be recorded as a CUDA graph, and its learning rate lies on the device.
    """
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=torch.tensor(config.learning_rate, device=device) if capturable else config.learning_rate,
        fused=True,
        capturable=capturable,
    )


def optimise(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    config: ClassifierConfig,
    *,
    bf16: bool,
) -> Tensor:
    """One step with a batch on the model's device; returns the loss, which stays there. Can be recorded."""
    # No weight is used twice in a step, so keeping converted ones would gain nothing.
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=bf16, cache_enabled=False):
        logits = model(images)
    loss = F.cross_entropy(logits.float(), labels, label_smoothing=config.label_smoothing)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


def learning_rates(config: ClassifierConfig) -> list[float]:
    """The learning rate of every step."""
    return [config.learning_rate * _schedule(step / config.steps, config.warmup) for step in range(config.steps)]


def _schedule(done: float, warmup: float) -> float:
    if done < warmup:
        return (done + 1e-3) / (warmup + 1e-3)
    return 0.5 + 0.5 * math.cos(math.pi * (done - warmup) / (1.0 - warmup))
