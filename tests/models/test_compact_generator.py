from __future__ import annotations

import pytest
import torch
from tiny_faces import loosen

from lssl_augment.models.compact_generator import CompactGenerator, CompactOutput, _smooth
from lssl_augment.models.warp import warp_image


def small(**numbers: int) -> CompactGenerator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CompactGenerator(3, **{"width": 8, "blocks": 1, **numbers})


def inputs(batch: int = 2, size_px: int = 64) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    return {
        "x": torch.rand(batch, 3, size_px, size_px, generator=rng) * 2 - 1,
        "s": torch.rand(batch, 5, size_px, size_px, generator=rng),
        "y": torch.eye(3)[torch.arange(batch) % 3],
        "side": torch.rand(batch, 5, size_px, size_px, generator=rng),
        "flow": 2 * torch.randn(batch, 2, 12, 12, generator=rng),
        "guess": torch.rand(batch, 3, size_px, size_px, generator=rng) * 2 - 1,
    }


def run(net: CompactGenerator, given: dict[str, torch.Tensor], *, guess: bool = True) -> CompactOutput:
    latent = net.encode(given["x"], given["s"])
    return net.decode(latent, given["y"], given["side"], given["flow"], given["guess"] if guess else None)


@pytest.mark.parametrize("size_px", [64, 128])
@torch.no_grad()
def test_the_first_result_is_the_guess(size_px: int) -> None:
    given = inputs(size_px=size_px)
    out = run(small(), given)
    assert torch.equal(out.image, given["guess"])
    assert torch.equal(out.warped, given["guess"])
    assert out.side.shape == (2, 5, size_px, size_px)


@torch.no_grad()
def test_without_a_guess_it_is_the_warped_source() -> None:
    given = inputs()
    out = run(small(), given, guess=False)
    assert torch.equal(out.image, warp_image(given["x"], given["flow"], cubic=True).clamp(-1, 1))


@torch.no_grad()
def test_shaken_weights_stay_in_range() -> None:
    given = inputs()
    out = run(loosen(small(), amount=0.5), given)
    change = (out.image - out.warped).abs()
    assert 1e-3 < float(change.mean())
    assert float(change.max()) <= 2
    assert float(out.side.min()) >= 0
    assert float(out.side.max()) <= 1


def test_changes_do_not_alternate_from_pixel_to_pixel() -> None:
    """Rows of dots along lips were what a trained network drew with the pixels of its pixel shuffle."""
    sign = 1 - 2 * (torch.arange(16) % 2).float()
    for dots in (sign.expand(16, 16), sign[:, None].expand(16, 16), sign[:, None] * sign):
        assert float(_smooth(dots[None, None])[..., 2:-2, 2:-2].abs().max()) < 1e-6
    stitches = torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(4)[None, None, None].expand(1, 1, 16, 16)
    assert float(_smooth(stitches)[..., 2:-2].abs().max()) == pytest.approx(0.25)
    ramp = torch.linspace(-1, 1, 16).expand(2, 1, 16, 16)
    torch.testing.assert_close(_smooth(ramp)[..., 2:-2], ramp[..., 2:-2])
    with torch.autocast("cpu", torch.bfloat16):
        assert _smooth(ramp).dtype == torch.float32
    # A generator whose last layer asks for nothing but dots makes none.
    net, given = small(), inputs()
    with torch.no_grad():
        net.heads.bias[:12] = torch.tensor([1.0, -1.0, -1.0, 1.0]).repeat(3)  # of the four pixels of each colour
        out = run(net, given)
    assert float((out.image - out.warped)[..., 2:-2, 2:-2].abs().max()) < 1e-6


@torch.no_grad()
def test_every_input_matters_and_rows_do_not_touch() -> None:
    net, given = loosen(small()), inputs()
    image = run(net, given).image
    for name in given:
        other = {**given, name: given[name].flip(0)}
        assert not torch.allclose(run(net, other).image, image, atol=1e-4), name
    alone = run(net, {name: value[1:] for name, value in given.items()}).image
    torch.testing.assert_close(alone, image[1:], atol=1e-4, rtol=0)


@torch.no_grad()
def test_one_encoding_serves_all_targets() -> None:
    net, given = loosen(small()), inputs(1)
    latent = net.encode(given["x"], given["s"])
    every = type(latent)(*(part.expand(3, -1, -1, -1) for part in latent))
    rows = {name: given[name].expand(3, -1, -1, -1) for name in ("side", "flow", "guess")}
    image = net.decode(every, torch.eye(3), rows["side"], rows["flow"], rows["guess"]).image
    for row in range(3):
        alone = net.decode(latent, torch.eye(3)[row : row + 1], given["side"], given["flow"], given["guess"]).image
        torch.testing.assert_close(image[row : row + 1], alone, atol=1e-4, rtol=0)
    assert not torch.allclose(image[0], image[1], atol=1e-4)


def test_every_weight_learns() -> None:
    """Several layers begin at zero, and pass on no gradient until they have moved."""
    net, given = small(), inputs(size_px=32)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(4):
        out = run(net, given)
        optimizer.zero_grad()
        ((out.image - given["x"]).square().mean() + (out.side - given["s"]).square().mean()).backward()
        optimizer.step()
    without = [n for n, p in net.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert not without
    assert all(bool(p.grad.isfinite().all()) for p in net.parameters() if p.grad is not None)


def test_gradients_reach_the_flow() -> None:
    net, given = loosen(small()), inputs(1, 32)
    given["flow"].requires_grad_()
    run(net, given).image.square().mean().backward()
    assert given["flow"].grad is not None
    assert float(given["flow"].grad.abs().sum()) > 0


@torch.no_grad()
def test_bf16_is_close_to_float32() -> None:
    net, given = loosen(small()), inputs()
    exact = run(net, given).image
    with torch.autocast("cpu", torch.bfloat16):
        out = run(net, given)
    assert out.image.dtype == torch.float32
    assert bool(out.image.isfinite().all())
    assert bool(out.side.isfinite().all())
    assert float((out.image - exact).abs().mean()) < 0.01


def test_numbers_reach_the_layers() -> None:
    small_one, wide = small(), small(width=16)
    assert small_one.enc_fine[0].out_channels == 8
    assert wide.enc_fine[0].out_channels == 16
    assert len(small(blocks=4).body) == 4
    assert small(side_channels=2).heads.out_channels == 4 * 5


@torch.no_grad()
def test_the_network_changes_light_not_hue() -> None:
    out = run(loosen(small(), amount=0.5), inputs())
    change = out.image - out.warped
    assert float(change.abs().mean()) > 1e-3
    torch.testing.assert_close(change, change.mean(1, keepdim=True).expand_as(change), atol=1e-5, rtol=0)
