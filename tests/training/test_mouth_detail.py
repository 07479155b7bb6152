"""benchmarks/mouth_detail.py: mouths that are read and drawn again are those of the photograph."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import torch
from tiny_faces import drawn_faces, fitted
from torch.nn import functional as F

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "mouth_detail.py"


def test_a_strip_gives_a_mouth_back_and_components_nearly() -> None:
    measure = runpy.run_path(str(SCRIPT))["measure"]
    faces = drawn_faces()
    rows = np.flatnonzero(faces.labels == 2)[:8]  # open mouths
    assert faces.dense is not None
    dense = torch.from_numpy(faces.dense[rows])
    coarse = torch.rand(len(rows), 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = F.interpolate(coarse, size=faces.images.shape[1:3], mode="bicubic", align_corners=False).clamp(0, 1)
    found = measure(fitted().textures, images, dense)
    assert found["strips"]["difference"] < 3
    assert found["strips"]["difference"] < found["components"]["difference"]  # drawn mouths have nothing of these
    own = torch.from_numpy(faces.images[rows]).permute(0, 3, 1, 2).float() / 255
    known = measure(fitted().textures, own, dense)
    assert known["components"]["difference"] < found["components"]["difference"]
