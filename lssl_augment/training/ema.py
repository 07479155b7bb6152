"""Exponential moving average of a network's weights: what is previewed and released."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from lssl_augment.errors import DataError

__all__ = ["Ema"]


class Ema:
    """A copy of a network that follows it slowly.

    Args:
        module: the network in training; its parameters are averaged, its buffers copied.
        decay: share of the average kept at each update, in [0, 1). It starts lower, at ``(1 + n) / (10 + n)``
            for update n, so that random first weights are forgotten soon.

    Attributes:
        module: the averaged copy, in eval mode, without gradients.
        updates: how many there have been.

    Raises:
        DataError: decay out of range.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise DataError(f"ema_decay must be in [0, 1); got {decay}")
        self.decay = decay
        self.updates = 0
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the weights of the network after an optimiser step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        averages: list[Tensor] = list(self.module.parameters())
        torch._foreach_lerp_(averages, [w.detach() for w in module.parameters()], 1 - decay)
        for mine, theirs in zip(self.module.buffers(), module.buffers(), strict=True):
            mine.copy_(theirs)

    def state_dict(self) -> dict[str, int | dict[str, Tensor]]:
        """Everything needed to go on."""
        return {"updates": self.updates, "module": self.module.state_dict()}

    def load_state_dict(self, state: dict[str, int | dict[str, Tensor]]) -> None:
        """Go on from :meth:`state_dict`."""
        updates, tensors = state["updates"], state["module"]
        assert isinstance(updates, int)
        assert isinstance(tensors, dict)
        self.updates = updates
        self.module.load_state_dict(tensors)
