from __future__ import annotations

import pytest
import torch

from lssl_augment.errors import DataError
from lssl_augment.models.critic import Critic


@pytest.mark.parametrize(("size_px", "depth"), [(64, 5), (128, 6)])
def test_default_depth_leaves_two_by_two_patches(size_px: int, depth: int) -> None:
    with torch.device("meta"):
        critic = Critic(5, size_px)
        out = critic(torch.zeros(3, 3, size_px, size_px), torch.zeros(3, 1, size_px, size_px))
    assert out.src.shape == (3, 1, 2, 2)
    assert out.cls.shape == (3, 5)
    convs = [m for m in critic.trunk if isinstance(m, torch.nn.Conv2d)]
    assert [c.out_channels for c in convs] == [64 * 2**i for i in range(depth)]
    assert {(c.kernel_size, c.stride) for c in convs} == {((4, 4), (2, 2))}
    assert critic.cls_head.kernel_size == (2, 2)  # sees the whole face


def test_width_depth_and_limit_are_numbers() -> None:
    critic = Critic(2, 64, width=4, depth=3, max_width=8, side_channels=5)
    out = critic(torch.zeros(2, 3, 64, 64), torch.zeros(2, 5, 64, 64))
    assert out.src.shape == (2, 1, 8, 8)
    assert critic.src_head.in_channels == 8
    assert Critic(2, 32, width=4, side_channels=0)(torch.zeros(1, 3, 32, 32)).src.shape == (1, 1, 2, 2)


def test_it_judges_the_pair_and_every_weight_learns() -> None:
    critic = Critic(3, 32, width=4)
    images, sides = (
        torch.randn(2, 3, 32, 32, requires_grad=True),
        torch.rand(2, 1, 32, 32, requires_grad=True),
    )
    out = critic(images, sides)
    (out.src.square().sum() + out.cls.square().sum()).backward()
    for tensor in (images, sides, *critic.parameters()):
        assert tensor.grad is not None
        assert bool(tensor.grad.abs().sum() > 0)


def test_spectral_norm_bounds_every_convolution() -> None:
    critic = Critic(3, 32, width=4, spectral=True).train()
    for _ in range(30):  # power iterations
        critic(torch.zeros(1, 3, 32, 32), torch.zeros(1, 1, 32, 32))
    for layer in (critic.trunk[0], critic.src_head, critic.cls_head):
        assert isinstance(layer, torch.nn.Conv2d)
        largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
        assert float(largest) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    "numbers",
    [{"width": 0}, {"depth": 0}, {"side_channels": -1}, {"max_width": 1}, {"depth": 7}],
)
def test_bad_numbers(numbers: dict[str, int]) -> None:
    with pytest.raises(DataError, match="got"):
        Critic(3, 64, **{"width": 4, **numbers})


def test_bad_shapes() -> None:
    critic = Critic(3, 32, width=4)
    with pytest.raises(DataError, match="1 side channels; got"):
        critic(torch.zeros(1, 3, 32, 32))
    with pytest.raises(DataError, match="got"):
        critic(torch.zeros(1, 3, 64, 64), torch.zeros(1, 1, 64, 64))
