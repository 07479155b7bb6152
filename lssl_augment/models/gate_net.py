"""The gate: a small classifier that says whether a synthetic face shows the expression it was made for.

It filters what ``synthesis`` writes. It is a network of its own: never the critic that trained the generator
and never a judge that scores a data set, or the score would say how well the filter agrees with itself.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import DataError, WeightsError
from lssl_augment.models.card_config import read_architecture, write_architecture
from lssl_augment.models.weights import read_weights

__all__ = ["GateConfig", "GateNet", "fold_batch_norm", "load_gate", "scores"]


@dataclass(frozen=True)
class GateConfig:
    """Shape of a gate.

    Args:
        widths: channels of the stem and of the three stages; each of the four halves height and width.
        blocks: residual convolutions in each stage.
        input_size_px: faces are averaged down (or scaled up) to squares of this size first.
    """

    widths: tuple[int, int, int, int] = (32, 48, 96, 128)
    blocks: tuple[int, int, int] = (2, 2, 2)
    input_size_px: int = 64

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "blocks", tuple(self.blocks))
        if len(self.widths) != 4 or min(self.widths) < 1:
            raise DataError(f"widths must be four positive integers; got {self.widths}")
        if len(self.blocks) != 3 or min(self.blocks) < 0:
            raise DataError(f"blocks must be three integers, 0 or more; got {self.blocks}")
        if self.input_size_px < 16 or self.input_size_px % 16:
            raise DataError(f"input_size_px must be a multiple of 16; got {self.input_size_px}")

    @classmethod
    def from_card(cls, architecture: object) -> GateConfig:
        """From the card's ``architecture``; an unknown key is refused."""
        return read_architecture(cls, architecture, "a gate's")

    def to_card(self) -> dict[str, Any]:
        """Plain lists and numbers for the card."""
        return write_architecture(self)


class _Conv(nn.Module):
    """3×3 convolution with batch norm or, folded, with the bias that stands for it."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, folded: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=folded)
        self.norm = None if folded else nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out if self.norm is None else self.norm(out)


class _Residual(nn.Module):
    """x + conv(relu(x)): one convolution a block keeps the gate quick."""

    def __init__(self, width: int, *, folded: bool) -> None:
        super().__init__()
        self.conv = _Conv(width, width, stride=1, folded=folded)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv(F.relu(x))
        return out


class GateNet(nn.Module):
    """Expression classifier of aligned faces.

    Args:
        vocabulary: its classes, in the order of the logits.
        config: widths and sizes.
        folded: convolutions with bias and no batch norm (how gates are stored and run); otherwise as trained.

    Attributes:
        temperature: logits are divided by it before the softmax; 1 until calibrated.
    """

    def __init__(
        self, vocabulary: Vocabulary, config: GateConfig | None = None, *, folded: bool = False
    ) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.config = config or GateConfig()
        self.folded = folded
        self.temperature = 1.0
        widths = self.config.widths
        layers: list[nn.Module] = [_Conv(3, widths[0], stride=2, folded=folded)]
        for before, width, blocks in zip(widths, widths[1:], self.config.blocks, strict=False):
            layers += [nn.ReLU(), _Conv(before, width, stride=2, folded=folded)]
            layers += [_Residual(width, folded=folded) for _ in range(blocks)]
        self.features = nn.Sequential(*layers, nn.ReLU())
        self.head = nn.Linear(widths[-1], len(vocabulary))

    def resize(self, images: Tensor) -> Tensor:
        """Faces ``(B, 3, H, W)`` at the network's own size, ``(B, 3, input_size_px, input_size_px)``."""
        size = self.config.input_size_px
        if images.shape[-2:] == (size, size):
            return images
        if images.shape[-2:] == (2 * size, 2 * size):
            return F.avg_pool2d(images, 2)
        return F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)

    def forward(self, images: Tensor) -> Tensor:
        """Faces ``(B, 3, H, W)`` float RGB in [-1, 1] → logits ``(B, classes)``."""
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            came = f"{tuple(images.shape)} {images.dtype}"
            raise DataError(f"the gate takes faces (B, 3, H, W), float in [-1, 1]; got {came}")
        pooled = self.features(self.resize(images)).mean((2, 3))
        logits: Tensor = self.head(pooled)
        return logits


