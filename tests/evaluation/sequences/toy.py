"""Toy videos whose class is how a bright spot moves, and packs with sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lssl_augment.attributes import BASIC7
from lssl_augment.faces.align import template68
from lssl_augment.faces.pack import FacePack, PackWriter

__all__ = ["moving_spots", "sequence_pack"]

WAYS = np.array([(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0)])


def moving_spots(
    per_class: int, frames: int = 8, size_px: int = 32, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Videos, landmarks and labels: class c moves a spot, and the lower face's points, by ``WAYS[c]``."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(len(WAYS)), per_class)
    y, x = np.mgrid[:size_px, :size_px]
    videos = np.empty((len(labels), frames, size_px, size_px), np.uint8)
    points = np.empty((len(labels), frames, 68, 2))
    for i, label in enumerate(labels):
        at = size_px / 2 + rng.normal(0, 1, 2)
        own = template68(size_px) + rng.normal(0, 0.2, (68, 2))
        for t in range(frames):
            moved = WAYS[label] * (t - frames / 2) * 0.18 * size_px / frames * 2
            spot = np.exp(-(((x - at[0] - moved[0]) ** 2 + (y - at[1] - moved[1]) ** 2) / (size_px / 6) ** 2))
            videos[i, t] = (60 + 150 * spot + rng.normal(0, 3, spot.shape)).clip(0, 255)
            points[i, t] = own
            points[i, t, 48:] += moved * 0.5
    return videos, points, labels


def sequence_pack(path: Path, subjects: int = 4, dataset: str = "toy", length: int = 4) -> FacePack:
    """Subjects × expressions, four frames each at times 0, 2, 4 and 6, the first one neutral; one single face too.

    Args:
        length: frames of each, where it is not four.
    """
    size, words = 32, ("anger", "happiness", "surprise")
    videos, points, _ = moving_spots(subjects, length, size)
    with PackWriter(path, BASIC7, dataset=dataset, face_size_px=size) as writer:
        for person in range(subjects):
            for place, word in enumerate(words):
                row = person * 3 + place
                name = f"P{person}/{word}"
                writer.append(
                    np.repeat(videos[row][..., None], 3, axis=3),
                    np.array([BASIC7.index("neutral")] + [BASIC7.index(word)] * (length - 1)),
                    [f"P{person}"] * length,
                    [f"{name}/{i}.png" for i in range(length)],
                    points[row],
                    ["train"] * length,
                    sequences=[name] * length,
                    frames=2 * np.arange(length),
                    intensities=np.linspace(0, 1, length, dtype=np.float32),
                )
        writer.append(
            np.zeros((1, size, size, 3), np.uint8), np.array([0]), ["P0"], ["one.png"], points[:1, 0], ["train"]
        )
    return FacePack.open(path)
