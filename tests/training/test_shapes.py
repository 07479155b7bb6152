from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_faces import NAMES, SIZE_PX, drawn_faces, expression_field, fitted, mean_face

from lssl_augment.errors import DataError
from lssl_augment.faces.expression_shapes import RIGID, ExpressionShapes
from lssl_augment.training.shapes import _class_means, _clear_donors, fit_expression_shapes, typicality


def statistics(shapes: ExpressionShapes) -> dict[str, torch.Tensor]:
    """What is there of a model."""
    return {name: value for name, value in vars(shapes).items() if value is not None}


def test_what_is_fitted() -> None:
    shapes = fitted().shapes
    k = len(shapes.basis)
    assert shapes.num_classes == len(NAMES)
    assert shapes.template.shape == (478, 3)
    assert shapes.neutral_map.shape == (3 * len(RIGID) + 1, 478 * 3)
    assert shapes.class_mean.shape == (len(NAMES) + 1, k)
    assert shapes.expression_gain.shape == (len(NAMES) + 1, k, k)
    torch.testing.assert_close(shapes.basis @ shapes.basis.T, torch.eye(k), atol=1e-4, rtol=0)
    assert shapes.stretch is None  # nobody was asked how far donors should go
    for value in statistics(shapes).values():
        assert bool(value.isfinite().all())
        assert value.dtype == (torch.float32 if value.is_floating_point() else torch.int64)
    # Posterior maps: covariance over covariance and more, whose eigenvalues lie between nothing and all.
    eigenvalues = torch.linalg.eigvals(shapes.expression_gain.double()).real
    assert float(eigenvalues.min()) > -1e-3
    assert float(eigenvalues.max()) < 1 + 1e-3


@pytest.mark.parametrize("label", [1, 2])
def test_a_planted_expression_is_found(label: int) -> None:
    shapes = fitted().shapes
    faces = drawn_faces()
    assert float(shapes.class_mean[0].norm()) < 0.1 * float(shapes.class_mean[label].norm())
    found = (shapes.class_mean[label] - shapes.class_mean[0]) @ shapes.basis
    # In the common pose, up to how the pose turns with the expression; y and z point the other way there.
    planted = expression_field(NAMES[label]) * (SIZE_PX / 128) * (1, -1, -1)
    planted = torch.from_numpy(planted).float().flatten()
    assert float(torch.cosine_similarity(found, planted, dim=0)) > 0.9
    assert float(found.norm() / planted.norm()) == pytest.approx(1, abs=0.25)
    # And the expression estimated for a face is that of its class, whoever it is.
    shape, _ = shapes.canonical(torch.from_numpy(faces.dense))
    unknown = torch.full((len(faces.labels),), -1)
    expression = shapes.expression(shapes.coefficients(shape), unknown)
    along = expression @ shapes.class_mean[label] / shapes.class_mean[label].square().sum()
    of_class = torch.from_numpy(faces.labels == label)
    calm = torch.from_numpy(faces.labels == 0)
    assert float(along[of_class].min()) > float(along[calm].max())


def test_donors_are_faces_of_their_class() -> None:
    objective = fitted()
    faces = drawn_faces()
    _, index, _ = fit_expression_shapes(faces.dense, faces.labels, faces.subjects, len(NAMES), 0)
    assert np.array_equal(faces.labels[index], objective.shapes.donor_labels.numpy())
    assert len(np.unique(index)) == len(index)
    assert np.bincount(faces.labels[index]).min() >= 8


