"""Training of a `compact` generator that turns heads."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_faces import SIZE_PX, compact_config, training_faces

from lssl_augment.errors import DataError
from lssl_augment.faces.pose import yaw_deg
from lssl_augment.training.compact_faces import CompactFaces
from lssl_augment.training.compact_objective import CompactObjective
from lssl_augment.training.compact_parts import prepare_part
from lssl_augment.training.config import make_config

POSES = ("expression", "signed-pose:15")


@functools.cache
def source(poses: tuple[int, ...] = (-15, 0, 15)) -> CompactFaces:
    """Fitted once: no step changes it."""
    return CompactFaces(training_faces(), SIZE_PX, 0, torch.device("cpu"), poses)


def objective(**values: Any) -> CompactObjective:
    config = compact_config(attributes=POSES, **values)
    return CompactObjective(config, training_faces(), source())


def test_half_of_the_heads_turn_as_photographs_do_to_the_side_they_look_to() -> None:
    faces = source().draw(200, 0.5, np.random.default_rng(0))
    turned = source().turn(faces, np.random.default_rng(1))
    assert turned is not None
    moved = turned.angle != 0
    assert 70 < int(moved.sum()) < 130
    assert torch.allclose(turned.dense[~moved], faces.dense[~moved], atol=1e-3)
    before, after = yaw_deg(faces.dense.numpy()), yaw_deg(turned.dense.numpy())
    np.testing.assert_allclose(after - before, turned.angle.numpy(), atol=2.0)
    assert np.abs(after).max() <= 17  # as far as the generator shall, and no photograph there is beyond 15
    clear = moved.numpy() & (np.abs(before) > 3) & (np.abs(after) > 3)
    assert (np.sign(after) == np.sign(before))[clear].all()


def test_without_poses_no_head_turns_and_nothing_is_drawn_for_it() -> None:
    plain = source(())
    faces = plain.draw(4, 0.5, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    assert plain.turn(faces, rng) is None
    assert rng.random() == np.random.default_rng(1).random()
    assert prepare_part(plain, 4, 0.5, np.random.default_rng(2)).turned is None


def test_pseudo_sources_come_back_to_the_photographs_shape() -> None:
    """The flow of the pair leads from the turned pseudo-source to the photograph: what is carried looks like it."""
    part = prepare_part(source(), 12, 0.5, np.random.default_rng(3))
    assert part.turned is not None
    assert bool((part.turned.angle != 0).any())
    inner = slice(SIZE_PX // 4, -SIZE_PX // 4)
    before = (part.source - part.real.images)[..., inner, inner].abs().mean((1, 2, 3))
    after = (part.guess_pair - part.real.images)[..., inner, inner].abs().mean((1, 2, 3))
    assert float(after.mean()) < float(before.mean())
    np.testing.assert_allclose(
        yaw_deg(part.moved.numpy()) - yaw_deg(part.real.dense.numpy()), part.turned.angle.numpy(), atol=4.0
    )  # an expression moves what yaw is read from a little


def test_a_step_with_every_loss_is_finite_and_repeats() -> None:
    logs = []
    for _ in range(2):
        one = objective()
        logs.append({name: float(value) for name, value in one.step(0.0, 0).items()})
    assert "bidirectional" in logs[0]
    assert np.isfinite(list(logs[0].values())).all()
    assert logs[0] == logs[1]


@pytest.mark.parametrize(
    ("preset", "attributes", "message"),
    [
        ("compact", ("expression", "light"), "'compact' learns expressions and poses; got attributes=expression,light"),
        ("compact", (*POSES, "light"), "for pose and light in one generator use --preset paper"),
        ("stargan", ("expression", "pose"), "'stargan' learns expressions alone"),
    ],
)
def test_attributes_that_a_preset_does_not_take(preset: str, attributes: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_config(preset, {"pack": "x.h5", "attributes": attributes})
    kept = make_config("compact", {"pack": "x.h5", "attributes": POSES})
    assert replace(kept, seed=1).attributes == POSES
