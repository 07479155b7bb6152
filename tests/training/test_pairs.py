from __future__ import annotations

import pytest
import torch
from tiny_faces import SIZE_PX, as_tensors

from lssl_augment.models.expression_textures import mouth_mask
from lssl_augment.models.warp import shape_flow, warp_image
from lssl_augment.training.pairs import expression_zone, gaussian_blur, pseudo_source


def made(seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Faces, their landmarks, those under another expression, borrowed faces, pseudo-sources."""
    faces, dense, _ = as_tensors([2, 0, 5, 3])
    _, other, _ = as_tensors([0, 2, 4, 5])
    partner = torch.tensor([3, 0, 1, 2])
    borrowed = warp_image(faces[partner], shape_flow(dense[partner], other, SIZE_PX))
    source = pseudo_source(faces, dense, other, borrowed, torch.Generator().manual_seed(seed))
    return faces, dense, other, borrowed, source


def test_pseudo_sources_are_faces_in_range() -> None:
    faces, *_, source = made()
    assert source.shape == faces.shape
    assert bool(source.isfinite().all())
    assert float(source.abs().max()) <= 1


def test_the_generator_alone_decides() -> None:
    state = torch.get_rng_state()
    first, again, other = made(3)[-1], made(3)[-1], made(4)[-1]
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_nothing_of_the_true_mouth_is_left() -> None:
    """Two faces that differ inside their lips only have one and the same pseudo-source."""
    faces, dense, other, borrowed, source = made()
    mask = mouth_mask(dense, SIZE_PX)
    painted = torch.where(mask == 1, torch.tensor([1.0, -1.0, 0.3]).view(1, 3, 1, 1), faces)
    assert float((painted - faces).abs().max()) > 0.3
    again = pseudo_source(painted, dense, other, borrowed, torch.Generator().manual_seed(0))
    # What lies right at the lips is half inside.
    assert float((again - source).abs().mean()) < 0.002


def test_the_shape_is_the_other_one() -> None:
    """Far from mouth and zones a pseudo-source is the plain warp."""
    faces, dense, other, _, source = made()
    plain = warp_image(faces, shape_flow(dense, other, SIZE_PX))
    zone = expression_zone(other, torch.ones(4, 9), SIZE_PX)
    zone = torch.nn.functional.interpolate(zone, size=(SIZE_PX, SIZE_PX), mode="bilinear")
    far = (zone < 0.01).expand_as(plain)
    assert int(far.sum()) > 1000
    torch.testing.assert_close(source[far], plain[far], atol=0.05, rtol=0)
    near = (zone > 0.5).expand_as(plain)
    assert float((source[near] - plain[near]).abs().mean()) > 0.02


def test_zones_are_switched_one_by_one() -> None:
    _, dense, _ = as_tensors([0])
    nothing = expression_zone(dense, torch.zeros(1, 9), SIZE_PX)
    assert nothing.shape == (1, 1, SIZE_PX // 2, SIZE_PX // 2)
    assert float(nothing.max()) == 0
    every = expression_zone(dense, torch.ones(1, 9), SIZE_PX)
    assert 0.9 < float(every.max()) <= 1
    single = torch.stack([expression_zone(dense, row[None], SIZE_PX)[0] for row in torch.eye(9)])
    assert torch.equal(single.amax(0), every[0])
    # The first zone is the mouth.
    row, column = divmod(int(single[0].argmax()), SIZE_PX // 2)
    x, y = ((dense[0, 13, :2] + 0.5) / 2 - 0.5).tolist()
    assert (row, column) == (pytest.approx(y, abs=1), pytest.approx(x, abs=1))


def test_blur_keeps_constants_and_the_mean_of_a_dot() -> None:
    flat = torch.full((1, 3, 16, 16), 0.25)
    torch.testing.assert_close(gaussian_blur(flat, 1.5), flat)
    dot = torch.zeros(1, 1, 33, 33)
    dot[0, 0, 16, 16] = 1
    soft = gaussian_blur(dot, 2.0)
    assert float(soft.sum()) == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(soft, soft.flip(-1))
    torch.testing.assert_close(soft, soft.transpose(-1, -2))
    across = (soft[0, 0].sum(0) * (torch.arange(33) - 16.0) ** 2).sum()
    assert float(across) == pytest.approx(4, rel=0.15)
