"""How well the face parser tells the regions of unseen faces, in numbers and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lssl_augment.errors import DataError
from lssl_augment.faces.region_map import colour_regions
from lssl_augment.files import whole_file
from lssl_augment.models.parser_net import PARSER_CLASSES, ParserNet, parse_faces
from lssl_augment.training.parser_faces import ParserFaces, faces_to_tensor

__all__ = ["draw_parses", "evaluate_parser", "region_scores", "write_parses"]

_BATCH = 64
_GAP_PX = 2
#: Share of the region's colour in the overlay.
_OPACITY = 0.6


def evaluate_parser(net: ParserNet, faces: ParserFaces) -> dict[str, Any]:
    """:func:`region_scores` over all pixels of some faces, and how many ``faces`` there are.

    Raises:
        DataError: no faces.
    """
    if not len(faces):
        raise DataError("no faces: nothing to evaluate on")
    count = len(PARSER_CLASSES)
    confusion = np.zeros((count, count), np.int64)
    for start in range(0, len(faces), _BATCH):
        rows = slice(start, start + _BATCH)
        found, truth = _parse(net, faces.images[rows]), faces.regions[rows]
        pairs = truth.astype(np.int64).ravel() * count + found.ravel()
        confusion += np.bincount(pairs, minlength=count * count).reshape(count, count)
    return {"faces": len(faces), **region_scores(confusion)}


def region_scores(confusion: np.ndarray) -> dict[str, Any]:
    """Scores from counts of pixels, ``(C, C)``: rows the truth, columns what was found.

    Returns:
        ``pixel_accuracy``, ``mean_iou`` (over the classes that occur), and by class ``f_score``, ``precision``,
        ``recall`` and ``iou``; None where there is nothing to divide by.
    """
    hits, truth, found = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    iou = _shares(hits, truth + found - hits)
    known = [value for value in iou.values() if value is not None]
    return {
        "pixel_accuracy": round(float(hits.sum() / confusion.sum()), 4),
        "mean_iou": round(float(np.mean(known)), 4),
        "f_score": _shares(2 * hits, truth + found),
        "precision": _shares(hits, found),
        "recall": _shares(hits, truth),
        "iou": iou,
    }


def draw_parses(net: ParserNet, faces: ParserFaces, rows: np.ndarray) -> np.ndarray:
    """A sheet ``(H, W, 3)`` uint8 RGB: a column a face; the face, the map it should have, the map found, and the last
    laid over the face. Background dark, skin sand, eyes blue, lips red.

    Raises:
        DataError: no rows.
    """
    if not len(rows):
        raise DataError("no faces: nothing to draw")
    images, truth = faces.images[rows], colour_regions(faces.regions[rows])
    found = colour_regions(_parse(net, images))
    over = (images * (1 - _OPACITY) + found * _OPACITY).astype(np.uint8)
    size = images.shape[1]
    cell = size + _GAP_PX
    sheet = np.full((4 * cell - _GAP_PX, len(rows) * cell - _GAP_PX, 3), 255, np.uint8)
    for line, pictures in enumerate((images, truth, found, over)):
        for column, picture in enumerate(pictures):
            top, left = line * cell, column * cell
            sheet[top : top + size, left : left + size] = picture
    return sheet


def write_parses(path: Path, net: ParserNet, faces: ParserFaces, count: int = 12) -> Path:
    """Write :func:`draw_parses` of ``count`` faces, evenly spread over all, as PNG; only a complete file appears.

    Raises:
        DataError: no faces.
    """
    rows = np.unique(np.linspace(0, len(faces) - 1, count).round().astype(int)) if len(faces) else np.zeros(0, int)
    picture = Image.fromarray(draw_parses(net, faces, rows))
    with whole_file(path) as file:
        picture.save(file, format="PNG")
    return path


def _parse(net: ParserNet, images: np.ndarray) -> np.ndarray:
    device = next(net.parameters()).device
    return parse_faces(net, faces_to_tensor(images).to(device)).cpu().numpy()


def _shares(part: np.ndarray, whole: np.ndarray) -> dict[str, float | None]:
    return {
        name: round(float(a / b), 4) if b else None
        for name, a, b in zip(PARSER_CLASSES, part.tolist(), whole.tolist(), strict=True)
    }
