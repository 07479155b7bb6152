"""What a benchmark does with a data set: one YAML file each, read into a frozen value."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from importlib import resources
from typing import Any

from lssl_augment.errors import DataError

__all__ = ["PROTOCOL_NAMES", "TASKS", "BenchmarkProtocol", "parse_protocol", "read_protocol", "regime_parts"]

PROTOCOL_NAMES = ("oulu", "mug", "bu3dfe", "rafd", "fer2013", "lfw-expressions", "folder")
#: ``classify``: classifiers trained in several ways are tested on real faces. ``judge``: a classifier trained on real
#: faces names faces that were generated from the test people.
TASKS = ("classify", "judge")


@dataclass(frozen=True)
class BenchmarkProtocol:
    """One benchmark.

    Args:
        name: as typed. dataset: of the registry. source: where the protocol comes from.
        task: one of :data:`TASKS`.
        split: of :mod:`lssl_augment.datasets.protocols`. fixed_split: a single split by subject for machines that
            cannot train a generator for each fold; empty: fold 0 of ``split`` stands in.
        fixed: use the single split unless all folds are asked for.
        classes: expressions in the order of the labels; empty: those of the pack that have a face.
        classifier: name of a network. face_size_px: side of its faces. steps: optimiser steps of every arm.
        least_steps: as few as a budget may cut them to. batch: faces a batch. learning_rate: peak.
        arms: in the order they are run. first_arms: run, with every seed, before any other arm.
        amounts: synthetic faces for each target class. targets: ``rare`` (classes with less than half of an even
            share) or ``all``.
        worth: real faces that all synthetic faces of a class together stand for: of a class with n real ones they
            take worth / (worth + n) of the places in a batch. 0: they are put among the real ones and drawn alike.
        regimes: ``full``, ``share-P`` (P % of the training faces of each class), ``rare-N`` (N real faces in each
            rare class), ``yaw-D`` (faces turned by about D degrees to either side, in training and test).
        released: weights of the package that arm ``lssl`` uses where neither weights nor training are asked for.
        seeds: how many.
        key_frames: of sequences that rise to a peak, classifiers of single faces see the neutral first frame and the
            last three only, whichever the pack holds.
        sequence_settings: of the sequence classifiers among the arms, as of
            :func:`lssl_augment.evaluation.sequences.parse_sequence_settings`.

    Raises:
        DataError: a value out of range.
    """

    name: str
    dataset: str
    source: str
    split: str
    arms: tuple[str, ...]
    first_arms: tuple[str, ...]
    amounts: tuple[int, ...]
    regimes: tuple[str, ...]
    task: str = "classify"
    fixed_split: str = ""
    fixed: bool = False
    classes: tuple[str, ...] = ()
    classifier: str = "resnet18"
    face_size_px: int = 64
    steps: int = 1000
    least_steps: int = 150
    batch: int = 64
    learning_rate: float = 1e-3
    targets: str = "all"
    worth: float = 0.0
    released: str = "lfw-fer-128"
    seeds: int = 5
    key_frames: bool = False
    sequence_settings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checks = {
            "task": (self.task in TASKS, f"one of {', '.join(TASKS)}"),
            "targets": (self.targets in ("rare", "all"), "rare or all"),
            "worth": (0 <= self.worth < math.inf, "0 or more faces"),
            "steps": (self.steps >= 1, "at least 1"),
            "least_steps": (self.least_steps >= 1, "at least 1"),
            "batch": (self.batch >= 2, "at least 2"),
            "seeds": (self.seeds >= 1, "at least 1"),
            "face_size_px": (self.face_size_px >= 16, "at least 16"),
            "arms": (bool(self.arms) and len(set(self.arms)) == len(self.arms), "distinct, at least one"),
            "amounts": (bool(self.amounts) and min(self.amounts) >= 1, "at least 1 each"),
            "regimes": (bool(self.regimes), "at least one"),
        }
        for name, (fine, allowed) in checks.items():
            if not fine:
                raise DataError(f"{name} of a benchmark must be {allowed}; got {getattr(self, name)!r}")
        for regime in self.regimes:
            regime_parts(regime)


def regime_parts(regime: str) -> tuple[str, float]:
    """``'rare-25'`` → ``('rare', 25.0)``, ``'full'`` → ``('full', 0.0)``; ``DataError`` for anything else."""
    kind, _, number = regime.partition("-")
    if regime == "full":
        return "full", 0.0
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    fine = {"share": 0 < value <= 100, "rare": value >= 1 and value == int(value), "yaw": 0 <= value <= 90}
    if not fine.get(kind, False):
        raise DataError(
            f"unknown regime {regime!r}; regimes are full, share-P (0 < P <= 100 %), rare-N (N >= 1 faces) and yaw-D "
            "(0 to 90 degrees)"
        )
    return kind, value


def read_protocol(name: str) -> BenchmarkProtocol:
    """The protocol of that name, from the package's YAML files.

    Raises:
        DataError: there is none.
    """
    if name not in PROTOCOL_NAMES:
        raise DataError(f"unknown benchmark {name!r}; known: {', '.join(PROTOCOL_NAMES)}")
    file = resources.files("lssl_augment.evaluation") / "protocols" / f"{name}.yaml"
    return parse_protocol(file.read_text(encoding="utf-8"), name)


def parse_protocol(text: str, where: str) -> BenchmarkProtocol:
    """A protocol from YAML.

    Args:
        text: the YAML. where: its name, for messages.

    Raises:
        DataError: not a mapping, unknown or missing keys, values of another type or out of range.
    """
    import yaml

    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"{where} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise DataError(f"{where} must be a mapping of settings; got {type(values).__name__}")
    known = {field.name: str(field.type) for field in fields(BenchmarkProtocol)}
    unknown = sorted(set(map(str, values)) - set(known))
    if unknown:
        raise DataError(f"{where} has unknown settings {', '.join(unknown)}; allowed: {', '.join(known)}")
    converted = {key: _convert(value, known[key], key, where) for key, value in values.items()}
    try:
        return BenchmarkProtocol(**converted)
    except TypeError as error:
        raise DataError(f"{where} is incomplete: {error}") from error


def _convert(value: Any, kind: str, key: str, where: str) -> Any:
    inner = {"tuple[str, ...]": str, "tuple[int, ...]": int}.get(kind)
    if inner is not None and isinstance(value, list) and all(type(v) is inner for v in value):
        return tuple(value)
    if kind == "float" and type(value) in (int, float):
        return float(value)
    if kind in ("str", "int", "bool") and type(value).__name__ == kind:
        return value
    raise DataError(f"{key} in {where} must be {kind}; got {value!r}")
