from __future__ import annotations

import torch

from lssl_augment.models.conditional_critic import ConditionalCritic


def critic(**numbers: int) -> ConditionalCritic:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ConditionalCritic(3, **{"width": 8, "depth": 3, **numbers})


def pairs(batch: int = 3, size_px: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    return torch.rand(batch, 3, size_px, size_px, generator=rng) * 2 - 1, torch.rand(
        batch, 5, size_px, size_px, generator=rng
    )


@torch.no_grad()
def test_shapes() -> None:
    out = critic()(*pairs(), torch.eye(3))
    assert out.src.shape == (3, 1, 6, 6)
    assert out.cls.shape == (3, 3)
    assert [tuple(f.shape) for f in out.features] == [(3, 8, 24, 24), (3, 16, 12, 12), (3, 32, 6, 6)]
    assert out.src.dtype == out.cls.dtype == torch.float32


@torch.no_grad()
def test_the_attribute_decides_what_is_real_but_not_what_is_seen() -> None:
    net, (images, sides) = critic(), pairs()
    first = net(images, sides, torch.eye(3))
    other = net(images, sides, torch.eye(3).roll(1, 0))
    assert not torch.allclose(first.src, other.src, atol=1e-4)
    assert torch.equal(first.cls, other.cls)
    # The projection is linear in the attribute: an even mixture of two lies between them.
    half = net(images, sides, (torch.eye(3) + torch.eye(3).roll(1, 0)) / 2)
    torch.testing.assert_close(half.src, (first.src + other.src) / 2)


@torch.no_grad()
def test_it_judges_pairs() -> None:
    net, (images, sides) = critic(), pairs()
    matching, swapped = net(images, sides, torch.eye(3)), net(images, sides.roll(1, 0), torch.eye(3))
    assert not torch.allclose(matching.src, swapped.src, atol=1e-4)
    alone = net(images[1:2], sides[1:2], torch.eye(3)[1:2])
    torch.testing.assert_close(alone.src, matching.src[1:2], atol=1e-4, rtol=0)


def test_every_weight_has_a_gradient() -> None:
    net = critic()
    out = net(*pairs(), torch.eye(3))
    (out.src.square().mean() + out.cls.square().mean()).backward()
    assert not [n for n, p in net.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]


@torch.no_grad()
def test_bf16_is_close_to_float32() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        out = critic()(*pairs(), torch.eye(3))
    assert out.src.dtype == torch.float32
    exact = critic()(*pairs(), torch.eye(3))
    torch.testing.assert_close(out.src, exact.src, atol=0.05, rtol=0)
    torch.testing.assert_close(out.cls.float(), exact.cls, atol=0.05, rtol=0)


def test_widths_double_up_to_eight_times() -> None:
    net = critic(depth=6)
    assert [layer[0].out_channels for layer in net.trunk] == [8, 16, 32, 64, 64, 64]
