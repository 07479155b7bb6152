"""What the generators of other methods have in common: they see faces and attributes, no landmarks and no side
image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lssl_augment.errors import DataError

__all__ = ["FaceOnlyGenerator", "normal_weights"]


class FaceOnlyGenerator(nn.Module, ABC):
    """A generator of faces alone; ``encode`` once a source, ``decode`` once a target.

    Args:
        num_attributes: length A of the attribute vector: classes that exclude each other.
        hub: index of the class a face at rest belongs to (neutral); None: there is none.

    Raises:
        DataError: no attribute, or a hub that is none of them.
    """

    #: The engine needs no landmarks for it.
    face_only = True
    side_channels = 0

    def __init__(self, num_attributes: int, hub: int | None) -> None:
        super().__init__()
        if num_attributes < 1 or (hub is not None and not 0 <= hub < num_attributes):
            raise DataError(
                f"num_attributes must be at least 1 and hub one of them (from 0) or None; got {num_attributes}, {hub}"
            )
        self.num_attributes = num_attributes
        self.hub = hub

    @abstractmethod
    def encode(self, images: Tensor, labels: Tensor | None = None) -> Any:
        """What all targets of a source share.

        Args:
            images: ``(B, 3, H, W)`` floating point in [-1, 1].
            labels: their classes, ``(B,)`` int64, −1 for unknown; None: all unknown.
        """

    @abstractmethod
    def decode(self, latent: Any, attributes: Tensor) -> Tensor:
        """Faces ``(B, 3, H, W)`` in [-1, 1] of target attributes ``(B, A)``."""

    def forward(self, images: Tensor, attributes: Tensor, labels: Tensor | None = None) -> Tensor:
        """:meth:`encode`, then :meth:`decode`."""
        return self.decode(self.encode(images, labels), attributes)

    def full_attributes(self, attributes: Tensor) -> Tensor:
        """Attribute vectors that sum to 1: what an intensity below 1 leaves over goes to the hub.

        These networks were trained on one-hot vectors, and intensity 0 means a face at rest: ``i`` of the target and
        ``1 − i`` of neutral. Without a hub the vector stays as it is. One-hot vectors come back bit-identical.

        Raises:
            DataError: attribute vectors of another length.
        """
        if attributes.ndim != 2 or attributes.shape[1] != self.num_attributes:
            raise DataError(f"attributes must have shape (B, {self.num_attributes}); got {tuple(attributes.shape)}")
        if self.hub is None:
            return attributes
        left = (1 - attributes.sum(1, keepdim=True)).clamp_min(0)
        place = F.one_hot(attributes.new_full((1,), self.hub).long(), self.num_attributes).to(attributes.dtype)
        return attributes + left * place

    def check_images(self, images: Tensor, multiple: int) -> None:
        """Raises ``DataError`` on images of another shape than ``(B, 3, H, W)`` in multiples of ``multiple``."""
        if images.ndim != 4 or images.shape[1] != 3 or any(n % multiple for n in images.shape[-2:]):
            raise DataError(
                f"images must have shape (B, 3, H, W) with H and W multiples of {multiple}; got {tuple(images.shape)}"
            )


def normal_weights(module: nn.Module) -> None:
    """First weights of DCGAN and CycleGAN: N(0, 0.02), norms N(1, 0.02), biases 0; for ``module.apply``."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
