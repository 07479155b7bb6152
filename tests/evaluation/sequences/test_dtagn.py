"""DTAGN: its loss by hand, its views, and a joint step that leaves the lower layers alone."""

from __future__ import annotations

import numpy as np
import torch

from lssl_augment.evaluation.sequences.dtagn import Dtagn, DtagnConfig, joint_loss
from lssl_augment.evaluation.sequences.dtagn_networks import INNER49, face_shapes
from lssl_augment.evaluation.sequences.dtagn_views import moved_views
from lssl_augment.faces.align import template68
from tests.evaluation.sequences.toy import moving_spots

TINY = DtagnConfig(width=4, hidden=16, first_units=16, second_units=16, steps=6, joint_steps=3, batch=6)


def test_joint_loss_by_hand() -> None:
    one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    log = np.log
    expected = log(1 + np.exp(-1)) + log(1 + np.exp(2)) + 0.1 * log(1 + np.exp(1))
    np.testing.assert_allclose(float(joint_loss(one, other, torch.tensor([0]))), expected, rtol=1e-6)


def test_shapes_do_not_know_where_the_face_is_nor_how_large() -> None:
    points = template68(64)[None, None] + np.random.default_rng(0).normal(0, 1, (2, 3, 68, 2))
    assert face_shapes(points).shape == (2, 3 * 2 * len(INNER49))
    assert len(INNER49) == 49
    np.testing.assert_allclose(face_shapes(points * 1.7 + (5, -3)), face_shapes(points), atol=1e-5)


def test_landmarks_go_where_the_pixels_go() -> None:
    size = 33
    video = torch.zeros(3, 1, size, size, dtype=torch.uint8)
    points = np.full((3, 1, 68, 2), 16.0)
    points[:, :, 30] = (22.0, 12.0)  # the tip of the nose, its own mirror
    video[:, 0, 11:14, 21:24] = 200
    turns, flips = torch.tensor([20.0, 0.0, -30.0]), torch.tensor([False, True, True])
    seen, moved = moved_views(video, points, size, turns, flips)
    assert seen is not None
    weight = seen[:, 0].double().numpy()
    y, x = np.mgrid[:size, :size]
    for i in range(3):
        centre = [(weight[i] * along).sum() / weight[i].sum() for along in (x, y)]
        np.testing.assert_allclose(moved[i, 0, 30], centre, atol=0.1)
    np.testing.assert_allclose(moved[1, 0, 30], (10.0, 12.0))


def test_joint_training_changes_top_layers_only() -> None:
    videos, points, labels = moving_spots(2, frames=4, size_px=16)
    states = []
    for joint_steps in (0, 3):
        model = Dtagn(3, config=DtagnConfig(**{**vars(TINY), "joint_steps": joint_steps}))
        model.fit(videos, points, labels)
        assert model._appearance is not None
        assert model._geometry is not None
        both = torch.nn.ModuleList([model._appearance, model._geometry])
        states.append(both.state_dict())
    changed = {key for key in states[0] if not torch.equal(states[0][key], states[1][key])}
    assert changed == {f"{i}.top.{kind}" for i in (0, 1) for kind in ("weight", "bias")}


def test_global_generators_are_left_alone() -> None:
    videos, points, labels = moving_spots(2, frames=4, size_px=16)
    before = torch.get_rng_state()
    Dtagn(3, config=TINY).fit(videos, points, labels)
    assert torch.equal(torch.get_rng_state(), before)
