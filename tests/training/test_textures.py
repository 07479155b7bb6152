from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_faces import NAMES, SIZE_PX, as_tensors, drawn_faces, fitted

from lssl_augment.errors import DataError
from lssl_augment.faces.expression_shapes import mouth_gap
from lssl_augment.models.expression_textures import log_luminance, smooth_light
from lssl_augment.models.mouth_strip import strip_size
from lssl_augment.training.shapes import fit_expression_shapes
from lssl_augment.training.textures import _lend_mouths, _shading, fit_expression_textures


def donor_rows() -> np.ndarray:
    faces = drawn_faces()
    return fit_expression_shapes(faces.dense, faces.labels, faces.subjects, len(NAMES), 0)[1]


def test_what_is_fitted() -> None:
    textures, shapes = fitted().textures, fitted().shapes
    rows, columns = textures.mouth_size.tolist()
    assert (rows, columns) == strip_size(SIZE_PX)
    assert textures.frame.shape == (478, 3)
    assert textures.shading.shape == (len(shapes.basis) + len(NAMES), 128, 128)
    assert textures.rest.shape == (128, 128)
    assert textures.mouth_mean.shape == (3 * rows * columns,)
    count = len(textures.mouth_basis)  # 150, or where fewer mouths teach no more than they vary by
    assert 40 < count < 100
    assert textures.mouth_basis.shape == (count, 3 * rows * columns)
    assert textures.donor_mouths.shape == (len(shapes.donors), count)
    assert float(textures.donor_mouths.std(0).min()) > 1e-4
    assert textures.donor_open.shape == (len(shapes.donors),)
    assert all(bool(value.isfinite().all()) for value in vars(textures).values() if value is not None)
    torch.testing.assert_close(textures.mouth_basis @ textures.mouth_basis.T, torch.eye(count), atol=1e-3, rtol=0)
    assert float(mouth_gap(textures.frame[None])) > 0.12


def test_shading_is_confined_to_the_face() -> None:
    shading = fitted().textures.shading
    assert float(shading[:, :4].abs().max()) < 1e-3
    assert float(shading[:, :, :4].abs().max()) < 1e-3
    assert float(shading.abs().max()) > 1e-3


def test_what_faces_at_rest_show_is_their_mean_without_light() -> None:
    textures, faces = fitted().textures, drawn_faces()
    face = (textures.rest != 0).float()
    assert not face[:4].any()
    assert 0.2 < float(face.mean()) < 0.8
    assert float((smooth_light(textures.rest[None], face)[0] * face).abs().max()) < 1e-4

    images, dense, _ = as_tensors(np.flatnonzero(faces.labels == 0))
    log = log_luminance(images, dense, textures.frame, 128)
    assert float(((log - smooth_light(log, face)).mean(0) - textures.rest)[face > 0].abs().max()) < 0.1


@pytest.mark.parametrize("label", [0, 2])
def test_only_faces_at_rest_tell_what_they_show(label: int) -> None:
    faces, objective = drawn_faces(), fitted()
    images = faces.images.copy()
    forehead = slice(int(0.2 * SIZE_PX), int(0.26 * SIZE_PX))
    images[faces.labels == label, forehead, 24:40] = images[faces.labels == label, forehead, 24:40] * 0.6
    shapes = objective.shapes
    expression = shapes.expression(
        shapes.coefficients(shapes.canonical(torch.from_numpy(faces.dense))[0]), torch.from_numpy(faces.labels)
    )
    rest = fit_expression_textures(shapes, images, faces.dense, faces.labels, expression, donor_rows()).rest
    changed = float((rest - objective.textures.rest).abs().max())
    assert changed > 0.1 if label == 0 else changed < 1e-4


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
    means = torch.cat([objective.shapes.class_mean[:-1], torch.eye(len(NAMES))], dim=1)
    fields = torch.einsum("ck,khw->chw", means - means[0], textures.shading)
    scale = fields.shape[-1] // SIZE_PX
    place = (slice(None), slice(forehead.start * scale, forehead.stop * scale), slice(26 * scale, 38 * scale))
    dark = fields[place].mean(dim=(1, 2)).tolist()
    assert dark[2] < -0.1  # near the outline, where fields fade
    assert all(abs(value) < abs(dark[2]) / 3 for c, value in enumerate(dark) if c != 2)
    # Most of it is the class's own: landmarks hardly tell of a forehead that darkens.
    assert float(textures.shading[len(objective.shapes.basis) :][place].mean(dim=(1, 2))[0]) == 0  # at rest: nothing


def test_a_class_without_faces_has_no_field_of_its_own() -> None:
    log = torch.randn(6, 8, 8, generator=torch.Generator().manual_seed(0))
    expression = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    labels = np.array([0, 0, 0, 1, 1, 1])
    fields = _shading(log, expression, labels, torch.ones(8, 8), 3, 0, 0.1)
    assert fields.shape == (4 + 3, 8, 8)
    assert float(fields[6].abs().max()) == 0


