"""How a classifier is trained; one frozen value that is the same for every arm of a comparison."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lssl_augment.errors import DataError
from lssl_augment.evaluation.classifiers.networks import check_name, initial_weights
from lssl_augment.evaluation.classifiers.precision import PRECISIONS

__all__ = ["ClassifierConfig"]


@dataclass(frozen=True)
class ClassifierConfig:
    """How a classifier is trained.

    Args:
        name: of the network, see :func:`~lssl_augment.evaluation.classifiers.build_network`.
        steps: optimiser steps, ≥ 1; exactly this many in every arm.
        learning_rate: peak, reached after ``warmup`` of the steps and then lowered to 0 by a cosine.
        weight_decay: of AdamW, on weights of more than one dimension.
        warmup: fraction of the steps, in [0, 1).
        label_smoothing: in [0, 1).
        seed: of the initial weights and of everything the batches and dropout draw.
        precision: ``"auto"`` (bfloat16 autocast where that is fast), ``"bf16"`` or ``"fp32"``.
        face_size_px: side of the faces the network is built for.
        weights: file with initial weights (``vgg-face`` only); None: from scratch.
        weights_sha256: what the file must hash to; None: what the card beside it says.

    Raises:
        DataError: for a value outside its range or an unknown network.
    """

    name: str = "resnet18"
    steps: int = 600
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    label_smoothing: float = 0.0
    seed: int = 0
    precision: str = "auto"
    face_size_px: int = 64
    weights: str | None = None
    weights_sha256: str | None = None

    def __post_init__(self) -> None:
        checks = {
            "steps": (self.steps >= 1, "at least 1"),
            "learning_rate": (0 < self.learning_rate < math.inf, "above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "at least 0"),
            "warmup": (0 <= self.warmup < 1, "in [0, 1)"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "in [0, 1)"),
            "seed": (self.seed >= 0, "at least 0"),
            "precision": (self.precision in PRECISIONS, ", ".join(PRECISIONS)),
            "face_size_px": (self.face_size_px >= 16, "at least 16"),
        }
        for name, (fine, allowed) in checks.items():
            if not fine:
                raise DataError(f"{name} must be {allowed}; got {getattr(self, name)!r}")
        check_name(self.name)
        if self.weights is not None and self.name != "vgg-face":
            raise DataError(f"weights are taken by vgg-face only, not by {self.name}: give none")

    @property
    def initial_weights(self) -> str:
        """Where training starts, in words for a report: from scratch, or the file and its hash."""
        return initial_weights(self.weights)
