"""Generator of StarGAN (Choi et al. 2018, "StarGAN: unified generative adversarial networks for multi-domain
image-to-image translation", arXiv 1711.09020, tables 4 and 5). Its critic is :class:`lssl_augment.models.critic.Critic`
without a side image, which has StarGAN's layers.

Deviation: an intensity below 1, which StarGAN does not have, mixes the target's plane with that of neutral.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from lssl_augment.errors import DataError
from lssl_augment.models.baselines.face_only import FaceOnlyGenerator
from lssl_augment.models.layers import ResidualBlock, conv_norm_relu, replicate

__all__ = ["StarGanGenerator"]


class StarGanGenerator(FaceOnlyGenerator):
    """7×7 convolution, stride-2 convolutions, residual blocks, transposed convolutions, 7×7 convolution.

    Args:
        num_attributes: length A of the attribute vector, repeated as A planes beside the face.
        width: channels of the first convolution; doubled at each of the ``downs``.
        downs: 4×4 stride-2 convolutions, and as many transposed ones.
        blocks: residual blocks between them.
        hub: class of a face at rest.

    Raises:
        DataError: a number below 1 (``blocks``: below 0).
    """

    def __init__(
        self, num_attributes: int, *, width: int = 64, downs: int = 2, blocks: int = 6, hub: int | None = None
    ) -> None:
        super().__init__(num_attributes, hub)
        if min(width, downs) < 1 or blocks < 0:
            raise DataError(f"width and downs must be at least 1, blocks at least 0; got {width}, {downs} and {blocks}")
        self.reduction = 2**downs
        widths = [width * 2**i for i in range(downs + 1)]
        steps = list(pairwise(widths))
        self.body = nn.Sequential(
            conv_norm_relu(3 + num_attributes, width, 7),
            *(conv_norm_relu(a, b, 4, stride=2) for a, b in steps),
            *(ResidualBlock(widths[-1]) for _ in range(blocks)),
            *(_up(b, a) for a, b in reversed(steps)),
        )
        self.image_head = nn.Conv2d(width, 3, 7, padding=3, bias=False)

    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The faces themselves: the attributes enter at the first layer, so targets share nothing."""
        self.check_images(images, self.reduction)
        return images

    def decode(self, latent: Tensor, attributes: Tensor) -> Tensor:
        """Faces of the target attributes ``(B, A)``."""
        features = self.body(replicate(self.full_attributes(attributes), latent))
        return torch.tanh(self.image_head(features))


def _up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
        nn.InstanceNorm2d(outputs, affine=True),
        nn.ReLU(inplace=True),
    )
