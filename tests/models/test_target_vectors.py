"""What an edit may ask of a generator with poses and lights, and what it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tiny_faces import NAMES, SIZE_PX, as_tensors, compact_bundle

from lssl_augment.attribute_vector import AttributeSpec
from lssl_augment.attributes import POSES_DEG, Vocabulary
from lssl_augment.errors import DataError
from lssl_augment.models.engine import ExpressionEngine
from lssl_augment.models.target_vectors import source_codes, target_vectors

EXPRESSIONS = Vocabulary(NAMES)
FULL = AttributeSpec(EXPRESSIONS, POSES_DEG, ("normal", "dark"))
POSED = AttributeSpec(EXPRESSIONS, POSES_DEG)
PLAIN = AttributeSpec(EXPRESSIONS)


def vectors(spec: AttributeSpec, codes: list[list[int]] | None = None, **wanted: Any) -> torch.Tensor:
    expression = torch.eye(3)[[1, 2]] * torch.tensor([[1.0], [0.5]])
    given = {name: None if codes is None else torch.tensor(codes) for name, codes in wanted.items()}
    own = None if codes is None else torch.tensor(codes)
    return target_vectors(spec, expression, own, pose=given.get("pose"), light=given.get("light"))


def test_a_target_keeps_what_it_does_not_change() -> None:
    own = [[0, 3, 1], [2, -1, 0]]
    out = vectors(FULL, own, pose=[-1, 2], light=[0, -1])
    assert out.tolist() == [[0, 1, 0, 0, 0, 0, 1, 1, 0], [0, 0, 0.5, 0, 0, 1, 0, 1, 0]]
    # What nobody knows and nobody wants stays unknown: zeros.
    assert vectors(FULL, own)[1, 3:7].tolist() == [0, 0, 0, 0]
    assert vectors(FULL)[:, 3:].abs().sum() == 0


@pytest.mark.parametrize(
    ("spec", "wanted", "message"),
    [
        (
            PLAIN,
            {"pose": [0, 0]},
            "know expression only, no pose; train with --preset paper --set attributes=expression,pose",
        ),
        (
            POSED,
            {"light": [0, 0]},
            "know expression, pose only, no light; train with --preset paper --set attributes=expression,light",
        ),
        (FULL, {"pose": [0, 4]}, r"pose needs one code of 0 to 3 for each of 2 rows, or -1 to keep it; got \[0, 4\]"),
        (FULL, {"light": [2, 0]}, r"light needs one code of 0 to 1 for each of 2 rows, or -1 to keep it; got \[2, 0\]"),
        (FULL, {"pose": [-2, 0]}, r"got \[-2, 0\]"),
        (FULL, {"pose": [1]}, r"for each of 2 rows, or -1 to keep it; got \[1\]"),
        (FULL, {"light": [[0], [1]]}, r"got \[\[0\], \[1\]\]"),
    ],
)
def test_refused_targets(spec: AttributeSpec, wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        vectors(spec, None, **wanted)


def test_sources_are_measured_where_nothing_is_told() -> None:
    images, dense, labels = as_tensors([0, 5])
    told = source_codes(FULL, images, dense, labels, np.array([31.0, np.nan]), ["dark", ""])
    assert told is not None
    assert told[0].tolist() == [int(labels[0]), 2, 1]
    assert told[1, 1] >= 0  # from the landmarks
    assert source_codes(PLAIN, images, dense, labels, None, None) is None
    unlabelled = source_codes(POSED, images, dense, None, np.array([0.0, -44.0]), None)
    assert unlabelled is not None
    assert unlabelled.tolist() == [[-1, 0], [-1, 3]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {**a, "yaw_deg": np.zeros(3)}, r"yaw_deg must have shape \(2,\); got \(3,\)"),
        (lambda a: {**a, "yaw_deg": np.zeros((2, 1))}, r"got \(2, 1\)"),
        (lambda a: {**a, "yaw_deg": np.array([np.inf, 0])}, "yaw_deg must be finite"),
        (lambda a: {**a, "lights": ["dark"]}, r"lights must have shape \(2,\); got \(1,\)"),
        (lambda a: {**a, "lights": ["dark", "dim"]}, "unknown light 'dim'; allowed: normal, weak, dark, or empty"),
        (
            lambda a: {**a, "labels": torch.tensor([0, 7])},
            "expression: codes must be 0 to 2, or -1 where unknown; got 0",
        ),
    ],
)
def test_refused_sources(change: Callable[[dict[str, Any]], dict[str, Any]], message: str) -> None:
    images, dense, labels = as_tensors([0, 5])
    given = {"labels": labels, "yaw_deg": np.zeros(2), "lights": ["dark", ""]}
    with pytest.raises(DataError, match=message):
        source_codes(FULL, images, dense, **change(given))


def test_compact_generators_without_poses_have_no_pose() -> None:
    engine = ExpressionEngine(compact_bundle(), precision="fp32")
    face = engine.encode(*as_tensors([0]))
    plan = torch.tensor([0]), torch.ones(1), torch.tensor([1])
    with pytest.raises(DataError, match=r"change expression and light alone; a `compact` generator turns heads where"):
        engine.edit(face, *plan, pose=torch.tensor([0]))
    assert engine.edit(face, *plan).shape == (1, 3, SIZE_PX, SIZE_PX)
