"""The two networks of DTAGN: one looks at pixels over time, one at landmarks over time (Jung et al., ICCV 2015)."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["INNER49", "AppearanceNet", "GeometryNet", "face_shapes", "reset"]

#: Landmarks used: all but the outline and the inner corners of the lips, of the 68.
INNER49 = np.array([i for i in range(17, 68) if i not in (60, 64)])
_NOSE = 30


def face_shapes(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks relative to the nose, in standard deviations of each coordinate.

    Args:
        landmarks: ``(N, T, 68, 2)``.

    Returns:
        ``(N, T · 98)`` float32: free of the place and the size of the face in each frame.
    """
    inner = landmarks[..., INNER49, :].astype(np.float64)
    spread = np.maximum(inner.std(axis=-2, keepdims=True), 1e-6)
    moved = (inner - landmarks[..., _NOSE : _NOSE + 1, :]) / spread
    return moved.reshape(len(landmarks), -1).astype(np.float32)


class _OwnDropout(nn.Module):
    """Dropout that draws from the generator it is given, and does nothing without one."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is None or self.share == 0:
            return x
        keep = torch.rand(x.shape, generator=generator).to(x.device) >= self.share
        return x * keep / (1.0 - self.share)


class AppearanceNet(nn.Module):
    """DTAN: C(5, 64) – L5 – P2 – C(5, 64) – L3 – P2 – FC500 – FC500 – softmax.

    The first convolution has its own filter for every frame and adds over the frames: a convolution with
    the frames as channels.

    Shape:
        - input: ``(B, T, S, S)`` float, S divisible by 4
        - output: logits ``(B, C)``
    """

    def __init__(self, frames: int, size_px: int, num_classes: int, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(frames, width, 5, padding=2)
        self.norm1 = nn.LocalResponseNorm(5)
        self.conv2 = nn.Conv2d(width, width, 5, padding=2)
        self.norm2 = nn.LocalResponseNorm(3)
        self.full1 = nn.Linear(width * (size_px // 4) ** 2, hidden)
        self.full2 = nn.Linear(hidden, hidden)
        self.top = nn.Linear(hidden, num_classes)
        self.drop = _OwnDropout(dropout)

    def features(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """What the top layer looks at, ``(B, hidden)``; with a generator, with dropout."""
        x = F.max_pool2d(self.norm1(F.relu(self.conv1(x))), 2)
        x = F.max_pool2d(self.norm2(F.relu(self.conv2(x))), 2)
        x = self.drop(F.relu(self.full1(x.flatten(1))), generator)
        out: Tensor = self.drop(F.relu(self.full2(x)), generator)
        return out

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        out: Tensor = self.top(self.features(x, generator))
        return out


class GeometryNet(nn.Module):
    """DTGN: FC100 – FC600 – softmax on the shapes of all frames.

    Shape:
        - input: ``(B, T · 98)`` float
        - output: logits ``(B, C)``
    """

    def __init__(self, frames: int, num_classes: int, hidden: tuple[int, int], dropout: float) -> None:
        super().__init__()
        self.full1 = nn.Linear(frames * 2 * len(INNER49), hidden[0])
        self.full2 = nn.Linear(hidden[0], hidden[1])
        self.top = nn.Linear(hidden[1], num_classes)
        self.drop = _OwnDropout(dropout)

    def features(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """What the top layer looks at, ``(B, hidden[1])``; with a generator, with dropout."""
        x = self.drop(F.relu(self.full1(x)), generator)
        out: Tensor = self.drop(F.relu(self.full2(x)), generator)
        return out

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        out: Tensor = self.top(self.features(x, generator))
        return out


def reset(network: nn.Module, generator: torch.Generator) -> None:
    """Initial weights from the generator alone (He et al. 2015; biases 0; the top layer near 0)."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            std = 0.01 if name == "top" else math.sqrt(2.0 / module.weight[0].numel())
            nn.init.normal_(module.weight, std=std, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
