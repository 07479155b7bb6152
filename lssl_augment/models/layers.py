"""Building blocks shared by the LSSL networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ResidualBlock", "Shortcut", "conv_norm_relu", "replicate", "sub_pixel_up"]


def conv_norm_relu(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, instance norm, ReLU; the size is divided by ``stride`` exactly."""
    # Instance norm subtracts the mean, so a bias in the convolution would be lost.
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=(kernel - 1) // 2, bias=False)
    return nn.Sequential(conv, nn.InstanceNorm2d(outputs, affine=True), nn.ReLU(inplace=True))


def sub_pixel_up(inputs: int, outputs: int) -> nn.Sequential:
    """Twice the size by sub-pixel convolution (Shi et al. 2016): conv, pixel shuffle, instance norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, 4 * outputs, 3, padding=1),
        nn.PixelShuffle(2),
        nn.InstanceNorm2d(outputs, affine=True),
        nn.ReLU(inplace=True),
    )


class Shortcut(nn.Sequential):
    """1×1 convolution with batch norm around a block that changes channels or size (He et al. 2016, option B).

    It takes every ``stride``-th pixel first, which is all that a 1×1 convolution with this stride sees. The strided
    convolution itself, with 8 or fewer channels and an odd batch, writes beyond its memory with two threads and AVX-512
    (oneDNN of torch 2.14).
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__(nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x[:, :, :: self.stride, :: self.stride])
        return out


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with instance norm around a shortcut; ``(B, C, H, W)`` in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_norm_relu(channels, channels, 3),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.InstanceNorm2d(channels, affine=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def replicate(attributes: Tensor, like: Tensor) -> Tensor:
    """Attribute vectors ``(B, A)`` repeated at every place and concatenated to ``like`` ``(B, C, H, W)``."""
    planes = attributes.to(like.dtype)[:, :, None, None].expand(-1, -1, *like.shape[-2:])
    return torch.cat([like, planes], dim=1)
