"""Leaving a part out changes what that part does, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_weights import bare_weights, compact_weights
from torch import Tensor

from lssl_augment.attribute_vector import AttributeSpec
from lssl_augment.attributes import BASIC5
from lssl_augment.errors import DataError
from lssl_augment.evaluation.ablation import PARTS, ablated, parse_parts
from lssl_augment.models.bundle import load_model
from lssl_augment.models.engine import ExpressionEngine


def edits(engine: ExpressionEngine, dense: Tensor, targets: Tensor, seeds: Tensor) -> Tensor:
    own = torch.Generator().manual_seed(0)
    images = torch.rand(len(targets), 3, engine.face_size_px, engine.face_size_px, generator=own) * 2 - 1
    faces = engine.encode(images, dense=dense.expand(len(targets), -1, -1), labels=torch.zeros(len(targets)).long())
    return engine.edit(faces, targets, torch.ones(len(targets)), seeds)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ablation") / "own.safetensors"
    compact_weights(path)
    return str(path)


@pytest.fixture(scope="module")
def dense(weights: str) -> Tensor:
    bundle = load_model(weights)
    assert bundle.textures is not None
    return bundle.textures.frame[None]


def made(weights: str, dense: Tensor, *parts: str) -> Tensor:
    engine = ablated(weights, parts) if parts else ExpressionEngine(load_model(weights))
    classes = len(engine.vocabulary)
    targets = torch.arange(3 * classes) % classes
    return edits(engine, dense, targets, torch.arange(3 * classes))


@pytest.mark.parametrize("part", [part for part in PARTS if part != "mouth"])  # these faces' mouths are open already
def test_every_part_counts(weights: str, dense: Tensor, part: str) -> None:
    whole = made(weights, dense)
    assert torch.equal(whole, made(weights, dense))
    assert not torch.equal(whole, made(weights, dense, part))


def test_without_donors_every_seed_gives_one_shape(weights: str, dense: Tensor) -> None:
    engine = ablated(weights, ("donors", "mouth"))
    targets = torch.ones(4, dtype=torch.int64)
    assert engine._shapes is not None
    shapes, _ = engine._shapes.draw_donors(targets.numpy(), torch.arange(4).numpy())
    assert abs(shapes - shapes[:1]).max() < 1e-5
    own = engine._shapes.donors[engine._shapes.donor_labels == 1]
    whole = load_model(weights).shapes
    assert whole is not None
    torch.testing.assert_close(own[0], whole.donors[whole.donor_labels == 1].mean(0))


def test_a_mouth_without_its_inside_is_the_warped_one(weights: str) -> None:
    textures = ablated(weights, ("mouth", "shading"))._textures
    assert textures is not None
    closed = textures.frame[None].clone()
    warped = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1
    asked = torch.ones(1, len(textures.shading) - 5), torch.ones(1, 5)
    gap = torch.zeros(1)
    donor = textures.donor_open.argmax()[None]
    plain = textures.guess(warped, torch.ones(1, 3, 1, 1), closed, textures.field(*asked), donor, gap)
    torch.testing.assert_close(plain, warped, rtol=0, atol=1e-5)
    whole = load_model(weights).textures
    assert whole is not None
    dressed = whole.guess(warped, torch.ones(1, 3, 1, 1), closed, whole.field(*asked), donor, gap)
    assert (dressed - warped).abs().max() > 0.05


@pytest.mark.parametrize("words", ["", "network+network", "warp", "network,mouth"])
def test_unknown_parts_are_named(words: str) -> None:
    with pytest.raises(DataError, match=r"network, shading, mouth, donors, joined by '\+'"):
        parse_parts(words)
    assert parse_parts("network + mouth") == ("network", "mouth")


def test_weights_without_a_first_guess_are_refused(tmp_path: Path) -> None:
    bare = bare_weights(tmp_path / "paper.safetensors", AttributeSpec(BASIC5))
    with pytest.raises(DataError, match="has no first guess"):
        ablated(str(bare), ("network",))
