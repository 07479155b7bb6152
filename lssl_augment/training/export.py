"""From a finished run to released weights: the averaged generator and its card."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from lssl_augment.attribute_vector import AttributeSpec, attribute_words
from lssl_augment.attributes import Vocabulary
from lssl_augment.models.weights import write_weights
from lssl_augment.training.config import TrainConfig
from lssl_augment.training.loop import TrainResult
from lssl_augment.training.objective import Objective
from lssl_augment.training.run_folder import RunFolder

__all__ = ["export_generator"]

_LICENCE = "none stated; whoever passes these weights on must heed the terms of the data they were trained on"
_USE = (
    "Synthetic faces for training and testing expression classifiers. What it makes is AI-generated and must "
    "be marked so; it is not for identifying people, nor for judging what anyone feels."
)


def export_generator(
    objective: Objective,
    config: TrainConfig,
    run: RunFolder,
    result: TrainResult,
    *,
    path: str | Path | None = None,
    licence: str = _LICENCE,
) -> Path:
    """Write the averaged generator of a run as weights with a card.

    Args:
        objective: what was trained; result: how it ended.
        path: where to; default ``weights/PRESET-SIZE.safetensors`` in the run folder.
        licence: what the card says about it.

    Returns:
        The path written.

    Raises:
        WeightsError: weights that do not fit into half precision.
    """
    if path is None:
        path = run.path / "weights" / f"{config.preset}-{config.face_size_px}.safetensors"
    release = objective.release(result.generator)
    data = run.read_data()
    training: dict[str, Any] = {
        "data": data["dataset"],
        "split": f"training people of {_fold(config)}" if config.splits else data["split"],
        "faces": data["faces"],
        "subjects": data["subjects"],
        "counts": data["counts"],
        "steps": result.step,
        "hours": round(result.seconds / 3600, 3),
        "seed": config.seed,
        "objective": config.objective,
        "command": _without_folders(run.command()),
    }
    training |= release.training
    if "init" in data:
        training["init"] = data["init"]
    card = {
        "kind": "generator",
        "architecture": dict(release.architecture),
        "class_names": list(data["counts"]),
        "attributes": AttributeSpec(Vocabulary(tuple(data["counts"])), *attribute_words(config.attributes)).to_card(),
        "face_size_px": config.face_size_px,
        "training": training,
        "metrics": result.stats,
        "licence": licence,
        "intended_use": _USE,
    }
    return write_weights(path, release.tensors, card, dtypes=release.dtypes)


def _fold(config: TrainConfig) -> str:
    name = Path(config.splits).name
    return name if config.fold is None else f"fold {config.fold} of {name}"


def _without_folders(command: str) -> str:
    """The command with paths cut to their names: a card is for everyone, folders are the trainer's own."""
    return shlex.join(
        Path(word).name if "/" in word and "=" not in word else word for word in shlex.split(command)
    )
