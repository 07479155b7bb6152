"""The transform with the weights that ship: the whole way, no engine of the test's own."""

from __future__ import annotations

import pickle

import pytest
import torch

from lssl_augment.transforms import LSSLAugment


@pytest.fixture(scope="module")
def augment() -> LSSLAugment:
    return LSSLAugment(
        p=0.5, classes=["neutral", "happy", "surprise", "angry", "sad"], seed=0, return_record=True
    )


def faces(count: int, size_px: int) -> torch.Tensor:
    """Blurred noise: no faces, but the way through the networks is the same."""
    own = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 8, 8, generator=own)
    smooth = torch.nn.functional.interpolate(coarse, size=(size_px, size_px), mode="bilinear")
    return (smooth * 255).to(torch.uint8)


@pytest.mark.parametrize("size_px", [64, 128, 160])
def test_default_weights_edit_a_batch(augment: LSSLAugment, size_px: int) -> None:
    images, labels = faces(6, size_px), torch.tensor([0, 1, 2, 3, 4, 0])
    out, new, record = augment(images, labels)
    while not 0 < len(record.rows) < 6:
        out, new, record = augment(images, labels)
    assert torch.equal(out[~record.chosen], images[~record.chosen])
    assert all(not torch.equal(out[i], images[i]) for i in record.rows)
    assert torch.equal(new, record.targets)
    again, _ = augment.replay(images, labels, record)
    assert torch.equal(again, out)


def test_a_copy_loads_the_weights_again(augment: LSSLAugment) -> None:
    images, labels = faces(4, 128), torch.tensor([0, 1, 2, 3])
    data = pickle.dumps(augment)
    assert len(data) < 50_000  # settings travel, weights do not
    out, new, record = pickle.loads(data)(images, labels)
    expected, expected_labels = augment.replay(images, labels, record)
    assert torch.equal(out, expected)
    assert torch.equal(new, expected_labels)
