"""Expression, pose and light in one generator, and what lies between two expressions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import NAMES, tiny_config, tiny_faces

from lssl_augment.errors import DataError
from lssl_augment.models.bundle import load_model
from lssl_augment.models.engine import ExpressionEngine
from lssl_augment.models.target_vectors import Mixture
from lssl_augment.models.weights import write_weights
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
