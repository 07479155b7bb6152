from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from lssl_augment.models.cost import Cost, network_cost
from lssl_augment.models.presets import PRESETS, build_critic, build_generator

_DOCS = Path(__file__).parents[2] / "docs" / "networks.md"
_CLASSES = 5


@pytest.mark.parametrize(
    ("layer", "shape", "parameters", "macs"),
    [
        (nn.Linear(3, 4), (2, 3), 16, 2 * 12),
        (nn.Conv2d(3, 8, 5, padding=2), (1, 3, 10, 10), 8 * 75 + 8, 100 * 8 * 75),
        (nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2, bias=False), (1, 4, 8, 8), 8 * 18, 16 * 8 * 18),
        (nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1, bias=False), (1, 4, 8, 8), 4 * 96, 64 * 4 * 96),
    ],
)
def test_layers_by_hand(layer: nn.Module, shape: tuple[int, ...], parameters: int, macs: int) -> None:
    assert network_cost(layer, torch.zeros(shape)) == Cost(parameters, macs)


def test_the_network_is_left_alone() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    network[1].eval()
    cost = network_cost(network, torch.zeros(1, 2))
    assert network_cost(network, torch.zeros(1, 2)) == cost  # no hook stayed behind
    assert [m.training for m in network] == [True, False]
    assert cost.half_bytes == 12


def measured(preset: str, size_px: int) -> list[str]:
    numbers = PRESETS[preset].generator
    with torch.device("meta"):
        generator = build_generator(preset, _CLASSES, size_px)
        critic = build_critic(preset, _CLASSES, size_px)
        image = torch.zeros(1, 3, size_px, size_px)
        side = torch.zeros(1, int(numbers["side_channels"] or 0), size_px, size_px)
        attributes = torch.zeros(1, _CLASSES)
        latent = generator.encode(image, side)
        geometry = (side, torch.zeros(1, 2, 64, 64)) if preset == "compact" else ()
        encoder = network_cost(generator, image, side, call=generator.encode)
        decoder = network_cost(generator, latent, attributes, *geometry, call=generator.decode)
        given = (image, side, attributes) if preset == "compact" else (image, side)
        judge = network_cost(critic, *given)
    return [
        f"{encoder.parameters:,}",
        f"{encoder.half_bytes / 1e6:.1f}",
        f"{encoder.macs / 1e9:.3f}",
        f"{decoder.macs / 1e9:.3f}",
        f"{judge.parameters:,}",
        f"{judge.macs / 1e9:.3f}",
    ]


@pytest.mark.parametrize("preset", ["paper", "compact"])  # the others: baselines/test_baseline_networks.py
@pytest.mark.parametrize("size_px", [64, 128])
def test_figures_in_the_docs(preset: str, size_px: int) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (.+) \|$", _DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    written = {(name, int(size)): cells.split(" | ") for name, size, cells in rows}
    found = measured(preset, size_px)
    assert written[preset, size_px] == found, f"| `{preset}` | {size_px} | {' | '.join(found)} |"
