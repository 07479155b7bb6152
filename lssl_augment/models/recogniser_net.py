"""The recogniser: a small network that says how alike two faces are as persons.

It measures whether an edited face is still the same person. It is trained on a few thousand people, so it is a stated
substitute of a real face recogniser: its card tells how well it does on people it never saw. It takes no part in
training or filtering.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lssl_augment.errors import DataError, WeightsError
from lssl_augment.models.card_config import read_architecture, write_architecture
from lssl_augment.models.layers import Shortcut
from lssl_augment.models.weights import read_weights

__all__ = ["RecogniserConfig", "RecogniserNet", "build_recogniser", "embed", "load_recogniser"]

#: The part of the aligned face that is looked at (left, top, side; shares of its width): hair and background are no
#: identity.
_CROP = (0.11, 0.15, 0.78)


@dataclass(frozen=True)
class RecogniserConfig:
    """Shape of a recogniser.

    Args:
        widths: channels of the stem and of the three stages; each of the four halves height and width.
        blocks: residual blocks (two convolutions) in each stage.
        embedding: length of the vector a face is turned into.
        input_size_px: the crop is scaled to squares of this size first.
    """

    widths: tuple[int, int, int, int] = (32, 48, 112, 160)
    blocks: tuple[int, int, int] = (1, 2, 1)
    embedding: int = 128
    input_size_px: int = 64

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "blocks", tuple(self.blocks))
        if len(self.widths) != 4 or min(self.widths) < 1:
            raise DataError(f"widths must be four positive integers; got {self.widths}")
        if len(self.blocks) != 3 or min(self.blocks) < 1:
            raise DataError(f"blocks must be three positive integers; got {self.blocks}")
        if self.embedding < 2:
            raise DataError(f"embedding must be at least 2 numbers; got {self.embedding}")
        if self.input_size_px < 16 or self.input_size_px % 16:
            raise DataError(f"input_size_px must be a multiple of 16; got {self.input_size_px}")

    @classmethod
    def from_card(cls, architecture: object) -> RecogniserConfig:
        """From the card's ``architecture``; an unknown key is refused."""
        return read_architecture(cls, architecture, "a recogniser's")

    def to_card(self) -> dict[str, Any]:
        """Plain lists and numbers for the card."""
        return write_architecture(self)


class _Block(nn.Module):
    """Two 3×3 convolutions with batch norm around a shortcut (He et al. 2016), PReLU as in ArcFace's networks."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.PReLU(after),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = Shortcut(before, after, stride)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x) + self.shortcut(x)
        return out


class RecogniserNet(nn.Module):
    """Aligned faces → unit vectors; the cosine of two vectors says how alike two faces are.

    The grey crop is brought to mean 0 and deviation 1 first, so colour and lighting level are not looked at.

    Shape:
        - input: ``(B, 3, H, W)`` float RGB in [-1, 1], aligned faces of any size
        - output: ``(B, embedding)`` float, length 1
    """

    def __init__(self, config: RecogniserConfig | None = None) -> None:
        super().__init__()
        self.config = config or RecogniserConfig()
        widths = self.config.widths
        layers: list[nn.Module] = [
            nn.Conv2d(1, widths[0], 3, 2, 1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.PReLU(widths[0]),
        ]
        for before, width, blocks in zip(widths, widths[1:], self.config.blocks, strict=False):
            layers += [_Block(before, width, 2), *(_Block(width, width, 1) for _ in range(blocks - 1))]
        self.features = nn.Sequential(*layers)
        side = self.config.input_size_px // 16
        # Where things are matters for identity, so the last map is not averaged (as in ArcFace's networks).
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(widths[-1] * side * side, self.config.embedding, bias=False),
            nn.BatchNorm1d(self.config.embedding),
        )

    def crop(self, images: Tensor) -> Tensor:
        """The middle of the faces, grey, ``(B, 1, S, S)``, mean 0 and deviation 1."""
        left, top, side = (round(share * images.shape[-1]) for share in _CROP)
        part = images[:, :, top : top + side, left : left + side]
        grey = 0.299 * part[:, :1] + 0.587 * part[:, 1:2] + 0.114 * part[:, 2:]
        size = self.config.input_size_px
        small = F.interpolate(grey, (size, size), mode="bilinear", antialias=True, align_corners=False)
        mean = small.mean((1, 2, 3), keepdim=True)
        return (small - mean) / (small - mean).square().mean((1, 2, 3), keepdim=True).add(1e-4).sqrt()

    def forward(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            came = f"{tuple(images.shape)} {images.dtype}"
            raise DataError(f"the recogniser takes faces (B, 3, H, W), float in [-1, 1]; got {came}")
        return F.normalize(self.head(self.features(self.crop(images))), dim=1)


def build_recogniser(config: RecogniserConfig, seed: int) -> RecogniserNet:
    """A network whose first weights depend on ``seed`` alone; no global generator is moved."""
    own = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        net = RecogniserNet(config)
    net.to_empty(device="cpu")
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=own)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d | nn.PReLU):
            module.reset_parameters()
    return net


def load_recogniser(
    name_or_path: str | os.PathLike[str] = "recogniser", device: torch.device | str = "cpu"
) -> RecogniserNet:
    """A stored recogniser in eval mode.

    Raises:
        WeightsError: everything ``read_weights`` refuses; a card or tensors that are not a recogniser's.
    """
    tensors, card = read_weights(name_or_path, "recogniser")
    with torch.device("meta"):
        net = RecogniserNet(RecogniserConfig.from_card(card["architecture"]))
    try:
        net.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise WeightsError(f"{name_or_path}: the tensors do not fit the card: {error}") from error
    return net.requires_grad_(False).eval().to(device)


@torch.inference_mode()
def embed(net: RecogniserNet, images: Tensor, batch: int = 128) -> Tensor:
    """Unit vectors of uint8 faces ``(N, 3, H, W)`` → ``(N, embedding)`` float32 on the CPU.

    Mirrored faces are looked at too and the two vectors added, as is usual in verification.
    """
    device = next(net.parameters()).device
    out = [torch.zeros(0, net.config.embedding)]
    for part in images.split(batch):
        unit = part.to(device).float() / 127.5 - 1
        out.append(F.normalize(net(unit) + net(unit.flip(3)), dim=1).cpu())
    return torch.cat(out)