@torch.no_grad()
def fold_batch_norm(net: GateNet) -> GateNet:
    """The same function without batch norm: its running scale and shift go into the convolutions."""
    tensors: dict[str, Tensor] = {}
    for name, module in net.named_modules():
        if isinstance(module, _Conv) and module.norm is not None:
            norm = module.norm
            weight, bias = fuse_conv_bn_weights(
                module.conv.weight,
                None,
                norm.running_mean,  # type: ignore[arg-type]  # None only without track_running_stats
                norm.running_var,  # type: ignore[arg-type]
                norm.eps,
                norm.weight,
                norm.bias,
            )
            tensors |= {f"{name}.conv.weight": weight, f"{name}.conv.bias": bias}
    tensors |= {f"head.{key}": value.clone() for key, value in net.head.state_dict().items()}
    folded = _from_tensors(net.vocabulary, net.config, tensors)
    folded.temperature = net.temperature
    return folded


def _from_tensors(vocabulary: Vocabulary, config: GateConfig, tensors: dict[str, Tensor]) -> GateNet:
    # On the meta device nothing is drawn, so building a network leaves the global generator alone.
    with torch.device("meta"):
        net = GateNet(vocabulary, config, folded=True)
    net.load_state_dict(tensors, assign=True)
    return net.requires_grad_(False).eval()


def load_gate(name_or_path: str | os.PathLike[str] = "gate", device: torch.device | str = "cpu") -> GateNet:
    """A stored gate, folded, in eval mode, with the temperature of its card.

    Raises:
        WeightsError: everything ``read_weights`` refuses; a card or tensors that are not a gate's.
    """
    tensors, card = read_weights(name_or_path, "gate")
    config = GateConfig.from_card(card["architecture"])
    temperature = card.get("temperature")
    if not isinstance(temperature, int | float) or not temperature > 0:
        raise WeightsError(f"a gate's card needs a temperature above 0; got {temperature!r}")
    if not isinstance(card["class_names"], list):
        raise WeightsError(f"a gate's card needs a list of class_names; got {card['class_names']!r}")
    try:
        net = _from_tensors(Vocabulary(tuple(card["class_names"])), config, tensors)
    except RuntimeError as error:
        raise WeightsError(f"{name_or_path}: the tensors do not fit the card: {error}") from error
    net.temperature = float(temperature)
    return net.to(device).to(memory_format=torch.channels_last)


@torch.inference_mode()
def scores(gate: GateNet, images: Tensor, targets: Tensor) -> Tensor:
    """Calibrated probability that each face shows its target.

    Args:
        gate: in eval mode, as :func:`load_gate` gives it.
        images: ``(B, 3, H, W)`` float in [-1, 1], on the gate's device.
        targets: ``(B,)`` integer labels in the gate's vocabulary.

    Returns:
        ``(B,)`` float32 in [0, 1]; row b depends on face b only (to rounding).

    Raises:
        DataError: wrong shape or type, or a target outside the vocabulary.
    """
    if targets.shape != images.shape[:1] or targets.is_floating_point():
        came = f"{tuple(targets.shape)} {targets.dtype}"
        raise DataError(f"targets must be integers of shape ({images.shape[0]},); got {came}")
    if len(targets) == 0:
        return torch.zeros(0, device=images.device)
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= len(gate.vocabulary):
        raise DataError(
            f"targets must be in [0, {len(gate.vocabulary) - 1}] "
            f"({', '.join(gate.vocabulary.names)}); got {low} to {high}"
        )
    probabilities = (gate(images).float() / gate.temperature).softmax(1)
    return probabilities.gather(1, targets.long()[:, None])[:, 0]
