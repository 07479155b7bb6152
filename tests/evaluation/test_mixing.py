"""MixUp, CutMix, RandAugment and tempered sampling: labels follow pixels, the generator decides alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lssl_augment.errors import DataError
from lssl_augment.evaluation.batches import BatchSource
from lssl_augment.evaluation.face_table import FaceTable
from lssl_augment.evaluation.mixing import CutMix, MixUp
from lssl_augment.evaluation.rand_augment import RandAugment


def own(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flat(labels: torch.Tensor, size_px: int = 20) -> torch.Tensor:
    """Faces whose every pixel is their label."""
    return labels.float()[:, None, None, None].expand(-1, 3, size_px, size_px).contiguous()


@pytest.mark.parametrize("mix", [MixUp(0.4), CutMix()])
@pytest.mark.parametrize("seed", range(8))
def test_labels_follow_pixels(mix: Any, seed: int) -> None:
    labels = torch.arange(12) % 4
    images = flat(labels)
    before = images.clone()
    state = torch.get_rng_state()
    mixed, soft = mix(images, labels, 4, own(seed))
    assert torch.equal(images, before)
    assert torch.equal(state, torch.get_rng_state())
    assert soft.shape == (12, 4)
    assert torch.allclose(soft.sum(1), torch.ones(12), atol=1e-6)
    # The mean pixel is the mean label: what is pasted or blended counts as much in the label as in the image.
    assert torch.allclose(mixed.mean(dim=(1, 2, 3)), soft @ torch.arange(4.0), atol=1e-5)
    again = mix(images, labels, 4, own(seed))
    assert torch.equal(again[0], mixed)
    assert torch.equal(again[1], soft)


def test_they_do_mix_and_cutmix_cuts() -> None:
    labels = torch.arange(12) % 4
    shares = [float(MixUp(1.0)(flat(labels), labels, 4, own(s))[1].max(1).values.mean()) for s in range(30)]
    assert 0.6 < np.mean(shares) < 0.95
    mixed, _ = CutMix()(flat(labels), labels, 4, own(2))
    assert set(mixed.unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}
    assert len(mixed[0, 0].unique()) <= 2


def test_soft_labels_can_be_mixed_again() -> None:
    labels = torch.arange(6) % 3
    images, soft = MixUp()(flat(labels), labels, 3, own())
    _, twice = CutMix()(images, soft, 3, own(1))
    assert torch.allclose(twice.sum(1), torch.ones(6), atol=1e-6)


def test_rand_augment() -> None:
    images = torch.rand(24, 3, 16, 16, generator=own())
    state = torch.get_rng_state()
    change = RandAugment()
    out = change(images, own(1))
    assert torch.equal(state, torch.get_rng_state())
    assert out.shape == images.shape
    assert out.dtype == torch.float32
    assert 0 <= float(out.min()) <= float(out.max()) <= 1
    assert torch.equal(out, change(images, own(1)))
    assert not torch.equal(out, change(images, own(2)))
    # Each face draws for itself: equal faces come out different.
    same = change(images[:1].expand(8, -1, -1, -1), own(1))
    assert len({bytes(face.numpy().tobytes()) for face in same}) > 4


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_tempered_sampling(train: FaceTable, power: float) -> None:
    _, labels = BatchSource(train, 6000, power=power)(own())
    wanted = np.array([60, 50, 8, 6, 5]) ** power
    assert np.allclose(np.bincount(labels.numpy(), minlength=5) / 6000, wanted / wanted.sum(), atol=0.03)


def test_a_source_with_everything(train: FaceTable) -> None:
    source = BatchSource(train, 16, power=0.5, change=RandAugment(), mix=CutMix())
    images, labels = source(own(5))
    assert images.shape == (16, 3, 16, 16)
    assert -1 <= float(images.min()) <= float(images.max()) <= 1
    assert labels.shape == (16, 5)
    assert torch.equal(source(own(5))[0], images)


def test_refusals(train: FaceTable) -> None:
    for bad in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(DataError, match="alpha"):
            MixUp(bad)
        with pytest.raises(DataError, match="alpha"):
            CutMix(bad)
    with pytest.raises(DataError, match="num_ops"):
        RandAugment(0)
    with pytest.raises(DataError, match="magnitude"):
        RandAugment(2, 31)
    with pytest.raises(DataError, match="power"):
        BatchSource(train, 4, power=-1.0)
    with pytest.raises(DataError, match="power"):
        BatchSource(train, 4, power=0.5, balanced=True)
    with pytest.raises(DataError, match="takes the place"):
        BatchSource(train, 4, augmented=True, change=RandAugment())
