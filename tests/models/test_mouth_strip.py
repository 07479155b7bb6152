from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from lssl_augment.faces.landmarks import INNER_LIPS
from lssl_augment.models.expression_textures import mouth_mask
from lssl_augment.models.mouth_strip import draw_strips, strip_grid, strip_of, strip_size

SIZE_PX = 128


def mouth(gap: float, width: float = 30.0, tilt_deg: float = 0.0, centre: tuple[float, float] = (64.0, 90.0)) -> Tensor:
    """Landmarks of a lens-shaped mouth: ``gap`` and ``width`` in px, turned in the plane."""
    along = np.linspace(-0.5, 0.5, 11)
    height = gap / 2 * (1 - (2 * along) ** 2)
    ring = np.concatenate([np.stack([along, -height], 1), np.stack([along, height], 1)[::-1][1:-1]])
    ring[:, 0] *= width
    angle = np.deg2rad(tilt_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    dense = np.zeros((1, 478, 3), np.float32)
    dense[0, INNER_LIPS, :2] = ring @ turn.T + centre
    return torch.from_numpy(dense)


def smooth_faces(seed: int = 0) -> Tensor:
    noise = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, size=(SIZE_PX, SIZE_PX), mode="bicubic", align_corners=False)


@settings(max_examples=30, deadline=None)
@given(
    gap=st.floats(6, 24), width=st.floats(22, 40), tilt=st.floats(-30, 30),
    x=st.floats(50, 78), y=st.floats(80, 100),
)  # fmt: skip
def test_a_mouth_comes_back_to_where_it_was(gap: float, width: float, tilt: float, x: float, y: float) -> None:
    """Read from a face and drawn into the same face: the face, between the lips."""
    dense, faces = mouth(gap, width, tilt, (x, y)), smooth_faces()
    back = draw_strips(strip_of(faces, dense, strip_size(SIZE_PX)), dense, SIZE_PX)
    inside = (mouth_mask(dense, SIZE_PX) > 0.99).expand(-1, 3, -1, -1)
    assert bool(inside.any())
    assert float((back - faces).abs()[inside].max()) < 0.05


@pytest.mark.parametrize(("gap", "tilt"), [(6.0, 0.0), (12.0, 20.0), (24.0, -25.0)])
def test_the_same_strip_fills_every_mouth(gap: float, tilt: float) -> None:
    """Upper teeth under the upper lip and dark below, from corner to corner, however far the mouth opens."""
    rows, columns = strip_size(SIZE_PX)
    strips = torch.zeros(1, 3, rows, columns)
    strips[:, :, : rows // 2] = 1
    dense = mouth(gap, tilt_deg=tilt)
    drawn = draw_strips(strips, dense, SIZE_PX)
    seen = drawn[mouth_mask(dense, SIZE_PX).expand(-1, 3, -1, -1) > 0.99]
    assert float((seen > 0.5).float().mean()) == pytest.approx(0.5, abs=0.2)  # few rows of pixels
    again = strip_of(drawn, dense, (rows, columns))
    middle = slice(columns // 4, 3 * columns // 4)
    assert float(again[:, :, rows // 4, middle].min()) > 0.7
    assert float(again[:, :, 3 * rows // 4, middle].max()) < 0.3


@pytest.mark.parametrize("gap", [0.0, -3.0])
def test_closed_and_crossed_lips_have_coordinates(gap: float) -> None:
    dense = mouth(gap)
    strips = strip_of(smooth_faces(), dense, strip_size(SIZE_PX))
    assert bool(strips.isfinite().all())
    assert bool(strip_grid(dense, SIZE_PX).isfinite().all())


def test_mouths_beyond_the_border_and_of_no_width() -> None:
    """Landmarks that a network put outside of the face, or all in one place."""
    outside, point = mouth(10, centre=(2.0, 127.0)), mouth(0, width=0)
    for dense in (outside, point):
        assert bool(strip_of(smooth_faces(), dense, strip_size(SIZE_PX)).isfinite().all())
        grid = strip_grid(dense, SIZE_PX)
        assert grid.shape == (1, SIZE_PX, SIZE_PX, 2)
        assert bool(grid.isfinite().all())


def test_rows_do_not_depend_on_their_company() -> None:
    dense = torch.cat([mouth(5), mouth(20, tilt_deg=10)])
    faces = torch.cat([smooth_faces(0), smooth_faces(1)])
    size = strip_size(SIZE_PX)
    both, alone = strip_of(faces, dense, size), strip_of(faces[1:], dense[1:], size)
    torch.testing.assert_close(both[1:], alone, rtol=0, atol=1e-6)
    assert torch.equal(strip_grid(dense, SIZE_PX)[1:], strip_grid(dense[1:], SIZE_PX))


def test_size_follows_the_face() -> None:
    assert strip_size(128) == (20, 36)
    assert strip_size(64) == (10, 18)
    assert min(strip_size(16)) >= 2
