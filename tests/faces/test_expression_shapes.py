from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_faces import NAMES, as_tensors, drawn_faces, fitted, turned

from lssl_augment.faces.expression_shapes import _LOWER, _UPPER, ExpressionShapes, mouth_gap, settle_mouth


@pytest.fixture(scope="module")
def shapes() -> ExpressionShapes:
    return fitted().shapes


@given(yaw=st.floats(-30, 30), roll=st.floats(-20, 20), scale=st.floats(0.7, 1.4), shift=st.floats(-10, 10))
def test_pose_scale_and_place_are_undone(yaw: float, roll: float, scale: float, shift: float) -> None:
    shapes = fitted().shapes
    _, dense, _ = as_tensors([0, 2])
    moved = np.stack([turned(face.double().numpy(), yaw, roll, scale) + shift for face in dense])
    expected, _ = shapes.canonical(dense)
    found, _ = shapes.canonical(torch.from_numpy(moved))
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


def test_back_turns_canonical_offsets_into_pixel_offsets(shapes: ExpressionShapes) -> None:
    _, dense, _ = as_tensors([0, 1, 2])
    shape, back = shapes.canonical(dense)
    # Points differ from the middle of the face by the same offset in both frames.
    middle = shape - shape.mean(1, keepdim=True)
    torch.testing.assert_close(middle @ back, dense - dense.mean(1, keepdim=True), atol=1e-3, rtol=0)


def test_no_change_moves_nothing(shapes: ExpressionShapes) -> None:
    _, dense, _ = as_tensors([0, 1, 2])
    _, back = shapes.canonical(dense)
    assert torch.equal(shapes.displace(dense, back, torch.zeros(3, len(shapes.basis))), dense)


def test_a_change_is_found_again_in_the_displaced_face(shapes: ExpressionShapes) -> None:
    _, dense, _ = as_tensors([0])
    shape, back = shapes.canonical(dense)
    change = torch.zeros(1, len(shapes.basis))
    change[0, 1] = 1.5
    again, _ = shapes.canonical(shapes.displace(dense, back, change))
    moved = shapes.coefficients(again) - shapes.coefficients(shape)
    # Rigid points move a little too, and the pose is fitted to them.
    assert float(moved[0, 1]) == pytest.approx(1.5, abs=0.5)
    assert int(moved.abs().argmax()) == 1


@given(seed=st.integers(0, 10_000), size=st.floats(0, 60))
def test_lids_and_lips_never_cross(seed: int, size: float) -> None:
    shapes = fitted().shapes
    _, dense, _ = as_tensors([0, 2])
    _, back = shapes.canonical(dense)
    change = size * torch.randn(2, len(shapes.basis), generator=torch.Generator().manual_seed(seed))
    moved = shapes.displace(dense, back, change)
    assert float((moved[:, _UPPER, 1] - moved[:, _LOWER, 1]).max()) <= 1e-3


@pytest.mark.parametrize("label", [-1, 3, 99])
def test_an_unknown_label_uses_the_pooled_class(shapes: ExpressionShapes, label: int) -> None:
    _, dense, labels = as_tensors([0, 1, 2])
    coefficients = shapes.coefficients(shapes.canonical(dense)[0])
    pooled = shapes.expression(coefficients, torch.full((3,), label))
    mean, gain = shapes.class_mean[-1], shapes.expression_gain[-1]
    torch.testing.assert_close(pooled, mean + (coefficients - mean) @ gain.T, atol=1e-3, rtol=0)
    assert not torch.allclose(pooled, shapes.expression(coefficients, labels), atol=1e-2)


@given(rows=st.permutations(range(8)), more=st.integers(0, 3))
def test_a_donor_depends_on_target_and_seed_alone(rows: list[int], more: int) -> None:
    shapes = fitted().shapes
    targets = np.array([0, 1, 2, 2, 1, 0, 1, 2])
    seeds = np.array([5, 5, 5, -1, 2**62, 0, 1, 5])
    drawn, donors = shapes.draw_donors(targets, seeds)
    index = np.array([*rows, *rows[:more]])
    again, again_donors = shapes.draw_donors(targets[index], seeds[index])
    assert np.array_equal(again, drawn[index])
    assert np.array_equal(again_donors, donors[index])


def test_donors_are_of_the_target_class_and_seeds_matter(shapes: ExpressionShapes) -> None:
    targets = np.repeat(np.arange(len(NAMES)), 40)
    drawn, donors = shapes.draw_donors(targets, np.arange(len(targets)))
    assert drawn.shape == (120, len(shapes.basis))
    assert drawn.dtype == np.float32
    assert np.array_equal(shapes.donor_labels.numpy()[donors], targets)
    assert len(np.unique(donors)) > 30
    assert len(np.unique(drawn, axis=0)) > 100
    # Mixing two donors does not weaken the expression.
    own = np.linalg.norm(shapes.donors.numpy(), axis=1)
    lengths = np.linalg.norm(drawn, axis=1)
    for label in range(len(NAMES)):
        pool = own[shapes.donor_labels.numpy() == label]
        assert lengths[targets == label].max() <= pool.max() * 1.01
        assert lengths[targets == label].mean() > 0.8 * pool.mean()


def test_mouth_gap() -> None:
    _, dense, labels = as_tensors(list(range(12)))
    gap = mouth_gap(dense)
    assert float(gap[labels == 0].max()) < 0.08
    assert float(gap[labels == 2].min()) > 0.15
    torch.testing.assert_close(mouth_gap(dense * 2), gap)  # a share of the mouth's width, whatever the size
    crossed = dense.clone()
    crossed[:, [14, 87, 317], 1] -= 50
    assert torch.equal(mouth_gap(crossed), torch.zeros(12))


