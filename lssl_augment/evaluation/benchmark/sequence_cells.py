"""One cell of a sequence classifier: trained on sequences of the fold's training people, tested on its test people's.

What is tested is another thing than in every other arm, so these cells say so in their record, have classes of their
own (a sequence begins neutral and is never called so), and are compared with each other alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lssl_augment.datasets.split_file import SplitFile, read_splits
from lssl_augment.errors import DataError
from lssl_augment.evaluation.benchmark.folds import copies_across
from lssl_augment.evaluation.benchmark.locks import lock_file
from lssl_augment.evaluation.benchmark.records import SEQUENCE, save_predictions
from lssl_augment.evaluation.benchmark.setup import Cell, CellSetup, cell_record
from lssl_augment.evaluation.protocol import BenchmarkProtocol
from lssl_augment.evaluation.sequences import (
    SequenceTable,
    build_sequence_classifier,
    fold_sequences,
    parse_sequence_settings,
)
from lssl_augment.evaluation.sequences.table import find_sequences
from lssl_augment.evaluation.statistics.cell_metrics import measure
from lssl_augment.faces.pack import FacePack

__all__ = ["SEQUENCE_REGIME", "run_sequence_cell", "sequence_classes", "why_no_sequences"]

#: The one regime that sequence classifiers run in: the others thin single faces.
SEQUENCE_REGIME = "full"


def sequence_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """Of the classes of a run, those that a sequence can have."""
    return tuple(name for name in classes if name != "neutral")


def why_no_sequences(
    protocol: BenchmarkProtocol, pack: FacePack, splits: SplitFile, folds: int, classes: Sequence[str]
) -> str:
    """Why sequence classifiers cannot run here; empty: they can. No picture is read.

    Args:
        folds: that are run. classes: of the run, neutral among them or not.
    """
    if protocol.task == "judge":
        return f"a sequence classifier names real sequences, and {protocol.name} judges generated faces"
    if SEQUENCE_REGIME not in protocol.regimes:
        told = ", ".join(protocol.regimes)
        return f"sequence classifiers run in the regime {SEQUENCE_REGIME} only; got {told}, which thin single faces"
    try:
        for fold in range(folds):
            train, test = (
                find_sequences(pack, splits.rows(pack, fold, use), sequence_classes(classes))
                for use in ("train", "test")
            )
            empty = [word for label, word in enumerate(train.classes) if not (train.labels == label).any()]
            if empty or not len(test):
                none = ", ".join(empty) or "no class"
                return f"fold {fold} has {len(test)} test sequences, and no training sequence of {none}"
    except DataError as error:
        return str(error)
    return ""


def run_sequence_cell(setup: CellSetup, cell: Cell) -> dict[str, Any]:
    """Train, test, store the predictions; returns the record, which the caller appends.

    Raises:
        DataError, LeakageError, TrainingError: as of the steps.
    """
    begin = time.perf_counter()
    settings = parse_sequence_settings(setup.protocol.sequence_settings)
    train, test = _tables(
        setup.pack, setup.splits, cell.fold, sequence_classes(setup.classes), settings.frames, settings.size_px
    )
    model: Any = build_sequence_classifier(
        cell.arm, len(train.classes), seed=cell.seed, device=setup.device, **settings.arguments[cell.arm]
    )
    model.fit(train.videos, train.landmarks, train.labels)
    probabilities = model.predict_proba(test.videos, test.landmarks)
    predictions = Path("cells") / f"{cell.name}.npz"
    save_predictions(setup.out / predictions, probabilities, test.labels, test.subjects, test.names)
    with FacePack.open(setup.pack) as pack, lock_file(setup.out / "duplicates.lock"):
        splits = read_splits(setup.splits)
        train_rows, test_rows = (splits.rows(pack, cell.fold, use) for use in ("train", "test"))
        copies = copies_across(pack, train_rows, test_rows, setup.out / "duplicates.json")
        blended = _blended(pack, np.concatenate([train_rows, test_rows]))
    notes = [f"{cell.arm} was trained and tested on sequences of {settings.frames} frames", *blended, copies]
    for use, table in (("training", train), ("test", test)):
        notes += [f"fold {cell.fold}: {n} {use} sequences left out: {why}" for why, n in table.left_out.items()]
    if cell.arm == "hog3d":
        notes.append("hog3d draws nothing: its seeds are equal")
    return cell_record(
        setup,
        cell,
        classifier=cell.arm,
        classes=train.classes,
        n_train=_counts(train),
        n_test=_counts(test),
        steps=_optimiser_steps(model.settings),
        seconds=time.perf_counter() - begin,
        measured=measure(test.labels, probabilities, train.classes),
        predictions=predictions,
        notes=notes,
        test_item=SEQUENCE,
        sequence_settings={"frames": settings.frames, "size_px": settings.size_px, **model.settings},
    )


def _counts(table: SequenceTable) -> dict[str, int]:
    return {word: int((table.labels == label).sum()) for label, word in enumerate(table.classes)}


def _optimiser_steps(settings: dict[str, Any]) -> int:
    """Of ``dtagn``, whose two networks are trained by themselves and then together; the others have none."""
    return 2 * settings["steps"] + settings["joint_steps"] if "joint_steps" in settings else 0


def _blended(pack: FacePack, rows: np.ndarray) -> list[str]:
    """A note where the pack lacks frames between the first and the last of its sequences."""
    found = [part for part in find_sequences(pack, rows).rows]
    held = sum(len(part) for part in found)
    numbered = sum(int(pack.frames[part[-1]] - pack.frames[part[0]]) + 1 for part in found)
    if held == numbered:
        return []
    return [
        f"the pack holds {held} of the {numbered} frames of its sequences; blends stand in for the others. Prepare it "
        "with --frames all"
    ]


@lru_cache(maxsize=1)
def _tables(
    pack: Path, splits: Path, fold: int, classes: tuple[str, ...], frames: int, size_px: int
) -> tuple[SequenceTable, SequenceTable]:
    with FacePack.open(pack) as opened:
        return fold_sequences(opened, read_splits(splits), fold, frames=frames, size_px=size_px, classes=classes)
