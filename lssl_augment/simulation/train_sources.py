"""From a face pack to a face model: choose faces, learn the space, make prototypes, keep a distance, write."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lssl_augment.errors import DataError
from lssl_augment.simulation.closeness import TrainingFaces, summary
from lssl_augment.simulation.face_model import FaceModel
from lssl_augment.simulation.learn import SpaceConfig, learn_space, warped_luma
from lssl_augment.simulation.people import People, PeopleConfig, learn_people
from lssl_augment.simulation.selection import Selection, select_faces, uncovered

if TYPE_CHECKING:
    from lssl_augment.faces.pack import FacePack

__all__ = ["SourcesConfig", "train_sources"]

Report = Callable[[str, float], None]


@dataclass(frozen=True)
class SourcesConfig:
    """Everything that a face model depends on besides the pack.

    Attributes:
        selection, space, people: see there.
        rehearsal: people drawn to find prototypes whose people come too close to training faces.
        margin: such prototypes are dropped below so many times the least distance between training faces.
        measured: people drawn, from other seeds, to measure the final model.
        seed: of everything random.
    """

    selection: Selection = field(default_factory=Selection)
    space: SpaceConfig = field(default_factory=SpaceConfig)
    people: PeopleConfig = field(default_factory=PeopleConfig)
    rehearsal: int = 6000
    margin: float = 1.05
    measured: int = 5000
    seed: int = 0


def train_sources(
    pack: FacePack,
    out: str | os.PathLike[str],
    config: SourcesConfig | None = None,
    *,
    command: str,
    report: Report = lambda step, share: None,
) -> dict[str, Any]:
    """Learn a face model from the neutral faces of a pack's training split and write it.

    Args:
        pack: with dense landmarks, subjects and the split ``train``. out: the ``.safetensors`` file.
        command: what to run to get the same file again, for the card.
        report: called with the name of the step and how much of it is done.

    Returns:
        The metrics that the card holds.

    Raises:
        DataError: a pack without dense landmarks, subjects, neutral or training faces, or with too few that fit.
    """
    from lssl_augment.models.weights import write_weights

    config = config or SourcesConfig()
    rows, images, dense = _chosen(pack, config.selection)
    subjects = np.asarray(pack.subjects)[rows]
    learned = learn_space(images, dense, config.space, report)
    space = learned.space
    people = learn_people(space, learned.coefficients, subjects, config.people, config.seed)
    training = TrainingFaces.of(space, images, learned.coefficients, subjects)
    apart = training.to_each_other()
    report("rehearse", 0.0)
    kept = _keep_distance(FaceModel(space, people), training, apart, config)
    # Measured is what ships, not what it was rounded from.
    model = FaceModel(space, kept).as_stored()
    report("measure", 0.0)
    seeds = _seeds(config.seed, 1, config.measured)
    people_distances = _distances(model, training, seeds)
    metrics = {
        "variance_kept": {kind: round(share, 4) for kind, share in learned.kept.items()},
        "prototypes": len(kept.prototypes),
        "prototypes_dropped": len(people.prototypes) - len(kept.prototypes),
        "people_measured": config.measured,
        "nearest_training_face": {
            "of_training_faces_of_other_subjects": summary(apart),
            "of_synthetic_people": summary(people_distances),
            "people_closer_than_any_two_training_faces": {
                name: int((people_distances[name] < apart[name].min()).sum()) for name in apart
            },
        },
    }
    card = _card(pack, space.size_px, rows, subjects, config, metrics, command)
    write_weights(out, FaceModel(space, kept).tensors(), card)
    report("done", 1.0)
    return metrics


def _chosen(pack: FacePack, limits: Selection) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, faces and dense landmarks to learn from."""
    points = pack.landmarks_dense
    if points is None:
        raise DataError(f"{pack.path.name} has no dense landmarks; prepare it from a data set that has them")
    if "neutral" not in pack.vocabulary:
        raise DataError(f"{pack.path.name} has no class neutral; it has: {', '.join(pack.vocabulary.names)}")
    rows = pack.select(split="train", label=pack.vocabulary.index("neutral"))
    subjects = np.asarray(pack.subjects)[rows]
    if (subjects == "").any():
        raise DataError(
            f"{pack.path.name} has faces of unknown subjects; a face model needs to know whose faces it averages"
        )
    images, dense = np.asarray(pack.images[rows]), np.asarray(points[rows], np.float32)
    chosen = select_faces(images, dense, subjects.tolist(), limits)
    if len(chosen):
        chosen = chosen[uncovered(warped_luma(images[chosen], dense[chosen]), limits)]
    if len(chosen) < 8:
        raise DataError(
            f"{len(chosen)} of {len(rows)} neutral training faces of {pack.path.name} are frontal, sharp, uncovered "
            "and have eyes open and lips closed; at least 8 are needed"
        )
    return rows[chosen], images[chosen], dense[chosen]


def _seeds(seed: int, stream: int, count: int) -> np.ndarray:
    rng = np.random.Generator(np.random.Philox(key=[seed, stream]))
    return rng.integers(0, 2**63 - 1, size=count, dtype=np.int64)


def _distances(model: FaceModel, training: TrainingFaces, seeds: np.ndarray) -> dict[str, np.ndarray]:
    images, _ = model.sample(seeds)
    return training.to_people(images, model.people.draw(model.space, seeds).coefficients)


def _keep_distance(
    model: FaceModel, training: TrainingFaces, apart: dict[str, np.ndarray], config: SourcesConfig
) -> People:
    """The people without prototypes whose people came closer to a training face than two of those are."""
    seeds = _seeds(config.seed, 0, config.rehearsal)
    found = _distances(model, training, seeds)
    close = np.zeros(len(seeds), bool)
    for name, values in found.items():
        close |= values < config.margin * apart[name].min()
    keep = np.ones(len(model.people.prototypes), bool)
    keep[model.people.mixture(seeds).first[close]] = False
    if keep.sum() < 2:
        raise DataError(
            "people drawn around every prototype come too close to training faces; learn from more faces, or "
            "average more people (members) or vary them more (spread)"
        )
    return replace(model.people, prototypes=model.people.prototypes[torch.from_numpy(keep)])


def _card(
    pack: FacePack,
    size_px: int,
    rows: np.ndarray,
    subjects: np.ndarray,
    config: SourcesConfig,
    metrics: dict[str, Any],
    command: str,
) -> dict[str, Any]:
    return {
        "kind": "faces",
        "architecture": asdict(config),
        "class_names": None,
        "face_size_px": size_px,
        "template68": np.asarray(pack.template68).round(4).tolist(),
        "training": {
            "data": pack.dataset,
            "split": "train",
            "faces": len(rows),
            "subjects": len(np.unique(subjects)),
            "mirrored": True,
            "command": command,
        },
        "metrics": metrics,
        "licence": "Apache-2.0 (statistics of many photographs; no photograph is contained)",
        "intended_use": (
            "Synthetic source faces for training expression classifiers. Shows no real person. Frontal faces of "
            "adults as the training data shows them; its imbalance of sex, age and skin tone carries over. Not for "
            "identification, and not for claims about groups of people."
        ),
    }
