"""Baselines with networks of a few channels, on the tiny pack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny import tiny_faces

from lssl_augment.training.config import TrainConfig, make_config
from lssl_augment.training.objective import Objective, objective_class

SMALL: dict[str, dict[str, Any]] = {
    "stargan": {"generator": {"width": 4, "blocks": 1}, "critic": {"width": 4}, "objective": {"critic_steps": 2}},
    "cyclegan": {
        "generator": {"width": 4, "blocks": 1},
        "critic": {"width": 4, "layers": 2},
        "objective": {"pool": 2},
        "batch": 1,
    },
    "icgan": {"generator": {"width": 4, "code": 8, "encoder_width": 2}, "critic": {"width": 4}},
    "simgan": {
        "generator": {"width": 4, "blocks": 1},
        "critic": {"width": 6},
        "objective": {"first_refiner_steps": 1, "first_critic_steps": 1, "history": 3},
    },
}


def config_of(preset: str, pack: Path, **values: Any) -> TrainConfig:
    small = {**SMALL[preset]}
    if preset == "simgan":
        small["objective"] = {**small["objective"], "simulated": str(pack)}
    defaults: dict[str, Any] = {
        "pack": str(pack),
        "face_size_px": 32,
        "steps": 6,
        "batch": 2,
        "log_every_steps": 2,
        "sheet_every_steps": 3,
        "checkpoint_every_steps": 2,
        "sheet_sources": 3,
        "tensorboard": False,
    }
    return make_config(preset, {**defaults, **small, **values})


def build(config: TrainConfig) -> Objective:
    return objective_class(config.networks.kind)(config, tiny_faces(config))
