"""Generators of a benchmark: given weights, checked against the test people, or trained on the fold alone."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lssl_augment.attributes import Vocabulary
from lssl_augment.datasets.split_file import SplitFile, read_splits
from lssl_augment.errors import DataError, LeakageError
from lssl_augment.evaluation.benchmark.arms import GENERATOR_PRESETS
from lssl_augment.faces.pack import FacePack
from lssl_augment.models.weights import find_weights, read_card

__all__ = [
    "Generator",
    "GeneratorWishes",
    "given_generator",
    "initial_notes",
    "seen_test_people",
    "train_generator",
]


@dataclass(frozen=True)
class GeneratorWishes:
    """What the user asks of generators.

    Args:
        weights: generator key → name or path of weights. steps, hours: train on every fold instead, for so long.
        settings: of training, as after ``lssl-augment train --set``. lssl_preset: preset of the key ``lssl``.
        allow_leak: use weights that saw test people, and say so in the results.
        min_score: the gate drops synthetic faces that it scores lower; 0: no gate.
        yaw: range of degrees that heads of stored synthetic faces are turned to, by generators that can; None: none.
        released: weights of the key ``lssl`` where neither weights nor training are asked for.
    """

    weights: Mapping[str, str]
    steps: int | None = None
    hours: float | None = None
    settings: tuple[str, ...] = ()
    lssl_preset: str = GENERATOR_PRESETS["lssl"]
    allow_leak: bool = False
    min_score: float = 0.0
    yaw: tuple[float, float] | None = None
    released: str = "lfw-128"

    @property
    def trains(self) -> bool:
        return self.steps is not None or self.hours is not None

    def preset(self, key: str) -> str | None:
        """Of the generator to be trained; None: there is none of that name."""
        from lssl_augment.models.presets import PRESETS

        name = self.lssl_preset if key == "lssl" else GENERATOR_PRESETS.get(key)
        return name if name in PRESETS else None

    def lacking(self, key: str) -> str:
        """Why an arm with this generator cannot run; empty: it can."""
        if key in self.weights or (key == "lssl" and not self.trains):
            return ""
        if self.trains and self.preset(key) is not None:
            return ""
        how = f"--weights {key}=FILE"
        return f"no generator: give {how}" + (" or --train-steps N" if self.preset(key) is not None else "")


@dataclass(frozen=True)
class Generator:
    """A generator ready to use.

    Args:
        name: for the results. weights: name or path. sha256: of the weights. trained_on: in words.
        notes: what must be said beside results with it.
    """

    name: str
    weights: str
    sha256: str
    trained_on: str
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, str]:
        return {"name": self.name, "sha256": self.sha256, "trained_on": self.trained_on}


def seen_test_people(card: Mapping[str, Any], pack: FacePack, test_subjects: frozenset[str]) -> tuple[int, str]:
    """How many of the test people a generator learned from, as far as its card tells.

    Returns:
        Their number, −1 where it learned from this data set and nobody can tell from whom; and why, in words.
    """
    training = card.get("training")
    training = training if isinstance(training, dict) else {}
    found = _seen_in(training, pack, test_subjects)
    init = training.get("init")
    if not isinstance(init, dict):
        return found
    # What a network began with counts, too.
    before = seen_test_people(init, pack, test_subjects)
    if found[0] or not before[0]:
        return found
    return before[0], f"its network began as {init.get('weights')}: {before[1]}"


def _seen_in(training: Mapping[str, Any], pack: FacePack, test_subjects: frozenset[str]) -> tuple[int, str]:
    subjects = training.get("subjects")
    if isinstance(subjects, list):
        seen = len(test_subjects & {str(s) for s in subjects})
        return seen, f"its card lists {seen} of the {len(test_subjects)} test people"
    # "lfw-expressions (Labeled Faces …) + fer2013": the name comes first.
    names = [part.split()[0] for part in str(training.get("data", "")).split(" + ") if part.strip()]
    own = pack.dataset.split()[0]
    if own not in names or pack.simulated:
        return 0, "its card names another data set"
    split = str(training.get("split", ""))
    if split in set(pack.split.tolist()):
        known = set(pack.subjects[pack.split == split].tolist())
        seen = len(test_subjects & known)
        return (
            seen,
            f"it learned from the split {split!r} of {own}, with {seen} of {len(test_subjects)} test people",
        )
    return -1, f"it learned from {own} ({split or 'no split named'}), and its card does not list the people"


def given_generator(
    key: str, wishes: GeneratorWishes, pack: FacePack, splits: SplitFile, fold: int, regime: str
) -> Generator:
    """The generator of given (or released) weights.

    Raises:
        LeakageError: it saw test people, or may have, and that was not allowed.
        WeightsError: no such weights.
    """
    name = wishes.weights.get(key, wishes.released)
    card, leak = _checked(name, wishes, pack, splits, fold)
    trained_on = _trained_on(card)
    notes = [f"the generator {key} came with given weights: it saw more than the fold ({trained_on})"]
    if regime != "full" and not regime.startswith("yaw"):
        notes.append(f"the generator {key} learned from more faces than the regime {regime} leaves the classifier")
    return Generator(Path(name).stem, name, str(card["sha256"]), trained_on, (*notes, *leak))


def initial_notes(key: str, wishes: GeneratorWishes, pack: FacePack, splits: SplitFile, fold: int) -> tuple[str, ...]:
    """What must be said of the weights that the training of a generator goes on from (``--set init=…``), if any.

    Raises:
        LeakageError: they saw test people, or may have, and that was not allowed.
        WeightsError: no such weights.
    """
    from lssl_augment.training.config import parse_settings

    name = parse_settings(wishes.settings).get("init")
    if not name:
        return ()
    card, leak = _checked(str(name), wishes, pack, splits, fold)
    return f"the network of the generator {key} began as {Path(str(name)).stem} ({_trained_on(card)})", *leak


def _checked(
    name: str, wishes: GeneratorWishes, pack: FacePack, splits: SplitFile, fold: int
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The card of weights that may be tested on a fold, and what must be said where only the user allows it."""
    card = read_card(find_weights(name, "generator"))
    seen, why = seen_test_people(card, pack, splits.subjects(fold, "test"))
    if seen and not wishes.allow_leak:
        raise LeakageError(
            f"the generator {Path(name).name} may not be tested on fold {fold}: {why}. Train one on the fold "
            "(--train-steps N, without init), use a split it did not learn from (--folds fixed), or add --allow-leak, "
            "which the results will say"
        )
    return card, (f"LEAK allowed by the user: {why}",) if seen else ()


