"""Faces with region maps for the parser's training, from a face pack or from Helen, and random views of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from lssl_augment.datasets.helen import Find, HelenFace, HelenPhoto, cut_helen, read_helen
from lssl_augment.errors import DataError, LeakageError
from lssl_augment.faces.pack import FacePack
from lssl_augment.faces.region_map import Region, region_maps

__all__ = ["ParserData", "ParserFaces", "faces_to_tensor", "load_helen_faces", "load_pack_faces", "random_view"]

_CHUNK = 512


@dataclass(frozen=True, eq=False)
class ParserFaces:
    """Aligned faces ``(N, S, S, 3)`` uint8 RGB and their region maps ``(N, S, S)`` uint8."""

    images: np.ndarray
    regions: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def fingerprint(self) -> str:
        """Hash by which a resumed run knows that its data are the same."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        for part in (self.images, self.regions):
            digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class ParserData:
    """What a parser is trained and measured on.

    Args:
        train, test: faces; nobody of the one is in the other. description: for the card. notes: what the user
            should know, such as how many photographs were left out.
    """

    train: ParserFaces
    test: ParserFaces
    description: dict[str, Any]
    notes: tuple[str, ...] = field(default=())


def load_pack_faces(pack: FacePack) -> ParserData:
    """Faces of a pack with region maps drawn from its dense landmarks.

    Trained on is the split ``train``, measured on ``test``, or on all others where there is no ``test``.

    Raises:
        DataError: no dense landmarks, or nothing to train or to measure on.
        LeakageError: a subject is in both parts.
    """
    if pack.landmarks_dense is None:
        raise DataError(
            f"{pack.path.name} has no dense landmarks, from which region maps are drawn; prepare it with them"
        )
    train = pack.split == "train"
    test = pack.split == "test" if (pack.split == "test").any() else ~train
    if not train.any() or not test.any():
        found = ", ".join(sorted(set(pack.split.tolist()))) or "none"
        raise DataError(f"{pack.path.name} needs a train split and another one to measure on; its splits: {found}")
    shared = set(pack.subjects[train].tolist()) & set(pack.subjects[test].tolist())
    if shared:
        raise LeakageError(
            f"{len(shared)} subjects of {pack.path.name} are in training and in test, such as {sorted(shared)[0]!r}; "
            "split the pack by subject"
        )
    description = {
        "data": f"{pack.dataset}, region maps drawn from its dense landmarks",
        "split": "training subjects only",
        "faces": int(train.sum()),
        "subjects": len(set(pack.subjects[train].tolist())),
    }
    return ParserData(_take(pack, np.flatnonzero(train)), _take(pack, np.flatnonzero(test)), description)


def load_helen_faces(
    root: Path, find: Find, *, workers: int = 2, progress: Callable[[int, int], None] | None = None
) -> ParserData:
    """Aligned faces of Helen: exemplar and tuning photographs to train on, testing photographs to measure on.

    Args:
        find: a landmark backend; called from several threads.
        progress: receives how many photographs are done, and of how many.

    Raises:
        DataError: another layout, or nothing to train or to measure on.
    """
    table = read_helen(root)
    faces: dict[str, list[HelenFace]] = {"exemplar": [], "tuning": [], "testing": []}
    left_out: dict[str, int] = {}
    for _, reason in table.skipped:
        left_out[reason.partition(": ")[0]] = left_out.get(reason.partition(": ")[0], 0) + 1

    def cut(photo: HelenPhoto) -> HelenFace | str:
        return cut_helen(table.tree, photo, find)

    with ThreadPoolExecutor(workers) as pool:
        for done, (photo, found) in enumerate(_in_order(pool, cut, table.photos), start=1):
            if isinstance(found, HelenFace):
                faces[photo.part].append(found)
            else:
                reason = found.partition(": ")[0]
                left_out[reason] = left_out.get(reason, 0) + 1
            if progress is not None:
                progress(done, len(table.photos))
    train, test = faces["exemplar"] + faces["tuning"], faces["testing"]
    if not train or not test:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in left_out.items()) or "nothing was left out"
        raise DataError(
            f"{root} gives {len(train)} faces to train on and {len(test)} to measure on; both are needed ({reasons})"
        )
    description = {
        "data": "Helen with the region labels of Smith et al. 2013",
        "split": "exemplar and tuning photographs",
        "faces": len(train),
        "left_out": left_out,
    }
    notes = table.notes + tuple(f"{count} photographs left out: {reason}" for reason, count in left_out.items())
    return ParserData(_stack(train), _stack(test), description, notes)


