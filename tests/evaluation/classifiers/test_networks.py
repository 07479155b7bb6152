"""Networks by name: sizes as published, first weights from a seed alone."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch

from lssl_augment.errors import DataError
from lssl_augment.evaluation.classifiers import FaceClassifier, build_network
from lssl_augment.evaluation.classifiers.networks import NETWORKS, _layout

HAS_TIMM = importlib.util.find_spec("timm") is not None


@pytest.mark.parametrize(
    ("name", "num_classes", "parameters"),
    [
        ("small", 5, 2_796_325),
        ("resnet18", 1000, 11_689_512),  # torchvision's own tables
        ("resnet50", 1000, 25_557_032),
        ("vgg-face", 2622, 145_002_878),
    ],
)
def test_sizes(name: str, num_classes: int, parameters: int) -> None:
    with torch.device("meta"):
        model = _layout(name, num_classes, published=False)
        assert model(torch.zeros(2, 3, 64, 64)).shape == (2, num_classes)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("name", ["tiny", "resnet18"])
def test_first_weights_come_from_the_seed_alone(name: str) -> None:
    before = torch.get_rng_state()
    first, again, other = (build_network(name, 5, seed, 64).state_dict() for seed in (3, 3, 4))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(next(iter(first.values())), next(iter(other.values())))


@pytest.mark.parametrize("name", ["tiny", "resnet18"])
def test_every_parameter_is_initialised_and_gets_a_gradient(name: str) -> None:
    model = build_network(name, 5, 0, 32)
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    logits = model(images)
    assert logits.shape == (4, 5)
    logits.square().sum().backward()
    for key, parameter in model.named_parameters():
        assert torch.isfinite(parameter).all(), key
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key
    assert all(torch.isfinite(b).all() for b in model.buffers())


def test_the_small_one_is_what_is_built() -> None:
    assert isinstance(build_network("small", 5, 0, 64), FaceClassifier)


@pytest.mark.parametrize("name", ["resnet", "timm:", ""])
def test_unknown_names(name: str) -> None:
    with pytest.raises(DataError, match="tiny, small, resnet18, resnet50, vgg-face or timm:NAME"):
        build_network(name, 5, 0, 64)


def test_bad_arguments() -> None:
    with pytest.raises(DataError, match="at least 2"):
        build_network("tiny", 1, 0, 64)
    with pytest.raises(DataError, match="vgg-face only"):
        build_network("tiny", 5, 0, 64, weights="x.safetensors")
    assert len(set(NETWORKS)) == len(NETWORKS)


@pytest.mark.skipif(HAS_TIMM, reason="timm is installed")
def test_without_timm() -> None:
    with pytest.raises(DataError, match="pip install timm"):
        build_network("timm:resnet10t", 5, 0, 64)


@pytest.mark.skipif(not HAS_TIMM, reason="needs timm")
@pytest.mark.parametrize("name", ["timm:resnet10t", "timm:vit_tiny_patch16_224"])
def test_timm(name: str) -> None:
    before = torch.get_rng_state()
    models: list[Any] = [build_network(name, 5, 1, 32) for _ in range(2)]
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))
    assert models[0](torch.zeros(2, 3, 32, 32)).shape == (2, 5)
    with pytest.raises(DataError, match="no network"):
        build_network("timm:nothing", 5, 0, 32)
