"""The face parser: contracts of input and output, folding, storing and loading."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lssl_augment.errors import DataError, WeightsError
from lssl_augment.models.cost import network_cost
from lssl_augment.models.parser_net import (
    PARSER_CLASSES,
    ParserConfig,
    ParserNet,
    architecture_card,
    load_parser,
    parse_faces,
)
from lssl_augment.models.weights import write_weights

SMALL = ParserConfig(widths=(4, 6), blocks=(1, 2), expansions=(1, 2))


def faces(count: int, size: int = 32, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def trained_like(config: ParserConfig = SMALL) -> ParserNet:
    """A parser whose batch norms have seen data, as after training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = ParserNet(config)
    for seed in range(3):
        net(faces(8, seed=seed))
    return net.eval()


def store(path: Path, net: ParserNet, **changes: object) -> Path:
    card = {
        "kind": "parser",
        "architecture": architecture_card(net.config),
        "class_names": list(PARSER_CLASSES),
        "face_size_px": 128,
        "training": {},
        "metrics": {},
        "licence": "none",
        "intended_use": "tests",
    }
    return write_weights(path, net.fused().state_dict(), card | changes)


def test_size_of_the_released_architecture() -> None:
    cost = network_cost(ParserNet(), torch.zeros(1, 3, 128, 128))
    assert cost.parameters < 1_000_000
    assert cost.half_bytes < 2_000_000
    assert cost.macs < 230e6  # of a face of 128 pixels: little beside a generator's, which the loss trains


@given(
    widths=st.lists(st.integers(2, 8), min_size=1, max_size=4),
    expansion=st.integers(1, 3),
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    count=st.integers(0, 3),
)
def test_logits_for_every_pixel(widths: list[int], expansion: int, sizes: tuple[int, int], count: int) -> None:
    config = ParserConfig(tuple(widths), (1,) * len(widths), (expansion,) * len(widths))
    net = ParserNet(config).fused()
    height, width = (n * config.stride for n in sizes)
    images = torch.zeros(count, 3, height, width)
    if count:
        logits = net(images)
        assert logits.shape == (count, 4, height, width)
        assert logits.dtype == torch.float32
        assert bool(torch.isfinite(logits).all())
    maps = parse_faces(net, images)
    assert maps.shape == (count, height, width)
    assert maps.dtype == torch.uint8


def test_rows_do_not_mix() -> None:
    net = trained_like().fused()
    images = faces(70)  # more than one chunk
    logits = net(images)
    assert torch.equal(parse_faces(net, images), logits.argmax(1).to(torch.uint8))
    torch.testing.assert_close(net(images[5:6])[0], logits[5], rtol=1e-4, atol=1e-5)


def test_folding_changes_nothing_but_the_layers() -> None:
    net = trained_like()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    fused = net.fused()
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())
    assert not fused.training
    torch.testing.assert_close(fused(faces(5)), net(faces(5)), rtol=1e-3, atol=1e-4)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_an_untrained_parser_draws_no_checkerboard() -> None:
    logits = trained_like()(faces(2))
    cells = logits.unflatten(2, (-1, 2)).unflatten(4, (-1, 2))
    assert torch.equal(cells, cells[:, :, :, :1, :, :1].expand_as(cells))


def test_every_parameter_gets_a_gradient() -> None:
    net = trained_like().train()
    nn.functional.cross_entropy(net(faces(4)), torch.randint(0, 4, (4, 32, 32))).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        if not name.endswith("conv.bias"):  # the norm behind takes it away
            assert parameter.grad.abs().sum() > 0, name


def test_frozen_it_passes_the_gradient_to_the_face() -> None:
    net = trained_like().fused()
    images = faces(2).requires_grad_()
    net(images)[:, 3].mean().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widths": (4, 4), "blocks": (1,)}, "of one length"),
        ({"widths": (), "blocks": (), "expansions": ()}, "of one length"),
        ({"widths": (0,), "blocks": (1,), "expansions": (1,)}, "positive"),
        ({"widths": (4,), "blocks": (0,), "expansions": (1,)}, "positive"),
        ({"expansions": (0, 1, 1, 1)}, "positive"),
        ({"expansions": (1,)}, "of one length"),
    ],
)
def test_bad_configs_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ParserConfig(**arguments)  # type: ignore[arg-type]


def test_bad_images_are_refused() -> None:
    net = ParserNet(SMALL).fused()
    for call in (net, lambda images: parse_faces(net, images)):
        with pytest.raises(DataError, match=r"\(B, 3, H, W\); got \(2, 1, 32, 32\)"):
            call(torch.zeros(2, 1, 32, 32))
        with pytest.raises(DataError, match="multiples of 4; got 30 and 32"):
            call(torch.zeros(1, 3, 30, 32))
        with pytest.raises(TypeError, match="uint8"):
            call(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
        with pytest.raises(TypeError, match="got list"):
            call([])  # type: ignore[arg-type]


def test_store_and_load(tmp_path: Path) -> None:
    net = trained_like()
    path = store(tmp_path / "p.safetensors", net)
    state = torch.random.get_rng_state()
    loaded = load_parser(path)
    assert torch.equal(state, torch.random.get_rng_state())  # loading draws nothing
    assert loaded.config == SMALL
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    torch.testing.assert_close(loaded(faces(4)), net(faces(4)), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": {"widths": [4, 6]}}, "must give preset, blocks, expansions, widths"),
        ({"architecture": "u-net"}, "must give preset"),
        ({"architecture": {**architecture_card(SMALL), "widths": [4, 8]}}, "does not describe its tensors"),
        ({"architecture": {**architecture_card(SMALL), "expansions": [0, 1]}}, "does not describe its tensors"),
        ({"class_names": ["background", "skin"]}, "classes must be background, skin, eyes, lips"),
        ({"class_names": None}, "has None"),
    ],
)
def test_cards_of_something_else_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = store(tmp_path / "p.safetensors", trained_like(), **changes)
    with pytest.raises(WeightsError, match=message):
        load_parser(path)
