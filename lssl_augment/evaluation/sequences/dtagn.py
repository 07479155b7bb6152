"""``dtagn``: appearance and geometry over time, joined by fine-tuning (Jung, Lee, Yim, Park, Kim, ICCV 2015)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lssl_augment.errors import DataError, TrainingError
from lssl_augment.evaluation.sequences.arguments import check_classes, check_numbers, check_videos
from lssl_augment.evaluation.sequences.dtagn_networks import AppearanceNet, GeometryNet, face_shapes, reset
from lssl_augment.evaluation.sequences.dtagn_views import moved_views

__all__ = ["Dtagn", "DtagnConfig", "joint_loss"]

_PREDICTED = 64


@dataclass(frozen=True)
class DtagnConfig:
    """Sizes and training.

    Args:
        width: filters of both convolutions. hidden: units of the appearance network's full layers; first_units and
            second_units: of the geometry network's.
        steps: optimiser steps of each network by itself. joint_steps: of the top layers together.
        batch: videos a step, drawn class by class. learning_rate: highest, of AdamW; a cosine lowers it to 0.
        weight_decay: of AdamW. dropout: of the full layers, in [0, 0.9].
        own_weight: of each network's own cross-entropy in the joint loss. joint_weight: of that of their sum.
        turn_deg: largest turn of a training video. noise_px: of its landmarks, in pixels of a 64-pixel face. flip:
            mirror half of them.

    Raises:
        DataError: a value outside its range.
    """

    width: int = 64
    hidden: int = 500
    first_units: int = 100
    second_units: int = 600
    steps: int = 600
    joint_steps: int = 150
    batch: int = 32
    learning_rate: float = 5e-4
    weight_decay: float = 1e-2
    dropout: float = 0.5
    own_weight: float = 1.0
    joint_weight: float = 0.1
    turn_deg: float = 15.0
    noise_px: float = 0.3
    flip: bool = True

    def __post_init__(self) -> None:
        whole = dict.fromkeys(("width", "hidden", "first_units", "second_units", "steps", "batch"), (1, 10**7))
        check_numbers(
            self,
            **whole,
            joint_steps=(0, 10**7),
            learning_rate=(1e-9, 10),
            weight_decay=(0, 10),
            dropout=(0, 0.9),
            own_weight=(0, 1e6),
            joint_weight=(0, 1e6),
            turn_deg=(0, 45),
            noise_px=(0, 10),
        )
        if self.own_weight + self.joint_weight == 0:
            raise DataError("own_weight and joint_weight must not both be 0")


def joint_loss(appearance: Tensor, geometry: Tensor, labels: Tensor, own: float = 1.0, joint: float = 0.1) -> Tensor:
    """Cross-entropy of each network's logits and of their sum (the paper's λ₁ = λ₂ = 1 and λ₃ = 0.1)."""
    alone = F.cross_entropy(appearance, labels) + F.cross_entropy(geometry, labels)
    return own * alone + joint * F.cross_entropy(appearance + geometry, labels)


class Dtagn:
    """A :class:`~.arguments.SequenceClassifier`.

    Both networks are trained by themselves; then their top layers are trained on with :func:`joint_loss`, everything
    below frozen. The prediction is the softmax of the sum of the logits.

    Deviations: AdamW with a cosine; classes are drawn equally often; turns are any angle up to ``turn_deg``; the
    number of frames is that of the videos.

    Args:
        num_classes: C. seed: of weights, batches, turns and dropout. device: where it runs. config: settings.
        on_step: called with (``appearance``, ``geometry`` or ``joint``, steps done, loss).
    """

    def __init__(
        self,
        num_classes: int,
        *,
        seed: int = 0,
        device: str = "cpu",
        config: DtagnConfig | None = None,
        on_step: Callable[[str, int, float], None] | None = None,
    ) -> None:
        self._classes, self._seed, self._device = num_classes, seed, torch.device(device)
        self._config, self._on_step = config or DtagnConfig(), on_step
        self._size: tuple[int, ...] = ()
        self._appearance: AppearanceNet | None = None
        self._geometry: GeometryNet | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What it was built with, ready for JSON."""
        return dict(vars(self._config))

    def fit(self, videos: np.ndarray, landmarks: np.ndarray, labels: np.ndarray) -> None:
        """See :class:`~.arguments.SequenceClassifier`."""
        check_videos(videos, landmarks)
        labels = check_classes(labels, videos, self._classes)
        frames, height, width = videos.shape[1:]
        if height != width or height % 4:
            raise DataError(f"dtagn takes square videos with a side divisible by 4; got {height} × {width} pixels")
        config, own = self._config, torch.Generator().manual_seed(self._seed)
        with torch.device("meta"):  # the usual first weights would come from the global generator
            appearance = AppearanceNet(frames, height, self._classes, config.width, config.hidden, config.dropout)
            geometry = GeometryNet(frames, self._classes, (config.first_units, config.second_units), config.dropout)
        for network in (appearance, geometry):
            network.to_empty(device="cpu")
            reset(network, own)
            network.to(self._device)
        self._appearance, self._geometry = appearance, geometry
        draw = _Batches(videos, landmarks, labels, self._classes, config, own)

        def appearance_loss() -> Tensor:
            pixels, _, targets = self._placed(draw(shapes=False))
            return F.cross_entropy(appearance(pixels, own), targets)

        def geometry_loss() -> Tensor:
            _, shapes, targets = self._placed(draw(pixels=False))
            return F.cross_entropy(geometry(shapes, own), targets)

        def both() -> Tensor:
            pixels, shapes, targets = self._placed(draw())
            with torch.no_grad():
                seen, traced = appearance.features(pixels, own), geometry.features(shapes, own)
            return joint_loss(
                appearance.top(seen), geometry.top(traced), targets, config.own_weight, config.joint_weight
            )

        self._train("appearance", [appearance], appearance_loss, config.steps)
        self._train("geometry", [geometry], geometry_loss, config.steps)
        self._train("joint", [appearance.top, geometry.top], both, config.joint_steps)
        self._size = videos.shape[1:]

    @torch.no_grad()
    def predict_proba(self, videos: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """See :class:`~.arguments.SequenceClassifier`."""
        check_videos(videos, landmarks)
        if self._appearance is None or self._geometry is None or videos.shape[1:] != self._size:
            raise DataError(f"trained on videos of (T, H, W) {self._size or 'nothing yet'}; got {videos.shape[1:]}")
        out = [np.zeros((0, self._classes))]
        for start in range(0, len(videos), _PREDICTED):
            part = slice(start, start + _PREDICTED)
            pixels = torch.from_numpy(videos[part]).to(self._device).float() / 127.5 - 1.0
            shapes = torch.from_numpy(face_shapes(landmarks[part])).to(self._device)
            logits = self._appearance(pixels) + self._geometry(shapes)
            out.append(logits.double().softmax(dim=1).cpu().numpy())
        return np.concatenate(out)

    def _placed(self, tensors: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        pixels, shapes, labels = (tensor.to(self._device) for tensor in tensors)
        return pixels, shapes, labels

    def _train(self, name: str, networks: list[Any], loss_of: Callable[[], Tensor], steps: int) -> None:
        config = self._config
        parameters: list[nn.Parameter] = [p for network in networks for p in network.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * (0.5 + 0.5 * math.cos(math.pi * step / steps))
            loss = loss_of()
            value = float(loss.detach())
            if not math.isfinite(value):
                raise TrainingError(f"dtagn: the {name} loss is {value} at step {step + 1}; lower the learning rate")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if self._on_step is not None:
                self._on_step(name, step + 1, value)


class _Batches:
    """Draws training batches: a class first, then one of its videos."""

    def __init__(
        self,
        videos: np.ndarray,
        landmarks: np.ndarray,
        labels: np.ndarray,
        num_classes: int,
        config: DtagnConfig,
        generator: torch.Generator,
    ) -> None:
        self._videos, self._landmarks = torch.from_numpy(videos), landmarks
        self._rows = [np.flatnonzero(labels == label) for label in range(num_classes)]
        self._config, self._own = config, generator

    def __call__(self, *, pixels: bool = True, shapes: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels ``(B, T, S, S)`` float in [-1, 1], shapes ``(B, T · 98)`` and labels; what is not wanted is empty."""
        config, own = self._config, self._own
        labels = torch.randint(len(self._rows), (config.batch,), generator=own)
        picks = torch.rand(config.batch, generator=own, dtype=torch.float64).tolist()
        rows = np.array(
            [self._rows[c][int(pick * len(self._rows[c]))] for c, pick in zip(labels.tolist(), picks, strict=True)]
        )
        turns = (2 * torch.rand(config.batch, generator=own) - 1) * config.turn_deg
        flips = (torch.rand(config.batch, generator=own) < 0.5) & config.flip
        videos, points = moved_views(
            self._videos[rows] if pixels else None, self._landmarks[rows], self._videos.shape[-1], turns, flips
        )
        seen = torch.zeros(0) if videos is None else videos / 127.5 - 1.0
        traced = torch.zeros(0)
        if shapes:
            noise = torch.randn(points.shape, generator=own).numpy()
            points = points + noise * (config.noise_px * self._videos.shape[-1] / 64)
            traced = torch.from_numpy(face_shapes(points))
        return seen, traced, labels
