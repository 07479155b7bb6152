"""A tiny pack of noise faces and a tiny configuration, for tests of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lssl_augment.faces.align import template68
from lssl_augment.training.batches import TrainingFaces, load_training_faces
from lssl_augment.training.config import TrainConfig, make_config

NAMES = ("neutral", "happiness", "anger")


def write_pack(path: Path, faces: int = 30, size_px: int = 32) -> Path:
    """An ``.npz`` of ``faces`` training faces of three classes (3 : 2 : 1) and a few test faces."""
    rng = np.random.default_rng(0)
    total = faces + 4
    np.savez(
        path,
        images=rng.integers(0, 256, (total, size_px, size_px, 3), dtype=np.uint8),
        labels=np.resize([0, 0, 0, 1, 1, 2], total),
        landmarks=(template68(size_px) + rng.normal(0, 0.5, (total, 68, 2))).astype(np.float32),
        subjects=np.array([f"s{i}" for i in range(total)]),
        split=np.array(["train"] * faces + ["test"] * 4),
        class_names=np.array(NAMES),
    )
    return path


def tiny_config(pack: Path, **values: Any) -> TrainConfig:
    """Width-4 networks of the paper at 32 px, two critic steps, six steps in all."""
    defaults: dict[str, Any] = {
        "pack": str(pack),
        "face_size_px": 32,
        "steps": 6,
        "batch": 2,
        "log_every_steps": 2,
        "sheet_every_steps": 3,
        "checkpoint_every_steps": 4,
        "sheet_sources": 3,
        "tensorboard": False,
        "generator": {"width": 4, "blocks": 1},
        "critic": {"width": 4},
        "objective": {"critic_steps": 2},
    }
    return make_config("paper", {**defaults, **values})


def tiny_faces(config: TrainConfig) -> TrainingFaces:
    """The faces of a configuration."""
    return load_training_faces(config.pack, config.face_size_px, config.classes)
