"""Landmark network: 478 dense 3D points of one face, from an aligned face or from a loose crop.

A small residual network regresses the points of MediaPipe's mesh. It looks at the image twice: once whole,
then at the aligned crop that the first look proposes (``rounds``). A face and its mirror image answer alike;
anything else does not, which is how :func:`locate_face` can tell that there is no face.
"""

from __future__ import annotations

import copy
import os
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lssl_augment.errors import DataError, WeightsError
from lssl_augment.faces.align import STABLE_WEIGHTS, template68
from lssl_augment.faces.dense_flip import DENSE_FLIP
from lssl_augment.faces.landmarks import DENSE_COUNT, SPARSE_FROM_DENSE, eye_distance_px
from lssl_augment.models.eight_bit import from_eight_bit
from lssl_augment.models.weights import read_weights

__all__ = [
    "FACE_SPREAD_LIMIT",
    "LandmarkConfig",
    "LandmarkNet",
    "load_landmark_net",
    "locate_face",
    "predict_landmarks",
]

#: Spread of :func:`locate_face` above which the image should be refused as showing no face; how it was chosen
#: is told in docs/landmarks.md.
FACE_SPREAD_LIMIT = 0.10

_CHUNK = 128
_MAX_PHOTO_SIDE_PX = 640


@dataclass(frozen=True)
class LandmarkConfig:
    """Architecture of a :class:`LandmarkNet`.

    Args:
        input_size_px: side of the square image the network sees; a multiple of ``4 · 2 ** (stages − 1)``.
        widths: channels of each stage; the first works at a quarter of the input size, each next at half.
        blocks: residual blocks of each stage.
        neck: channels of the last feature map, which is flattened so that places are not averaged away.
        hidden: width of the layer before the codes.
        codes: numbers the points are a linear function of.

    Raises:
        DataError: numbers that do not fit together.
    """

    input_size_px: int = 96
    widths: tuple[int, ...] = (64, 128, 160)
    blocks: tuple[int, ...] = (2, 2, 2)
    neck: int = 32
    hidden: int = 256
    codes: int = 96

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "blocks", tuple(self.blocks))
        if len(self.widths) != len(self.blocks) or not self.widths:
            raise DataError(f"widths and blocks must be of one length; got {self.widths} and {self.blocks}")
        if min(*self.widths, *self.blocks, self.neck, self.hidden, self.codes) < 1:
            raise DataError(f"widths, blocks, neck, hidden and codes must be positive; got {self}")
        if self.input_size_px < 1 or self.input_size_px % self.stride:
            raise DataError(f"input_size_px must be a multiple of {self.stride}; got {self.input_size_px}")

    @property
    def stride(self) -> int:
        """Input pixels per cell of the last feature map."""
        return 4 * 2 ** (len(self.widths) - 1)


class _Conv(nn.Module):
    """Convolution and batch norm; the norm is folded into the convolution by :meth:`LandmarkNet.fused`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(x))
        return out

    def fuse(self) -> None:
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


class _Block(nn.Module):
    """Residual block: two 3×3 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _Conv(width, width, 3)
        self.second = _Conv(width, width, 3)
        for scale in self.second.norm.parameters():
            nn.init.zeros_(scale)  # an untrained block is the identity

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


class LandmarkNet(nn.Module):
    """Dense landmarks of one face.

    Shape:
        images ``(B, 3, S, S)`` float in [-1, 1], ``S = config.input_size_px`` → points ``(B, 478, 3)``
        float32 in units of half the image side, x and y from its centre (so −1 and 1 are the image borders).
    """

    def __init__(self, config: LandmarkConfig | None = None) -> None:
        super().__init__()
        self.config = config = LandmarkConfig() if config is None else config
        stages: list[nn.Module] = []
        # 4×4 pixels → channels: a stem of full-size convolutions would cost more than all the rest.
        inputs, stride = 48, 1
        for width, count in zip(config.widths, config.blocks, strict=True):
            stages += [_Conv(inputs, width, 3, stride), nn.ReLU(), *(_Block(width) for _ in range(count))]
            inputs, stride = width, 2
        self.stages = nn.Sequential(*stages)
        self.neck = _Conv(inputs, config.neck, 1)
        cells = (config.input_size_px // config.stride) ** 2
        self.hidden = nn.Linear(config.neck * cells, config.hidden)
        self.codes = nn.Linear(config.hidden, config.codes)
        self.points = nn.Linear(config.codes, DENSE_COUNT * 3)

    def forward(self, images: Tensor) -> Tensor:
        size = self.config.input_size_px
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, size, size):
            raise DataError(f"images must have shape (B, 3, {size}, {size}); got {tuple(images.shape)}")
        x = F.relu(self.neck(self.stages(F.pixel_unshuffle(images, 4))))
        x = F.relu(self.hidden(x.flatten(1)))
        # The points themselves in float32 also under autocast: bfloat16 would round them to half a pixel.
        with torch.autocast(x.device.type, enabled=False):
            points: Tensor = self.points(self.codes(x.float()))
        return points.view(-1, DENSE_COUNT, 3)

    @torch.no_grad()
    def aligned(self, images: Tensor) -> Tensor:
        """Points of aligned faces (or of crops as tight and upright), in one pass.

        Args:
            images: ``(B, 3, H, W)`` float in [-1, 1].

        Returns:
            ``(B, 478, 3)`` float32, pixels of the input image.

        Raises:
            TypeError, DataError: images that are not such a batch.
        """
        _check_images(images)
        if not len(images):
            return images.new_zeros(0, DENSE_COUNT, 3, dtype=torch.float32)
        return torch.cat([self._whole(chunk) for chunk in images.float().split(_CHUNK)])

    def _whole(self, images: Tensor) -> Tensor:
        """Points (B, 478, 3) in pixels from the whole image, made square by repeating its border."""
        height, width = images.shape[-2:]
        side, size = max(height, width), self.config.input_size_px
        left, top = (side - width) // 2, (side - height) // 2
        images = F.pad(images, (left, side - width - left, top, side - height - top), mode="replicate")
        if side != size:
            images = F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=side > size)
        points = self(images) * (side / 2)
        return points + points.new_tensor([side / 2 - 0.5 - left, side / 2 - 0.5 - top, 0.0])

    def fused(self) -> LandmarkNet:
        """A copy for inference, in eval mode, with every batch norm folded into its convolution."""
        net = copy.deepcopy(self).eval()
        for module in net.modules():
            if isinstance(module, _Conv):
                module.fuse()
        return net.requires_grad_(False)


