"""Region maps: which part of a face each pixel shows, as the face parser learns it.

Classes are those of the parsing loss of Bozorgtabar et al. 2019 (lips, eyes, face skin, and the rest), drawn from
dense landmarks or made from the eleven labels of Smith et al. 2013. What the paper leaves open, and what is done here:
eyes are what the lids leave open; brows and nose are skin; the inside of an open mouth, hair and everything
else is background.
"""

from __future__ import annotations

from enum import IntEnum

import cv2
import numpy as np

from lssl_augment.errors import DataError
from lssl_augment.faces.align import FACE_SIZE_PX
from lssl_augment.faces.landmarks import DENSE_COUNT, FACE_OVAL, INNER_LIPS, OUTER_LIPS

__all__ = ["HELEN_LABELS", "HELEN_REGIONS", "REGION_NAMES", "Region", "colour_regions", "region_maps"]


class Region(IntEnum):
    """Value of a pixel of a region map."""

    BACKGROUND = 0
    SKIN = 1
    EYES = 2
    LIPS = 3


REGION_NAMES = tuple(region.name.lower() for region in Region)

#: The labels of Smith et al. 2013, in the order of their files ``NAME_lbl00.png`` to ``NAME_lbl10.png``.
HELEN_LABELS = (
    "background",
    "face skin",
    "left eyebrow",
    "right eyebrow",
    "left eye",
    "right eye",
    "nose",
    "upper lip",
    "inner mouth",
    "lower lip",
    "hair",
)
#: Region of each of them.
HELEN_REGIONS = (
    Region.BACKGROUND,
    Region.SKIN,
    Region.SKIN,
    Region.SKIN,
    Region.EYES,
    Region.EYES,
    Region.SKIN,
    Region.LIPS,
    Region.BACKGROUND,
    Region.LIPS,
    Region.BACKGROUND,
)

# Closed rings of dense points.
_EYE_RINGS = (
    [33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246],
    [263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466],
)
#: What is drawn, one over the other.
_LAYERS = (
    (FACE_OVAL, Region.SKIN),
    *((ring, Region.EYES) for ring in _EYE_RINGS),
    (OUTER_LIPS, Region.LIPS),
    (INNER_LIPS, Region.BACKGROUND),
)

#: Polygons are filled this many times finer, and a pixel belongs to one when most of it is inside. cv2.fillPoly fills
#: its outline too, half a fine pixel too much all around: that much more than half must be covered. So nothing grows,
#: and closed lips, a line without an inside, draw nothing.
_FINER = 8
_COVERED = 0.5 + 0.5 / _FINER
_SHIFT_BITS = 4

_COLOURS = np.array([[40, 40, 60], [230, 180, 140], [40, 120, 255], [220, 30, 60]], np.uint8)


def region_maps(dense: np.ndarray, size_px: int = FACE_SIZE_PX, *, face_size_px: int = FACE_SIZE_PX) -> np.ndarray:
    """Draw the regions that dense landmarks outline.

    Args:
        dense: ``(N, 478, 2 or 3)`` in pixels of a ``face_size_px`` square face; points outside of it are fine.
        size_px: side of the maps.
        face_size_px: side of the face that the points belong to.

    Returns:
        ``(N, size_px, size_px)`` uint8, values of :class:`Region`. Neither hair nor hands that hide the skin, nor
        glasses, are known to landmarks: they count as what they hide.

    Raises:
        DataError: points of another shape or not finite, or sizes below 1.
    """
    dense = np.asarray(dense)
    if dense.ndim != 3 or dense.shape[1] != DENSE_COUNT or dense.shape[2] not in (2, 3):
        raise DataError(f"dense points must have shape (N, {DENSE_COUNT}, 2 or 3); got {dense.shape}")
    if not np.isfinite(dense).all():
        raise DataError("dense points must be finite")
    if size_px < 1 or face_size_px < 1:
        raise DataError(f"size_px and face_size_px must be 1 or more; got {size_px} and {face_size_px}")
    # Pixel centres sit at integers, in the face and in the finer picture.
    places = (dense[..., :2].astype(np.float64) + 0.5) * (_FINER * size_px / face_size_px) - 0.5
    # Far outside it makes no difference where, and cv2 counts in 32 bits.
    places = np.clip(places, -8 * _FINER * size_px, 8 * _FINER * size_px)
    fixed = np.round(places * (1 << _SHIFT_BITS)).astype(np.int32)
    rings = [(np.ascontiguousarray(fixed[:, ring]), region) for ring, region in _LAYERS]
    fine = np.zeros((_FINER * size_px,) * 2, np.uint8)
    maps = np.full((len(dense), size_px, size_px), Region.BACKGROUND, np.uint8)
    for ring, region in rings:
        for face, outline in enumerate(ring):
            box = _box(outline, size_px)
            part = fine[tuple(slice(_FINER * side.start, _FINER * side.stop) for side in box)]
            if not part.size:
                continue
            cv2.fillPoly(fine, [outline], 255, lineType=cv2.LINE_8, shift=_SHIFT_BITS)
            share = cv2.resize(part, None, fx=1 / _FINER, fy=1 / _FINER, interpolation=cv2.INTER_AREA)
            maps[face][box][share > 255 * _COVERED] = region
            part.fill(0)
    return maps


def _box(outline: np.ndarray, size_px: int) -> tuple[slice, slice]:
    """Rows and columns of the map that a polygon of fine, fixed-point places may touch."""
    scale = _FINER << _SHIFT_BITS
    low, high = outline.min(axis=0) // scale - 1, outline.max(axis=0) // scale + 2
    (left, top), (right, bottom) = (np.clip(ends, 0, size_px).tolist() for ends in (low, high))
    return slice(top, bottom), slice(left, right)


def colour_regions(maps: np.ndarray) -> np.ndarray:
    """Region maps ``(..., H, W)`` → pictures ``(..., H, W, 3)`` uint8 RGB.

    Background dark, skin sand, eyes blue, lips red.

    Raises:
        DataError: values that are no region.
    """
    maps = np.asarray(maps)
    if not np.issubdtype(maps.dtype, np.integer) or (maps.size and not 0 <= maps.min() <= maps.max() < len(Region)):
        raise DataError(f"region maps must hold integers from 0 to {len(Region) - 1}")
    picture: np.ndarray = _COLOURS[maps]
    return picture
