"""LBP-TOP: local binary patterns on three orthogonal planes (Zhao, Pietikäinen, TPAMI 2007)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lssl_augment.errors import DataError
from lssl_augment.evaluation.sequences.arguments import check_numbers, check_videos

__all__ = ["PLANES", "LbpTopConfig", "lbp_top", "plane_codes"]

#: Order of the planes.
PLANES = ("xy", "xt", "yt")


@dataclass(frozen=True)
class LbpTopConfig:
    """Layout of the descriptor.

    Args:
        points: neighbours on each circle, 4 to 16. radius: of the circles, pixels and frames, whole.
        rows, columns: blocks of the face. overlap: share of a block that the next one covers too, in [0, 0.9].

    Raises:
        DataError: a value outside its range.
    """

    points: int = 8
    radius: int = 1
    rows: int = 9
    columns: int = 8
    overlap: float = 0.5

    def __post_init__(self) -> None:
        check_numbers(self, points=(4, 16), radius=(1, 64), rows=(1, 256), columns=(1, 256), overlap=(0.0, 0.9))

    @property
    def bins(self) -> int:
        """Uniform patterns, one bin each, and one for all others: 59 of 8 points."""
        return self.points * (self.points - 1) + 3


def lbp_top(videos: np.ndarray, config: LbpTopConfig | None = None) -> np.ndarray:
    """Histograms of uniform patterns of every block (in space) and plane, over the whole time.

    The patterns are scikit-image's ``local_binary_pattern``. A pattern is counted where its circle lies inside of the
    video on all three planes. Deviation: one radius for space and time.

    Args:
        videos: ``(N, T, H, W)`` uint8.

    Returns:
        ``(N, rows · columns, 3, bins)`` float32; each histogram sums to 1. Blocks row by row, planes as :data:`PLANES`.

    Raises:
        DataError: other arrays, or videos too small for the radius or the blocks.
    """
    config = config or LbpTopConfig()
    check_videos(videos)
    _, frames, height, width = videos.shape
    inner_h, inner_w = height - 2 * config.radius, width - 2 * config.radius
    if frames <= 2 * config.radius or inner_h < config.rows or inner_w < config.columns:
        raise DataError(
            f"videos of (T, H, W) {videos.shape[1:]} are too small for {config.rows} × {config.columns} blocks with "
            f"patterns of radius {config.radius}: they need {2 * config.radius + 1} frames and a pixel a block"
        )
    top, bottom = _block_edges(inner_h, config.rows, config.overlap)
    left, right = _block_edges(inner_w, config.columns, config.overlap)
    out = np.empty((len(videos), config.rows * config.columns, len(PLANES), config.bins), np.float32)
    place = np.arange(inner_h * inner_w).reshape(inner_h, inner_w) * config.bins
    for row, video in enumerate(videos):
        for plane, codes in enumerate(plane_codes(video, config)):
            found = np.bincount((codes + place).ravel(), minlength=inner_h * inner_w * config.bins)
            total = np.zeros((inner_h + 1, inner_w + 1, config.bins), np.int64)
            total[1:, 1:] = found.reshape(inner_h, inner_w, -1).cumsum(axis=0).cumsum(axis=1)
            tall = total[bottom] - total[top]
            blocks = (tall[:, right] - tall[:, left]).reshape(-1, config.bins)
            out[row, :, plane] = blocks / blocks.sum(axis=1, keepdims=True)
    return out


def plane_codes(video: np.ndarray, config: LbpTopConfig) -> list[np.ndarray]:
    """Codes of one video ``(T, H, W)`` uint8 on each plane, ``(T − 2R, H − 2R, W − 2R)`` int64 in [0, bins)."""
    from skimage.feature import local_binary_pattern

    inner = (slice(config.radius, -config.radius),) * 3
    out = []
    # Planes beneath each other are one picture; what looks across a seam is cut off with the border.
    for order in ((0, 1, 2), (1, 0, 2), (2, 0, 1)):
        turned = np.ascontiguousarray(video.transpose(order))
        flat = turned.reshape(-1, turned.shape[2])
        codes = local_binary_pattern(flat, config.points, config.radius, method="nri_uniform")
        back = codes.astype(np.int64).reshape(turned.shape).transpose(np.argsort(order))
        out.append(back[inner])
    return out


def _block_edges(size: int, blocks: int, overlap: float) -> tuple[np.ndarray, np.ndarray]:
    """First and one-past-last pixel of each block; together they cover everything."""
    length = size / (1 + (blocks - 1) * (1 - overlap))
    begin = length * (1 - overlap) * np.arange(blocks)
    first = np.minimum(np.floor(begin + 1e-9), size - 1).astype(np.int64)
    return first, np.maximum(np.ceil(begin + length - 1e-9).astype(np.int64).clip(max=size), first + 1)
