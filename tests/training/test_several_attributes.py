"""Expression, pose and light in one generator, and what lies between two expressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import NAMES, tiny_config, tiny_faces

from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import DataError, WeightsError
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE
from lssl_augment.faces.side_image import side_image
from lssl_augment.models.bundle import load_model
from lssl_augment.models.engine import ExpressionEngine
from lssl_augment.models.target_vectors import Mixture
from lssl_augment.models.weights import write_weights
from lssl_augment.training.attribute_table import AttributeTable
from lssl_augment.training.batches import TrainingFaces
from lssl_augment.training.paper_objective import PaperObjective


def objective(pack: Path, **settings: Any) -> PaperObjective:
    """A tiny run whose faces are turned and lit in every way, some of unknown light or beyond the last pose."""
    attributes = ["expression", "pose", "light"]
    config = tiny_config(pack, objective={"critic_steps": 1, **settings}, attributes=attributes)
    faces = tiny_faces(config)
    n = len(faces)
    lights = np.array(["normal", "weak", "dark", ""])[np.arange(n) % 4]
    return PaperObjective(config, replace(faces, lights=lights, yaw_deg=np.linspace(-50, 50, n).astype(np.float32)))


def test_pose_and_light_in_one_generator(tiny_pack: Path, tmp_path: Path) -> None:
    made = objective(tiny_pack, attribute_loss="softmax")
    assert made.spec.groups.keys() == {"expression", "pose", "light"}
    logged = made.step(0.0, 0)
    assert all(np.isfinite(float(v)) for v in logged.values())
    preview = made.preview(made.generator)
    assert preview.edits.shape[1] == len(preview.targets) == 3 + 4 + 3
    release = made.release(made.generator)
    card = {
        "kind": "generator", "architecture": dict(release.architecture), "class_names": list(NAMES),
        "attributes": made.spec.to_card(), "face_size_px": 32, "training": {}, "metrics": {}, "licence": "",
        "intended_use": "",
    }
    path = write_weights(tmp_path / "many.safetensors", release.tensors, card)
    engine = ExpressionEngine(load_model(path))
    images, dense = torch.rand(2, 3, 32, 32) * 2 - 1, torch.rand(2, 478, 3) * 31
    faces = engine.encode(images, dense, torch.tensor([0, 1]), yaw_deg=np.array([0.0, 30.0]), lights=["dark", ""])
    plain = torch.tensor([2, 2]), torch.ones(2), torch.zeros(2, dtype=torch.int64)
    kept = engine.edit(faces, *plain)
    same = engine.edit(faces, *plain, pose=torch.tensor([-1, 2]), light=torch.tensor([2, -1]))
    torch.testing.assert_close(kept, same)
    assert not torch.equal(kept, engine.edit(faces, *plain, pose=torch.tensor([3, 0])))
    # Between two expressions: the ends are the expressions themselves.
    second = torch.tensor([0, 1])
    for share, targets in ((0.0, plain[0]), (1.0, second)):
        mixed = engine.edit(faces, *plain, mixture=Mixture(second, torch.full((2,), share)))
        torch.testing.assert_close(mixed, engine.edit(faces, targets, *plain[1:]))
    with pytest.raises(DataError, match="shares must be in"):
        engine.edit(faces, *plain, mixture=Mixture(second, torch.full((2,), 1.5)))


def table(yaw: Sequence[float] | None, lights: Sequence[str] | None, words: Sequence[str]) -> AttributeTable:
    """Of three drawn faces that show these poses and lights."""
    size = 3
    faces = TrainingFaces(
        images=np.zeros((size, 8, 8, 3), np.uint8), labels=np.arange(size),
        points68=np.zeros((size, 68, 2), np.float32),
        dense=None, subjects=np.array(list("abc")), vocabulary=Vocabulary(NAMES), dataset="three",
        yaw_deg=None if yaw is None else np.array(yaw, np.float32), lights=None if lights is None else np.array(lights),
    )
    return AttributeTable(faces, ("expression", *words))


@pytest.mark.parametrize(
    ("yaw", "lights", "words", "message"),
    [
        ([0, 15, 30], None, ["pose"], "three has no training face of pose 45; narrow the group down (for example"),
        ([0, 15, 30], None, ["pose"], "--set attributes=expression,pose:30), leave pose out, or prepare a pack"),
        ([15, 30, -30], None, ["signed-pose:30"], "has no training face of pose 0;"),
        (None, None, ["pose:15"], "no training face of pose 0, pose 15"),
        ([np.nan] * 3, None, ["pose:15"], "no training face of pose 0, pose 15"),
        (None, ["weak", "dark", "dark"], ["light"], "no training face of light normal; narrow"),
        (None, ["", "", "normal"], ["light:normal+dark"], "no training face of light dark"),
        (None, None, ["light"], "light normal, light weak, light dark; narrow the group down (for example "),
    ],
)
def test_values_that_no_face_shows_are_refused(
    yaw: list[float] | None, lights: list[str] | None, words: list[str], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        table(yaw, lights, words)
    assert message in str(caught.value)


def test_values_that_mirrored_faces_show_are_enough() -> None:
    made = table([0, 15, 30], ["dark", "", "normal"], ["signed-pose:30", "light:normal+dark"])
    assert made.spec.names[len(NAMES) :] == ("pose -30", "pose -15", "pose 0", "pose 15", "pose 30", "light normal",
                                             "light dark")  # fmt: skip


def test_the_size_of_the_dots_comes_back_with_the_weights(tiny_pack: Path, tmp_path: Path) -> None:
    made = objective(tiny_pack, side_sigma_px=1.75)
    release = made.release(made.generator)
    assert release.architecture["side_sigma_px"] == 1.75
    card = {
        "kind": "generator", "architecture": dict(release.architecture), "class_names": list(NAMES),
        "attributes": made.spec.to_card(), "face_size_px": 32, "training": {}, "metrics": {}, "licence": "",
        "intended_use": "",
    }  # fmt: skip
    path = write_weights(tmp_path / "dots.safetensors", release.tensors, card)
    bundle = load_model(path)
    assert bundle.side_sigma_px == 1.75
    dense = torch.rand(2, 478, 3, generator=torch.Generator().manual_seed(0)) * 31
    points = dense[:, torch.from_numpy(SPARSE_FROM_DENSE.copy()), :2]
    found = ExpressionEngine(bundle)._side(dense)
    # The engine draws as training did.
    torch.testing.assert_close(found, side_image(points, 32, 32, sigma_px=1.75))
    assert float((found - side_image(points, 32, 32)).abs().max()) > 0.1
    # Without the number: the package's own size.
    plain = {k: v for k, v in release.architecture.items() if k != "side_sigma_px"}
    assert load_model(write_weights(path, release.tensors, {**card, "architecture": plain})).side_sigma_px is None
    for wrong in (0, -1.0, "wide", True, None):
        spoilt = {**card, "architecture": {**release.architecture, "side_sigma_px": wrong}}
        with pytest.raises(WeightsError, match="side_sigma_px must be a positive number; got"):
            load_model(write_weights(tmp_path / "wrong.safetensors", release.tensors, spoilt))
