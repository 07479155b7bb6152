"""Landmarks from the call, from the sample, from a pack."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lssl_augment.attributes import BASIC5
from lssl_augment.errors import DataError
from lssl_augment.faces.align import template68
from lssl_augment.faces.pack import FacePack, PackWriter
from lssl_augment.transforms import LSSLAugment


def write_pack(path: Path, *, dense: bool = True) -> FacePack:
    """Five faces of 64 pixels; face i has all its dense points at x = 10·i + 3."""
    points = np.zeros((5, 478, 3), np.float32)
    points[:, :, 0] = (np.arange(5) * 10 + 3)[:, None]
    sparse = np.repeat(template68(64)[None], 5, axis=0).astype(np.float32)
    names = [str(i) for i in range(5)]
    with PackWriter(path, BASIC5, dataset="tiny", face_size_px=64) as writer:
        images, labels = np.zeros((5, 64, 64, 3), np.uint8), np.arange(5)
        split = ["train"] * 5
        writer.append(images, labels, names, names, sparse, split, dense=points if dense else None)
    return FacePack.open(path)


def painted_x(before: torch.Tensor, after: torch.Tensor) -> list[int]:
    """Left column of what the stand-in engine painted in each row."""
    changed = (before != after).any(dim=1).any(dim=1)
    return [int(torch.nonzero(row)[0]) for row in changed]


def test_points_of_the_call_are_in_pixels_of_the_images(engine: Any, batch: Any) -> None:
    images, labels = batch[0][:3], batch[1][:3]
    points = torch.zeros(3, 478, 3)
    points[:, :, 0] = torch.tensor([5.0, 11.0, 20.0])[:, None]
    augment = LSSLAugment(p=1, engine=engine)
    assert painted_x(images, augment(images, labels, landmarks=points)[0]) == [4, 10, 19]
    assert painted_x(images, augment(images, labels, landmarks=points.double().numpy())[0]) == [4, 10, 19]
    out = augment({"image": images, "labels": labels, "landmarks_dense": points})
    assert painted_x(images, out["image"]) == [4, 10, 19]
    assert out["landmarks_dense"] is points
    one, _ = augment(images[1], 0, landmarks=points[1])
    assert painted_x(images[1:2], one[None]) == [10]
    # A 64-pixel image of the same face: pixel 2x + 0.5 there is pixel x of the engine's 32.
    large = images.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)
    got = painted_x(large, augment(large, labels, landmarks=points * 2 + 0.5)[0])
    assert all(abs(a - b) <= 1 for a, b in zip(got, [8, 20, 38], strict=True))


def test_points_of_a_pack_are_found_by_index(engine: Any, batch: Any, tmp_path: Path) -> None:
    images, labels = batch[0][:3], batch[1][:3]
    augment = LSSLAugment(p=1, engine=engine, landmarks=write_pack(tmp_path / "pack.h5"))
    augment = pickle.loads(pickle.dumps(augment))
    # x = 10·i + 3 of 64 pixels is 5·i + 1.25 of 32; the stand-in paints from the pixel before.
    assert painted_x(images, augment(images, labels, index=[4, 1, 4])[0]) == [20, 5, 20]
    out = augment({"image": images, "label": labels, "index": torch.tensor([2, 3, 1])})
    assert painted_x(images, out["image"]) == [10, 15, 5]
    assert augment({"image": images[0], "label": 1, "index": 2})["index"] == 2
    with pytest.raises(DataError, match="index="):
        augment(images, labels)
    with pytest.raises(DataError, match="index 5 is outside the face pack, which has 5"):
        augment(images, labels, index=[0, 5, 1])


@pytest.mark.parametrize(
    ("points", "error", "message"),
    [
        (torch.zeros(16, 68, 2), DataError, r"\(16, 478, 3\).*68 points"),
        (torch.zeros(3, 478, 3), DataError, r"\(16, 478, 3\)"),
        (torch.full((16, 478, 3), float("nan")), DataError, "finite"),
        ([[1.0]], TypeError, "list"),
    ],
)
def test_bad_points(engine: Any, batch: Any, points: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        LSSLAugment(p=0.5, engine=engine)(*batch, landmarks=points)


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        ([1, 2], DataError, "16 whole numbers"),
        (torch.zeros(16), DataError, "float32"),
        (torch.full((16,), -1), DataError, "negative"),
        ("rows", TypeError, "str"),
    ],
)
def test_bad_index(engine: Any, batch: Any, index: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        LSSLAugment(p=1, engine=engine)(*batch, index=index)


def test_a_pack_without_dense_points(engine: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no dense landmarks"):
        LSSLAugment(engine=engine, landmarks=write_pack(tmp_path / "pack.h5", dense=False))
