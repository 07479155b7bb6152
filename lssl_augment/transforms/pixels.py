"""Between the user's images and the engine's: value range, channels, size, and pasting the change back."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.errors import DataError

__all__ = ["MIN_SIZE_PX", "change_at", "check_images", "check_value_range", "paste", "resize", "to_unit"]

#: Smaller faces carry no expression that could be edited.
MIN_SIZE_PX = 16

#: How far floats may stray beyond their range (resizing overshoots a little), as a fraction of the range.
_SLACK = 1e-3

#: Change (of 2.0 full range) from which fine detail of the source starts to fade, and at which it is gone.
_FADE_FROM, _FADE_TO = 0.04, 0.16


def check_value_range(value_range: object) -> tuple[float, float]:
    """``value_range=`` as two floats; None means (0, 1)."""
    if value_range is None:
        return (0.0, 1.0)
    hint = "value_range must be two finite numbers (low, high) with low < high, such as (0, 1) or (-1, 1)"
    if not isinstance(value_range, (tuple, list)) or len(value_range) != 2:
        raise TypeError(f"{hint}; got {value_range!r}")
    if any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in value_range):
        raise TypeError(f"{hint}; got {value_range!r}")
    low, high = float(value_range[0]), float(value_range[1])
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise DataError(f"{hint}; got {value_range!r}")
    return (low, high)


def check_images(images: Tensor, value_range: tuple[float, float]) -> tuple[float, float]:
    """Refuse what cannot be a batch of aligned faces.

    Args:
        images: shape ``(B, 3, S, S)`` or ``(B, 1, S, S)``, uint8 or floating.
        value_range: declared range of floating images.

    Returns:
        The range these images are in: (0, 255) for uint8, else ``value_range``.

    Raises:
        TypeError: for another dtype.
        DataError: for another shape, or floats that are not finite or leave the range.
    """
    shape = tuple(images.shape)
    if images.ndim != 4 or shape[1] not in (1, 3):
        raise DataError(f"images must have shape (B, 3, S, S), or (B, 1, S, S) for grey faces; got {shape}")
    if shape[2] != shape[3] or shape[2] < MIN_SIZE_PX:
        raise DataError(
            f"images must be square aligned faces of at least {MIN_SIZE_PX} pixels; got "
            f"{shape[2]}×{shape[3]}. "
            "Cut the faces out first: `lssl-augment prepare`, or faces.align.align_face"
        )
    if images.dtype == torch.uint8:
        return (0.0, 255.0)
    if not images.is_floating_point():
        raise TypeError(f"images must be uint8 in [0, 255] or floating in {value_range}; got {images.dtype}")
    if images.numel():
        low, high = (float(v) for v in torch.aminmax(images.detach()))
        slack = _SLACK * (value_range[1] - value_range[0])
        # Written so that NaN fails too.
        if not (low >= value_range[0] - slack and high <= value_range[1] + slack):
            raise DataError(
                f"images are {images.dtype} with values from {low:.4g} to {high:.4g}, outside the declared "
                f"value_range {value_range}. Put LSSLAugment before Normalize, or declare the range: "
                "value_range=(-1, 1), or (0, 255)"
            )
    return value_range


def to_unit(images: Tensor, low: float, high: float) -> Tensor:
    """Images in [low, high], 1 or 3 channels → shape ``(B, 3, S, S)`` float32 in [-1, 1]."""
    unit = ((images.float() - low) * (2.0 / (high - low)) - 1.0).clamp(-1.0, 1.0)
    return unit.expand(-1, 3, -1, -1).contiguous() if unit.shape[1] == 1 else unit


def resize(images: Tensor, size_px: int) -> Tensor:
    """Bilinear with antialias; the same tensor when the size is right already."""
    if images.shape[-1] == size_px:
        return images
    return F.interpolate(
        images, size=(size_px, size_px), mode="bilinear", antialias=True, align_corners=False
    )


def change_at(unit: Tensor, small: Tensor, edited: Tensor) -> Tensor:
    """What an edit made at the engine's size changes at the image's own size.

    Args:
        unit: the image, shape ``(R, 3, S, S)`` in [-1, 1].
        small: the same resized for the engine, shape ``(R, 3, E, E)``.
        edited: the engine's answer, shape ``(R, 3, E, E)``.

    Returns:
        Change, shape ``(R, 3, S, S)``; zero wherever the edit left the face alone, so the image keeps its own
        sharpness there. Where the edit changed the face, detail finer than the engine's size is taken out:
        it belongs to the old expression and would stay behind as a ghost.
    """
    size_px = unit.shape[-1]
    change = edited - small
    if small.shape[-1] == size_px:
        return change
    resized = resize(change, size_px)
    strength = resize(change.abs().amax(dim=1, keepdim=True), size_px)
    fade = ((strength - _FADE_FROM) / (_FADE_TO - _FADE_FROM)).clamp(0.0, 1.0)
    return resized - fade * (unit - resize(small, size_px))


def paste(images: Tensor, change: Tensor, low: float, high: float) -> Tensor:
    """Images plus a change in units of [-1, 1], clamped to [low, high]: shape and dtype of ``images``."""
    if images.shape[1] == 1:
        change = change.mean(dim=1, keepdim=True)
    wide = torch.promote_types(images.dtype, torch.float32)
    out = (images.to(wide) + change.to(wide) * (0.5 * (high - low))).clamp(low, high)
    return (out.round() if images.dtype == torch.uint8 else out).to(images.dtype)
