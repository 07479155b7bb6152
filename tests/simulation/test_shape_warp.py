"""Warping to the mean shape and back: landmarks land where they should, and a round trip changes little."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lssl_augment.simulation.face_model import FaceModel
from lssl_augment.simulation.shape_warp import fill_outside, to_float


def blob(at: Tensor, size_px: int = 128) -> Tensor:
    """A soft dot at a place ``(2,)``: ``(1, 1, S, S)``."""
    axis = torch.arange(size_px, dtype=torch.float32)
    ys, xs = torch.meshgrid(axis, axis, indexing="ij")
    return torch.exp(-((xs - at[0]) ** 2 + (ys - at[1]) ** 2) / 18)[None, None]


def centre(image: Tensor) -> Tensor:
    weight = image[0, 0].clamp_min(0) ** 2
    axis = torch.arange(len(weight), dtype=torch.float32)
    return torch.stack([(weight.sum(0) * axis).sum(), (weight.sum(1) * axis).sum()]) / weight.sum()


@pytest.mark.parametrize("point", [1, 33, 61, 152, 263, 291])
def test_landmarks_move_to_the_mean_shape_and_back(
    model: FaceModel, drawn: tuple[np.ndarray, np.ndarray], point: int
) -> None:
    warp = model.space.warp
    dense = torch.from_numpy(drawn[1][:1].copy())
    mean = warp.mean[point]
    there = warp.to_mean(blob(dense[0, point, :2]), dense)
    assert (centre(there) - mean).norm() < 1.0
    back = warp.from_mean(blob(mean), dense)
    assert (centre(back) - dense[0, point, :2]).norm() < 1.0


def test_the_mean_shape_is_not_warped(model: FaceModel, drawn: tuple[np.ndarray, np.ndarray]) -> None:
    faces = to_float(drawn[0][:2])
    mean = model.space.mean_shape.expand(2, -1, -1)
    assert torch.allclose(model.space.warp.to_mean(faces, mean), faces, atol=0.05)
    assert torch.allclose(model.space.warp.from_mean(faces, mean), faces, atol=0.05)


def test_a_round_trip_changes_faces_little(model: FaceModel, drawn: tuple[np.ndarray, np.ndarray]) -> None:
    faces, dense = to_float(drawn[0][:8]), torch.from_numpy(drawn[1][:8].copy())
    back = model.space.warp.from_mean(model.space.warp.to_mean(faces, dense), dense)
    assert (back - faces)[..., 16:112, 24:104].abs().mean() < 1.0  # of 255


def test_filling_keeps_the_inside_and_spreads_its_colours() -> None:
    inside = torch.zeros(1, 1, 32, 32)
    inside[..., 8:24, 8:24] = 1
    colour = torch.tensor([200.0, 100.0, 50.0])[None, :, None, None]
    images = torch.where(inside > 0, colour, torch.zeros(()))
    filled = fill_outside(images, inside)
    assert torch.equal(filled[..., 8:24, 8:24], images[..., 8:24, 8:24])
    assert torch.allclose(filled, colour.expand_as(filled), rtol=0.02)
