"""HOG3D: histograms of gradients in space and time (Kläser, Marszałek, Schmid, BMVC 2008)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lssl_augment.errors import DataError
from lssl_augment.evaluation.sequences.arguments import check_numbers, check_videos
from lssl_augment.evaluation.sequences.polyhedra import POLYHEDRA, polyhedron_axes, quantise

__all__ = ["Hog3dConfig", "hog3d", "integral_video"]


@dataclass(frozen=True)
class Hog3dConfig:
    """Layout of the descriptor.

    Args:
        blocks: descriptors along (t, y, x), each half over the next: T = 16 and S = 64 give 8 frames × 16 × 16 px.
        cells: histograms of a block along (t, y, x). parts: mean gradients of a cell along each direction.
        polyhedron: ``icosahedron`` or ``dodecahedron``. half_orientation: opposite gradients are one.
        clip: largest entry of a block of length 1 before it is brought to length 1 again, in (0, 1].

    Raises:
        DataError: a value outside its range.
    """

    blocks: tuple[int, int, int] = (3, 7, 7)
    cells: tuple[int, int, int] = (2, 2, 2)
    parts: int = 2
    polyhedron: str = "icosahedron"
    half_orientation: bool = False
    clip: float = 0.25

    def __post_init__(self) -> None:
        for name in ("blocks", "cells"):
            value = tuple(getattr(self, name))
            object.__setattr__(self, name, value)
            if len(value) != 3 or min(value) < 1:
                raise DataError(f"{name} must be three whole numbers (t, y, x), at least 1; got {value}")
        check_numbers(self, parts=(1, 64), clip=(1e-6, 1.0))
        polyhedron_axes(self.polyhedron)

    @property
    def bins(self) -> int:
        """Entries of a cell's histogram."""
        return POLYHEDRA[self.polyhedron] // (2 if self.half_orientation else 1)

    @property
    def length(self) -> int:
        """Entries of a video's descriptor."""
        return int(np.prod(self.blocks) * np.prod(self.cells)) * self.bins


def hog3d(videos: np.ndarray, config: Hog3dConfig | None = None) -> np.ndarray:
    """Descriptors of all blocks of a dense grid, one after the other.

    The mean gradient of every part of a cell comes out of an integral video; it is quantised on the polyhedron, and
    the parts of a cell are added up (section 3). Deviations: blocks tile the face on a fixed grid and are not
    clustered into words, as aligned faces are comparable place by place; edges of parts are whole pixels.

    Args:
        videos: ``(N, T, H, W)`` uint8.

    Returns:
        ``(N, blocks · cells · bins)`` float32, in the order block t, y, x, cell t, y, x, bin. A block without any
        gradient is zero, every other one has length 1.

    Raises:
        DataError: other arrays, or videos too small for so many parts.
    """
    config = config or Hog3dConfig()
    check_videos(videos)
    axes, threshold = polyhedron_axes(config.polyhedron)
    edges = [
        _edges(size, blocks, cells * config.parts, axis)
        for size, blocks, cells, axis in zip(videos.shape[1:], config.blocks, config.cells, "tyx", strict=True)
    ]
    out = np.empty((len(videos), config.length), np.float32)
    for row, video in enumerate(videos):
        means = _part_means(video.astype(np.float64) / 255.0, edges)
        shares = quantise(means, axes, threshold, half=config.half_orientation)
        out[row] = _normalised(_cells(shares, config), config.clip).ravel()
    return out


def integral_video(gradients: np.ndarray) -> np.ndarray:
    """Sums from the first corner: ``(T, H, W, 3)`` → ``(T+1, H+1, W+1, 3)``, zeros at the first faces."""
    out = np.zeros(tuple(size + 1 for size in gradients.shape[:3]) + gradients.shape[3:])
    out[1:, 1:, 1:] = gradients.cumsum(axis=0).cumsum(axis=1).cumsum(axis=2)
    return out


def _edges(size: int, blocks: int, parts: int, axis: str) -> np.ndarray:
    """Where the parts of each block begin and end, ``(blocks, parts + 1)``; blocks overlap by a half."""
    step = size / (blocks + 1)
    begin = step * np.arange(blocks)[:, None]
    # Halves away from the middle, so that a mirrored video has mirrored parts.
    exact = begin + 2 * step * np.arange(parts + 1) / parts
    edges = np.where(exact <= size / 2, np.ceil(exact - 0.5), np.floor(exact + 0.5)).astype(np.int64)
    if (np.diff(edges, axis=1) < 1).any():
        raise DataError(
            f"{size} along {axis} are too few for {blocks} blocks of {parts} parts: take larger videos (more frames) "
            "or fewer blocks, cells or parts"
        )
    return edges


def _part_means(video: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """Mean gradient (x, y, t) of every part, ``(Bt, Pt, By, Py, Bx, Px, 3)``."""
    along_t, along_y, along_x = np.gradient(video)
    total = integral_video(np.stack([along_x, along_y, along_t], axis=-1))
    for axis, edge in zip((0, 2, 4), edges, strict=True):
        total = np.take(total, edge, axis=axis)
        total = np.diff(total, axis=axis + 1)
    lengths = [np.diff(edge, axis=1) for edge in edges]
    volume = np.einsum("ap,bq,cr->apbqcr", *lengths)
    result: np.ndarray = total / volume[..., None]
    return result


def _cells(shares: np.ndarray, config: Hog3dConfig) -> np.ndarray:
    """Sum over the parts of every cell, ``(blocks, cells · bins)``."""
    (bt, by, bx), (ct, cy, cx), p = config.blocks, config.cells, config.parts
    split = shares.reshape(bt, ct, p, by, cy, p, bx, cx, p, config.bins).sum(axis=(2, 5, 8))
    return split.transpose(0, 2, 4, 1, 3, 5, 6).reshape(bt * by * bx, -1)


def _normalised(blocks: np.ndarray, clip: float) -> np.ndarray:
    for limit in (clip, np.inf):
        norm = np.linalg.norm(blocks, axis=1, keepdims=True)
        blocks = np.minimum(np.divide(blocks, norm, out=np.zeros_like(blocks), where=norm > 1e-9), limit)
    return blocks
