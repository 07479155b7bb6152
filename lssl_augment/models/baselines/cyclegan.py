"""Networks of CycleGAN (Zhu et al. 2017, "Unpaired image-to-image translation using cycle-consistent adversarial
networks", arXiv 1703.10593, appendix): the generator with six residual blocks for 128 pixels, and the 70×70 PatchGAN.

CycleGAN knows two domains. K classes are K − 1 pairs, neutral ↔ class, in one module: an edit from class k to class t
goes G_k (k → neutral) and then F_t (neutral → t). Neutral is the *hub*; without a class of that name the first one
is.

Deviations: the hub above; an intensity i below 1, which CycleGAN does not have, cross-fades: (1 − i) · neutral face +
i · edited face; a source of unknown class is taken for neutral, because no network says which G_k to use.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from lssl_augment.errors import DataError
from lssl_augment.models.baselines.face_only import FaceOnlyGenerator

__all__ = ["CycleGanCritics", "CycleGanGenerators", "CycleLatent"]


class CycleLatent(NamedTuple):
    """What the targets of a source share: the face brought to the hub, ``(B, 3, H, W)``."""

    at_hub: Tensor


class CycleGanGenerators(FaceOnlyGenerator):
    """A pair of generators for every class but the hub, in the order of the classes.

    Args:
        num_attributes: classes.
        width: channels of the first convolution. blocks: residual blocks.
        hub: class that every edit passes; None: class 0.

    Attributes:
        to_hub, from_hub: of pair p, which belongs to ``classes[p]``.
    """

    def __init__(self, num_attributes: int, *, width: int = 64, blocks: int = 6, hub: int | None = None) -> None:
        super().__init__(num_attributes, hub or 0)
        if width < 1 or blocks < 0:
            raise DataError(f"width must be at least 1, blocks at least 0; got {width} and {blocks}")
        self.reduction = 4
        self.classes = [k for k in range(num_attributes) if k != self.hub]
        self.to_hub = nn.ModuleList(_generator(width, blocks) for _ in self.classes)
        self.from_hub = nn.ModuleList(_generator(width, blocks) for _ in self.classes)

    def encode(self, images: Tensor, labels: Tensor | None = None) -> CycleLatent:
        """The faces at the hub; neutral ones and those of unknown class as they are."""
        self.check_images(images, self.reduction)
        if labels is None:
            return CycleLatent(images)
        at_hub = images.clone()
        for network, label in zip(self.to_hub, self.classes, strict=True):
            rows = (labels == label).nonzero()[:, 0]
            if len(rows):
                at_hub[rows] = network(images[rows]).to(at_hub.dtype)
        return CycleLatent(at_hub)

    def decode(self, latent: CycleLatent, attributes: Tensor) -> Tensor:
        """The weighted mean, by ``attributes`` ``(B, A)``, of the face at the hub and its edits."""
        weights = self.full_attributes(attributes).to(latent.at_hub.dtype)
        out = latent.at_hub * weights[:, self.hub, None, None, None]
        for network, label in zip(self.from_hub, self.classes, strict=True):
            rows = (weights[:, label] > 0).nonzero()[:, 0]
            if len(rows):
                edited = network(latent.at_hub[rows]).to(out.dtype)
                out[rows] = out[rows] + weights[rows, label, None, None, None] * edited
        return out


class CycleGanCritics(nn.Module):
    """PatchGANs: for each pair one of neutral faces and one of faces of the class.

    Args:
        num_attributes: classes, one of them the hub.
        width: channels of the first convolution. layers: stride-2 convolutions; 3 make patches of 70 pixels.
    """

    def __init__(self, num_attributes: int, *, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        if min(num_attributes, width, layers) < 1:
            raise DataError(
                f"num_attributes, width and layers must be at least 1; got {num_attributes}, {width} and {layers}"
            )
        self.at_hub = nn.ModuleList(_critic(width, layers) for _ in range(num_attributes - 1))
        self.at_class = nn.ModuleList(_critic(width, layers) for _ in range(num_attributes - 1))


def _generator(width: int, blocks: int) -> nn.Sequential:
    """c7s1-64, d128, d256, R256 × blocks, u128, u64, c7s1-3 of the paper's appendix."""
    a, b, c = width, 2 * width, 4 * width
    return nn.Sequential(
        nn.ReflectionPad2d(3),
        *_normed(nn.Conv2d(3, a, 7)),
        *_normed(nn.Conv2d(a, b, 3, stride=2, padding=1)),
        *_normed(nn.Conv2d(b, c, 3, stride=2, padding=1)),
        *(_Residual(c) for _ in range(blocks)),
        *_normed(nn.ConvTranspose2d(c, b, 3, stride=2, padding=1, output_padding=1)),
        *_normed(nn.ConvTranspose2d(b, a, 3, stride=2, padding=1, output_padding=1)),
        nn.ReflectionPad2d(3),
        nn.Conv2d(a, 3, 7),
        nn.Tanh(),
    )


class _Residual(nn.Module):
    """Two 3×3 convolutions with reflection padding and instance norm around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1),
            *_normed(nn.Conv2d(channels, channels, 3)),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _normed(layer: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, ...]:
    return layer, nn.InstanceNorm2d(layer.out_channels), nn.ReLU()


def _critic(width: int, layers: int) -> nn.Sequential:
    """C64 without norm, C128, C256 with stride 2, C512 and the head with stride 1."""
    parts: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    inputs = width
    for i in range(1, layers + 1):
        outputs = width * min(2**i, 8)
        parts += [
            nn.Conv2d(inputs, outputs, 4, stride=2 if i < layers else 1, padding=1),
            nn.InstanceNorm2d(outputs),
            nn.LeakyReLU(0.2),
        ]
        inputs = outputs
    return nn.Sequential(*parts, nn.Conv2d(inputs, 1, 4, padding=1))
