"""One cell: one classifier, trained in one way with one seed on one fold, and what it says of the test faces."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lssl_augment.attributes import Vocabulary
from lssl_augment.datasets.split_file import read_splits
from lssl_augment.datasets.splits import TEST, TRAIN, check_apart
from lssl_augment.evaluation.batches import AugmentedFaces, BatchSource, StoredFaces
from lssl_augment.evaluation.benchmark.arms import Arm, find_arm
from lssl_augment.evaluation.benchmark.folds import FoldFaces, copies_across, fold_faces
from lssl_augment.evaluation.benchmark.generators import Generator, given_generator, train_generator
from lssl_augment.evaluation.benchmark.locks import lock_file
from lssl_augment.evaluation.benchmark.records import save_predictions
from lssl_augment.evaluation.benchmark.sequence_cells import run_sequence_cell
from lssl_augment.evaluation.benchmark.setup import Cell, CellSetup, cell_record
from lssl_augment.evaluation.benchmark.synthesis import (
    SyntheticOrder,
    make_synthetic,
    read_synthetic,
    seconds_of,
    share_out,
)
from lssl_augment.evaluation.classifiers import ClassifierConfig, build_network, predict, train_classifier
from lssl_augment.evaluation.controls import shuffle_labels
from lssl_augment.evaluation.edits import resize
from lssl_augment.evaluation.face_table import FaceTable, check_subjects_apart
from lssl_augment.evaluation.prior import with_prior
from lssl_augment.evaluation.protocol import BenchmarkProtocol
from lssl_augment.evaluation.statistics.cell_metrics import measure
from lssl_augment.faces.pack import FacePack
from lssl_augment.files import whole_file

__all__ = [
    "Cell",
    "CellSetup",
    "Drawn",
    "Result",
    "base_of",
    "cell_faces",
    "classifier_config",
    "derived_record",
    "draw_batches",
    "finish_cell",
    "making_s",
    "run_cell",
    "tested",
]


@dataclass(frozen=True, eq=False)
class Drawn:
    """What a classifier of single faces is trained on.

    Args:
        batches: draws them. synthetic: stored synthetic faces by class. generator: of synthetic faces, if any.
        notes: for the record.
    """

    batches: BatchSource
    synthetic: dict[str, int]
    generator: Generator | None
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Result:
    """What a trained classifier said of which faces, and what goes into the record beside it."""

    probabilities: np.ndarray
    test: FaceTable
    files: np.ndarray
    synthetic: dict[str, int]
    generator: Generator | None
    notes: tuple[str, ...]


def run_cell(setup: CellSetup, cell: Cell) -> dict[str, Any]:
    """Train, test, store the predictions; returns the record, which the caller appends.

    Raises:
        DataError, LeakageError, TrainingError, WeightsError: as of the steps.
    """
    arm = find_arm(cell.arm)
    if arm.sequences:
        return run_sequence_cell(setup, cell)
    begin = time.perf_counter()
    faces = cell_faces(setup, cell.fold, cell.regime, setup.protocol.face_size_px)
    run = _judge if setup.protocol.task == "judge" else _classify
    return finish_cell(setup, cell, faces, run(setup, cell, arm, faces), time.perf_counter() - begin)


def finish_cell(setup: CellSetup, cell: Cell, faces: FoldFaces, result: Result, seconds: float) -> dict[str, Any]:
    """Store the predictions of a cell of single faces; returns its record."""
    labels = result.test.labels.numpy()
    predictions = Path("cells") / f"{cell.name}.npz"
    save_predictions(
        setup.out / predictions, result.probabilities, labels, np.asarray(result.test.subjects), result.files
    )
    with FacePack.open(setup.pack) as pack, lock_file(setup.out / "duplicates.lock"):
        copies = copies_across(pack, faces.train_rows, faces.test_rows, setup.out / "duplicates.json")
    return cell_record(
        setup,
        cell,
        classifier=setup.protocol.classifier,
        classes=setup.classes,
        n_train=faces.train.counts,
        n_synthetic=result.synthetic,
        n_test=result.test.counts,
        steps=setup.protocol.steps,
        seconds=seconds,
        measured=measure(labels, result.probabilities, setup.classes),
        predictions=predictions,
        generator=result.generator,
        notes=[*faces.notes, copies, *result.notes],
    )


def base_of(cell: Cell) -> Cell | None:
    """The cell whose trained classifier this one uses; None: it trains its own."""
    of = find_arm(cell.arm).of
    return cell._replace(arm=of) if of else None


def derived_record(setup: CellSetup, cell: Cell, base: dict[str, Any]) -> dict[str, Any]:
    """The record of a cell that changes the predictions of another, whose record is given."""
    begin, exponent = time.perf_counter(), find_arm(cell.arm).prior
    with np.load(setup.out / base["predictions"]) as file:
        stored = {key: file[key] for key in ("probabilities", "labels", "subjects", "files")}
    stored["probabilities"] = with_prior(
        stored["probabilities"], [base["n_train"][name] for name in setup.classes], exponent
    )
    predictions = Path("cells") / f"{cell.name}.npz"
    save_predictions(setup.out / predictions, **stored)
    return {
        **base,
        **cell._asdict(),
        **measure(stored["labels"], stored["probabilities"], setup.classes),
        "predictions": predictions.as_posix(),
        "seconds": round(time.perf_counter() - begin, 3),
        "notes": [
            *base["notes"],
            f"the classifiers of {base['arm']}, class chances put back to the power {exponent:g}",
        ],
    }


def _classify(setup: CellSetup, cell: Cell, arm: Arm, faces: FoldFaces) -> Result:
    """Train as the arm says, test on real faces."""
    drawn = draw_batches(setup, cell, arm, faces)
    config = classifier_config(setup, cell.seed)
    model = train_classifier(drawn.batches, len(setup.classes), config, setup.device)
    return tested(drawn, faces, predict(model, faces.test.images).numpy())


def tested(drawn: Drawn, faces: FoldFaces, probabilities: np.ndarray) -> Result:
    """The result of a classifier that was trained on what was drawn."""
    return Result(probabilities, faces.test, faces.test_files, drawn.synthetic, drawn.generator, drawn.notes)


def draw_batches(setup: CellSetup, cell: Cell, arm: Arm, faces: FoldFaces) -> Drawn:
    """The batches of an arm of single faces; synthetic faces are made by the first cell that needs them."""
    protocol, train = setup.protocol, faces.train
    wanted = _wanted(setup, faces)
    how: dict[str, Any] = {"balanced": arm.sampling in ("balanced", "emptied"), "power": arm.power}
    how |= {"augmented": arm.change == "ordinary", "change": _change(arm), "mix": _mix(arm)}
    synthetic: dict[str, int] = {}
    generator: Generator | None = None
    notes: list[str] = []
    if arm.sampling == "emptied":
        how["emptied"] = _shares(protocol, train, wanted)
        notes.append("rare classes are drawn less often, by what synthetic faces would take of their places")
    if arm.extra == "upsampled":
        copies = [_repeated(train, label, cell.amount or 0) for label in wanted]
        train = train.take(torch.cat([torch.arange(len(train)), *copies]))
    elif arm.extra == "stored":
        generator, table, notes = _stored(setup, arm, faces, cell, wanted, TRAIN)
        check_subjects_apart(faces.test, table)
        check_apart(table.subjects.tolist(), faces.test.subjects.tolist(), "among the synthetic faces")
        if arm.shuffled:
            table = shuffle_labels(table, cell.seed)
            notes.append("a control: the labels of the synthetic faces are shuffled")
        synthetic = {name: n for name, n in table.counts.items() if n}
        if protocol.worth > 0:
            made = [label for label in wanted if (table.labels == label).any()]
            how |= {"synthetic": StoredFaces(table, made), "shares": _shares(protocol, train, made)}
            worth = f"{protocol.worth:g}"
            notes.append(f"synthetic faces of a class with n real ones take {worth} / ({worth} + n) of its places")
        else:
            train = _joined(train, table)
    elif arm.extra == "loop":
        generator = _generator(setup, arm, faces, cell)
        how |= _loop(setup, generator, faces, wanted)
        notes = [*generator.notes, "synthetic faces were made while training"]
    return Drawn(BatchSource(train, protocol.batch, **how), synthetic, generator, tuple(notes))


def _judge(setup: CellSetup, cell: Cell, arm: Arm, faces: FoldFaces) -> Result:
    """A judge trained on real faces names real test faces, or faces generated from the test people."""
    from safetensors.torch import load_file, save_file

    path = setup.out / "judges" / f"{cell.regime}-fold{cell.fold}-seed{cell.seed}.safetensors"
    protocol = setup.protocol
    if path.exists():
        model = build_network(protocol.classifier, len(setup.classes), cell.seed, protocol.face_size_px)
        model.load_state_dict(load_file(path))
        model = model.to(setup.device).eval()
    else:
        batches = BatchSource(faces.train, protocol.batch, balanced=True, augmented=True)
        model = train_classifier(batches, len(setup.classes), classifier_config(setup, cell.seed), setup.device)
        with whole_file(path) as file:
            save_file({key: value.contiguous() for key, value in model.state_dict().items()}, file)
    if not arm.generator:
        probabilities = predict(model, faces.test.images).numpy()
        return Result(probabilities, faces.test, faces.test_files, {}, None, ("judge on real test faces",))
    generator, table, notes = _stored(setup, arm, faces, cell, _everything(setup), TEST)
    check_subjects_apart(table, faces.train)
    files = np.array([f"generated-{i:06d}" for i in range(len(table))])
    notes = ["judge on faces generated from the test people; labels are the targets", *notes]
    synthetic = {name: n for name, n in table.counts.items() if n}
    return Result(predict(model, table.images).numpy(), table, files, synthetic, generator, tuple(notes))


def _stored(
    setup: CellSetup, arm: Arm, faces: FoldFaces, cell: Cell, wanted: tuple[int, ...], use: str
) -> tuple[Generator, FaceTable, list[str]]:
    """The synthetic faces of an arm, made by the first cell that needs them."""
    generator = _generator(setup, arm, faces, cell)
    order = _order(setup, arm, faces, cell, wanted, use, generator)
    order.out.parent.mkdir(parents=True, exist_ok=True)
    with lock_file(order.out.with_suffix(".lock")):
        cannot, turned = make_synthetic(order)
    vocabulary = Vocabulary(setup.classes)
    table, _ = read_synthetic(order.out, generator, vocabulary, setup.protocol.face_size_px, order.rows, use)
    notes = [*generator.notes]
    if cannot:
        notes.append(f"the generator cannot make {', '.join(cannot)}: no synthetic faces of these")
    if setup.wishes.yaw is not None:
        low, high = setup.wishes.yaw
        notes.append(f"heads turned to {low:g}:{high:g} degrees" if turned else "this generator turns no heads")
    gate = setup.wishes.min_score
    notes.append(f"gate: faces that scored under {gate:g} were left out" if gate > 0 else "gate: none")
    return generator, share_out(table, cell.amount or max(setup.protocol.amounts)), notes


def _order(
    setup: CellSetup,
    arm: Arm,
    faces: FoldFaces,
    cell: Cell,
    wanted: tuple[int, ...],
    use: str,
    generator: Generator,
) -> SyntheticOrder:
    key = arm.generator.replace(":", "_").replace("/", "_")
    return SyntheticOrder(
        out=setup.out / "synthetic" / f"{key}-{cell.regime}-fold{cell.fold}-{use}.h5",
        generator=generator,
        pack=setup.pack,
        splits=setup.splits,
        fold=cell.fold,
        rows=faces.train_rows if use == TRAIN else faces.test_rows,
        targets={setup.classes[label]: max(setup.protocol.amounts) for label in wanted},
        use=use,
        min_score=setup.wishes.min_score,
        yaw=setup.wishes.yaw,
        device=setup.device,
    )


def making_s(setup: CellSetup, cell: Cell) -> float:
    """Seconds that the synthetic faces of a cell will take, by one block of them that is timed; 0 where none are
    stored, where they are there, and where their generator has still to be trained.
    """
    arm = find_arm(cell.arm)
    if arm.extra != "stored" or (arm.generator not in setup.wishes.weights and setup.wishes.trains):
        return 0.0
    faces = cell_faces(setup, cell.fold, cell.regime, setup.protocol.face_size_px)
    judge = setup.protocol.task == "judge"
    wanted = _everything(setup) if judge else _wanted(setup, faces)
    return seconds_of(
        _order(setup, arm, faces, cell, wanted, TEST if judge else TRAIN, _generator(setup, arm, faces, cell))
    )


def _everything(setup: CellSetup) -> tuple[int, ...]:
    return tuple(range(len(setup.classes)))


def _wanted(setup: CellSetup, faces: FoldFaces) -> tuple[int, ...]:
    """Classes that synthetic faces are made of."""
    return (faces.rare or _everything(setup)) if setup.protocol.targets == "rare" else _everything(setup)


def _generator(setup: CellSetup, arm: Arm, faces: FoldFaces, cell: Cell) -> Generator:
    key, wishes = arm.generator, setup.wishes
    with FacePack.open(setup.pack) as pack:
        if key in wishes.weights or not wishes.trains:
            return given_generator(key, wishes, pack, read_splits(setup.splits), cell.fold, cell.regime)
        folder = setup.out / "generators" / f"{key}-{cell.regime}-fold{cell.fold}"
        folder.mkdir(parents=True, exist_ok=True)
        with lock_file(folder / "lock"):
            return train_generator(
                key,
                wishes,
                pack,
                Vocabulary(setup.classes),
                faces.train_rows,
                setup.splits,
                cell.fold,
                folder,
                device=setup.device,
                command=setup.command,
            )


def _loop(setup: CellSetup, generator: Generator, faces: FoldFaces, wanted: tuple[int, ...]) -> dict[str, Any]:
    from lssl_augment.models.bundle import load_model
    from lssl_augment.transforms.augment import LSSLAugment

    bundle = load_model(generator.weights)
    can = [label for label in wanted if setup.classes[label] in bundle.vocabulary]
    shares = _shares(setup.protocol, faces.train, can)
    # Classes are drawn alike, so the places of each are as many as its share says.
    targets: dict[str | int, float] = {setup.classes[label]: share for label, share in shares.items()}
    large = cell_faces(setup, faces.fold, faces.regime, None).train
    large = replace(large, images=resize(large.images, bundle.face_size_px))
    augment = LSSLAugment(p=1.0, targets=targets, classes=setup.classes, weights=generator.weights, seed=0)
    made = AugmentedFaces(large, augment, setup.protocol.face_size_px)
    return {"synthetic": made, "shares": shares}


def _shares(protocol: BenchmarkProtocol, train: FaceTable, labels: Sequence[int]) -> dict[int, float]:
    """Label → part of its places that synthetic faces take. Half where ``worth`` is 0: faces made in a loop cannot be
    put among the real ones, and arm ``emptied`` has none to count.
    """
    real = list(train.counts.values())
    return {label: protocol.worth / (protocol.worth + real[label]) or 0.5 for label in labels}


def classifier_config(setup: CellSetup, seed: int) -> ClassifierConfig:
    """How the classifiers of a run are trained."""
    protocol = setup.protocol
    return ClassifierConfig(
        name=protocol.classifier,
        steps=protocol.steps,
        learning_rate=protocol.learning_rate,
        seed=seed,
        face_size_px=protocol.face_size_px,
    )


def _change(arm: Arm) -> Any:
    from lssl_augment.evaluation.rand_augment import RandAugment

    return RandAugment() if arm.change == "randaugment" else None


def _mix(arm: Arm) -> Any:
    from lssl_augment.evaluation.mixing import CutMix, MixUp

    return {"none": None, "mixup": MixUp(), "cutmix": CutMix()}[arm.mix]


def _repeated(table: FaceTable, label: int, amount: int) -> torch.Tensor:
    rows = torch.nonzero(table.labels == label).flatten()
    return rows.repeat(-(-amount // len(rows)))[:amount]


def _joined(real: FaceTable, made: FaceTable) -> FaceTable:
    return FaceTable(
        torch.cat([real.images, made.images]),
        torch.cat([real.labels, made.labels]),
        np.concatenate([real.subjects, made.subjects]),
        real.classes,
    )


def cell_faces(setup: CellSetup, fold: int, regime: str, cut_px: int | None) -> FoldFaces:
    """Faces of a fold, read once for cells that follow each other."""
    key = setup.pack, setup.splits, fold, regime, setup.classes, cut_px, setup.protocol.key_frames
    return _read_faces(*key)


@lru_cache(maxsize=2)
def _read_faces(
    pack: Path, splits: Path, fold: int, regime: str, classes: tuple[str, ...], cut_px: int | None, key_frames: bool
) -> FoldFaces:
    with FacePack.open(pack) as opened:
        return fold_faces(opened, read_splits(splits), fold, regime, Vocabulary(classes), cut_px, key_frames=key_frames)
