from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_faces import NAMES, SIZE_PX, drawn_faces, fitted

from lssl_augment.errors import DataError
from lssl_augment.faces.expression_shapes import mouth_gap
from lssl_augment.models.expression_textures import mouth_mask
from lssl_augment.training.shapes import fit_expression_shapes
from lssl_augment.training.textures import fit_expression_textures


def donor_rows() -> np.ndarray:
    faces = drawn_faces()
    return fit_expression_shapes(faces.dense, faces.labels, faces.subjects, len(NAMES), 0)[1]


def test_what_is_fitted() -> None:
    textures, shapes = fitted().textures, fitted().shapes
    left, top, width, height = textures.mouth_box.tolist()
    assert textures.frame.shape == (478, 3)
    assert textures.shading.shape == (len(shapes.basis), 64, 64)
    assert textures.mouth_mean.shape == (3 * width * height,)
    assert textures.mouth_basis.shape == (40, 3 * width * height)
    assert textures.donor_mouths.shape == (len(shapes.donors), 40)
    assert textures.donor_open.shape == (len(shapes.donors),)
    assert all(bool(value.isfinite().all()) for value in vars(textures).values())
    torch.testing.assert_close(textures.mouth_basis @ textures.mouth_basis.T, torch.eye(40), atol=1e-3, rtol=0)
    # The frame's mouth is open and lies in the box.
    assert float(mouth_gap(textures.frame[None])) > 0.12
    inside = mouth_mask(textures.frame[None], SIZE_PX)[0, 0]
    outside = inside.clone()
    outside[top : top + height, left : left + width] = 0
    assert float(inside.sum()) > 20
    assert float(outside.sum()) == 0


def test_shading_is_confined_to_the_face() -> None:
    shading = fitted().textures.shading
    assert float(shading[:, :4].abs().max()) < 1e-3
    assert float(shading[:, :, :4].abs().max()) < 1e-3
    assert float(shading.abs().max()) > 1e-3


def test_open_donors_are_the_surprised_ones() -> None:
    textures, labels = fitted().textures, fitted().shapes.donor_labels
    assert float(textures.donor_open[labels == 2].min()) > 0.12
    assert float(textures.donor_open[labels != 2].max()) < 0.12


def test_planted_shading_is_learned() -> None:
    """Foreheads that darken with surprise, and with nothing else."""
    faces, objective = drawn_faces(), fitted()
    images = faces.images.copy()
    forehead = slice(int(0.2 * SIZE_PX), int(0.26 * SIZE_PX))
    images[faces.labels == 2, forehead, 24:40] = images[faces.labels == 2, forehead, 24:40] * 0.6
    expression = objective.shapes.expression(
        objective.shapes.coefficients(objective.shapes.canonical(torch.from_numpy(faces.dense))[0]),
        torch.from_numpy(faces.labels),
    )
    textures = fit_expression_textures(objective.shapes, images, faces.dense, faces.labels, expression, donor_rows())
    surprise = torch.einsum("k,khw->hw", objective.shapes.class_mean[2], textures.shading)
    place = surprise[forehead, 26:38].mean()
    assert float(place) < -0.15
    smile = torch.einsum("k,khw->hw", objective.shapes.class_mean[1], textures.shading)
    assert abs(float(smile[forehead, 26:38].mean())) < abs(float(place)) / 2


def test_fitting_again_gives_the_same_and_draws_from_no_global_generator() -> None:
    faces, objective = drawn_faces(), fitted()
    state = torch.get_rng_state()
    expression = objective._expression[: len(faces.labels)]
    again = fit_expression_textures(objective.shapes, faces.images, faces.dense, faces.labels, expression, donor_rows())
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in vars(objective.textures).items():
        assert torch.equal(getattr(again, name), value), name


def test_too_few_open_mouths() -> None:
    faces, objective = drawn_faces(), fitted()
    keep = (faces.labels != 2) | (np.cumsum(faces.labels == 2) <= 20)
    with pytest.raises(DataError, match=r"\d+ open mouths among the training faces; 50 are needed"):
        fit_expression_textures(
            objective.shapes,
            faces.images[keep],
            faces.dense[keep],
            faces.labels[keep],
            torch.zeros(int(keep.sum()), len(objective.shapes.basis)),
            np.array([0, 1, 2]),
        )
