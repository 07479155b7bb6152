"""A training step recorded once and replayed: on a GPU a small network waits for launches, not for arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["FIRST_STEPS", "ReplayedStep"]

#: Steps that run as they are before one is recorded, so that memory and algorithms have been chosen.
FIRST_STEPS = 3


class ReplayedStep:
    """Calls a step as it is a few times, then records it as a CUDA graph and replays that.

    Every call is a step of the training, the first ones too; recording computes nothing.

    Args:
        step: takes images and labels on the device, moves the weights, returns the loss. It must not look at values
            of tensors, and its optimiser must be ``capturable``.
        device: of type ``cuda``.
    """

    def __init__(self, step: Callable[[Tensor, Tensor], Tensor], device: torch.device) -> None:
        self._step, self._device = step, device
        self._stream = torch.cuda.Stream(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._images, self._labels, self._loss = (torch.empty(0, device=device) for _ in range(3))
        self._calls = 0

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """One step with a batch that may lie on the CPU; a batch of another shape than the first is not replayed."""
        if not self._calls:
            self._images = images.to(self._device).contiguous(memory_format=torch.channels_last)
            self._labels = labels.to(self._device)
        self._calls += 1
        alike = images.shape == self._images.shape and labels.shape == self._labels.shape
        if not alike or labels.dtype != self._labels.dtype:
            there = images.to(self._device).contiguous(memory_format=torch.channels_last)
            return self._beside(there, labels.to(self._device))
        self._images.copy_(images)
        self._labels.copy_(labels)
        if self._calls <= FIRST_STEPS:
            return self._beside(self._images, self._labels)
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._loss = self._step(self._images, self._labels)
        self._graph.replay()
        return self._loss

    def _beside(self, images: Tensor, labels: Tensor) -> Tensor:
        """On a stream of its own, as recording asks of what comes before it."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            loss = self._step(images, labels)
        current.wait_stream(self._stream)
        return loss
