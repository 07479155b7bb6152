"""Face parser: which pixels show skin, eyes, lips or none of them, from an aligned face.

A U-Net of inverted residual blocks with depthwise convolutions (Sandler et al. 2018, MobileNetV2), as the face parser
of Bozorgtabar et al. 2019 whose parsing loss (eq. 5) compares a face with what the generator made of it. Nothing runs
at full size: 2×2 pixels become channels on the way in and channels become 2×2 pixels on the way out.
"""

from __future__ import annotations

import copy
import os
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lssl_augment.errors import DataError, WeightsError
from lssl_augment.models.weights import read_weights

__all__ = ["PARSER_CLASSES", "ParserConfig", "ParserNet", "load_parser", "parse_faces"]

#: Classes in the order of the logits; the values of :class:`lssl_augment.faces.region_map.Region`.
PARSER_CLASSES = ("background", "skin", "eyes", "lips")

_CHUNK = 64


@dataclass(frozen=True)
class ParserConfig:
    """Architecture of a :class:`ParserNet`.

    Args:
        widths: channels at 1/2, 1/4, 1/8 … of the face size.
        blocks: inverted residual blocks on the way down at each of these sizes; on the way up there is one each.
        expansions: how many times wider the inside of a block of each size is; at the largest size memory traffic is
            what takes the time.

    Raises:
        DataError: numbers that do not fit together.
    """

    widths: tuple[int, ...] = (24, 40, 80, 160)
    blocks: tuple[int, ...] = (1, 2, 3, 3)
    expansions: tuple[int, ...] = (1, 3, 4, 4)

    def __post_init__(self) -> None:
        numbers = {name: tuple(getattr(self, name)) for name in ("widths", "blocks", "expansions")}
        for name, values in numbers.items():
            object.__setattr__(self, name, values)
        if len({len(values) for values in numbers.values()}) != 1 or not self.widths:
            raise DataError(f"widths, blocks and expansions must be of one length, 1 or more; got {numbers}")
        if min(*self.widths, *self.blocks, *self.expansions) < 1:
            raise DataError(f"widths, blocks and expansions must be positive; got {numbers}")

    @property
    def stride(self) -> int:
        """Faces must be a multiple of this many pixels."""
        return int(2 ** len(self.widths))


