"""What a network costs: its parameters and the multiply-accumulates of one forward pass.

Counted by forward hooks on convolutions, transposed convolutions and linear layers, which is where all but a
per cent or so of the work of these networks happens; norms, activations and matrix products outside such
layers are not counted. Networks on the ``meta`` device are counted without doing or storing anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Cost", "network_cost"]

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Cost:
    """Parameters, and multiply-accumulates of the pass that was measured."""

    parameters: int
    macs: int

    @property
    def half_bytes(self) -> int:
        """Bytes of the parameters in half precision."""
        return 2 * self.parameters


def network_cost(module: nn.Module, *inputs: Tensor, call: Callable[..., Any] | None = None) -> Cost:
    """Cost of ``call(*inputs)``, by default of ``module(*inputs)``.

    Args:
        module: the network; its mode and weights are left alone.
        inputs: on the network's device; use a batch of one to get the cost of one face.
        call: what to run instead of the forward pass, for example ``generator.encode``.
    """
    macs = 0

    def count(layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        if isinstance(layer, nn.Linear):
            macs += output.numel() * layer.in_features
        elif isinstance(layer, _TRANSPOSED):
            # Each input value meets every kernel weight of its channel.
            macs += args[0].numel() * layer.weight[0].numel()
        elif isinstance(layer, _CONVS):
            # Each output value sums over one kernel.
            macs += output.numel() * layer.weight[0].numel()

    counted = (nn.Linear, *_CONVS, *_TRANSPOSED)
    hooks = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, counted)]
    modes = [(m, m.training) for m in module.modules()]
    try:
        module.eval()
        with torch.no_grad():
            (call or module)(*inputs)
    finally:
        for part, mode in modes:
            part.training = mode
        for hook in hooks:
            hook.remove()
    return Cost(sum(p.numel() for p in module.parameters()), macs)
