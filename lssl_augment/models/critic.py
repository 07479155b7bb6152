"""The critic: a PatchGAN (Isola et al. 2017) over pairs (face, side image) with an attribute head.

The paper does not print its table of layers; the trunk and the heads follow StarGAN (Choi et al. 2018), whose
critic, losses and settings the paper otherwise takes over.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from lssl_augment.errors import DataError

__all__ = ["Critic", "CriticOutput"]


class CriticOutput(NamedTuple):
    """What the critic says of a batch of pairs."""

    #: D_src, one unbounded score a patch, ``(B, 1, h, w)``.
    src: Tensor
    #: D_cls, attribute logits, ``(B, A)``.
    cls: Tensor


class Critic(nn.Module):
    """D_src and D_cls over one trunk of 4×4 stride-2 convolutions with LeakyReLU.

    Args:
        num_attributes: length A of the attribute vector.
        face_size_px: size of the faces; the attribute head sees the whole face at once.
        width: channels of the first convolution; doubled at each of the others, up to ``max_width``.
        depth: number of convolutions; None: as many as leave 2×2 patches (6 at 128 px, 5 at 64 px).
        side_channels: channels of the side image; 0 for a critic of faces alone.
        max_width: upper limit of the channels.
        slope: negative slope of LeakyReLU.
        spectral: spectral norm (Miyato et al. 2018) on every convolution.

    Raises:
        DataError: ``face_size_px`` that ``depth`` strides do not divide, or numbers out of range.
    """

    def __init__(
        self,
        num_attributes: int,
        face_size_px: int,
        *,
        width: int = 64,
        depth: int | None = None,
        side_channels: int = 1,
        max_width: int = 2048,
        slope: float = 0.01,
        spectral: bool = False,
    ) -> None:
        super().__init__()
        if depth is None:
            depth = max(1, face_size_px.bit_length() - 2)
        if min(num_attributes, width, depth) < 1 or side_channels < 0 or max_width < width:
            raise DataError(
                "num_attributes, width and depth must be at least 1, side_channels at least 0, max_width at "
                f"least width; got {num_attributes}, {width}, {depth}, {side_channels} and {max_width}"
            )
        if face_size_px < 1 or face_size_px % 2**depth:
            raise DataError(
                f"face_size_px must be a multiple of {2**depth} (depth {depth}); got {face_size_px}"
            )
        self.num_attributes = num_attributes
        self.face_size_px = face_size_px
        self.side_channels = side_channels
        trunk: list[nn.Module] = []
        inputs = 3 + side_channels
        for i in range(depth):
            outputs = min(width * 2**i, max_width)
            trunk += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(slope)]
            inputs = outputs
        self.trunk = nn.Sequential(*trunk)
        self.src_head = nn.Conv2d(inputs, 1, 3, padding=1, bias=False)
        self.cls_head = nn.Conv2d(inputs, num_attributes, face_size_px // 2**depth, bias=False)
        if spectral:
            for module in list(self.modules()):
                if isinstance(module, nn.Conv2d):
                    spectral_norm(module)

    def forward(self, images: Tensor, sides: Tensor | None = None) -> CriticOutput:
        """Judge pairs.

        Args:
            images: ``(B, 3, face_size_px, face_size_px)`` floating point in [-1, 1].
            sides: ``(B, side_channels, face_size_px, face_size_px)`` in [0, 1]; None without side channels.

        Raises:
            DataError: shapes that do not fit.
        """
        size = (self.face_size_px, self.face_size_px)
        found = 0 if sides is None else sides.shape[1]
        if images.shape[1:] != (3, *size) or found != self.side_channels:
            raise DataError(
                f"this critic takes images (B, 3, {size[0]}, {size[0]}), {self.side_channels} side channels; "
                f"got {tuple(images.shape)} and {found}"
            )
        features = self.trunk(images if sides is None else torch.cat([images, sides], dim=1))
        return CriticOutput(self.src_head(features), self.cls_head(features).flatten(1))