def _trained_on(card: Mapping[str, Any]) -> str:
    training = card.get("training") or {}
    data = " + ".join(part.split(" (")[0] for part in str(training.get("data", "unknown")).split(" + "))
    return f"{data}, split {training.get('split', 'unknown')}"


def train_generator(
    key: str,
    wishes: GeneratorWishes,
    pack: FacePack,
    vocabulary: Vocabulary,
    rows: np.ndarray,
    splits: Path,
    fold: int,
    folder: Path,
    *,
    device: str,
    command: str,
) -> Generator:
    """Train a generator on some rows of the pack, once: a killed training goes on, a finished one is used again.

    Args:
        rows: training faces of the fold in the regime. splits, fold: for the card. folder: for the run and its
            weights.

    Raises:
        DataError: no such preset, or faces that it cannot learn from.
        LeakageError: it would go on from weights that saw test people, and that was not allowed.
        TrainingError: it broke down.
    """
    from lssl_augment.training.config import make_config, parse_settings
    from lssl_augment.training.export import export_generator
    from lssl_augment.training.loop import train
    from lssl_augment.training.objective import objective_class
    from lssl_augment.training.run_folder import RunFolder

    preset = wishes.preset(key)
    if preset is None:
        raise DataError(f"there is no preset to train the generator {key} with; give --weights {key}=FILE")
    notes = initial_notes(key, wishes, pack, read_splits(splits), fold)
    done = folder / f"{key}.safetensors"
    config = make_config(
        preset,
        {
            "pack": str(pack.path),
            "classes": list(vocabulary.names),
            "face_size_px": pack.face_size_px,
            "device": device,
            "tensorboard": False,
            "splits": str(splits),
            "fold": fold,
            "steps": wishes.steps,
            "hours": wishes.hours,
            **parse_settings(wishes.settings),
        },
    )
    if not done.exists():
        faces = _training_faces(pack, vocabulary, rows, config.face_size_px)
        if config.further:
            faces = _with_further(faces, config.further)
        cls = objective_class(config.networks.kind)
        objective = cls(config, faces)
        runs = sorted(folder.glob("[0-9]*")) if folder.exists() else []
        resume = bool(runs) and any((runs[-1] / "checkpoints").glob("step-*"))
        if runs and not resume:
            shutil.rmtree(runs[-1])  # killed before its first checkpoint
        run = RunFolder.open(runs[-1]) if resume else RunFolder.create(folder, config, faces, command)
        if resume:
            run.check_faces(faces)
        total = config.total_steps(len(faces), cls.faces_per_step(config))
        result = train(objective, config, run, total_steps=total, resume=resume)
        if result.interrupted:
            raise KeyboardInterrupt
        export_generator(objective, config, run, result, path=done)
    card = read_card(done)
    where = f"{len(rows)} training faces of fold {fold} ({wishes.hours or 0:g} hours)"
    if wishes.hours is None:
        where = f"{len(rows)} training faces of fold {fold} ({card['training']['steps']} steps)"
    return Generator(f"{key} ({preset})", str(done), str(card["sha256"]), where, notes)


def _training_faces(pack: FacePack, vocabulary: Vocabulary, rows: np.ndarray, size_px: int) -> Any:
    from lssl_augment.training.batches import TrainingFaces, resize_faces

    mapping = vocabulary.mapping_from(pack.vocabulary)
    dense = pack.landmarks_dense
    faces = TrainingFaces(
        images=_rows_of(pack.images, rows),
        labels=np.array([mapping[int(label)] for label in pack.labels[rows]], np.int64),
        points68=pack.landmarks[rows].astype(np.float32),
        dense=None if dense is None else _rows_of(dense, rows).astype(np.float32),
        subjects=pack.subjects[rows],
        vocabulary=vocabulary,
        dataset=pack.dataset,
    )
    return resize_faces(faces, size_px)


def _with_further(faces: Any, path: str) -> Any:
    from lssl_augment.training.batches import read_further
    from lssl_augment.training.further import join_further

    more = read_further(path, faces.face_size_px)
    if more.dataset == faces.dataset:
        raise DataError(f"further={path} is of the tested data set, {faces.dataset}: its people may be in the test")
    return join_further(faces, more, faces.vocabulary)


def _rows_of(dataset: Any, rows: np.ndarray, block: int = 2048) -> np.ndarray:
    """Increasing rows of an HDF5 data set, by slices: HDF5 is slow at long lists."""
    parts: Sequence[np.ndarray] = [
        np.asarray(dataset[start : start + block])[rows[(rows >= start) & (rows < start + block)] - start]
        for start in range(0, int(rows[-1]) + 1, block)
    ]
    return np.concatenate(parts)
