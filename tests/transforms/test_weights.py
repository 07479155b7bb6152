"""Weights by path: loaded at construction, never pickled, never registered, refused with a clear error."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from lssl_augment.attributes import BASIC5
from lssl_augment.errors import WeightsError
from lssl_augment.models.presets import PRESETS, build_generator
from lssl_augment.models.weights import write_weights
from lssl_augment.transforms import LSSLAugment


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow generator of the paper's kind with random weights, for 32-pixel faces."""
    preset = PRESETS["paper"].with_numbers(generator={"width": 4, "downs": 2, "blocks": 1})
    generator = build_generator(preset, len(BASIC5), 32)
    own = torch.Generator().manual_seed(0)
    tensors = {
        f"generator.{k}": torch.randn(v.shape, generator=own) * 0.3 for k, v in generator.state_dict().items()
    }
    card = {
        "kind": "generator",
        "architecture": {"preset": "paper", "kind": "paper", "generator": dict(preset.generator)},
        "class_names": list(BASIC5.names),
        "face_size_px": 32,
        "training": {},
        "metrics": {},
        "licence": "none",
        "intended_use": "a test",
    }
    return write_weights(tmp_path_factory.mktemp("weights") / "small.safetensors", tensors, card)


IMAGES = torch.rand(6, 3, 48, 48, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(6) % 5
POINTS = torch.rand(6, 478, 3, generator=torch.Generator().manual_seed(2)) * 48


def test_from_a_path(weights: Path) -> None:
    augment = LSSLAugment(p=0.5, weights=weights, seed=3, return_record=True, compute_dtype=torch.float32)
    assert augment.classes == BASIC5.names
    assert list(augment.parameters()) == list(augment.modules())[1:] == []
    out, new, record = augment(IMAGES, LABELS, landmarks=POINTS)
    assert 0 < len(record.rows) < 6
    assert torch.equal(out[~record.chosen], IMAGES[~record.chosen])
    assert all(not torch.equal(out[i], IMAGES[i]) for i in record.rows)
    assert torch.equal(new, record.targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(augment.replay(IMAGES, LABELS, record, landmarks=POINTS)[0], out)


def test_pickles_without_the_weights(weights: Path) -> None:
    augment = LSSLAugment(p=1, weights=str(weights), seed=3)
    data = pickle.dumps(augment)
    assert len(data) < min(10_000, weights.stat().st_size)
    first = augment(IMAGES, LABELS, landmarks=POINTS)[0]
    assert torch.equal(pickle.loads(data)(IMAGES, LABELS, landmarks=POINTS)[0], first)


def test_compute_dtype_is_the_networks(weights: Path) -> None:
    exact, half = (
        LSSLAugment(p=1, weights=weights, seed=3, compute_dtype=dtype)(IMAGES, LABELS, landmarks=POINTS)[0]
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert not torch.equal(exact, half)
    assert (exact - half).abs().mean() < 0.05


def test_weights_that_cannot_be_used(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no-such-name"):
        LSSLAugment(weights="no-such-name")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:-10])
    cut.with_suffix(".json").write_bytes(weights.with_suffix(".json").read_bytes())
    with pytest.raises(WeightsError):
        LSSLAugment(weights=cut)