@torch.no_grad()
def predict_landmarks(net: LandmarkNet, images: Tensor, rounds: int = 2) -> Tensor:
    """Dense points of one face per image, aligned or not.

    Args:
        images: ``(B, 3, H, W)`` float in [-1, 1]; the face at least about 40 % as wide as the image, upright
            within about 30 degrees.
        rounds: looks at each image: the first at all of it, every next one at the aligned crop that the last
            one proposes. For aligned faces :meth:`LandmarkNet.aligned` (one look) is as good and cheaper.

    Returns:
        ``(B, 478, 3)`` float32, pixels of the input image (x right, y down, pixel centres at integers; z in
        the same unit, smaller is nearer).

    Raises:
        TypeError, DataError: images that are not such a batch, rounds below 1.
    """
    _check_images(images)
    _check_rounds(rounds, 1)
    images = images.float()
    points = net.aligned(images)
    for _ in range(rounds - 1 if len(images) else 0):
        pairs = zip(images.split(_CHUNK), points.split(_CHUNK), strict=True)
        points = torch.cat([_look_again(net, part, found) for part, found in pairs])
    return points


@torch.no_grad()
def locate_face(net: LandmarkNet, image: np.ndarray, rounds: int = 3) -> tuple[np.ndarray, float]:
    """Find the one face of a photo.

    Args:
        image: RGB photo, shape ``(H, W, 3)`` uint8, with one face at least about 40 % as wide as the photo.
        rounds: looks at the photo, at least 2; the last one is at the mirror image of an aligned crop.

    Returns:
        Dense points in photo pixels, shape ``(478, 3)`` float32 (the mean of the last two looks), and the
        spread: the mean disagreement of the last two looks over the 68 points as a fraction of the distance
        between the eyes. Refuse what exceeds ``FACE_SPREAD_LIMIT``.

    Raises:
        TypeError, DataError: an image of another shape or dtype, rounds below 2.
    """
    if not isinstance(image, np.ndarray):
        raise TypeError(f"image must be a numpy array; got {type(image).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise DataError(f"image must have shape (H, W, 3), dtype uint8; got {image.shape}, {image.dtype}")
    _check_rounds(rounds, 2)
    device = next(net.parameters()).device
    pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device)
    photo = pixels.permute(2, 0, 1)[None].float() / 127.5 - 1
    height, width = image.shape[:2]
    shrink = min(1.0, _MAX_PHOTO_SIDE_PX / max(height, width))
    if shrink < 1:
        # More pixels than that only cost time: the network sees fewer of them.
        small = (max(1, round(height * shrink)), max(1, round(width * shrink)))
        photo = F.interpolate(photo, small, mode="bilinear", align_corners=False, antialias=True)
    before = predict_landmarks(net, photo, rounds - 1)
    last = _look_again(net, photo, before, mirrored=True)
    both = torch.cat([before, last]).double().cpu().numpy()
    eyes = eye_distance_px(both[:, SPARSE_FROM_DENSE]).mean()
    moved = np.linalg.norm(both[0, SPARSE_FROM_DENSE, :2] - both[1, SPARSE_FROM_DENSE, :2], axis=-1).mean()
    dense = both.mean(0)
    fx, fy = width / photo.shape[3], height / photo.shape[2]
    # A photo pixel p is pixel (p + 0.5)/f − 0.5 of the shrunk one.
    dense = (dense + [0.5, 0.5, 0.0]) * [fx, fy, fx] - [0.5, 0.5, 0.0]
    return dense.astype(np.float32), float(moved / max(float(eyes), 1e-6))


