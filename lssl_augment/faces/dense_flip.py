"""Mirror partners of the 478 dense points.

The pairing was found by symmetric assignment: the mean shape of 1,085 frontal neutral faces against its own
mirror image (the assignment is its own inverse, no point has a nearer rival, partners lie 0.16 px apart on a
128-pixel face). It turns out to follow a rule of the point order, so the rule is what is kept here: MediaPipe
numbers one half of the face up to 247, then the other half from 248 in the same order.
"""

from __future__ import annotations

import numpy as np

from lssl_augment.faces.landmarks import DENSE_COUNT

__all__ = ["DENSE_FLIP", "MIDLINE", "flip_dense"]

#: Points on the symmetry line of the face, their own partners.
MIDLINE = (
    [0, 1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]
    + [94, 151, 152, 164, 168, 175, 195, 197, 199, 200]
)  # fmt: skip

_FIRST_OF_SECOND_HALF, _IRIS = 248, 468
#: Partner of each of the ten iris points: centre ↔ centre, ring points facing each other.
_IRIS_PARTNERS = [473, 476, 475, 474, 477, 468, 471, 470, 469, 472]


def _partners() -> np.ndarray:
    partner = np.arange(DENSE_COUNT)
    first = np.setdiff1d(np.arange(_FIRST_OF_SECOND_HALF), MIDLINE)
    second = np.arange(_FIRST_OF_SECOND_HALF, _IRIS)
    partner[first], partner[second] = second, first
    partner[_IRIS:] = _IRIS_PARTNERS
    partner.setflags(write=False)
    return partner


#: Index of each dense point's mirror partner: ``mirrored = points[DENSE_FLIP]`` after x → (W − 1) − x.
DENSE_FLIP = _partners()


def flip_dense(points: np.ndarray, width_px: float) -> np.ndarray:
    """Mirror dense points, shape ``(..., 478, 2 or 3)``, with the image of that width; depth stays."""
    mirrored = points[..., DENSE_FLIP, :].copy()
    mirrored[..., 0] = (width_px - 1) - mirrored[..., 0]
    return mirrored
