"""Training crops for the landmark network: photos with dense points in, augmented crops with points out."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from lssl_augment.errors import DataError, ImageError
from lssl_augment.faces.align import face_transform, transform_points
from lssl_augment.faces.dense_flip import flip_dense
from lssl_augment.faces.landmarks import DENSE_COUNT, SPARSE_FROM_DENSE

__all__ = [
    "Photos",
    "aligned_matrix",
    "augment_crop",
    "crops_to_tensor",
    "cut",
    "loose_matrix",
    "read_photos",
]

_BORDERS = (cv2.BORDER_REFLECT_101, cv2.BORDER_REPLICATE, cv2.BORDER_CONSTANT)


@dataclass(frozen=True)
class Photos:
    """Decoded photos of one size and what is known of them.

    Attributes:
        images: ``(N, H, W, 3)`` uint8 RGB.
        halves: the same at half size, ``(N, H // 2, W // 2, 3)``, for crops that shrink.
        dense: ``(N, 478, 3)`` float32, photo pixels.
        labels: expression names, ``(N,)``. subjects: ``(N,)``.
    """

    images: np.ndarray
    halves: np.ndarray
    dense: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def read_photos(root: Path) -> Photos:
    """The ``lfw-expressions`` folder: ``images/``, ``labels.csv`` and ``landmarks.npz`` with ``points478``.

    Raises:
        DataError: files missing or of another layout. ImageError: a photo cannot be decoded.
    """
    for name in ("labels.csv", "landmarks.npz"):
        if not (root / name).is_file():
            raise DataError(f"{root} has no {name}; give the unpacked lfw-expressions folder")
    with (root / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    with np.load(root / "landmarks.npz") as stored:
        if not {"files", "points478"} <= set(stored.files):
            raise DataError(f"{root / 'landmarks.npz'} must hold files and points478; it has {stored.files}")
        files, dense = stored["files"], stored["points478"].astype(np.float32)
    if dense.shape != (len(files), DENSE_COUNT, 3):
        raise DataError(f"points478 must have shape ({len(files)}, {DENSE_COUNT}, 3); got {dense.shape}")
    kept = [i for i, name in enumerate(files) if name in rows]
    if not kept:
        raise DataError(f"no photo of {root / 'landmarks.npz'} is in labels.csv")
    images = np.stack([_read(root / str(files[i])) for i in kept])
    height, width = images.shape[1:3]
    half = (width // 2, height // 2)
    halves = np.stack([cv2.resize(image, half, interpolation=cv2.INTER_AREA) for image in images])
    labels = np.array([rows[files[i]]["expression"] for i in kept])
    subjects = np.array([rows[files[i]]["subject"] for i in kept])
    return Photos(images, halves, dense[kept], labels, subjects)


def _read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ImageError(f"{path} cannot be read as an image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def aligned_matrix(dense: np.ndarray, size_px: int, rng: np.random.Generator | None) -> np.ndarray:
    """Matrix (2, 3) from photo to an aligned crop; with ``rng``, as far off as a first guess may be."""
    matrix = face_transform(dense[SPARSE_FROM_DENSE, :2], size_px)
    if rng is None:
        return matrix
    scale, angle = np.exp(rng.normal(0, 0.05)), np.deg2rad(rng.normal(0, 3.5))
    shift = rng.normal(0, 0.02 * size_px, 2)
    return _about((size_px - 1) / 2, scale, angle, shift) @ np.vstack([matrix, [0, 0, 1]])


def loose_matrix(dense: np.ndarray, size_px: int, rng: np.random.Generator) -> np.ndarray:
    """Matrix (2, 3) from photo to a loose crop: the face 36 to 105 % as wide, anywhere, up to ±33 degrees."""
    low, high = dense[:, :2].min(0), dense[:, :2].max(0)
    extent = float(max(high - low))
    fraction = np.exp(rng.uniform(np.log(0.36), np.log(1.05)))
    angle = np.deg2rad(rng.uniform(-33, 33))
    room = max(0.0, 1 - fraction) / 2 + 0.06
    centre = (0.5 + rng.uniform(-room, room, 2)) * size_px - 0.5
    scale = fraction * size_px / extent
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.concatenate([linear, (centre - linear @ ((low + high) / 2))[:, None]], axis=1)


def _about(centre: float, scale: float, angle: float, shift: np.ndarray) -> np.ndarray:
    """Similarity (2, 3) that turns and scales about (centre, centre), then shifts."""
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]])
    middle = np.array([centre, centre])
    return np.concatenate([linear, (middle + shift - linear @ middle)[:, None]], axis=1)


def cut(
    photos: Photos, row: int, matrix: np.ndarray, size_px: int, rng: np.random.Generator | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Crop (size_px, size_px, 3) uint8 of a photo and its points (478, 3) in crop pixels.

    With ``rng`` half of the crops are mirrored and the fill beyond the photo's border varies.
    """
    points = transform_points(matrix, photos.dense[row])
    image, warp = photos.images[row], matrix
    if np.hypot(matrix[0, 0], matrix[1, 0]) < 0.65:
        image = photos.halves[row]
        # half-size pixel h shows photo place 2·h + 0.5
        warp = matrix @ np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])
    border, fill = _BORDERS[1], [0, 0, 0]
    if rng is not None:
        border = _BORDERS[rng.integers(len(_BORDERS))]
        fill = [int(v) for v in rng.integers(0, 256, 3)]
    crop = cv2.warpAffine(image, warp, (size_px, size_px), flags=cv2.INTER_LINEAR, borderMode=border, borderValue=fill)
    if rng is not None and rng.random() < 0.5:
        crop, points = np.ascontiguousarray(crop[:, ::-1]), flip_dense(points, size_px)
    return crop, points.astype(np.float32)


