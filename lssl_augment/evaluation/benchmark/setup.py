"""Which cell, what all cells of a run share, and the record that they leave behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lssl_augment.evaluation.benchmark.generators import Generator, GeneratorWishes
from lssl_augment.evaluation.benchmark.records import FACE, SCHEMA_VERSION
from lssl_augment.evaluation.protocol import BenchmarkProtocol

__all__ = ["Cell", "CellSetup", "cell_of", "cell_record"]


class Cell(NamedTuple):
    """Which cell; ``amount`` is None where the arm has none."""

    regime: str
    arm: str
    amount: int | None
    fold: int
    seed: int

    @property
    def name(self) -> str:
        """A name for files."""
        amount = "" if self.amount is None else f"-{self.amount}"
        return f"{self.regime}-{self.arm.replace(':', '_').replace('/', '_')}{amount}-fold{self.fold}-seed{self.seed}"


@dataclass(frozen=True)
class CellSetup:
    """What all cells of a run share; pickles.

    Args:
        protocol: with the user's changes. pack, out: files. classes: in the order of the labels. wishes: for
            generators. device: of classifiers and generators. simulated: the pack is a stand-in.
        notes: for every record. environment, git_commit, command: for every record.
    """

    protocol: BenchmarkProtocol
    pack: Path
    out: Path
    classes: tuple[str, ...]
    wishes: GeneratorWishes
    device: str
    simulated: bool
    notes: tuple[str, ...]
    environment: dict[str, Any]
    git_commit: str
    command: str

    @property
    def splits(self) -> Path:
        return self.out / "splits.json"


def cell_of(record: Mapping[str, Any]) -> Cell:
    """Whose record it is."""
    return Cell(*(record[key] for key in Cell._fields))


def cell_record(
    setup: CellSetup,
    cell: Cell,
    *,
    classifier: str,
    classes: Sequence[str],
    n_train: Mapping[str, int],
    n_test: Mapping[str, int],
    steps: int,
    seconds: float,
    measured: Mapping[str, Any],
    predictions: Path,
    notes: Sequence[str],
    n_synthetic: Mapping[str, int] | None = None,
    generator: Generator | None = None,
    test_item: str = FACE,
    sequence_settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The line of a finished cell, as :func:`~.records.check_record` wants it.

    Args:
        classifier: what was trained. classes: in the order of the labels. n_train, n_test, n_synthetic: test items (or
            faces trained on) by class. steps: of the optimiser. seconds: of the cell. measured: of
            :func:`~lssl_augment.evaluation.statistics.measure`. predictions: relative to ``setup.out``. notes: after
            the run's. test_item: ``face`` or ``sequence``. sequence_settings: of a sequence classifier.
    """
    record = {
        "schema_version": SCHEMA_VERSION,
        "protocol": setup.protocol.name,
        "dataset": setup.protocol.dataset,
        "simulated": setup.simulated,
        **cell._asdict(),
        "test_item": test_item,
        "classifier": classifier,
        "classes": list(classes),
        "n_train": dict(n_train),
        "n_synthetic": dict(n_synthetic or {}),
        "n_test": dict(n_test),
        "steps": steps,
        "seconds": round(seconds, 3),
        **measured,
        "predictions": predictions.as_posix(),
        "generator": None if generator is None else generator.record(),
        "environment": setup.environment,
        "git_commit": setup.git_commit,
        "command": setup.command,
        "notes": [*setup.notes, *notes],
    }
    return record if sequence_settings is None else record | {"sequence_settings": dict(sequence_settings)}
