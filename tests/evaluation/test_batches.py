"""Batches: balance, augmentation, and how many places synthetic faces take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lssl_augment.attributes import BASIC5
from lssl_augment.errors import DataError, LeakageError
from lssl_augment.evaluation.batches import AugmentedFaces, BatchSource, StoredFaces
from lssl_augment.evaluation.face_table import FaceTable, check_subjects_apart, limit_faces, rare_classes
from lssl_augment.evaluation.ordinary import ordinary_augmentation
from lssl_augment.transforms import LSSLAugment


def own(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shares(labels: Tensor) -> np.ndarray:
    return np.bincount(labels.numpy(), minlength=5) / len(labels)


def test_natural_and_balanced(train: FaceTable) -> None:
    images, labels = BatchSource(train, 4000, balanced=False, augmented=False)(own())
    assert images.shape == (4000, 3, 16, 16)
    assert images.dtype == torch.float32
    assert np.allclose(shares(labels), np.array([60, 50, 8, 6, 5]) / 129, atol=0.03)
    images, labels = BatchSource(train, 4000, balanced=True, augmented=False)(own())
    assert np.allclose(shares(labels), 0.2, atol=0.03)
    # Pixels belong to their labels: the grey level says the class.
    level = (images.mean(dim=(1, 2, 3)) + 1) * 127.5
    assert torch.equal(((level - 30) / 45).round().long(), labels)


def test_the_generator_decides_alone(train: FaceTable) -> None:
    source = BatchSource(train, 16, balanced=True, augmented=True)
    first, again, other = source(own(3)), source(own(3)), source(own(4))
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_stored_faces_take_their_share_of_rare_places(train: FaceTable, share: float) -> None:
    black = replace(train, images=torch.zeros_like(train.images))
    rare = rare_classes(train)
    assert rare == (2, 3, 4)
    before = train.images.clone()
    source = BatchSource(
        train,
        6000,
        balanced=True,
        augmented=False,
        synthetic=StoredFaces(black, rare),
        shares=dict.fromkeys(rare, share),
    )
    images, labels = source(own())
    made = (images == -1).all(dim=1).all(dim=1).all(dim=1)
    assert np.allclose(shares(labels), 0.2, atol=0.03)
    assert not made[labels < 2].any()
    for label in rare:
        assert float(made[labels == label].float().mean()) == pytest.approx(share, abs=0.05)
    assert torch.equal(train.images, before)


@dataclass(frozen=True)
class Blackout:
    """An engine whose every face is black."""

    vocabulary = BASIC5
    face_size_px = 32

    def encode(self, images: Tensor, dense: Any = None, labels: Any = None) -> Tensor:
        return images

    def edit(self, faces: Tensor, targets: Tensor, intensity: Tensor, seeds: Tensor) -> Tensor:
        return torch.full_like(faces, -1.0)


def test_faces_made_in_the_loop(train: FaceTable) -> None:
    large = replace(train, images=train.images.repeat(1, 1, 2, 2))
    augment = LSSLAugment(p=1.0, targets=[2, 3, 4], engine=Blackout(), seed=0)
    made = AugmentedFaces(large, augment, 16)
    shares = dict.fromkeys((2, 3, 4), 0.5)
    source = BatchSource(train, 64, balanced=True, augmented=False, synthetic=made, shares=shares)
    images, labels = source(own())
    black = (images == -1).all(dim=1).all(dim=1).all(dim=1)
    assert 5 < int(black.sum()) < 40
    assert set(labels[black].tolist()) <= {2, 3, 4}
    again = source(own())  # the generator decides alone, whatever the transform drew before
    assert torch.equal(again[0], images)
    assert torch.equal(again[1], labels)


def test_ordinary_augmentation() -> None:
    images = torch.rand(64, 3, 24, 24, generator=own())
    out = ordinary_augmentation(images, own(1))
    assert out.shape == images.shape
    assert 0 <= float(out.min())
    assert float(out.max()) <= 1
    # A face bright on the left ends up bright on the right about half of the time.
    ramp = torch.linspace(1, 0, 24).expand(400, 3, 24, 24)
    out = ordinary_augmentation(ramp, own(1))
    mirrored = out[..., 12:].mean(dim=(1, 2, 3)) > out[..., :12].mean(dim=(1, 2, 3))
    assert 0.4 < float(mirrored.float().mean()) < 0.6
    # Geometry stays small: the middle keeps its value up to colour.
    flat = ordinary_augmentation(torch.full((50, 3, 24, 24), 0.5), own(2))
    assert float((flat - flat.mean(dim=(2, 3), keepdim=True)).abs().max()) < 1e-5
    assert float(flat.min()) >= 0.5 * 0.7 - 1e-6


def test_leakage_is_refused(train: FaceTable, test: FaceTable) -> None:
    check_subjects_apart(test, train)
    shared = replace(train, subjects=np.where(train.subjects == "p3", "q1", train.subjects))
    with pytest.raises(LeakageError, match=r"1 test subjects .*'q1'"):
        check_subjects_apart(test, train, shared)


def test_few_faces(train: FaceTable) -> None:
    few = limit_faces(train, (2, 3), 4, seed=1)
    assert few.counts == {**train.counts, "surprise": 4, "anger": 4}
    assert torch.equal(few.images, limit_faces(train, (2, 3), 4, seed=1).images)
    with pytest.raises(DataError, match="at least 1"):
        limit_faces(train, (2,), 0)


def test_refusals(train: FaceTable) -> None:
    with pytest.raises(DataError, match="no accepted face of sadness"):
        StoredFaces(train.take(torch.nonzero(train.labels != 4).flatten()), (3, 4))
    with pytest.raises(DataError, match="no face of neutral"):
        BatchSource(train.take(torch.nonzero(train.labels).flatten()), 4, balanced=True, augmented=False)
    made = StoredFaces(train, (2,))
    for shares in ({2: 1.5}, {2: -0.1}, {5: 0.5}, {-1: 0.5}):
        with pytest.raises(DataError, match=r"shares must be in \[0, 1\], of labels from 0 to 4"):
            BatchSource(train, 4, balanced=True, augmented=False, synthetic=made, shares=shares)
    with pytest.raises(DataError, match="need synthetic faces"):
        BatchSource(train, 4, balanced=True, augmented=False, shares={2: 0.5})
    with pytest.raises(DataError, match="batch"):
        BatchSource(train, 1, balanced=True, augmented=False)
