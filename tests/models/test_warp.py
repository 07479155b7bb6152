from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_faces import SIZE_PX, as_tensors

from lssl_augment.faces.expression_shapes import WARP_POINTS
from lssl_augment.models.warp import border_anchors, dense_flow, shape_flow, warp_image


def scattered(count: int, batch: int, seed: int, size: float = 64.0) -> torch.Tensor:
    """Points on a jittered grid in the middle of the image, so that none coincide."""
    rng = torch.Generator().manual_seed(seed)
    side = 4
    axis = torch.linspace(0.25, 0.75, side) * size
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2)
    order = torch.randperm(side * side, generator=rng)[:count]
    return grid[order] + torch.empty(batch, count, 2).uniform_(-3, 3, generator=rng)


def at(flow: torch.Tensor, points: torch.Tensor, size: int) -> torch.Tensor:
    """Flow ``(B, 2, h, w)`` read at points ``(B, K, 2)`` in pixels."""
    grid = ((points + 0.5) * (2 / size) - 1)[:, :, None]
    return torch.nn.functional.grid_sample(flow, grid, align_corners=False)[..., 0].transpose(1, 2)


def test_anchors_lie_on_the_border() -> None:
    anchors = border_anchors(64, 5)
    assert anchors.shape == (20, 2)
    assert len(anchors.unique(dim=0)) == 20
    assert bool(((anchors == 0) | (anchors == 63)).any(1).all())


@given(seed=st.integers(0, 1000))
def test_no_movement_is_the_identity(seed: int) -> None:
    points = scattered(9, 2, seed)
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    flow = dense_flow(points, points, 64, grid_px=16)
    assert torch.equal(flow, torch.zeros_like(flow))
    torch.testing.assert_close(warp_image(image, flow), image, atol=1e-4, rtol=0)


@given(seed=st.integers(0, 1000), count=st.integers(1, 16))
def test_the_flow_carries_points_onto_their_targets(seed: int, count: int) -> None:
    source = scattered(count, 2, seed)
    rng = torch.Generator().manual_seed(seed)
    # A linear movement of some pixels and a little of every point's own: what faces do.
    matrix = torch.empty(2, 2, 2).uniform_(-0.12, 0.12, generator=rng)
    target = source + (source - 32) @ matrix + torch.empty(source.shape).uniform_(-0.4, 0.4, generator=rng)
    flow = dense_flow(source, target, 64, grid_px=64)
    found = target + at(flow, target, 64)
    assert float((found - source).norm(dim=-1).max()) < 0.6  # px; the ridge and the grid leave a little
    edge = torch.cat([flow[..., 0], flow[..., -1], flow[..., 0, :], flow[..., -1, :]], dim=-1)
    assert float(edge.abs().max()) < float((source - target).abs().max())


@pytest.mark.parametrize("batch", [1, 4, 9])
def test_a_flow_does_not_depend_on_the_others_of_its_batch(batch: int) -> None:
    source, target = scattered(9, batch, 0), scattered(9, batch, 1)
    together = dense_flow(source, target, 64, grid_px=16)
    alone = [dense_flow(source[i : i + 1], target[i : i + 1], 64, grid_px=16) for i in range(batch)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=0)
    assert dense_flow(source[:0], target[:0], 64, grid_px=16).shape == (0, 2, 16, 16)


def test_a_dot_moves_where_its_point_moves() -> None:
    image = torch.zeros(1, 1, 64, 64)
    image[0, 0, 30, 20] = 1
    flow = dense_flow(torch.tensor([[[20.0, 30.0]]]), torch.tensor([[[24.0, 33.0]]]), 64, grid_px=64)
    row, column = divmod(int(warp_image(image, flow).argmax()), 64)
    assert (row, column) == (33, 24)


def test_rows_of_a_batch_do_not_touch_each_other() -> None:
    images, dense, _ = as_tensors([0, 1, 2])
    whole = warp_image(images, shape_flow(dense, dense.roll(1, 0), SIZE_PX))
    alone = warp_image(images[1:2], shape_flow(dense[1:2], dense[:1], SIZE_PX))
    torch.testing.assert_close(whole[1:2], alone, atol=1e-4, rtol=0)


def test_closed_lips_do_not_blow_up() -> None:
    _, dense, _ = as_tensors([2])  # an open mouth …
    closed = dense.clone()
    closed[:, [14, 87, 317, 178, 402, 88, 318, 95, 324]] = closed[:, [13, 82, 312, 81, 311, 80, 310, 191, 415]]
    # … of which pairs of points become one, which no field can do in both directions at once.
    for source, target in ((dense, closed), (closed, dense)):
        flow = shape_flow(source, target, SIZE_PX)
        largest = float((source - target)[:, WARP_POINTS, :2].norm(dim=-1).max())
        assert float(flow.norm(dim=1).max()) < 1.5 * largest


def test_gradients_reach_points_and_pixels() -> None:
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0), requires_grad=True)
    source = scattered(6, 1, 0, 32.0).requires_grad_()
    target = source.detach() + 1
    target.requires_grad_()
    warp_image(image, dense_flow(source, target, 32, grid_px=32)).square().sum().backward()
    for tensor in (image, source, target):
        assert tensor.grad is not None
        assert bool(tensor.grad.isfinite().all())
        assert float(tensor.grad.abs().sum()) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_type_and_shape_stay(dtype: torch.dtype) -> None:
    image = torch.rand(1, 5, 24, 24, generator=torch.Generator().manual_seed(0)).to(dtype)
    out = warp_image(image, torch.full((1, 2, 8, 8), 100.0))
    assert out.dtype == dtype
    assert out.shape == image.shape
    assert torch.equal(out, image[..., -1:, -1:].expand_as(image))  # beyond the border its edge is repeated


@given(shift=st.floats(0.4, 0.6), seed=st.integers(0, 1000))
def test_cubic_keeps_more_of_a_photograph(shift: float, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    axis = torch.arange(64) + 0.5
    # Waves of four to eight pixels, which half a pixel of movement must not take.
    turns = torch.rand(6, generator=rng)[:, None, None] * 6.28
    waves = 6.28 / (4 + 4 * torch.rand(6, generator=rng))[:, None, None]

    def picture(at: torch.Tensor) -> torch.Tensor:
        return (torch.sin(waves * at[None, None] + turns) * torch.ones(1, 64, 1)).view(2, 3, 64, 64)

    image, flow = picture(axis), torch.zeros(2, 2, 16, 16)
    flow[:, 0] = shift
    true, inside = picture(axis + shift), slice(4, -4)
    missed = [
        (warp_image(image, flow, cubic=cubic) - true)[..., inside].abs().mean() for cubic in (False, True)
    ]
    assert missed[1] < 0.5 * missed[0]
    assert torch.allclose(warp_image(image, torch.zeros_like(flow), cubic=True), image, atol=1e-6)