class _Conv(nn.Module):
    """Convolution, batch norm and, unless ``linear``, ReLU6; the norm is folded by :meth:`ParserNet.fused`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(x))
        return out if self.linear else F.relu6(out)

    def fuse(self) -> None:
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


class _Inverted(nn.Module):
    """Inverted residual block: widen, depthwise 3×3, narrow; with a shortcut where sizes allow it."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int = 1) -> None:
        super().__init__()
        inside = inputs * expansion
        self.body = nn.Sequential(
            _Conv(inputs, inside, 1),
            _Conv(inside, inside, 3, stride, groups=inside),
            _Conv(inside, outputs, 1, linear=True),
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return x + out if self.shortcut else out


class ParserNet(nn.Module):
    """Logits of :data:`PARSER_CLASSES` for every pixel.

    Shape:
        images ``(B, 3, H, W)`` float RGB in [-1, 1], H and W multiples of ``config.stride``; made for aligned faces of
        128 pixels → logits ``(B, 4, H, W)`` float32. Differentiable in the images, also when the weights are frozen.

    Raises:
        TypeError, DataError: images that are not such a batch.
    """

    def __init__(self, config: ParserConfig | None = None) -> None:
        super().__init__()
        self.config = config = ParserConfig() if config is None else config
        widths = config.widths
        self.stem = _Conv(12, widths[0], 3)
        self.down = nn.ModuleList()
        before = widths[0]
        for level, (width, count, wider) in enumerate(zip(widths, config.blocks, config.expansions, strict=True)):
            first = _Inverted(before, width, wider, 1 if level == 0 else 2)
            self.down.append(nn.Sequential(first, *(_Inverted(width, width, wider) for _ in range(count - 1))))
            before = width
        self.narrow, self.up = nn.ModuleList(), nn.ModuleList()
        for level in range(len(widths) - 2, -1, -1):
            # Narrowed before it is enlarged: a quarter of the work, the same result.
            self.narrow.append(_Conv(widths[level + 1], widths[level], 1))
            self.up.append(_Inverted(2 * widths[level], widths[level], config.expansions[level]))
        self.head = nn.Conv2d(widths[0], 4 * len(PARSER_CLASSES), 3, padding=1)
        # The four pixels of a cell begin alike, so that edges begin without a checkerboard (Aitken et al. 2017).
        with torch.no_grad():
            for parameter in self.head.parameters():
                parameter.copy_(parameter[::4].repeat_interleave(4, dim=0))

    def forward(self, images: Tensor) -> Tensor:
        _check_images(images, self.config.stride)
        x = self.stem(F.pixel_unshuffle(images, 2))
        seen = []
        for block in self.down:
            x = block(x)
            seen.append(x)
        for narrow, up, skip in zip(self.narrow, self.up, seen[-2::-1], strict=True):
            # nearest: the skip beside it knows where the edges are
            x = F.interpolate(narrow(x), scale_factor=2.0, mode="nearest")
            x = up(torch.cat([x, skip], dim=1))
        return F.pixel_shuffle(self.head(x), 2).float()

    def fused(self) -> ParserNet:
        """A copy for inference, in eval mode, without gradients, every batch norm folded into its convolution."""
        net = copy.deepcopy(self).eval()
        for module in net.modules():
            if isinstance(module, _Conv):
                module.fuse()
        return net.requires_grad_(False)


@torch.no_grad()
def parse_faces(net: ParserNet, images: Tensor) -> Tensor:
    """Region maps of aligned faces: ``(B, 3, H, W)`` float in [-1, 1] → ``(B, H, W)`` uint8, class of each pixel.

    Raises:
        TypeError, DataError: images that are not such a batch.
    """
    _check_images(images, net.config.stride)
    if not len(images):
        return torch.zeros(0, *images.shape[2:], dtype=torch.uint8, device=images.device)
    return torch.cat([net(chunk).argmax(1).to(torch.uint8) for chunk in images.split(_CHUNK)])


def _check_images(images: Tensor, stride: int) -> None:
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a tensor; got {type(images).__name__}")
    if not images.is_floating_point():
        raise TypeError(f"images must be floating point in [-1, 1]; got {images.dtype}")
    if images.ndim != 4 or images.shape[1] != 3:
        raise DataError(f"images must have shape (B, 3, H, W); got {tuple(images.shape)}")
    height, width = images.shape[2:]
    if not height or not width or height % stride or width % stride:
        raise DataError(f"height and width must be multiples of {stride}; got {height} and {width}")


def architecture_card(config: ParserConfig) -> dict[str, Any]:
    """The ``architecture`` entry of a card."""
    return {"preset": "parser", **asdict(config)}


def load_parser(name_or_path: str | os.PathLike[str] = "parser", device: str | torch.device = "cpu") -> ParserNet:
    """Face parser from released weights or a ``.safetensors`` file: frozen, in eval mode, batch norms folded.

    Raises:
        WeightsError: missing, damaged or refused files (see ``models.weights``), or a card that does not
            describe its tensors.
    """
    tensors, card = read_weights(name_or_path, "parser")
    entry = card["architecture"]
    names = {field.name for field in fields(ParserConfig)}
    if not isinstance(entry, dict) or set(entry) != names | {"preset"}:
        raise WeightsError(f"architecture of {name_or_path} must give preset, {', '.join(sorted(names))}")
    if card["class_names"] != list(PARSER_CLASSES):
        raise WeightsError(
            f"a parser's classes must be {', '.join(PARSER_CLASSES)}; {name_or_path} has {card['class_names']!r}"
        )
    try:
        # On the meta device nothing is drawn, so building a network leaves the global generator alone.
        with torch.device("meta"):
            net = ParserNet(ParserConfig(**{key: entry[key] for key in names}))
            for module in net.modules():
                if isinstance(module, _Conv):
                    module.norm = nn.Identity()
        net.load_state_dict(tensors, assign=True)
    except (DataError, TypeError, RuntimeError) as error:
        raise WeightsError(f"the card of {name_or_path} does not describe its tensors: {error}") from error
    return net.requires_grad_(False).eval().to(device)
