"""Weaker and stronger light."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_faces import SIZE_PX, as_tensors, compact_bundle
from torch import Tensor

from lssl_augment.attributes import LIGHTS
from lssl_augment.faces.light import DARK_BELOW, WEAK_BELOW, brightness, light_names
from lssl_augment.models.engine import ExpressionEngine
from lssl_augment.models.relight import LEVELS, relight

NAN = float("nan")


def pixels(faces: Tensor) -> np.ndarray:
    scaled = ((faces + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).contiguous().numpy()


def lit(level: float, n: int = 2) -> Tensor:
    """Drawn faces of some brightness."""
    images, _, _ = as_tensors(list(range(n)))
    return relight(images, torch.full((n,), level), torch.arange(n))


def test_levels_are_what_their_names_say() -> None:
    assert LEVELS["dark"] < DARK_BELOW < LEVELS["weak"] < WEAK_BELOW < LEVELS["normal"]
    assert tuple(LEVELS) == LIGHTS


@settings(max_examples=15)
@given(st.floats(20, 200, width=32), st.integers(-(2**63), 2**63 - 1))
def test_faces_are_as_bright_as_asked(level: float, seed: int) -> None:
    images = lit(220.0)
    out = relight(images, torch.full((2,), level), torch.full((2,), seed))
    assert bool(out.isfinite().all())
    assert float(out.abs().max()) <= 1
    # Noise moves the brightest fiftieth up a little.
    np.testing.assert_allclose(brightness(pixels(out)), level, rtol=0.12, atol=3)
    again = relight(images, torch.full((2,), level), torch.full((2,), seed))
    assert torch.equal(out, again)


def test_noise_grows_as_light_falls_and_none_comes_with_more_light() -> None:
    flat = torch.zeros(1, 3, 32, 32)
    noise = [
        float(relight(flat, torch.tensor([level]), torch.zeros(1, dtype=torch.int64)).std()) / level
        for level in (120.0, 60.0, 30.0)
    ]
    assert 0 < noise[0] < noise[1] < noise[2]
    assert float(relight(flat, torch.tensor([200.0]), torch.zeros(1, dtype=torch.int64)).std()) < 1e-6


def test_light_has_no_colour() -> None:
    red = torch.zeros(1, 3, 64, 64)
    red[:, 1:] = -0.5
    out = (relight(red, torch.tensor([60.0]), torch.zeros(1, dtype=torch.int64)) + 1) / 2
    mean = out.mean((2, 3))[0]
    assert float(mean[0] / mean[1]) == pytest.approx(2.0, rel=0.05)


def test_a_face_that_is_left_alone_is_the_same_bit_for_bit() -> None:
    images, _, _ = as_tensors([0, 1, 2])
    out = relight(images, torch.tensor([NAN, 60.0, NAN]), torch.arange(3))
    assert torch.equal(out[[0, 2]], images[[0, 2]])
    assert not torch.equal(out[1], images[1])
    assert relight(images, torch.full((3,), NAN), torch.arange(3)) is images


def test_an_engine_changes_the_light_alone() -> None:
    engine = ExpressionEngine(compact_bundle(), precision="fp32")
    assert engine.attributes.lights == LIGHTS
    images, dense, labels = as_tensors([0, 1, 2, 3])
    faces = engine.encode(lit(200.0, 4), dense, labels)
    kept = torch.full((4,), -1), torch.ones(4), torch.arange(4)
    plain = engine.edit(faces, *kept)
    out = engine.edit(faces, *kept, light=torch.tensor([-1, 0, 1, 2]))
    assert torch.equal(out[0], plain[0])
    assert torch.equal(out[1], plain[1])  # it was in normal light
    assert light_names(pixels(out)).tolist() == ["normal", "normal", "weak", "dark"]
    # And back: a dark photograph in normal light.
    dark = engine.encode(lit(40.0, 4), dense, labels)
    back = engine.edit(dark, *kept, light=torch.full((4,), LIGHTS.index("normal")))
    assert brightness(pixels(back)).min() > 2.5 * brightness(pixels(engine.edit(dark, *kept))).max()
    assert back.shape == images.shape == (4, 3, SIZE_PX, SIZE_PX)
