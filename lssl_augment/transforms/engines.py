"""The engine a transform edits with: loaded where it is needed, never a submodule, never pickled."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lssl_augment.attributes import Vocabulary

__all__ = ["EngineStore", "FaceEngine"]


class FaceEngine(Protocol):
    """What :class:`~lssl_augment.transforms.LSSLAugment` asks of an engine;
    ``models.engine.ExpressionEngine`` is one.
    """

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def face_size_px(self) -> int: ...

    def encode(self, images: Tensor, dense: Tensor | None = None, labels: Tensor | None = None) -> Any:
        """``images`` (B, 3, S, S) float32 in [-1, 1], ``dense`` (B, 478, 3) in their pixels, ``labels`` (B,)
        or −1.
        """

    def edit(self, faces: Any, targets: Tensor, intensity: Tensor, seeds: Tensor) -> Tensor:
        """Encoded faces, (R,) long, (R,) float32, (R,) int64 → (R, 3, S, S) float in [-1, 1]."""


class EngineStore:
    """Engines by device, made on first use from weights; or the one engine the user brought.

    A plain object on purpose: were the engine a submodule, its parameters would end up in the optimiser and
    the state dict of the network under training.
    """

    def __init__(self, weights: str | os.PathLike[str], engine: FaceEngine | None) -> None:
        self.weights = weights
        self.brought = engine
        self._loaded: dict[torch.device, FaceEngine] = {}

    def on(self, device: torch.device) -> tuple[FaceEngine, torch.device]:
        """The engine for images on ``device`` and the device it works on."""
        if self.brought is not None:
            return self.brought, _device_of(self.brought) or device
        if device not in self._loaded:
            # Late, so that importing the transform needs no generator code.
            from lssl_augment.models.bundle import load_model
            from lssl_augment.models.engine import ExpressionEngine

            self._loaded[device] = ExpressionEngine(load_model(self.weights, device=device), device=device)
        return self._loaded[device], device

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": {}}


@contextmanager
def evaluation_mode(engine: FaceEngine) -> Iterator[None]:
    """Eval mode for the time of an edit, when the engine is a module; its own mode is put back."""
    if not isinstance(engine, nn.Module):
        yield
        return
    training = [m for m in engine.modules() if m.training]
    engine.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _device_of(engine: FaceEngine) -> torch.device | None:
    device = getattr(engine, "device", None)
    if device is not None:
        return torch.device(device)
    if isinstance(engine, nn.Module):
        first = next(engine.parameters(), None)
        return None if first is None else first.device
    return None
