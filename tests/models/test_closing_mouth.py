"""Mouths that close: no teeth between lips, nothing else touched."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_faces import SIZE_PX, as_tensors

from lssl_augment.faces.expression_shapes import mouth_gap, settle_mouth
from lssl_augment.faces.landmarks import INNER_LIPS
from lssl_augment.models.closing_mouth import closing_share, warp_closing
from lssl_augment.models.expression_textures import mouth_mask
from lssl_augment.models.warp import shape_flow, warp_image

CALM, OPEN = 0, 2  # rows of one person


def shut() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """An open mouth with white teeth, its landmarks, the same closed, and the flow between them."""
    images, dense, _ = as_tensors([OPEN])
    images = torch.lerp(images, torch.ones_like(images), mouth_mask(dense, SIZE_PX))
    moved = settle_mouth(dense, torch.zeros(1))
    return images, dense, moved, shape_flow(dense, moved, SIZE_PX)


def whitest(face: torch.Tensor, dense: torch.Tensor) -> float:
    """Brightest place within two pixels of the inner lips."""
    x, y = dense[0, INNER_LIPS, 0].round().long(), dense[0, INNER_LIPS, 1].round().long()
    around = [face[0, :, (y + dy).clamp(0, SIZE_PX - 1), x].mean(0).max() for dy in (-2, -1, 0, 1, 2)]
    return float(torch.stack(around).max())


def test_no_teeth_are_left_between_closed_lips() -> None:
    images, dense, moved, flow = shut()
    assert float(mouth_gap(dense)) > 0.15
    plain, closed = warp_image(images, flow, cubic=True).clamp(-1, 1), warp_closing(images, dense, moved, flow)
    assert whitest(plain, moved) > 0.9  # the fault that this mends
    calm, still, _ = as_tensors([CALM])
    assert whitest(closed, moved) < whitest(calm, still) + 0.05  # skin around the corners
    # Away from the mouth not a pixel changes.
    changed = (closed - plain).abs().amax(1)[0] > 1e-6
    rows, columns = torch.nonzero(changed, as_tuple=True)
    low, high = moved[0, [61, 291, 0, 17], :2].amin(0), moved[0, [61, 291, 0, 17], :2].amax(0)
    margin = 8
    assert float(columns.min()) > float(low[0]) - margin
    assert float(columns.max()) < float(high[0]) + margin
    assert float(rows.min()) > float(low[1]) - margin
    assert float(rows.max()) < float(high[1]) + margin


def test_between_closed_lips_it_is_darker_than_on_them() -> None:
    images, dense, moved, flow = shut()
    grey = warp_closing(images, dense, moved, flow)[0].mean(0)
    middle = (moved[0, 13, :2] + moved[0, 14, :2]) / 2
    x, y = (int(v) for v in middle.round())
    between = float(grey[y - 1 : y + 2, x].min())
    assert between < float(grey[y - 3, x])
    assert between < float(grey[y + 4, x])


def test_mouths_that_do_not_close_are_only_warped() -> None:
    images, dense, _ = as_tensors([CALM, OPEN])
    for here, there in ((dense, dense), (dense[[0, 0]], dense[[1, 1]])):
        flow = shape_flow(here, there, SIZE_PX)
        assert torch.equal(warp_closing(images, here, there, flow), warp_image(images, flow, cubic=True).clamp(-1, 1))


def test_rows_do_not_depend_on_one_another() -> None:
    images, dense, moved, flow = shut()
    calm, still, _ = as_tensors([CALM])
    both = torch.cat([calm, images])
    flows = torch.cat([shape_flow(still, still, SIZE_PX), flow])
    out = warp_closing(both, torch.cat([still, dense]), torch.cat([still, moved]), flows)
    torch.testing.assert_close(out[1:], warp_closing(images, dense, moved, flow), atol=1e-6, rtol=0)
    assert torch.equal(out[:1], warp_image(both, flows)[:1])


def test_gradients_reach_the_face() -> None:
    images, dense, moved, flow = shut()
    images.requires_grad_()
    warp_closing(images, dense, moved, flow).square().mean().backward()
    assert images.grad is not None
    assert bool(images.grad.isfinite().all())
    assert float(images.grad.abs().sum()) > 0


@given(own=st.floats(0, 0.8), wanted=st.floats(0, 0.8), less=st.floats(0, 0.3))
def test_share(own: float, wanted: float, less: float) -> None:
    less = max(0.0, wanted - less)
    share, closer = (float(closing_share(torch.tensor([own]), torch.tensor([w]))) for w in (wanted, less))
    assert 0 <= share <= closer <= 1
    if own <= wanted or wanted >= 0.16:
        assert share == 0


def test_a_smile_that_is_undone_counts_whole() -> None:
    assert float(closing_share(torch.tensor([0.25]), torch.tensor([0.05]))) == pytest.approx(1)
