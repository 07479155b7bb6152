"""Networks of SimGAN (Shrivastava et al. 2017, "Learning from simulated and unsupervised images through adversarial
training", arXiv 1612.07828), in the size the paper uses for hands, its larger images: a refiner at full resolution
with ten residual blocks of 64 channels, and a critic that judges patches.

A refiner makes a simulated face look real and keeps what it shows. It has no target: an edit to another class than
the source's is an error, because its label would be wrong.

Deviations: tanh at the end, as faces are in [-1, 1]; colour in and out.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lssl_augment.errors import DataError
from lssl_augment.models.baselines.face_only import FaceOnlyGenerator

__all__ = ["LocalCritic", "RefinedLatent", "Refiner"]


class RefinedLatent(NamedTuple):
    """Refined faces ``(B, 3, H, W)`` and the classes of their sources ``(B,)``, −1 for unknown."""

    faces: Tensor
    labels: Tensor


class Refiner(FaceOnlyGenerator):
    """7×7 convolution, residual blocks without norm, 1×1 convolution.

    Args:
        num_attributes: classes of the sources. width: channels. blocks: residual blocks.
    """

    def __init__(self, num_attributes: int, *, width: int = 64, blocks: int = 10) -> None:
        super().__init__(num_attributes, None)
        if width < 1 or blocks < 0:
            raise DataError(f"width must be at least 1, blocks at least 0; got {width} and {blocks}")
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 7, padding=3),
            nn.ReLU(),
            *(_Residual(width) for _ in range(blocks)),
            nn.Conv2d(width, 3, 1),
            nn.Tanh(),
        )

    def refine(self, images: Tensor) -> Tensor:
        """R(x): ``(B, 3, H, W)`` in [-1, 1] in and out."""
        self.check_images(images, 1)
        refined: Tensor = self.body(images)
        return refined

    def encode(self, images: Tensor, labels: Tensor | None = None) -> RefinedLatent:
        """The refined faces, with the classes of their sources."""
        if labels is None:
            labels = torch.full((len(images),), -1, device=images.device)
        return RefinedLatent(self.refine(images), labels)

    def decode(self, latent: RefinedLatent, attributes: Tensor) -> Tensor:
        """The refined faces; ``attributes`` must be the one-hot classes of the sources.

        Raises:
            DataError: another class, an intensity below 1, or a source of unknown class.
        """
        attributes = self.full_attributes(attributes)
        own = attributes.gather(1, latent.labels.clamp_min(0)[:, None])[:, 0]
        wrong = (latent.labels < 0) | (own != 1)
        if bool(wrong.any()):
            raise DataError(
                f"SimGAN refines a face and keeps its expression; {int(wrong.sum())} of {len(wrong)} rows ask for "
                "another one, for an intensity below 1, or have a source of unknown class: take sources that show "
                "the target"
            )
        return latent.faces


class LocalCritic(nn.Module):
    """Fully convolutional critic: two logits, real and refined, for each patch.

    Args:
        num_attributes: not used; a refiner's critic sees faces alone.
        width: channels of the first convolution, 96 in the paper; the others have two thirds and one third.
    """

    def __init__(self, num_attributes: int, *, width: int = 96) -> None:
        super().__init__()
        if width < 3:
            raise DataError(f"width must be at least 3; got {width}")
        middle, last = 2 * width // 3, width // 3
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 7, stride=4, padding=3),
            nn.ReLU(),
            nn.Conv2d(width, middle, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.Conv2d(middle, last, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(last, last, 1),
            nn.ReLU(),
            nn.Conv2d(last, 2, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Faces ``(B, 3, H, W)`` → logits ``(B, 2, H/32, W/32)``: refined, real."""
        logits: Tensor = self.body(images)
        return logits


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))
