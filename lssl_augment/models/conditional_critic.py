"""The critic of the `compact` recipe: a PatchGAN on the pair (face, side image) that knows the attribute.

Beside the paper's attribute head, the attribute enters D_src itself by projection (Miyato and Koyama 2018): the
question is "is this a real face of *this* expression", which an edit that merely pleases a classifier does not
answer. Group norm inside; no gradient penalty: the restoration of real faces holds the generator, and with spectral
norm the critic learned almost nothing in the steps a CPU affords. Intermediate features serve feature matching.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["ConditionalCritic", "ConditionalOutput"]


class ConditionalOutput(NamedTuple):
    """What the critic says of a batch of pairs."""

    #: D_src given the attribute, one unbounded score a patch, ``(B, 1, h, w)``.
    src: Tensor
    #: D_cls, attribute logits, ``(B, A)``.
    cls: Tensor
    #: activations of the trunk, for feature matching.
    features: list[Tensor]


class ConditionalCritic(nn.Module):
    """Trunk of 4×4 stride-2 convolutions, a patch head with projection, an attribute head.

    Args:
        num_attributes: length A of the attribute vector.
        width: channels of the first convolution; doubled at each of the other ``depth − 1``, up to eight times.
        side_channels: channels of the side image.
    """

    def __init__(self, num_attributes: int, *, width: int = 48, depth: int = 4, side_channels: int = 5) -> None:
        super().__init__()
        inputs, layers = 3 + side_channels, []
        for i in range(depth):
            outputs = width * min(2**i, 8)
            layers.append(_layer(inputs, outputs, 4, 2, norm=i > 0))
            inputs = outputs
        self.trunk = nn.ModuleList(layers)
        self.mix = _layer(inputs, inputs, 3, 1)
        self.src_head = nn.Conv2d(inputs, 1, 3, padding=1)
        self.projection = nn.Linear(num_attributes, inputs, bias=False)
        self.cls_head = nn.Linear(inputs, num_attributes)

    def forward(self, images: Tensor, sides: Tensor, y: Tensor) -> ConditionalOutput:
        """Judge pairs ``(B, 3, H, W)``, ``(B, S, H, W)`` as faces of attribute ``y`` ``(B, A)``."""
        h, features = torch.cat([images, sides.to(images.dtype)], dim=1), []
        for layer in self.trunk:
            h = layer(h)
            features.append(h)
        h = self.mix(h)
        affinity = torch.einsum("bchw,bc->bhw", h.float(), self.projection(y).float())
        src = self.src_head(h).float() + affinity[:, None] / h.shape[1] ** 0.5
        return ConditionalOutput(src, self.cls_head(h.float().mean((2, 3))), features)


def _layer(inputs: int, outputs: int, kernel: int, stride: int, norm: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, 1)]
    if norm:
        layers.append(nn.GroupNorm(max(1, outputs // 16), outputs))
    return nn.Sequential(*layers, nn.LeakyReLU(0.2, inplace=True))
