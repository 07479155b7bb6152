from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lssl_augment.training.critic_augment import critic_augment


def coordinates(rows: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Side images whose pixels hold their own place (plus one, so that no place is zero), and grey faces."""
    axis = torch.arange(size, dtype=torch.float32) + 1
    ys, xs = torch.meshgrid(axis, axis, indexing="ij")
    sides = torch.stack([xs, ys]).expand(rows, -1, -1, -1)
    return xs.expand(rows, 3, -1, -1) / size - 0.5, sides


@given(seed=st.integers(0, 1000))
def test_groups_share_their_augmentations(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    one, sides = torch.rand(2, 3, 64, 64, generator=rng), torch.rand(2, 5, 64, 64, generator=rng)
    faces, drawn = critic_augment(torch.cat([one] * 3), torch.cat([sides] * 3), rng, shared=2)
    for part in (faces, drawn):
        assert torch.equal(part[:2], part[2:4])
        assert torch.equal(part[:2], part[4:])
        assert not torch.equal(part[0], part[1])


@given(seed=st.integers(0, 1000))
def test_face_and_side_image_stay_in_register(seed: int) -> None:
    images, sides = coordinates(3, 64)
    faces, drawn = critic_augment(images, sides, torch.Generator().manual_seed(seed), shared=3)
    for face, (xs, ys) in zip(faces, drawn, strict=True):
        kept = xs > 0
        # Whole pixels of one crop …
        assert torch.equal(xs[kept], xs[kept].round())
        assert float((xs[:, 1:] - xs[:, :-1])[kept[:, 1:] & kept[:, :-1]].sub(1).abs().max()) == 0
        assert float((ys[1:] - ys[:-1])[kept[1:] & kept[:-1]].sub(1).abs().max()) == 0
        # … the face is light · (place) + shift of the same place, grey as before …
        light, shift = torch.linalg.lstsq(
            torch.stack([xs[kept], torch.ones_like(xs[kept])], dim=1), face[0][kept][:, None]
        ).solution.flatten()
        assert float(light) > 0  # mirrored alone, the face would get darker where its places grow
        torch.testing.assert_close(face[0][kept], light * xs[kept] + shift, atol=1e-4, rtol=0)
        torch.testing.assert_close(face[0], face[2])
        # … and both are cut out together.
        assert float(face[:, ~kept].abs().sum()) == 0


@pytest.mark.parametrize(("size", "out"), [(32, 32), (64, 48), (128, 96)])
def test_sizes(size: int, out: int) -> None:
    images, sides = coordinates(2, size)
    faces, drawn = critic_augment(images, sides, torch.Generator().manual_seed(0), shared=1)
    assert faces.shape == (2, 3, out, out)
    assert drawn.shape == (2, 2, out, out)


def test_crops_look_at_the_lower_face() -> None:
    images, sides = coordinates(40, 64)
    _, drawn = critic_augment(images, sides, torch.Generator().manual_seed(0), shared=40)
    top, bottom = drawn[:, 1].amax((1, 2)) - 47, drawn[:, 1].amax((1, 2))
    assert float(top.min()) >= 1 + round(0.4 * 16)
    assert float(bottom.max()) <= 64
    assert len(top.unique()) > 4


def test_the_generator_alone_decides_and_gradients_pass() -> None:
    images, sides = coordinates(2, 64)
    images = images.clone().requires_grad_()
    state = torch.get_rng_state()
    first, _ = critic_augment(images, sides, torch.Generator().manual_seed(1), shared=1)
    again, _ = critic_augment(images, sides, torch.Generator().manual_seed(1), shared=1)
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), state)
    first.square().sum().backward()
    assert images.grad is not None
    assert float(images.grad.abs().sum()) > 0
