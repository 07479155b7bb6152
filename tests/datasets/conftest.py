"""Small data sets in the layouts of the real ones, with drawn pictures instead of photographs."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lssl_augment.faces.align import template68
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE

Draw = Callable[..., None]
Landmarks = Callable[..., None]


def photo_points(shift: float = 0.0) -> np.ndarray:
    """Dense points in pixels of a 160×160 picture whose 68 are the template, moved by (16 + shift, 16)."""
    dense = np.random.default_rng(5).uniform(20, 140, (478, 3))
    dense[SPARSE_FROM_DENSE, :2] = template68() + [16 + shift, 16]
    return dense


@pytest.fixture
def draw() -> Draw:
    """``draw(path, seed, size_px=160)``: a smooth coloured picture."""

    def draw(path: Path, seed: int = 0, size_px: int = 160) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((size_px, size_px), Image.Resampling.BICUBIC).save(path)

    return draw


@pytest.fixture
def landmarks() -> Landmarks:
    """``landmarks(root, files, kind="dense", scale=1)``: a landmarks.npz; face i is shifted by i pixels."""

    def landmarks(root: Path, files: Sequence[str], kind: str = "dense", scale: float = 1.0) -> None:
        dense = np.stack([photo_points(shift=i) * scale for i in range(len(files))])
        points = {"points478": dense} if kind == "dense" else {"points68": dense[:, SPARSE_FROM_DENSE, :2]}
        np.savez(root / "landmarks.npz", files=np.array(files), **points)  # type: ignore[arg-type]

    return landmarks


LFW = {
    "Ann_A": ["neutral", "happiness"],
    "Bob_B": ["neutral"],
    "Cyd_C": ["surprise", "neutral"],
    "Dan_D": ["happiness"],
    "Eve_E": ["anger"],
}


@pytest.fixture
def lfw(tmp_path: Path, draw: Draw, landmarks: Landmarks) -> Path:
    """A folder in the layout of lfw-expressions with seven faces of five people."""
    root = tmp_path / "lfw"
    lines = ["file,subject,expression"]
    files: list[str] = []
    for subject, words in LFW.items():
        for i, word in enumerate(words, start=1):
            file = f"images/{subject}/{subject}_{i:04d}.png"
            draw(root / file, seed=len(files))
            files.append(file)
            lines.append(f"{file},{subject},{word}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    landmarks(root, files)
    return root


@pytest.fixture
def zipped() -> Callable[..., Path]:
    """``zipped(folder, inside="")``: a zip archive of a folder, with one more folder level if wanted."""

    def zipped(folder: Path, inside: str = "") -> Path:
        archive = folder.with_suffix(".zip")
        with zipfile.ZipFile(archive, "w") as file:
            for path in sorted(folder.rglob("*")):
                file.write(path, Path(inside) / path.relative_to(folder))
        return archive

    return zipped
