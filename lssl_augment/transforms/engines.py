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

_PRECISIONS = {None: "auto", torch.float32: "fp32", torch.bfloat16: "bf16"}


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

    def edit(
        self, faces: Any, targets: Tensor, intensity: Tensor, seeds: Tensor, *, yaw_deg: Tensor | None = None
    ) -> Tensor:
        """Encoded faces, (R,) long, (R,) float32, (R,) int64 → (R, 3, S, S) float in [-1, 1]; ``yaw_deg`` (R,) float32
        degrees only where poses are asked for."""


class EngineStore:
    """Engines by device, made on first use from weights; or the one engine the user brought.

    A plain object on purpose: were the engine a submodule, its parameters would end up in the optimiser and
    the state dict of the network under training.

    Args:
        weights: name or path. engine: the user's own, instead of weights.
        compute_dtype: float32, bfloat16, or None: what the engine chooses.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str],
        engine: FaceEngine | None,
        compute_dtype: torch.dtype | None,
    ) -> None:
        self.weights = weights
        self.brought = engine
        self.compute_dtype = compute_dtype
        self._loaded: dict[torch.device, FaceEngine] = {}

    def on(self, device: torch.device) -> tuple[FaceEngine, torch.device]:
        """The engine for images on ``device`` and the device it works on."""
        if self.brought is not None:
            return self.brought, _device_of(self.brought) or device
        if device not in self._loaded:
            # Late, so that importing the transform needs no generator code.
            from lssl_augment.models.bundle import load_model
            from lssl_augment.models.engine import ExpressionEngine

            bundle = load_model(self.weights, device=device)
            precision = _PRECISIONS[self.compute_dtype]
            self._loaded[device] = ExpressionEngine(bundle, device, precision=precision)
        return self._loaded[device], device

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": {}}

    @contextmanager
    def settings(self, engine: FaceEngine, device: torch.device) -> Iterator[None]:
        """Around an edit: whatever autocast or training mode is on outside, the edit is the same.

        An engine made here sees to its own precision; one that was brought runs under autocast if
        ``compute_dtype`` says so.
        """
        half = engine is self.brought and self.compute_dtype == torch.bfloat16
        with _evaluation_mode(engine), torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            yield


@contextmanager
def _evaluation_mode(engine: FaceEngine) -> Iterator[None]:
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
