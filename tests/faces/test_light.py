from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lssl_augment.attributes import LIGHTS
from lssl_augment.errors import DataError
from lssl_augment.faces.light import DARK_BELOW, WEAK_BELOW, brightness, light_names


def grey(value: int, size: int = 20) -> np.ndarray:
    return np.full((1, size, size, 3), value, np.uint8)


@pytest.mark.parametrize(
    ("value", "name"), [(0, "dark"), (54, "dark"), (55, "weak"), (109, "weak"), (110, "normal"), (255, "normal")]
)
def test_thresholds(value: int, name: str) -> None:
    assert brightness(grey(value)) == pytest.approx([value], abs=1e-3)
    assert light_names(grey(value)).tolist() == [name]


def test_dark_skin_before_a_bright_wall_is_normal_light() -> None:
    image = grey(200, 50)
    image[:, 5:45, 5:45] = 40  # most of the square
    assert light_names(image).tolist() == ["normal"]
    glint = grey(20, 50)
    glint[:, :3, :3] = 255  # 9 of 2,500 pixels: a reflection in a dark room
    assert light_names(glint).tolist() == ["dark"]


@given(seed=st.integers(0, 99), share=st.floats(0, 1))
def test_less_light_is_never_called_more(seed: int, share: float) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (300, 6, 6, 3), dtype=np.uint8)
    darker = (images * share).astype(np.uint8)
    assert (brightness(darker) <= brightness(images) + 1e-3).all()
    order = [LIGHTS.index(name) for name in light_names(images)]
    dimmed = [LIGHTS.index(name) for name in light_names(darker)]
    assert all(after >= before for before, after in zip(order, dimmed, strict=True))


def test_rows_do_not_mix_and_none_is_fine() -> None:
    images = np.concatenate([grey(200), grey(80), grey(10)])
    assert light_names(images).tolist() == list(LIGHTS)
    assert light_names(images[:0]).shape == (0,)
    assert DARK_BELOW < WEAK_BELOW


@pytest.mark.parametrize(
    "images", [np.zeros((2, 4, 4), np.uint8), np.zeros((1, 4, 4, 3)), np.zeros((1, 0, 4, 3), np.uint8)]
)
def test_other_arrays_are_refused(images: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"\(N, S, S, 3\) uint8; got"):
        light_names(images)
