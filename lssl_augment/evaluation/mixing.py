"""Mixing of a batch's faces and labels: MixUp and CutMix. Labels become soft."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.errors import DataError

__all__ = ["CutMix", "MixUp"]


@dataclass(frozen=True)
class MixUp:
    """Weighted means of two faces and of their labels (Zhang et al. 2018, eq. 1).

    Args:
        alpha: λ ~ Beta(α, α), one a batch.

    Shape:
        - images ``(B, 3, S, S)`` float, labels ``(B,)`` int64 or ``(B, C)`` float32, num_classes C →
          images as they came and labels ``(B, C)`` float32
    """

    alpha: float = 0.2

    def __post_init__(self) -> None:
        _check_alpha(self.alpha)

    def __call__(
        self, images: Tensor, labels: Tensor, num_classes: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        soft = _soft(labels, num_classes)
        share, other = _draw(self.alpha, generator), torch.randperm(len(images), generator=generator)
        return share * images + (1 - share) * images[other], share * soft + (1 - share) * soft[other]


@dataclass(frozen=True)
class CutMix:
    """A rectangle of another face pasted in; labels by area (Yun et al. 2019, Algorithm A1).

    Args:
        alpha: λ ~ Beta(α, α), one a batch; the rectangle has 1 − λ of the area, less what falls off the image, and
            labels follow the area that is really pasted.

    Shape: as :class:`MixUp`.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        _check_alpha(self.alpha)

    def __call__(
        self, images: Tensor, labels: Tensor, num_classes: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        soft = _soft(labels, num_classes)
        height, width = images.shape[-2:]
        side = math.sqrt(1 - _draw(self.alpha, generator))
        other = torch.randperm(len(images), generator=generator)
        row, column = (float(x) for x in torch.rand(2, generator=generator))
        top, bottom = _span(row, side, height)
        left, right = _span(column, side, width)
        out = images.clone()
        out[..., top:bottom, left:right] = images[other][..., top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / (height * width)
        return out, share * soft + (1 - share) * soft[other]


def _span(centre: float, side: float, size: int) -> tuple[int, int]:
    middle, half = centre * size, side * size / 2
    return max(0, round(middle - half)), min(size, round(middle + half))


def _draw(alpha: float, generator: torch.Generator) -> float:
    """Beta(α, α); torch's own takes no generator."""
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def _soft(labels: Tensor, num_classes: int) -> Tensor:
    return labels if labels.ndim == 2 else F.one_hot(labels, num_classes).float()


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < math.inf:
        raise DataError(f"alpha must be above 0; got {alpha}")
