"""Sizes and shapes of the published networks, counted by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lssl_augment.errors import DataError
from lssl_augment.models.baselines.cyclegan import CycleGanCritics, CycleGanGenerators
from lssl_augment.models.baselines.icgan import IcGanCritic, IcGanGenerator, at_size
from lssl_augment.models.baselines.simgan import LocalCritic, Refiner
from lssl_augment.models.baselines.stargan import StarGanGenerator
from lssl_augment.models.cost import network_cost
from lssl_augment.models.presets import build_critic, build_generator

_DOCS = Path(__file__).parents[3] / "docs" / "baselines.md"
CLASSES = 5


def weights(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def conv(inputs: int, outputs: int, kernel: int, bias: bool = True) -> int:
    return inputs * outputs * kernel**2 + outputs * bias


def test_stargan_has_the_published_size() -> None:
    with torch.device("meta"):
        generator, critic = build_generator("stargan", 5, 128), build_critic("stargan", 5, 128)
    assert weights(generator) == 8_430_528
    # 7×7 on 3 + 5 planes, two down, six blocks, two up, 7×7; instance norms have scale and shift.
    down = conv(8, 64, 7, False) + conv(64, 128, 4, False) + conv(128, 256, 4, False) + 2 * (64 + 128 + 256)
    blocks = 6 * 2 * (conv(256, 256, 3, False) + 2 * 256)
    up = conv(256, 128, 4, False) + conv(128, 64, 4, False) + 2 * (128 + 64) + conv(64, 3, 7, False)
    assert weights(generator) == down + blocks + up
    assert weights(critic) == 44_762_048
    with torch.device("meta"):
        assert critic(torch.zeros(1, 3, 128, 128)).src.shape == (1, 1, 2, 2)


def test_cyclegan_has_the_published_size() -> None:
    with torch.device("meta"):
        generators, critics = CycleGanGenerators(5), CycleGanCritics(5)
        assert critics.at_hub[0](torch.zeros(1, 3, 128, 128)).shape == (1, 1, 14, 14)
    ends = conv(3, 64, 7) + conv(64, 3, 7)
    steps = conv(64, 128, 3) + conv(128, 256, 3) + conv(256, 128, 3) + conv(128, 64, 3)
    total = ends + steps + 6 * 2 * conv(256, 256, 3)
    assert weights(generators.to_hub[0]) == total == 7_837_699
    one = conv(3, 64, 4) + conv(64, 128, 4) + conv(128, 256, 4) + conv(256, 512, 4) + conv(512, 1, 4)
    assert weights(critics.at_class[0]) == one == 2_764_737
    assert weights(generators) == 8 * 7_837_699
    assert weights(critics) == 8 * one


def test_icgan_has_the_published_size() -> None:
    with torch.device("meta"):
        generator, critic = IcGanGenerator(5), IcGanCritic(5)
    decoder = sum(conv(a, b, 4, False) + 2 * b for a, b in ((105, 512), (512, 256), (256, 128), (128, 64)))
    assert weights(generator.decoder) == decoder + conv(64, 3, 4)
    trunk = sum(conv(a, b, 5, False) + 2 * b for a, b in ((3, 32), (32, 64), (64, 128), (128, 256)))
    assert weights(generator.encoder_z) == trunk + 4096 * 4096 + 2 * 4096 + 4096 * 100 + 100
    assert weights(generator.encoder_y) == trunk + 4096 * 512 + 2 * 512 + 512 * 5 + 5
    rest = sum(conv(a, b, 4, False) + 2 * b for a, b in ((69, 128), (128, 256), (256, 512)))
    assert weights(critic) == conv(3, 64, 4) + rest + conv(512, 1, 4)


def test_simgan_has_the_published_layers() -> None:
    with torch.device("meta"):
        refiner, critic = Refiner(5), LocalCritic(5)
        assert critic(torch.zeros(1, 3, 128, 128)).shape == (1, 2, 4, 4)
    assert weights(refiner) == conv(3, 64, 7) + 20 * conv(64, 64, 3) + conv(64, 3, 1) == 748_227
    layers = conv(3, 96, 7) + conv(96, 64, 5) + conv(64, 32, 3) + conv(32, 32, 1) + conv(32, 2, 1)
    assert weights(critic) == layers


def test_resizing_keeps_what_has_the_size() -> None:
    faces = torch.rand(1, 3, 64, 64)
    assert at_size(faces, 64) is faces
    assert at_size(faces, 32).shape == (1, 3, 32, 32)
    assert float((at_size(torch.ones(1, 3, 96, 96), 64) - 1).abs().max()) < 1e-6


def test_icgan_fills_an_intensity_up_with_what_it_reads() -> None:
    generator = IcGanGenerator(3, width=2, code=4, encoder_width=1, output_px=32).eval()
    latent = generator.encode(torch.rand(2, 3, 32, 32))
    torch.testing.assert_close(latent.own.sum(1), torch.ones(2))
    own = generator.decode(latent, torch.zeros(2, 3))
    torch.testing.assert_close(own, generator.decode(latent, latent.own))
    assert own.shape == (2, 3, 32, 32)


@pytest.mark.parametrize(
    ("cls", "numbers"),
    [
        (StarGanGenerator, {"width": 0}),
        (StarGanGenerator, {"hub": 3}),
        (CycleGanGenerators, {"blocks": -1}),
        (CycleGanGenerators, {"hub": -1}),
        (IcGanGenerator, {"code": 0}),
        (Refiner, {"width": 0}),
        (CycleGanCritics, {"layers": 0}),
        (IcGanCritic, {"width": 0}),
        (LocalCritic, {"width": 2}),
    ],
)
def test_bad_numbers(cls: Any, numbers: dict[str, int]) -> None:
    with pytest.raises(DataError, match="must be at least"):
        cls(3, **numbers)


def test_bad_shapes() -> None:
    generator = StarGanGenerator(3, width=2, blocks=0)
    with pytest.raises(DataError, match="multiples of 4"):
        generator.encode(torch.zeros(1, 3, 30, 32))
    with pytest.raises(DataError, match=r"attributes must have shape \(B, 3\)"):
        generator.decode(torch.zeros(1, 3, 32, 32), torch.zeros(1, 4))


def cost(preset: str, size_px: int) -> list[str]:
    """Parameters, and multiply-accumulates of one edit and of one judgement."""
    with torch.device("meta"):
        generator, critic = build_generator(preset, CLASSES, size_px), build_critic(preset, CLASSES, size_px)
        image, y = torch.zeros(1, 3, size_px, size_px), torch.zeros(1, CLASSES)
        if isinstance(generator, CycleGanGenerators):
            assert isinstance(critic, CycleGanCritics)
            macs = sum(network_cost(net[0], image).macs for net in (generator.to_hub, generator.from_hub))
            judged = network_cost(critic.at_hub[0], image).macs
        elif isinstance(generator, IcGanGenerator):
            small = torch.zeros(1, 3, 64, 64)
            parts = (generator.encoder_z, generator.encoder_y)
            macs = sum(network_cost(part, small).macs for part in parts)
            macs += network_cost(generator, torch.zeros(1, 100), y, call=generator.draw).macs
            judged = network_cost(critic, small, y).macs
        else:
            call = generator.refine if isinstance(generator, Refiner) else generator.forward
            macs = network_cost(
                generator, *((image,) if isinstance(generator, Refiner) else (image, y)), call=call
            ).macs
            judged = network_cost(critic, image).macs
    return [f"{weights(generator):,}", f"{macs / 1e9:.3f}", f"{weights(critic):,}", f"{judged / 1e9:.3f}"]


@pytest.mark.parametrize("preset", ["stargan", "cyclegan", "icgan", "simgan"])
@pytest.mark.parametrize("size_px", [64, 128])
def test_figures_in_the_docs(preset: str, size_px: int) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (.+) \|$", _DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    written = {(name, int(size)): cells.split(" | ") for name, size, cells in rows}
    found = cost(preset, size_px)
    assert written[preset, size_px] == found, f"| `{preset}` | {size_px} | {' | '.join(found)} |"