def test_fitting_again_gives_the_same_and_draws_from_no_global_generator() -> None:
    faces, objective = drawn_faces(), fitted()
    state = torch.get_rng_state()
    expression = objective.source.expression[: len(faces.labels)]
    again = fit_expression_textures(
        objective.shapes, faces.images, faces.dense, faces.labels, expression, donor_rows(),
        subjects=np.asarray(faces.subjects),
    )
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in vars(objective.textures).items():
        assert (value is getattr(again, name) is None) or torch.equal(getattr(again, name), value), name


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


def _two_kinds_of_people(seed: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray, np.ndarray]:
    """Logs of 8×8 faces: dark chins belong to people who seldom smile, dark brows to class 1 itself."""
    rng = np.random.default_rng(seed)
    labels, subjects, logs = [], [], []
    for person in range(60):
        bearded = person % 2 == 0
        for _ in range(6):
            label = int(rng.random() < (0.2 if bearded else 0.8))
            log = 0.02 * rng.standard_normal((8, 8))
            log[6, 2:6] -= 0.5 * bearded
            log[1, 2:6] -= 0.3 * label
            labels.append(label)
            subjects.append(f"p{person}")
            logs.append(log)
    shapes = torch.from_numpy(rng.standard_normal((len(labels), 3))).float()
    return torch.from_numpy(np.stack(logs)).float(), shapes, np.array(labels), np.array(subjects)


def test_who_smiles_more_often_does_not_count_as_what_a_smile_does() -> None:
    logs, shapes, labels, subjects = _two_kinds_of_people(0)
    field = _shading(logs, shapes, labels, torch.ones(8, 8), 2, 0, 0.1, subjects)[3 + 1]
    mixed = _shading(logs, shapes, labels, torch.ones(8, 8), 2, 0, 0.1)[3 + 1]

    def contrast(image: torch.Tensor, row: int) -> float:
        return float(image[row, 2:6].mean() - image[row, [0, 1, 6, 7]].mean())

    assert contrast(mixed, 6) > 0.1  # beards that vanish with a smile
    assert abs(contrast(field, 6)) < 0.03
    assert contrast(field, 1) < -0.1


def test_people_seen_once_are_compared_as_they_come() -> None:
    logs, shapes, labels, _ = _two_kinds_of_people(1)
    alone = np.array([str(i) for i in range(len(labels))])
    one, other = (_shading(logs, shapes, labels, torch.ones(8, 8), 2, 0, 0.1, who) for who in (alone, None))
    assert torch.equal(one, other)


def lend(opening: list[float], asked: list[float], labels: list[int], **changes: torch.Tensor) -> list[int]:
    """Whose mouths are lent where all look alike."""
    count = len(opening)
    alike = {
        "mouths": torch.zeros(count, 3),
        "brightness": torch.ones(count),
        "seen": torch.ones(count, dtype=torch.bool),
    }
    parts = {**alike, "opening": torch.tensor(opening), "asked": torch.tensor(asked), "labels": torch.tensor(labels)}
    return _lend_mouths(**(parts | changes)).tolist()


def test_mouths_are_as_open_as_the_expression_asks() -> None:
    # Its own where that fits; one of its class that does, by turns; one of any class; the nearest of all.
    assert lend([0.3, 0.5, 0.52, 0.2], [0.3, 0.45, 0.5, 0.2], [1, 1, 1, 1]) == [0, 1, 2, 3]
    assert lend([0.2, 0.2, 0.5, 0.51], [0.5, 0.5, 0.5, 0.5], [1, 1, 1, 1]) == [2, 3, 2, 3]
    assert lend([0.2, 0.5], [0.5, 0.5], [1, 2]) == [1, 1]
    assert lend([0.2, 0.4, 0.15], [0.9, 0.4, 0.15], [1, 2, 2]) == [1, 1, 2]
    # A closed photograph lends nothing, and an expression with closed lips needs nothing.
    assert lend([0.05, 0.3, 0.1], [0.3, 0.3, 0.1], [1, 1, 1]) == [1, 1, 2]
    assert lend([0.05, 0.1], [0.3, 0.3], [1, 1]) == [1, 1]


def test_odd_and_unseen_mouths_are_lent_to_nobody() -> None:
    count = 24
    mouths, brightness = torch.zeros(count, 3), torch.linspace(0.2, 0.4, count)
    mouths[[3, 7]], brightness[11] = 9.0, 2.0
    seen = torch.ones(count, dtype=torch.bool)
    seen[20] = False
    got = lend([0.3] * count, [0.3] * count, [1] * count, mouths=mouths, brightness=brightness, seen=seen)
    assert not {3, 7, 11, 20} & set(got)
    assert [row for row, lender in enumerate(got) if lender == row] == [r for r in range(count) if r in set(got)]
    assert len(set(got)) >= count - 8
    # Of a few mouths of a class nobody can say which is odd.
    assert lend([0.3] * 5, [0.3] * 5, [1] * 5, mouths=mouths[:5]) == list(range(5))
