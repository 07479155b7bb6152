"""The generator of "Learn to synthesize and synthesize to learn" (Bozorgtabar et al. 2019).

An encoder turns the pair (face, side image) into a latent of 1/16 of the size; a decoder turns the latent and
a target attribute vector into a new pair. Instance norm has learnable scale and shift, and the side
head ends in a sigmoid because side images are in [0, 1]; the paper states neither.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from lssl_augment.errors import DataError
from lssl_augment.models.layers import ResidualBlock, conv_norm_relu, replicate, sub_pixel_up

__all__ = ["PaperGenerator"]


class PaperGenerator(nn.Module):
    """Encoder E and decoder Dec of the paper; the defaults are the paper's numbers.

    Args:
        num_attributes: length A of the attribute vector.
        width: channels of the first convolution; doubled at each of the ``downs``.
        downs: 4×4 stride-2 convolutions of the encoder and sub-pixel upsamplings of the decoder.
        blocks: residual blocks at the end of the encoder.
        side_channels: channels of the side image; 0 for a generator that sees and makes the face alone.

    Raises:
        DataError: a number below 1 (``blocks`` and ``side_channels``: below 0).
    """

    def __init__(
        self, num_attributes: int, *, width: int = 64, downs: int = 4, blocks: int = 6, side_channels: int = 1
    ) -> None:
        super().__init__()
        if min(num_attributes, width, downs) < 1 or min(blocks, side_channels) < 0:
            raise DataError(
                "num_attributes, width and downs must be at least 1, side_channels and blocks at least 0; got "
                f"{num_attributes}, {width}, {downs}, {side_channels} and {blocks}"
            )
        self.num_attributes = num_attributes
        self.side_channels = side_channels
        self.reduction = 2**downs
        widths = [width * 2**i for i in range(downs + 1)]
        steps = list(pairwise(widths))
        self.encoder = nn.Sequential(
            conv_norm_relu(3 + side_channels, width, 7),
            *(conv_norm_relu(a, b, 4, stride=2) for a, b in steps),
            *(ResidualBlock(widths[-1]) for _ in range(blocks)),
        )
        ups = [sub_pixel_up(b, a) for a, b in reversed(steps[:-1])]
        # The first upsampling also takes in the attribute planes.
        self.decoder = nn.Sequential(sub_pixel_up(widths[-1] + num_attributes, widths[-2]), *ups)
        self.image_head = nn.Conv2d(width, 3, 7, padding=3)
        self.side_head = nn.Conv2d(width, side_channels, 7, padding=3) if side_channels else None

    def encode(self, images: Tensor, sides: Tensor) -> Tensor:
        """E(x, s).

        Args:
            images: ``(B, 3, H, W)`` floating point in [-1, 1]; H and W multiples of ``2**downs``.
            sides: ``(B, side_channels, H, W)`` in [0, 1]; no channels where the generator sees the face alone.

        Returns:
            The latent, ``(B, width·2**downs, H / 2**downs, W / 2**downs)``.

        Raises:
            DataError: shapes that do not fit.
        """
        size = images.shape[-2:]
        if images.ndim != 4 or images.shape[1] != 3 or any(n % self.reduction for n in size):
            raise DataError(
                f"images must have shape (B, 3, H, W) with H and W multiples of {self.reduction}; "
                f"got {tuple(images.shape)}"
            )
        if sides.shape != (len(images), self.side_channels, *size):
            raise DataError(
                f"sides must have shape {(len(images), self.side_channels, *size)}; got {tuple(sides.shape)}"
            )
        latent: Tensor = self.encoder(torch.cat([images, sides], dim=1))
        return latent

    def decode(self, latent: Tensor, attributes: Tensor) -> tuple[Tensor, Tensor]:
        """Dec(latent, y).

        Args:
            latent: from :meth:`encode`.
            attributes: target attribute vectors, ``(B, A)``.

        Returns:
            Faces ``(B, 3, H, W)`` in [-1, 1] and side images ``(B, side_channels, H, W)`` in [0, 1].

        Raises:
            DataError: attribute vectors of another shape.
        """
        if attributes.shape != (len(latent), self.num_attributes):
            raise DataError(
                f"attributes must have shape {(len(latent), self.num_attributes)}; "
                f"got {tuple(attributes.shape)}"
            )
        features = self.decoder(replicate(attributes, latent))
        image = torch.tanh(self.image_head(features))
        if self.side_head is None:
            return image, image.new_empty(len(image), 0, *image.shape[2:])
        return image, torch.sigmoid(self.side_head(features))

    def forward(self, images: Tensor, sides: Tensor, attributes: Tensor) -> tuple[Tensor, Tensor]:
        """Dec(E(x, s), y): :meth:`encode`, then :meth:`decode`."""
        return self.decode(self.encode(images, sides), attributes)
