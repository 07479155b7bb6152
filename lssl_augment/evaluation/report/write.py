"""A results folder → report.md and report.html in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lssl_augment.errors import SchemaError
from lssl_augment.evaluation.report.blocks import Drawing
from lssl_augment.evaluation.report.content import report_blocks
from lssl_augment.evaluation.report.render import FIGURES, html_page, markdown_page
from lssl_augment.evaluation.statistics import cross_fitted, read_cells, summarise_cells
from lssl_augment.files import write_text

__all__ = ["LEFT_OUT_FILE", "write_report"]

#: Optional, beside the records: a JSON list of sentences on what a run left out.
LEFT_OUT_FILE = "left_out.json"


def write_report(
    folder: str | Path, *, left_out: Sequence[str] = (), draws: int = 1000, seed: int = 0
) -> tuple[Path, Path]:
    """Write ``report.md`` (with ``figures/*.svg``) and the self-contained ``report.html``.

    Args:
        folder: with ``results.jsonl`` and ``cells/*.npz``; optional ``sheets/ARM.png`` and ``left_out.json``.
        left_out: more sentences on what was left out.
        draws, seed: of the bootstrap.

    Returns:
        Paths of the Markdown and the HTML page.

    Raises:
        SchemaError: when the folder's files are not a benchmark's.
        DataError: when arms cannot be compared.
    """
    folder = Path(folder)
    cells = read_cells(folder)
    regimes = summarise_cells([*cells, *cross_fitted(cells)], draws=draws, seed=seed)
    blocks = report_blocks(regimes, [*_stored(folder), *left_out], folder)
    drawings = [block for block in blocks if isinstance(block, Drawing)]
    if drawings:
        (folder / FIGURES).mkdir(exist_ok=True)
    for drawing in drawings:
        write_text(folder / FIGURES / f"{drawing.name}.svg", drawing.svg)
    pages = folder / "report.md", folder / "report.html"
    write_text(pages[0], markdown_page(blocks, folder))
    write_text(pages[1], html_page(blocks, "lssl_augment benchmark: " + ", ".join({r.dataset: 0 for r in regimes})))
    return pages


def _stored(folder: Path) -> list[str]:
    path = folder / LEFT_OUT_FILE
    if not path.exists():
        return []
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SchemaError(f"{path} is not JSON: {error}") from error
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise SchemaError(f"{path} must be a JSON list of sentences")
    return notes
