"""The source faces of a sheet: rows of a face pack, or built-in people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import DataError
from lssl_augment.evaluation.edits import choose_sources
from lssl_augment.faces.pack import FacePack
from lssl_augment.synthesis.schema import AI_EDITED, AI_MADE

__all__ = ["SheetFaces", "WhichFaces", "load_sheet_faces"]

#: Split that faces are drawn from unless told otherwise: people whom the training should not have seen.
_SPLIT = "test"
_COUNT = 4


@dataclass(frozen=True)
class WhichFaces:
    """Which faces to show; None and empty: not said.

    Args:
        count: so many, of as many people, drawn with the seed. split: of a pack; None: ``test``.
        subjects: one face of each of these people instead. rows: these rows of the pack, or built-in people of these
            numbers, instead; in this order.
        classes: expressions that faces may show; empty: any that the generator knows.
        seed: of the draw, and of built-in people.

    Raises:
        DataError: wishes that exclude each other.
    """

    count: int | None = None
    split: str | None = None
    subjects: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rows:
            said = {"count": self.count, "split": self.split, "subjects": self.subjects, "source-classes": self.classes}
            _refuse(said, "--rows names the faces itself")
        if self.subjects:
            _refuse({"count": self.count}, "--subjects draws one face of each of the people")
        for name, values in (("rows", self.rows), ("subjects", self.subjects)):
            if len(set(values)) != len(values):
                raise DataError(f"--{name}: each once; got {', '.join(map(str, values))}")


@dataclass(frozen=True, eq=False)
class SheetFaces:
    """N sources.

    Attributes:
        images: ``(N, S, S, 3)`` uint8. dense: ``(N, 478, 3)`` float32 px, or None.
        labels: ``(N,)`` int64 in the generator's vocabulary, −1 where unknown.
        rows: ``(N,)`` int64, rows of the pack or numbers of built-in people.
        yaw_deg, lights: ``(N,)``, what a pack knows of them, or None.
        digital_source_type: IPTC URI of what is made from them.
    """

    images: np.ndarray
    dense: np.ndarray | None
    labels: np.ndarray
    rows: np.ndarray
    yaw_deg: np.ndarray | None
    lights: np.ndarray | None
    digital_source_type: str


def load_sheet_faces(pack: Path | None, which: WhichFaces, vocabulary: Vocabulary) -> SheetFaces:
    """Read faces of a pack, or draw built-in people (None).

    Raises:
        DataError: no face fits, rows that the pack lacks, or a wish that built-in people cannot meet.
        SchemaError: not a face pack.
    """
    if pack is None:
        return _built_in(which, vocabulary)
    with FacePack.open(pack) as opened:
        rows = _rows(opened, which, vocabulary)
        dense = opened.landmarks_dense
        mapping = vocabulary.mapping_from(opened.vocabulary)
        return SheetFaces(
            images=np.stack([opened.images[row] for row in rows.tolist()]),
            dense=None if dense is None else np.stack([dense[row] for row in rows.tolist()]),
            labels=np.array([mapping.get(int(label), -1) for label in opened.labels[rows]], np.int64),
            rows=rows,
            yaw_deg=opened.yaw_deg[rows],
            lights=opened.lights[rows],
            digital_source_type=AI_EDITED,
        )


def _rows(pack: FacePack, which: WhichFaces, vocabulary: Vocabulary) -> np.ndarray:
    if which.rows:
        wrong = [row for row in which.rows if not 0 <= row < len(pack)]
        if wrong:
            raise DataError(f"--rows: {pack.path.name} has rows 0 to {len(pack) - 1}; got {wrong[0]}")
        return np.array(which.rows, np.int64)
    rows = choose_sources(
        pack,
        vocabulary,
        split=which.split or _SPLIT,
        count=len(which.subjects) or which.count or _COUNT,
        classes=which.classes,
        per_subject=1,
        seed=which.seed,
        subjects=which.subjects,
    )
    if which.subjects:
        rows = rows[np.argsort([which.subjects.index(s) for s in pack.subjects[rows].tolist()])]
    return rows


def _built_in(which: WhichFaces, vocabulary: Vocabulary) -> SheetFaces:
    from lssl_augment.simulation.face_model import load_face_model
    from lssl_augment.synthesis.sources import BuiltinSource

    said = {"split": which.split, "subjects": which.subjects, "source-classes": which.classes}
    _refuse(said, "built-in people have no split, no names and neutral faces; --count, --rows and --seed choose them")
    rows = np.array(which.rows or range(which.count or _COUNT), np.int64)
    if rows.min() < 0:
        raise DataError(f"--rows: built-in people are counted from 0; got {rows.min()}")
    model = load_face_model()
    source = BuiltinSource(model, str(model.card["sha256"]), int(rows.max()) + 1, which.seed, vocabulary)
    images, dense = source.load(rows)
    return SheetFaces(images, dense, source.table.labels[rows], rows, None, None, AI_MADE)


def _refuse(said: Mapping[str, object], why: str) -> None:
    """Refuse options that were given (neither None nor empty) although ``why``."""
    given = [f"--{name}" for name, value in said.items() if value not in (None, ())]
    if given:
        raise DataError(f"{why}: leave {' and '.join(given)} away")
