"""RandAugment of a batch, with a generator of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lssl_augment.errors import DataError
from lssl_augment.evaluation.classifiers.rng import forked_rng

__all__ = ["RandAugment"]

_CROP = 0.125


@dataclass(frozen=True)
class RandAugment:
    """Flip, crop and RandAugment (Cubuk et al. 2020), drawn anew for every face.

    Mirrored with chance ½ and cropped after padding by an eighth, as the paper's baseline does, then ``num_ops`` of
    torchvision's 14 operations (``v2.RandAugment``; places from outside are mid-grey).

    Args:
        num_ops: operations a face, ≥ 1. magnitude: in [0, 30].

    Shape:
        - ``(B, 3, S, S)`` float32 in [0, 1] → the same
    """

    num_ops: int = 2
    magnitude: int = 9

    def __post_init__(self) -> None:
        if self.num_ops < 1 or not 0 <= self.magnitude <= 30:
            raise DataError(
                f"num_ops must be at least 1 and magnitude in [0, 30]; got {self.num_ops} and {self.magnitude}"
            )

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        from torchvision.transforms import v2

        size = images.shape[-1]
        change = v2.Compose(
            [
                v2.RandomHorizontalFlip(),
                v2.RandomCrop(size, padding=round(_CROP * size), padding_mode="reflect"),
                v2.RandAugment(self.num_ops, self.magnitude, fill=128),
            ]
        )
        whole = (images * 255).round().clamp(0, 255).to(torch.uint8)
        # torchvision draws from the global generator.
        with forked_rng(int(torch.randint(2**62, (1,), generator=generator))):
            out = torch.stack([change(image) for image in whole])
        return out.float() / 255