def test_the_opening_that_an_expression_asks_for(shapes: ExpressionShapes) -> None:
    """That of the mean face with the expression: closed at rest, open in surprise, and growing with the intensity."""
    surprised = shapes.donors[shapes.donor_labels == 2]
    agape = torch.ones(len(surprised))
    rest, half, full = (shapes.opening(amount * surprised, agape) for amount in (0.0, 0.5, 1.0))
    assert float(rest.max()) < 0.08
    assert bool((rest < half).all())
    assert bool((half < full).all())
    assert float(full.min()) > 0.15
    # Lips that touch at rest stay closed, though the mean face's do not quite.
    shut = torch.zeros(len(surprised))
    torch.testing.assert_close(shapes.opening(0.0 * surprised, shut), shut, atol=1e-6, rtol=0)
    # In an open mouth little is left of that difference.
    torch.testing.assert_close(full - shapes.opening(surprised, shut), 0.2 * rest, atol=1e-6, rtol=0)


@given(own=st.floats(0, 0.3))
def test_a_mouth_opens_steadily_with_the_intensity(own: float) -> None:
    shapes = fitted().shapes
    surprised = shapes.donors[shapes.donor_labels == 2][:1]
    amounts = torch.linspace(0, 1, 41)[:, None]
    asked = shapes.opening(amounts * surprised, torch.full((41,), own))
    assert bool((asked.diff() >= -1e-6).all())
    assert bool((asked.diff() < 0.1).all())


def test_a_mouth_settles_to_its_expressions_opening() -> None:
    _, dense, _ = as_tensors([2, 5, 0, 0])
    gap = mouth_gap(dense)
    wanted = torch.cat([torch.tensor([0.1]), gap[1:2], gap[2:3] + 0.015, gap[3:] + 0.1])
    settled = settle_mouth(dense, wanted)
    torch.testing.assert_close(settled[1:3], dense[1:3])  # what is near enough stays
    assert float(gap[0]) > 0.15
    assert float(mouth_gap(settled)[0]) == pytest.approx(0.12, abs=0.002)  # and 0.02 are let be
    assert float(mouth_gap(settled)[3] - gap[3]) == pytest.approx(0.08, abs=0.002)
    assert torch.equal(settled[..., [0, 2]], dense[..., [0, 2]])
    # The corners stay, and lips stay in order.
    assert torch.equal(settled[:, [61, 291, 78, 308]], dense[:, [61, 291, 78, 308]])
    before, after = (points[:, _LOWER, 1] - points[:, _UPPER, 1] for points in (dense, settled))
    assert bool((after >= before.clamp_max(0)).all())


def test_mouths_are_opened_as_far_as_a_smile_and_no_further() -> None:
    _, dense, _ = as_tensors([0])
    far, plainly = (mouth_gap(settle_mouth(dense, torch.tensor([wanted]))) for wanted in (0.6, 0.2))
    assert float(plainly) == pytest.approx(0.18, abs=0.002)
    torch.testing.assert_close(far, plainly)


def test_to_is_a_copy_with_the_same_numbers(shapes: ExpressionShapes) -> None:
    there = shapes.to("cpu")
    assert there is not shapes
    assert there.num_classes == len(NAMES)
    assert torch.equal(there.donors, shapes.donors)


def test_what_photographs_would_show_of_stretched_donors(shapes: ExpressionShapes) -> None:
    change, shown = torch.ones(2, len(shapes.basis)), torch.tensor([[0.0, 0.0, 0.5], [1.0, 0.0, 0.0]])
    assert shapes.photographed(change, shown) is change
    stretched = replace(shapes, stretch=torch.zeros(3, len(shapes.basis)))
    assert stretched.stretch is not None
    stretched.stretch[2, 0] = 4.0
    found = stretched.photographed(change, shown)
    assert found[0, 0] == -1  # 1 less half of 4
    assert torch.equal(found[0, 1:], change[0, 1:])
    assert torch.equal(found[1], change[1])
    assert torch.equal(stretched.to("cpu").stretch, stretched.stretch)  # type: ignore[arg-type]


def test_more_of_a_class_is_taken_off_than_landmarks_tell(shapes: ExpressionShapes) -> None:
    expression = torch.randn(3, len(shapes.basis), generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.5, 0.5], [0.0, 0.0, 0.0]])
    more = shapes.taken_off(expression, classes) - expression
    torch.testing.assert_close(more[0], 0.5 * shapes.class_mean[2], atol=1e-4, rtol=0)
    torch.testing.assert_close(more[1], 0.25 * (shapes.class_mean[1] + shapes.class_mean[2]), atol=1e-4, rtol=0)
    assert not more[2].any()


def test_class_weights_are_the_label_or_what_the_shape_says(shapes: ExpressionShapes) -> None:
    _, dense, _ = as_tensors([0, 1, 2])
    coefficients = shapes.coefficients(shapes.canonical(dense)[0])
    told = shapes.class_weights(coefficients, torch.tensor([0, 1, 2]))
    assert torch.equal(told, torch.eye(len(NAMES)))
    unknown = shapes.class_weights(coefficients, torch.tensor([-1, 99, 1]))
    torch.testing.assert_close(unknown.sum(1), torch.ones(3))
    assert bool((unknown[:2] < 1).all())
    assert torch.equal(unknown[2], torch.eye(len(NAMES))[1])
    # The drawn faces' mouths and brows tell their class.
    everyone = shapes.coefficients(shapes.canonical(torch.from_numpy(drawn_faces().dense).float())[0])
    own = torch.from_numpy(drawn_faces().labels)
    said = shapes.class_weights(everyone, torch.full_like(own, -1)).argmax(1)
    assert float((said == own).float().mean()) > 0.8