def _look_again(net: LandmarkNet, images: Tensor, points: Tensor, mirrored: bool = False) -> Tensor:
    """Points (B, 478, 3) in pixels, from the crops that ``points`` align to the face template."""
    size = net.config.input_size_px
    # Similarities as complex numbers: crop = scale · photo + shift.
    scale, shift = _alignment(points[:, SPARSE_FROM_DENSE, :2], size)
    crops = _crops(images, scale, shift, size)
    if mirrored:
        partner = torch.as_tensor(DENSE_FLIP.copy(), device=images.device)
        found = net(crops.flip(-1))[:, partner]
        found = found * found.new_tensor([-1.0, 1.0, 1.0]) * (size / 2)
    else:
        found = net(crops) * (size / 2)
    centre = complex((size - 1) / 2, (size - 1) / 2)
    place = torch.complex(found[..., 0].double(), found[..., 1].double()) + centre
    place = (place - shift[:, None]) / scale[:, None]
    depth = found[..., 2].double() / scale.abs()[:, None]
    return torch.stack([place.real, place.imag, depth], dim=-1).float()


def _alignment(points68: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Similarities (B,), (B,) complex128 from image points to the template, as ``faces.align.similarity``."""
    weights = torch.as_tensor(STABLE_WEIGHTS / STABLE_WEIGHTS.sum(), device=points68.device)
    target = torch.as_tensor(template68(size) @ np.array([1, 1j]), device=points68.device)
    source = torch.complex(points68[..., 0].double(), points68[..., 1].double())
    mean_s, mean_t = (source * weights).sum(1), (target * weights).sum()
    s, t = source - mean_s[:, None], target - mean_t
    power = (weights * s.abs().square()).sum(1).clamp_min(1e-6)
    scale = (weights * s.conj() * t).sum(1) / power
    # Points that all but coincide give no crop to look at: keep what is divided by away from zero.
    scale = torch.where(scale.abs() < 1e-3, torch.full_like(scale, 1e-3), scale)
    return scale, mean_t - scale * mean_s


def _crops(images: Tensor, scale: Tensor, shift: Tensor, size: int) -> Tensor:
    """Crops (B, 3, size, size): pixel q shows image place (q − shift) / scale; borders are repeated."""
    height, width = images.shape[-2:]
    # Twice as fine, then averaged in 2×2: bilinear sampling alone would alias.
    step = (torch.arange(2 * size, device=images.device, dtype=torch.float64) + 0.5) / 2 - 0.5
    ys, xs = torch.meshgrid(step, step, indexing="ij")
    place = (torch.complex(xs, ys)[None] - shift[:, None, None]) / scale[:, None, None]
    grid = torch.stack([(2 * place.real + 1) / width - 1, (2 * place.imag + 1) / height - 1], dim=-1)
    fine = F.grid_sample(images, grid.to(images.dtype), padding_mode="border", align_corners=False)
    return F.avg_pool2d(fine, 2)


def _check_images(images: Tensor) -> None:
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a tensor; got {type(images).__name__}")
    if not images.is_floating_point():
        raise TypeError(f"images must be floating point in [-1, 1]; got {images.dtype}")
    if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < 1:
        raise DataError(f"images must have shape (B, 3, H, W); got {tuple(images.shape)}")


def _check_rounds(rounds: int, least: int) -> None:
    if not isinstance(rounds, int) or isinstance(rounds, bool):
        raise TypeError(f"rounds must be an integer; got {type(rounds).__name__}")
    if rounds < least:
        raise DataError(f"rounds must be at least {least}; got {rounds}")


def architecture_card(config: LandmarkConfig) -> dict[str, Any]:
    """The ``architecture`` entry of a card."""
    return {"preset": "landmarks", **asdict(config)}


def load_landmark_net(
    name_or_path: str | os.PathLike[str] = "landmarks", device: str | torch.device = "cpu"
) -> LandmarkNet:
    """Landmark network from released weights or a ``.safetensors`` file, ready for inference.

    Raises:
        WeightsError: missing, damaged or refused files (see ``models.weights``), or a card that does not
            describe its tensors.
    """
    tensors, card = read_weights(name_or_path, "landmarks")
    entry = card["architecture"]
    names = {field.name for field in fields(LandmarkConfig)}
    if not isinstance(entry, dict) or set(entry) != names | {"preset"}:
        raise WeightsError(f"architecture of {name_or_path} must give preset, {', '.join(sorted(names))}")
    try:
        net = LandmarkNet(LandmarkConfig(**{key: entry[key] for key in names})).fused()
        net.load_state_dict(from_eight_bit(tensors))
    except (DataError, TypeError, RuntimeError) as error:
        raise WeightsError(f"the card of {name_or_path} does not describe its tensors: {error}") from error
    return net.to(device)