def test_donors_are_clearer_than_the_faces_they_come_from() -> None:
    """Classes 1 and 2 differ from faces at rest by (8, 2) and (0, −4), and these vary by 4 and by 1; class 2 is half on
    the way to being told without help.
    """
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 40)
    means = np.array([[0.0, 0.0], [8.0, 2.0], [0.0, -4.0]])
    own = rng.normal(size=(120, 2))
    own -= np.stack([own[labels == c].mean(0) for c in range(3)])[labels]
    told, calm = np.array([0.9, 0.3, 0.65]), np.diag([16.0, 1.0])
    donors = _clear_donors(means[labels] + own, labels, np.arange(120), means, calm, told, 0, [1, 2]).numpy()
    found = np.stack([donors[labels == c].mean(0) for c in range(3)])
    # In standard deviations at rest both differ most in the second place: (2, 2) and (0, −4).
    marked = 0.5 * (np.hypot(8, 2) + 4) / 2
    wanted = [[0, 0], [1.3 * 8 + marked / np.sqrt(2), 1.3 * 2 + marked / np.sqrt(2)], [0, 0.875 * (-1.3 * 4 - marked)]]
    assert np.allclose(found, wanted, atol=1e-6)
    assert np.allclose(donors - found[labels], 0.4 * own, atol=1e-6)


def test_fitting_again_gives_the_same() -> None:
    faces = drawn_faces()
    again, _, _ = fit_expression_shapes(faces.dense, faces.labels, faces.subjects, len(NAMES), 0)
    for name, value in statistics(fitted().shapes).items():
        assert torch.equal(getattr(again, name), value), name


def test_fewer_donors_and_components() -> None:
    faces = drawn_faces()
    shapes, index, _ = fit_expression_shapes(
        faces.dense, faces.labels, faces.subjects, len(NAMES), 0, components=10, donors_per_class=9
    )
    assert len(index) == 27
    assert shapes.donors.shape == (27, 10)


def test_eight_faces_of_a_class_are_enough() -> None:
    faces = drawn_faces()
    few = np.concatenate([np.flatnonzero(faces.labels == label)[:8] for label in range(len(NAMES))])
    shapes, index, _ = fit_expression_shapes(faces.dense[few], faces.labels[few], faces.subjects[few], len(NAMES), 0)
    assert len(shapes.basis) == 24  # no more components than faces
    assert len(index) == 24
    assert all(bool(value.isfinite().all()) for value in statistics(shapes).values())


def test_a_class_with_too_few_faces() -> None:
    faces = drawn_faces()
    keep = (faces.labels != 2) | (np.cumsum(faces.labels == 2) <= 7)
    with pytest.raises(DataError, match="class 2 has 7 usable faces; at least 8"):
        fit_expression_shapes(faces.dense[keep], faces.labels[keep], faces.subjects[keep], len(NAMES), 0)


def test_typicality_is_high_where_shape_tells_the_label() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 40)
    coefficients = rng.normal(0, 1, (80, 4))
    coefficients[:, 0] += 4 * labels
    wrong = labels.copy()
    wrong[[3, 50]] = 1 - wrong[[3, 50]]  # two faces that are labelled wrong
    subjects = np.arange(80) % 20
    typical = typicality(coefficients, wrong, subjects)
    assert typical.shape == (80,)
    assert bool(((typical >= 0) & (typical <= 1)).all())
    assert set(np.argsort(typical)[:2].tolist()) == {3, 50}
    assert np.array_equal(typical, typicality(coefficients, wrong, subjects))


def test_the_drawn_mean_face_is_a_face() -> None:
    face = mean_face()
    assert np.isfinite(face).all()
    assert len(np.unique(face[RIGID].round(3), axis=0)) == len(RIGID)


def test_class_means_are_those_of_changes_within_people() -> None:
    """Twenty people at 0 and 10; each of the second kind smiles by +1 in the second place; singles do not mislead."""
    coefficients, labels, subjects = [], [], []
    for person in range(20):
        coefficients += [[0.0, 0.0], [0.0, 1.0]]
        labels += [0, 1]
        subjects += [f"both{person}"] * 2
    for person in range(20):  # smiling only, and another kind of face
        coefficients.append([10.0, 1.0])
        labels.append(1)
        subjects.append(f"single{person}")
    means = _class_means(np.array(coefficients), np.array(labels), np.array(subjects), 2, 0)
    assert means[0].tolist() == [0.0, 0.0]
    # Plain mean (5, 1), within people (0, 1), trusted by 20 / (20 + 20).
    assert means[1].tolist() == pytest.approx([2.5, 1.0])
