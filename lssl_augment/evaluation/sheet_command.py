"""From stored weights to a sheet of edits, like the figures 1 and 2 of Bozorgtabar et al. 2019."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lssl_augment.errors import DataError
from lssl_augment.evaluation.edits import donor_seed, resize, scale_dense
from lssl_augment.evaluation.sheet_columns import (
    Column,
    intensity_columns,
    mixed_columns,
    parse_intensities,
    target_columns,
)
from lssl_augment.evaluation.sheet_sources import SheetFaces, WhichFaces, load_sheet_faces
from lssl_augment.models.bundle import load_model
from lssl_augment.models.device import resolve_device
from lssl_augment.models.engine import ExpressionEngine
from lssl_augment.models.target_vectors import Mixture
from lssl_augment.synthesis.making import to_uint8
from lssl_augment.synthesis.sheet import contact_sheet, save_sheet

__all__ = ["Sheet", "SheetWish", "draw_edits", "edit_columns", "write_edits"]

_STEPS = 5


@dataclass(frozen=True)
class SheetWish:
    """What to draw; see ``lssl-augment sheet --help``.

    Args:
        weights: name or path of a generator. pack: a face pack, or None for built-in people.
        faces: which of them.
        targets: names of targets; empty: all. intensity: numbers as text, of the one target; None: full.
        between: two expressions; empty: none. steps: columns from one to the other; None: 5.
        device: where to run.

    Raises:
        DataError: options that exclude each other.
    """

    weights: str
    pack: Path | None = None
    faces: WhichFaces = field(default_factory=WhichFaces)
    targets: tuple[str, ...] = ()
    intensity: str | None = None
    between: tuple[str, ...] = ()
    steps: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.between and (self.targets or self.intensity is not None):
            other = "--targets" if self.targets else "--intensity"
            raise DataError(f"--between A,B names its own two targets, at full intensity: leave {other} away")
        if self.steps is not None and not self.between:
            raise DataError(f"--steps {self.steps} counts the columns of --between A,B: add it, or leave --steps away")

    def columns(self, engine: ExpressionEngine) -> tuple[Column, ...]:
        """What the columns show.

        Raises:
            DataError: what the generator cannot make.
        """
        spec = engine.attributes
        if self.between:
            return mixed_columns(spec, self.between, _STEPS if self.steps is None else self.steps)
        if self.intensity is not None:
            return intensity_columns(spec, self.targets, parse_intensities(self.intensity), engine.max_intensity)
        return target_columns(spec, self.targets)


@dataclass(frozen=True, eq=False)
class Sheet:
    """A drawn sheet: the picture, what its rows (see :class:`SheetFaces`) and columns are, and the mark it needs."""

    picture: Image.Image
    rows: tuple[int, ...]
    columns: tuple[Column, ...]
    digital_source_type: str


def draw_edits(wish: SheetWish) -> Sheet:
    """Draw a sheet: a row a source, first the source itself, then a column a target. Nothing is written.

    A cell depends on the weights, its source, its target and the seed alone, not on what else is shown (up to
    floating-point rounding).

    Raises:
        DataError, SchemaError, WeightsError: what was asked for does not fit together, or cannot be read.
    """
    device = resolve_device(wish.device)
    engine = ExpressionEngine(load_model(wish.weights, device), device)
    columns = wish.columns(engine)  # a wish that the weights cannot meet is known before a face is read
    faces = load_sheet_faces(wish.pack, wish.faces, engine.vocabulary)
    sources, edits = edit_columns(engine, faces, columns, wish.faces.seed)
    cells = [[source, *row] for source, row in zip(sources, edits, strict=True)]
    sections = [("", 1), *((name, len(list(group))) for name, group in groupby(c.section for c in columns))]
    picture = contact_sheet(["source", *(c.caption for c in columns)], cells, engine.face_size_px, sections)
    return Sheet(picture, tuple(faces.rows.tolist()), columns, faces.digital_source_type)


def write_edits(wish: SheetWish, out: Path) -> Sheet:
    """:func:`draw_edits` into a PNG file that says it is AI-generated; replaced whole or not at all.

    Raises:
        DataError: also where ``out`` is no ``.png``. OSError: it cannot be written.
    """
    if out.suffix.lower() != ".png":
        raise DataError(f"--out must end in .png; got {out.name!r}")
    sheet = draw_edits(wish)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_sheet(out, sheet.picture, sheet.digital_source_type)
    return sheet


def edit_columns(
    engine: ExpressionEngine, faces: SheetFaces, columns: Sequence[Column], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Make every column of every source.

    A donor is keyed on (seed, row, expression), so one row keeps its donor over all intensities and shares.

    Returns:
        Sources ``(N, S, S, 3)`` and edits ``(N, C, S, S, 3)``, uint8 at the engine's size.
    """
    size = engine.face_size_px
    photos = resize(torch.from_numpy(faces.images).permute(0, 3, 1, 2), size)
    factor = size / faces.images.shape[1]
    edits = [
        _edit_row(engine, faces, photos[i : i + 1], i, columns, seed, factor)
        for i in range(len(photos))  # one at a time: how many rows there are then changes no rounding
    ]
    return photos.permute(0, 2, 3, 1).numpy(), np.stack(edits)


def _edit_row(
    engine: ExpressionEngine,
    faces: SheetFaces,
    photo: torch.Tensor,
    i: int,
    columns: Sequence[Column],
    seed: int,
    factor: float,
) -> np.ndarray:
    here = slice(i, i + 1)
    encoded = engine.encode(
        photo.float() / 127.5 - 1,
        None if faces.dense is None else scale_dense(faces.dense[here], factor),
        torch.from_numpy(faces.labels[here]),
        yaw_deg=None if faces.yaw_deg is None else faces.yaw_deg[here],
        lights=None if faces.lights is None else faces.lights[here],
    ).select(torch.zeros(len(columns), dtype=torch.int64))
    row = int(faces.rows[i])
    targets = [c.expression for c in columns]
    mixture = None
    if any(c.second >= 0 for c in columns):
        mixture = Mixture(torch.tensor([c.second for c in columns]), torch.tensor([c.share for c in columns]))
    groups = engine.attributes.groups
    edited = engine.edit(
        encoded,
        torch.tensor(targets),
        torch.tensor([c.intensity for c in columns], dtype=torch.float32),
        torch.tensor([donor_seed(seed, row, max(target, 0)) for target in targets]),
        mixture=mixture,
        pose=torch.tensor([c.pose for c in columns]) if "pose" in groups else None,
        light=torch.tensor([c.light for c in columns]) if "light" in groups else None,
        exaggerate=True,
    )
    return to_uint8(edited)