def random_view(image: np.ndarray, regions: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random view of a face and of its map: both flipped, turned, scaled and shifted alike; then colour, light, blur.

    Args:
        image: ``(S, S, 3)`` uint8. regions: ``(S, S)`` uint8. rng: the only source of randomness.

    Returns:
        The same shapes and types. Beyond the border both are mirrored.
    """
    size = len(image)
    angle, scale = np.deg2rad(rng.normal(0, 8)), np.exp(rng.normal(0, 0.08))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    linear = np.array([[cos * flip, -sin], [sin * flip, cos]])
    middle = np.full(2, (size - 1) / 2)
    matrix = np.concatenate([linear, (middle + rng.normal(0, 0.03 * size, 2) - linear @ middle)[:, None]], axis=1)
    # Each region warped as a picture and the strongest taken: borders stay where they are to a fraction of a pixel.
    layers = np.where(regions[..., None] == np.arange(len(Region)), np.uint8(255), np.uint8(0))
    image, layers = (
        cv2.warpAffine(part, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        for part in (image, layers)
    )
    return _recolour(image, rng), layers.argmax(axis=-1).astype(np.uint8)


def faces_to_tensor(images: np.ndarray) -> Tensor:
    """``(B, S, S, 3)`` uint8 → ``(B, 3, S, S)`` float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _recolour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grey now and then; gamma, contrast, brightness and tint as one table of 256 entries a channel; softness."""
    size = len(image)
    gains = np.exp(rng.normal(0, 0.08, 3))
    if rng.random() < 0.15:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        image, gains = cv2.merge([grey, grey, grey]), np.ones(3)
    tone = (np.arange(256) / 255.0) ** np.exp(rng.normal(0, 0.2))
    tone = (tone - 0.5) * np.exp(rng.normal(0, 0.15)) + 0.5 + rng.normal(0, 0.06)
    if rng.random() < 0.15:  # weak light
        tone = tone * rng.uniform(0.25, 0.8)
    image = cv2.LUT(image, np.clip(tone[:, None] * gains * 255, 0, 255).astype(np.uint8)[:, None, :])
    kind = rng.random()
    if kind < 0.15:
        small = int(rng.integers(max(1, size // 3), max(size // 3 + 1, int(size * 0.8))))
        image = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    elif kind < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5))
    return image


def _take(pack: FacePack, rows: np.ndarray) -> ParserFaces:
    size = pack.face_size_px
    images = np.empty((len(rows), size, size, 3), np.uint8)
    regions = np.empty((len(rows), size, size), np.uint8)
    dense = pack.landmarks_dense
    assert dense is not None
    # Slices: HDF5 is slow at long lists of rows.
    for start in range(0, len(pack), _CHUNK):
        inside = (rows >= start) & (rows < start + _CHUNK)
        if inside.any():
            at = rows[inside] - start
            images[inside] = pack.images[start : start + _CHUNK][at]
            regions[inside] = region_maps(dense[start : start + _CHUNK][at], size, face_size_px=size)
    return ParserFaces(images, regions)


def _in_order(
    pool: ThreadPoolExecutor, cut: Callable[[HelenPhoto], HelenFace | str], photos: tuple[HelenPhoto, ...]
) -> Iterator[tuple[HelenPhoto, HelenFace | str]]:
    """Results in the order of the photographs, a few blocks at a time: decoded label images are large."""
    waiting = iter(photos)
    while block := list(islice(waiting, 32)):
        yield from zip(block, pool.map(cut, block), strict=True)


def _stack(faces: list[HelenFace]) -> ParserFaces:
    return ParserFaces(np.stack([face.image for face in faces]), np.stack([face.regions for face in faces]))
