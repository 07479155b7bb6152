"""Contact sheets: one row a source, first the source itself, then one column a target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lssl_augment.files import whole_file
from lssl_augment.synthesis.marks import png_marks
from lssl_augment.synthesis.plan import Plan

__all__ = ["contact_sheet", "save_sheet", "sheet_rows"]

_HEADER_PX = 22
_GAP_PX = 4
_SECTION_PX = 12
_PAPER, _INK, _EMPTY = (255, 255, 255), (20, 20, 20), (228, 228, 228)


def sheet_rows(plan: Plan, sources: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Choose what to show: the first sources of the plan that serve most classes.

    Returns:
        Source ids, shape ``(K,)``, and plan rows, shape ``(K, classes)``, −1 where a source does not serve a
        class.
    """
    starts = plan.source_starts[:512]
    stops = np.append(starts[1:], len(plan) if len(plan.source_starts) <= 512 else plan.source_starts[512])
    rows = np.full((len(starts), len(plan.vocabulary)), -1, np.int64)
    for k, (a, b) in enumerate(zip(starts, stops, strict=True)):
        # Backwards, so that the first row of a class is the one that stays.
        rows[k, plan.targets[a:b][::-1]] = np.arange(a, b)[::-1]
    best = np.sort(np.argsort(-(rows >= 0).sum(1), kind="stable")[:sources])
    return plan.source_ids[starts[best]], rows[best]


def contact_sheet(
    columns: Sequence[str],
    cells: Sequence[Sequence[np.ndarray | None]],
    size_px: int,
    sections: Sequence[tuple[str, int]] | None = None,
) -> Image.Image:
    """Lay out faces under their headings.

    Args:
        columns: a heading for each column. cells: rows of faces ``(size_px, size_px, 3)`` uint8, or None for
            none.
        size_px: side of a face.
        sections: heading and number of columns of groups that stand apart, from the left, all columns in all; their
            headings make a second line unless all are empty, and columns are as wide as their own headings need.
            None: one group, columns as wide as a face.
    """
    font = ImageFont.load_default()
    widths = [size_px] * len(columns)
    if sections is not None:
        widths = [max(size_px, math.ceil(font.getlength(name))) for name in columns]
    lefts, x = [], _GAP_PX
    starts = set(accumulate(count for _, count in sections or ()))
    for c, width in enumerate(widths):
        x += _SECTION_PX if c in starts else 0
        lefts.append(x)
        x += width + _GAP_PX
    top = _HEADER_PX * (2 if any(heading for heading, _ in sections or ()) else 1)
    step = size_px + _GAP_PX
    sheet = Image.new("RGB", (x, len(cells) * step + _GAP_PX + top), _PAPER)
    draw = ImageDraw.Draw(sheet)
    first = 0
    for heading, count in sections or ():
        if heading:
            last = first + count - 1
            middle = (lefts[first] + lefts[last] + widths[last]) / 2
            draw.text((middle, _HEADER_PX / 2), heading, _INK, font, anchor="mm")
        first += count
    for name, left, width in zip(columns, lefts, widths, strict=True):
        draw.text((left + width / 2, top - _HEADER_PX / 2), name, _INK, font, anchor="mm")
    for r, row in enumerate(cells):
        for face, left, width in zip(row, lefts, widths, strict=True):
            x, y = left + (width - size_px) // 2, top + r * step
            if face is None:
                draw.rectangle((x, y, x + size_px - 1, y + size_px - 1), _EMPTY)
            else:
                sheet.paste(Image.fromarray(face), (x, y))
    return sheet


def save_sheet(path: Path, sheet: Image.Image, digital_source_type: str) -> None:
    """Write a PNG that says it is AI-generated; only a complete file replaces an existing one."""
    with whole_file(path, alone=True) as file:
        sheet.save(file, format="PNG", pnginfo=png_marks(digital_source_type))
