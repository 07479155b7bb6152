from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lssl_augment.errors import DataError
from lssl_augment.faces.align import template68
from lssl_augment.faces.landmarks import GROUPS68, flip_points68
from lssl_augment.faces.side_image import SIDE_GROUPS, scale_points, side_image


def face(size_px: int = 64, seed: int = 0) -> torch.Tensor:
    jitter = np.random.default_rng(seed).normal(0, 1.5, (2, 68, 2))
    return torch.from_numpy(template68(size_px) + jitter).float()


def test_one_dot_is_the_gaussian() -> None:
    points = torch.full((1, 68, 2), -1000.0)
    points[0, 5] = torch.tensor([10.0, 20.0])
    drawn = side_image(points, 32, 32, sigma_px=2.0)[0, 0]
    assert drawn[20, 10] == 1.0
    assert drawn[20, 12] == pytest.approx(np.exp(-0.5), abs=1e-6)
    assert drawn[23, 9] == pytest.approx(np.exp(-(9 + 1) / 8), abs=1e-6)


def test_scaling_keeps_the_dot_on_the_same_spot_of_the_face() -> None:
    assert scale_points(torch.tensor([-0.5, 63.5]), 64, 32).tolist() == [-0.5, 31.5]
    points = torch.full((1, 68, 2), -1000.0)
    points[0, 0] = torch.tensor(
        [20.5, 40.5]
    )  # between pixels 20 and 21: the centre of pixel 10 at half the size
    drawn = side_image(points, 64, 32)[0, 0]
    assert drawn.argmax() == 20 * 32 + 10
    assert drawn[20, 10] == 1.0


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_flipping_both_is_exact_and_flipping_one_is_not(seed: int) -> None:
    points = face(seed=seed)
    mirrored = torch.from_numpy(flip_points68(points.numpy(), 64))
    for groups in (False, True):
        drawn = side_image(points, 64, 64, groups=groups)
        again = side_image(mirrored, 64, 64, groups=groups)
        torch.testing.assert_close(again, drawn.flip(-1), atol=1e-5, rtol=0)
        assert (again - drawn).abs().max() > 0.3
        assert (drawn.flip(-1) - drawn).abs().max() > 0.3


def test_groups_draw_each_landmark_once() -> None:
    assert sorted(row for rows in SIDE_GROUPS.values() for row in rows) == list(range(68))
    assert len(SIDE_GROUPS["jaw_nose"]) == 26
    points = face()
    lips = points.clone()
    lips[:, GROUPS68["inner_lips"]] += 3
    change = (side_image(lips, 64, 64, groups=True) - side_image(points, 64, 64, groups=True)).abs()
    assert change.amax((0, 2, 3)).gt(0.1).tolist() == [False, False, False, False, True]


@pytest.mark.parametrize("groups", [False, True])
def test_shape_dtype_range_and_gradient(groups: bool) -> None:
    points = face(128).double().requires_grad_()
    drawn = side_image(points, 128, 64, groups=groups)
    assert drawn.shape == (2, 5 if groups else 1, 64, 64)
    assert drawn.dtype == torch.float32
    assert float(drawn.detach().min()) >= 0
    assert float(drawn.detach().max()) <= 1
    drawn.square().sum().backward()
    assert points.grad is not None
    assert bool((points.grad.abs().sum(-1) > 0).all())


def test_rows_do_not_depend_on_their_batch() -> None:
    points = face()
    torch.testing.assert_close(
        side_image(points, 64, 64)[1:], side_image(points[1:], 64, 64), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(
    ("shape", "sizes", "sigma"),
    [
        ((68, 2), (64, 64), None),
        ((1, 68, 3), (64, 64), None),
        ((1, 68, 2), (0, 64), None),
        ((1, 68, 2), (64, 64), 0.0),
    ],
)
def test_bad_values_are_named(shape: tuple[int, ...], sizes: tuple[int, int], sigma: float | None) -> None:
    with pytest.raises(DataError, match="got"):
        side_image(torch.zeros(shape), *sizes, sigma_px=sigma)
