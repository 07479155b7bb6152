"""Sample sheets (sources down, targets across) and condition sensitivity, both read off one preview."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from lssl_augment.files import whole_file
from lssl_augment.training.objective import Preview

__all__ = ["FLAT_GREY", "Sensitivity", "condition_sensitivity", "draw_sheet", "write_sheet"]

#: Below this many grey levels (of 255) of mean change, nobody sees a difference.
FLAT_GREY = 1.0

_GAP_PX = 2
_HEADER_PX = 14


@dataclass(frozen=True)
class Sensitivity:
    """How much the generator heeds its condition, in grey levels (0 to 255) of mean absolute change a pixel.

    Attributes:
        between_targets_grey: between two targets of the same source, mean over all pairs of targets.
        from_source_grey: between a result and its source.
        targets: how many there were; a single one cannot be ignored.
    """

    between_targets_grey: float
    from_source_grey: float
    targets: int = 2

    def warning(self) -> str | None:
        """What is wrong, in plain words; None when nothing is."""
        if self.between_targets_grey < FLAT_GREY and self.from_source_grey < FLAT_GREY:
            return (
                f"the generator changes nothing: results differ from sources by {self.from_source_grey:.2f} "
                "grey levels; the losses that keep the source may be too strong (or the run has only begun)"
            )
        if self.between_targets_grey < FLAT_GREY and self.targets > 1:
            return (
                "the generator ignores the wanted expression: the results of different targets differ by "
                f"{self.between_targets_grey:.2f} grey levels (or the run has only begun)"
            )
        return None


def condition_sensitivity(preview: Preview) -> Sensitivity:
    """Measure a preview; with a single target, ``between_targets_grey`` is 0."""
    edits = preview.edits.float()
    targets = edits.shape[1]
    apart = (edits[:, :, None] - edits[:, None, :]).abs().mean((0, 3, 4, 5))
    pairs = max(1, targets * (targets - 1))
    changed = (edits - preview.sources.float()[:, None]).abs().mean()
    # [-1, 1] spans 255 grey levels.
    return Sensitivity(float(apart.sum()) / pairs * 127.5, float(changed) * 127.5, targets)


def draw_sheet(preview: Preview) -> np.ndarray:
    """The sheet, ``(H, W, 3)`` uint8 RGB: first column the sources, then a column a target, names on top."""
    rows, columns = preview.edits.shape[:2]
    size = preview.sources.shape[-1]
    cell = size + _GAP_PX
    sheet = Image.new("RGB", (cell * (columns + 1), _HEADER_PX + cell * rows), "white")
    pen = ImageDraw.Draw(sheet)
    for column, name in enumerate(("source", *preview.targets)):
        # Names are cut to what fits: the built-in font is about six pixels wide.
        pen.text((column * cell + 1, 1), name[: max(1, size // 6)], fill="black")
    for row in range(rows):
        faces = [preview.sources[row], *preview.edits[row]]
        for column, face in enumerate(faces):
            sheet.paste(Image.fromarray(_to_uint8(face)), (column * cell, _HEADER_PX + row * cell))
    return np.asarray(sheet)


def write_sheet(path: Path, preview: Preview) -> Path:
    """Write the sheet as PNG; only a complete file appears under that name."""
    with whole_file(path) as file:
        Image.fromarray(draw_sheet(preview)).save(file, format="PNG")
    return path


def _to_uint8(face: Tensor) -> np.ndarray:
    pixels = (face.detach().float().cpu() + 1.0).mul(127.5).round().clamp(0, 255)
    return pixels.permute(1, 2, 0).numpy().astype(np.uint8)