def augment_crop(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What photos and data sets do to pixels: colour, light, grey, blur, low resolution, noise, occlusion."""
    size = crop.shape[0]
    if rng.random() < 0.3:
        crop = _occlude(crop, rng)
    if rng.random() < 0.3:
        grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
        crop = cv2.merge([grey, grey, grey])
        gains = np.ones(3)
    else:
        gains = np.exp(rng.normal(0, 0.08, 3))
    # Tones as one table of 256 entries a channel: gamma, contrast, brightness, now and then very dark.
    tone = (np.arange(256) / 255.0) ** np.exp(rng.normal(0, 0.25))
    tone = (tone - 0.5) * np.exp(rng.normal(0, 0.2)) + 0.5 + rng.normal(0, 0.08)
    if rng.random() < 0.25:
        tone = tone * rng.uniform(0.2, 0.8)
    table = np.clip(tone[:, None] * gains * 255, 0, 255).astype(np.uint8)
    crop = cv2.LUT(crop, table[:, None, :])
    kind = rng.random()
    if kind < 0.3:
        small = int(rng.integers(size // 3, max(size // 3 + 1, int(size * 0.7))))
        up = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST)[rng.integers(3)]
        crop = cv2.resize(crop, (small, small), interpolation=cv2.INTER_AREA)
        crop = cv2.resize(crop, (size, size), interpolation=up)
    elif kind < 0.45:
        crop = cv2.GaussianBlur(crop, (0, 0), rng.uniform(0.4, 2.0))
    if rng.random() < 0.15:
        noise = rng.normal(0, rng.uniform(2, 14), crop.shape)
        crop = np.clip(crop + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.1:
        _, coded = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 70))])
        crop = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
    return crop


def _occlude(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A rectangle of one colour, or of another part of the same crop, hides a part of it."""
    size = crop.shape[0]
    height, width = (int(v) for v in rng.uniform(0.1, 0.45, 2) * size)
    top, left = int(rng.integers(0, size - height)), int(rng.integers(0, size - width))
    crop = crop.copy()
    if rng.random() < 0.5:
        crop[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    else:
        y, x = int(rng.integers(0, size - height)), int(rng.integers(0, size - width))
        crop[top : top + height, left : left + width] = crop[y : y + height, x : x + width].copy()
    return crop


def crops_to_tensor(crops: np.ndarray) -> Tensor:
    """``(B, S, S, 3)`` uint8 → ``(B, 3, S, S)`` float32 in [-1, 1]."""
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
