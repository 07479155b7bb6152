"""Face packs of drawn noise: who is seen, with which expression, in which split, is up to the test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lssl_augment.attributes import BASIC5, Vocabulary
from lssl_augment.faces.align import template68
from lssl_augment.faces.pack import FacePack, PackWriter

__all__ = ["smooth_faces", "toy_pack"]


def smooth_faces(count: int, size_px: int = 128, seed: int = 0) -> np.ndarray:
    """Coloured clouds that all differ, ``(count, size_px, size_px, 3)`` uint8."""
    import cv2

    coarse = np.random.default_rng(seed).integers(0, 256, (count, 9, 9, 3)).astype(np.uint8)
    return np.stack([cv2.resize(c, (size_px, size_px), interpolation=cv2.INTER_CUBIC) for c in coarse])


def toy_pack(
    path: Path,
    subjects: Sequence[str],
    words: Sequence[str],
    split: Sequence[str] | None = None,
    *,
    images: np.ndarray | None = None,
    landmarks: np.ndarray | None = None,
    files: Sequence[str] | None = None,
    dataset: str = "toy",
    simulated: bool = False,
    vocabulary: Vocabulary = BASIC5,
    skipped: Sequence[tuple[str, str]] = (),
) -> FacePack:
    """Write and open a pack; an empty word is an unlabelled face. Without images the faces are 32 px noise."""
    count = len(subjects)
    if images is None:
        images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    size = images.shape[1]
    points = np.repeat(template68(size)[None], count, axis=0) if landmarks is None else landmarks
    names = list(files) if files is not None else [f"{s}/{i}.jpg" for i, s in enumerate(subjects)]
    labels = np.array([vocabulary.index(word) if word else -1 for word in words], np.int64)
    writer = PackWriter(path, vocabulary, dataset=dataset, face_size_px=size, simulated=simulated)
    with writer:
        for file, reason in skipped:
            writer.skip(file, reason)
        writer.append(images, labels, list(subjects), names, points, list(split or ["train"] * count))
    return FacePack.open(path)
