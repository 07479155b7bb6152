"""Synthetic faces of an arm: made once for each (generator, fold, regime), kept in the run folder, shared by seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lssl_augment.attributes import Vocabulary
from lssl_augment.datasets.splits import TEST, TRAIN
from lssl_augment.errors import DataError, LeakageError
from lssl_augment.evaluation.benchmark.generators import Generator
from lssl_augment.evaluation.face_table import FaceTable, read_images
from lssl_augment.synthesis.config import GenerateConfig
from lssl_augment.synthesis.generate import estimate_run, generate_run
from lssl_augment.synthesis.plan import SourceTable
from lssl_augment.synthesis.run import Loaded, Run, load_parts, resolve_run
from lssl_augment.synthesis.schema import open_synthetic, read_info, read_texts
from lssl_augment.synthesis.sources import FaceSource

__all__ = ["SyntheticOrder", "make_synthetic", "read_synthetic", "seconds_of", "share_out"]


class _SomeSources:
    """Another source's faces, but only some of them."""

    def __init__(self, inner: FaceSource, rows: np.ndarray) -> None:
        self._inner = inner
        keep = np.isin(inner.table.ids, rows)
        if not keep.any():
            raise DataError("the fold leaves no face to start from")
        self.table = SourceTable(*(getattr(inner.table, c)[keep] for c in ("ids", "labels", "subjects", "folds")))
        self.digital_source_type = inner.digital_source_type
        self.held_out_subjects = inner.held_out_subjects

    def describe(self) -> dict[str, Any]:
        rows = hashlib.sha256(self.table.ids.astype("<i8").tobytes()).hexdigest()
        return {**self._inner.describe(), "faces": len(self.table), "rows_sha256": rows}

    def load(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        return self._inner.load(ids)


@dataclass(frozen=True, eq=False)
class SyntheticOrder:
    """What an arm wants.

    Args:
        out: file. generator: of the faces. pack, splits, fold: where sources are. rows: of the pack that may be
            sources. targets: faces wanted of each class. use: ``train``, or ``test`` for a judge, whose faces are
            never trained on. min_score: of the gate; 0: no gate. yaw: range of degrees that heads are turned to,
            where the generator can; None: none. device: of the generator.
    """

    out: Path
    generator: Generator
    pack: Path
    splits: Path
    fold: int
    rows: np.ndarray
    targets: Mapping[str, int]
    use: str = TRAIN
    min_score: float = 0.0
    yaw: tuple[float, float] | None = None
    device: str = "cpu"


def make_synthetic(order: SyntheticOrder) -> tuple[tuple[str, ...], bool]:
    """Make the file, or go on with it, or find it finished.

    Returns:
        Classes that the generator cannot make, and whether heads were turned.

    Raises:
        LeakageError: a source that is not of that use. DataError: it can make none of the classes.
    """
    run, cannot, turned = _resolve(order)
    generate_run(run)
    return cannot, turned


def seconds_of(order: SyntheticOrder) -> float:
    """What :func:`make_synthetic` would take, by one block of faces that is timed; 0 where the file is there."""
    return 0.0 if order.out.exists() else estimate_run(_resolve(order)[0]).seconds


def _resolve(order: SyntheticOrder) -> tuple[Run, tuple[str, ...], bool]:
    config = GenerateConfig(
        out=order.out,
        targets="uniform",
        per_class=1,
        source=order.pack,
        weights=order.generator.weights,
        splits=order.splits,
        fold=order.fold,
        split=order.use,
        allow_test_subjects=order.use == TEST,
        gate="gate" if order.min_score > 0 else None,
        min_score=order.min_score,
        device=order.device,
        resume=True,
    )
    loaded, source, gate = load_parts(config)
    turned = order.yaw is not None and getattr(loaded.engine, "turns_heads", False)
    config = replace(config, yaw=order.yaw if turned else None)
    can = {name: n for name, n in order.targets.items() if name in loaded.engine.vocabulary}
    cannot = tuple(name for name in order.targets if name not in can)
    if not can:
        raise DataError(f"the generator {order.generator.name} can make none of {', '.join(order.targets)}")
    config = replace(config, per_class=None, targets=",".join(f"{name}={n}" for name, n in can.items()))
    return resolve_run(config, _without_list(loaded), _SomeSources(source, order.rows), gate), cannot, turned


def read_synthetic(
    path: Path,
    generator: Generator,
    vocabulary: Vocabulary,
    cut_px: int,
    rows: np.ndarray,
    use: str = TRAIN,
) -> tuple[FaceTable, np.ndarray]:
    """The accepted faces of a file, in its order, and the pack's row each was made from; provenance checked.

    Raises:
        LeakageError: made by another generator, or from faces other than ``rows``, or of another use.
        DataError: no accepted face of these classes.
    """
    with open_synthetic(path) as file:
        info = read_info(file)
        if info.weights_sha256 != generator.sha256:
            raise LeakageError(f"{path.name} was made by another generator than {generator.name}; remove it")
        ids, folds = file["source_ids"][:], read_texts(file["folds"])
        strange = ~np.isin(ids, rows) | (folds != use)
        if strange.any() or info.test_subjects_allowed != (use == TEST):
            raise LeakageError(
                f"{path.name}: {int(strange.sum())} of {len(ids)} faces are not of the {use} faces of this fold; "
                "remove the file to make it again"
            )
        mapping = vocabulary.mapping_from(info.vocabulary)
        labels = np.array([mapping.get(int(label), -1) for label in file["labels"][:]], np.int64)
        chosen = np.flatnonzero((labels >= 0) & file["accepted"][:])
        if not len(chosen):
            raise DataError(f"{path.name} has no accepted face of {', '.join(vocabulary.names)}")
        images = read_images(file["images"], chosen, cut_px)
        subjects = read_texts(file["subjects"])[chosen]
    return FaceTable(images, torch.from_numpy(labels[chosen]), subjects, vocabulary.names), ids[chosen]


def share_out(table: FaceTable, amount: int) -> FaceTable:
    """The first ``amount`` faces of each class, so that a smaller amount is part of a larger one."""
    keep = [torch.nonzero(table.labels == c).flatten()[:amount] for c in range(len(table.classes))]
    return table.take(torch.cat(keep).sort().values)


def _without_list(loaded: Loaded) -> Loaded:
    """The benchmark has looked at the card's people already, and says what it found where the user insists."""
    training = loaded.card.get("training")
    if not isinstance(training, dict) or not isinstance(training.get("subjects"), list):
        return loaded
    return replace(loaded, card={**loaded.card, "training": {**training, "subjects": len(training["subjects"])}})
