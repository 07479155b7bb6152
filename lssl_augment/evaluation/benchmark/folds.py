"""The faces of one fold in one regime: whom to train on, whom to test on, split first and by subject."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lssl_augment.attributes import Vocabulary
from lssl_augment.datasets.duplicates import find_duplicates
from lssl_augment.datasets.protocols import find_protocol
from lssl_augment.datasets.sequences import key_faces
from lssl_augment.datasets.split_file import SplitFile, make_splits, pack_fingerprint, read_splits
from lssl_augment.datasets.splits import check_apart
from lssl_augment.errors import DataError
from lssl_augment.evaluation.face_table import FaceTable, read_images
from lssl_augment.evaluation.protocol import BenchmarkProtocol, regime_parts
from lssl_augment.faces.pack import FacePack
from lssl_augment.files import write_text

__all__ = ["FoldFaces", "classes_of", "copies_across", "divide_pack", "fold_faces"]

_YAW_STEP_DEG = 15.0


@dataclass(frozen=True, eq=False)
class FoldFaces:
    """The faces of one fold in one regime.

    Args:
        fold, regime: which. train, test: at the asked size. train_rows, test_rows: of the pack, increasing.
        test_files: of the test faces. rare: labels of the classes with less than half of an even share of the
            training part before the regime thins it. notes: for the record.
    """

    fold: int
    regime: str
    train: FaceTable
    test: FaceTable
    train_rows: np.ndarray
    test_rows: np.ndarray
    test_files: np.ndarray
    rare: tuple[int, ...]
    notes: tuple[str, ...] = ()


def classes_of(protocol: BenchmarkProtocol, pack: FacePack) -> Vocabulary:
    """The expressions of a run: those of the protocol, or of the pack those that have a face."""
    if protocol.classes:
        return Vocabulary(protocol.classes)
    present = set(pack.labels[pack.labels >= 0].tolist())
    return Vocabulary(tuple(name for label, name in enumerate(pack.vocabulary.names) if label in present))


def divide_pack(protocol: BenchmarkProtocol, pack: FacePack, out: Path, *, fixed: bool) -> tuple[SplitFile, list[str]]:
    """The split of a run, written to ``out`` the first time and read from there afterwards.

    Returns:
        The split file, and what the report must say about it.

    Raises:
        DataError: the pack cannot be divided so, or is not the one that was divided.
    """
    notes = []
    official = find_protocol(protocol.split).kind == "official"
    names = [protocol.fixed_split or protocol.split] if fixed and not official else [protocol.split]
    if official and protocol.fixed_split:
        names.append(protocol.fixed_split)  # for copies that lack a part
    if fixed and not official:
        notes.append("one fixed split by subject instead of folds: intervals come from seeds and test subjects only")
    if out.exists():
        splits = read_splits(out)
        splits.check(pack)
    else:
        for name in names:
            try:
                splits = make_splits(pack, find_protocol(name))
                break
            except DataError:
                if name == names[-1]:
                    raise
        splits.write(out)
    if splits.protocol != names[0]:
        notes.append(f"tested by the split {splits.protocol}, as this pack lacks what {names[0]} needs")
    return splits, [*notes, *splits.notes]


def fold_faces(
    pack: FacePack,
    splits: SplitFile,
    fold: int,
    regime: str,
    vocabulary: Vocabulary,
    cut_px: int | None,
    *,
    key_frames: bool = False,
) -> FoldFaces:
    """Read one fold. What a regime keeps depends on (fold, regime) alone: all arms and seeds see the same faces.

    Args:
        cut_px: faces as a classifier of that size sees them; None: whole, at the pack's size.
        key_frames: of sequences, the neutral first frame and the last three only.

    Raises:
        DataError: a class without a training face, no test face, or a regime that the pack cannot serve.
        LeakageError: a subject on both sides.
    """
    mapping = vocabulary.mapping_from(pack.vocabulary)
    labels = np.array([mapping.get(int(label), -1) for label in pack.labels], np.int64)
    if key_frames:
        labels[~key_faces(pack.sequences, pack.frames, pack.intensities)] = -1
    train, test = (rows[labels[rows] >= 0] for rows in (splits.train_rows(pack, fold), splits.test_rows(pack, fold)))
    check_apart(pack.subjects[train].tolist(), pack.subjects[test].tolist())
    kind, value = regime_parts(regime)
    notes = []
    if kind == "yaw":
        train, test = (rows[_near_yaw(pack.yaw_deg[rows], value)] for rows in (train, test))
        notes.append(f"faces turned by {value:g} degrees to either side, in training and in test")
    counts = np.bincount(labels[train], minlength=len(vocabulary))
    empty = [name for name, n in zip(vocabulary.names, counts, strict=True) if n == 0]
    if empty or not len(test):
        raise DataError(
            f"fold {fold}, regime {regime}: {len(test)} test faces and no training face of {', '.join(empty) or 'none'}"
        )
    rare = tuple(int(c) for c in np.flatnonzero(counts < 0.5 * counts.sum() / len(counts)))
    if kind == "share" and value < 100:
        keep = {c: max(1, round(n * value / 100)) for c, n in enumerate(counts)}
        train = _thin(train, labels, keep, f"{fold}:{regime}")
    if kind == "rare":
        train = _thin(train, labels, {c: int(value) for c in rare}, f"{fold}:{regime}")
    return FoldFaces(
        fold=fold,
        regime=regime,
        train=_table(pack, train, labels, vocabulary, cut_px),
        test=_table(pack, test, labels, vocabulary, cut_px),
        train_rows=train,
        test_rows=test,
        test_files=pack.files[test],
        rare=rare,
        notes=tuple(notes),
    )


def copies_across(pack: FacePack, train_rows: np.ndarray, test_rows: np.ndarray, cache: Path) -> str:
    """Near-duplicates between the training and the test faces of a fold, found and counted, in a sentence.

    The pairs of the whole pack are looked for once and kept in ``cache``.
    """
    fingerprint = pack_fingerprint(pack)
    pairs: list[list[int]] | None = None
    if cache.exists():
        stored = json.loads(cache.read_text(encoding="utf-8"))
        pairs = stored["pairs"] if stored["fingerprint"] == fingerprint else None
    if pairs is None:
        pairs = [[pair.i, pair.j] for pair in find_duplicates(pack.images)]
        write_text(cache, json.dumps({"fingerprint": fingerprint, "pairs": pairs}))
    side = np.zeros(len(pack), np.int8)
    side[train_rows], side[test_rows] = 1, 2
    across = sum(1 for i, j in pairs if {int(side[i]), int(side[j])} == {1, 2})
    return f"near-duplicates between training and test faces: {across} pairs (kept in; found by datasets.duplicates)"


def _thin(rows: np.ndarray, labels: np.ndarray, keep: dict[int, int], key: str) -> np.ndarray:
    """At most so many rows of each label, by a hash of (key, row)."""
    left = []
    for label in np.unique(labels[rows]).tolist():
        own = rows[labels[rows] == label]
        order = sorted(own.tolist(), key=lambda row: hashlib.sha256(f"{key}:{row}".encode()).hexdigest())
        left += order[: keep.get(label, len(order))]
    return np.array(sorted(left), np.int64)


def _near_yaw(yaw_deg: np.ndarray, wanted: float) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        near: np.ndarray = np.abs(np.abs(yaw_deg) - wanted) < _YAW_STEP_DEG / 2
    return near


def _table(
    pack: FacePack, rows: np.ndarray, labels: np.ndarray, vocabulary: Vocabulary, cut_px: int | None
) -> FaceTable:
    images = read_images(pack.images, rows, cut_px)
    return FaceTable(images, torch.from_numpy(labels[rows]), pack.subjects[rows], vocabulary.names)
