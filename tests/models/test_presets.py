from __future__ import annotations

import dataclasses

import pytest
import torch

from lssl_augment.errors import DataError
from lssl_augment.models.cost import network_cost
from lssl_augment.models.presets import PRESETS, Preset, build_critic, build_generator, find_preset


@pytest.mark.parametrize("name", list(PRESETS))
@pytest.mark.parametrize("size_px", [64, 128])
@pytest.mark.parametrize("classes", [1, 5, 8])
def test_every_preset_builds_at_every_size(name: str, size_px: int, classes: int) -> None:
    assert size_px in PRESETS[name].face_sizes_px
    with torch.device("meta"):
        generator = build_generator(name, classes, size_px)
        critic = build_critic(PRESETS[name], classes, size_px)
        images = torch.zeros(2, 3, size_px, size_px)
        if getattr(generator, "face_only", False):
            latent = generator.encode(images)
        else:
            side = torch.zeros(2, int(PRESETS[name].generator["side_channels"] or 0), size_px, size_px)
            latent = generator.encode(images, side)
    assert latent is not None
    assert all(p.requires_grad for p in (*generator.parameters(), *critic.parameters()))


def test_compact_ships_in_25_megabytes() -> None:
    with torch.device("meta"):
        generator = build_generator("compact", 8, 128)
    parameters = sum(p.numel() for p in generator.parameters())
    assert parameters * 2 <= 25_000_000


def test_networks_of_one_preset_fit_each_other() -> None:
    preset = find_preset("paper").with_numbers({"width": 4, "blocks": 1}, {"width": 4})
    generator, critic = build_generator(preset, 3, 64), build_critic(preset, 3, 64)
    pair = generator(torch.zeros(2, 3, 64, 64), torch.zeros(2, 1, 64, 64), torch.eye(3)[:2])
    assert critic(*pair).cls.shape == (2, 3)
    assert network_cost(generator, *pair, torch.eye(3)[:2]).macs > 0


def test_presets_cannot_be_changed() -> None:
    preset = find_preset("paper")
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset.name = "mine"  # type: ignore[misc]
    with pytest.raises(TypeError):
        preset.generator["width"] = 1  # type: ignore[index]
    with pytest.raises(TypeError):
        PRESETS["mine"] = preset  # type: ignore[index]
    assert preset.with_numbers({"width": 8}).generator["width"] == 8
    assert find_preset("paper").generator["width"] == 64


def test_bad_presets_are_named() -> None:
    with pytest.raises(DataError, match="unknown preset 'papre'; allowed: paper"):
        build_generator("papre", 5, 64)
    with pytest.raises(DataError, match="no number called widht; allowed: width"):
        build_generator(find_preset("paper").with_numbers({"widht": 3}), 5, 64)
    with pytest.raises(DataError, match="no number called blocks"):
        build_critic(find_preset("paper").with_numbers(critic={"blocks": 3}), 5, 64)
    with pytest.raises(DataError, match="multiple of 16"):
        build_generator(find_preset("paper").with_numbers({"width": 4}), 5, 72)
    with pytest.raises(DataError, match="unknown kind"):
        Preset(name="x", kind="x")
