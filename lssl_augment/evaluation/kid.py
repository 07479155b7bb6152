"""Kernel inception distance, the unbiased polynomial MMD² of Bińkowski et al. 2018, on features of any network.

The published measure takes features of an Inception network trained on ImageNet; here they are the penultimate
features of a judge of expressions. The numbers rank generators measured with the same network, and are not comparable
with published ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lssl_augment.errors import DataError

__all__ = ["Kid", "kid", "penultimate", "polynomial_mmd2"]


@dataclass(frozen=True)
class Kid:
    """Mean and standard deviation over random subsets. ``size``: faces of a subset."""

    mean: float
    sd: float
    size: int
    subsets: int


def polynomial_mmd2(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased MMD² with the kernel (x·y / d + 1)³ (Bińkowski et al. 2018, eq. 4 and section 4).

    Args:
        x: ``(M, d)``; y: ``(N, d)``; M, N ≥ 2.

    Returns:
        Near 0 for equal distributions; it may be negative.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise DataError(f"two sets of at least two features of equal length are needed; got {x.shape} and {y.shape}")
    x, y = x.astype(np.float64), y.astype(np.float64)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray((a @ b.T / a.shape[1] + 1) ** 3)

    def within(a: np.ndarray) -> float:
        k = kernel(a, a)
        return float((k.sum() - k.trace()) / (len(a) * (len(a) - 1)))

    return within(x) + within(y) - 2 * float(kernel(x, y).mean())


def kid(x: np.ndarray, y: np.ndarray, *, size: int = 100, subsets: int = 50, seed: int = 0) -> Kid:
    """Mean and sd of :func:`polynomial_mmd2` over ``subsets`` random subsets of both, of at most ``size`` each.

    A set that is no larger than a subset takes part whole every time.
    """
    used = min(size, len(x), len(y))
    rng = np.random.default_rng(seed)
    values = [
        polynomial_mmd2(x[rng.permutation(len(x))[:used]], y[rng.permutation(len(y))[:used]]) for _ in range(subsets)
    ]
    return Kid(float(np.mean(values)), float(np.std(values)), used, subsets)


@torch.no_grad()
def penultimate(model: nn.Module, images: Tensor, batch: int = 256) -> np.ndarray:
    """What the last linear layer of a classifier is given, for uint8 faces ``(N, 3, S, S)`` → ``(N, d)`` float32."""
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linears:
        raise DataError(f"{type(model).__name__} has no linear layer to take features from")
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].float().cpu())

    hook = linears[-1].register_forward_pre_hook(keep)
    device = next(model.parameters()).device
    try:
        for part in images.split(batch):
            model((part.to(device).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last))
    finally:
        hook.remove()
    return torch.cat(seen).numpy()
