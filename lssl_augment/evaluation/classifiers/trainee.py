"""A classifier in training that is handed its batches: several can train on one GPU in turn, each step one launch.

Processes that share a GPU wait for each other at every launch, and a small network is all launches. One process that
replays recorded steps of many classifiers, with batches that other processes draw, keeps the GPU busy.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lssl_augment.errors import TrainingError
from lssl_augment.evaluation.classifiers.config import ClassifierConfig
from lssl_augment.evaluation.classifiers.loop import adamw, learning_rates, optimise, predict
from lssl_augment.evaluation.classifiers.networks import build_network
from lssl_augment.evaluation.classifiers.precision import uses_bf16
from lssl_augment.training.replay import FIRST_STEPS

__all__ = ["BatchForm", "Trainee"]


class BatchForm:
    """How a batch lies in a run of bytes: images as the network will read them, then soft labels.

    Args:
        batch, size_px, num_classes: of the batches. bf16: images in bfloat16, as autocast would make them.
    """

    def __init__(self, batch: int, size_px: int, num_classes: int, *, bf16: bool) -> None:
        self.batch, self.size_px, self.num_classes = batch, size_px, num_classes
        self.dtype = torch.bfloat16 if bf16 else torch.float32
        self._images = batch * size_px * size_px * 3 * self.dtype.itemsize
        self.size = self._images + batch * num_classes * 4

    def views(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """Bytes ``(size,)`` uint8 → images ``(B, 3, S, S)``, channels last, and labels ``(B, C)`` float32: views."""
        images = data[: self._images].view(self.dtype).view(self.batch, self.size_px, self.size_px, 3)
        return images.permute(0, 3, 1, 2), data[self._images :].view(torch.float32).view(self.batch, -1)

    def write(self, data: Tensor, images: Tensor, labels: Tensor) -> None:
        """Put a batch of a ``NextBatch`` there."""
        into, soft = self.views(data)
        into.copy_(images)
        soft.copy_(labels if labels.ndim == 2 else F.one_hot(labels, self.num_classes))


class Trainee:
    """A network, its optimiser and one step of both, used for one training after another.

    A training is that of :func:`~lssl_augment.evaluation.classifiers.train_classifier` with the same configuration and
    batches, up to rounding; networks with dropout draw other masks.

    Args:
        config: whose seed does not count. batch: faces of every batch. device: where.
    """

    def __init__(self, num_classes: int, config: ClassifierConfig, batch: int, device: torch.device) -> None:
        self.config, self.device, self._classes = config, device, num_classes
        self._bf16 = uses_bf16(config.precision, device)
        self.form = BatchForm(batch, config.face_size_px, num_classes, bf16=self._bf16)
        self._model = self._network(0).to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self._optimizer = adamw(self._model, config, device, capturable=device.type == "cuda")
        self._data = torch.zeros(self.form.size, dtype=torch.uint8, device=device)
        # Rates of all steps lie on the device, so that a recorded step finds its own; one more for the last step's end.
        self._rates = torch.tensor([*learning_rates(config), 0.0], device=device)
        self._at = torch.zeros(1, dtype=torch.int64, device=device)
        self._loss = torch.zeros((), device=device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self.steps = 0
        if device.type == "cuda":
            self._stream, self._event = torch.cuda.Stream(device), torch.cuda.Event()
            with torch.cuda.stream(self._stream):
                for _ in range(FIRST_STEPS):
                    self._step()
                    self._at.zero_()
            torch.cuda.synchronize(device)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, stream=self._stream):
                self._step()
            torch.cuda.synchronize(device)
        else:
            self._step()  # the optimiser makes what `begin` clears

    def _network(self, seed: int) -> nn.Module:
        c = self.config
        return build_network(
            c.name, self._classes, seed, c.face_size_px, weights=c.weights, weights_sha256=c.weights_sha256
        )

    def _beside(self) -> AbstractContextManager[object]:
        return nullcontext() if self._graph is None else torch.cuda.stream(self._stream)

    def _step(self) -> None:
        images, labels = self.form.views(self._data)
        rate = self._rates.index_select(0, self._at)[0]
        for group in self._optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].copy_(rate)
            else:
                group["lr"] = float(rate)
        self._at.add_(1)
        self._loss.copy_(optimise(self._model, self._optimizer, images, labels, self.config, bf16=self._bf16))

    @torch.no_grad()
    def begin(self, seed: int) -> None:
        """Start a training anew: first weights of this seed, an optimiser that knows nothing."""
        with self._beside():
            for mine, first in zip(
                self._model.state_dict().values(), self._network(seed).state_dict().values(), strict=True
            ):
                mine.copy_(first)
            for state in self._optimizer.state.values():
                for value in state.values():
                    value.zero_()
            self._at.zero_()
        self.steps = 0

    def step(self, data: Tensor) -> None:
        """Begin a step with a batch in :class:`BatchForm`; it may still be read until :meth:`idle`."""
        with self._beside():
            self._data.copy_(data, non_blocking=True)
            if self._graph is None:
                self._step()
            else:
                self._graph.replay()
                self._event.record(self._stream)
        self.steps += 1

    def idle(self) -> bool:
        """Whether the last step has ended."""
        return self._graph is None or self._event.query()

    def predict(self, images: Tensor) -> Tensor:
        """:func:`~lssl_augment.evaluation.classifiers.predict` of the trained network.

        Raises:
            TrainingError: when the last loss is not finite.
        """
        with self._beside():
            value = float(self._loss)
            if not math.isfinite(value):
                raise TrainingError(f"the classifier's loss is {value} at its last step; lower the learning rate")
            found = predict(self._model.eval(), images)
            self._model.train()
        return found
