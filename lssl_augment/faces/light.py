"""How well lit a face is (normal, weak, dark), by a photometric rule of thumb.

Only for data sets that do not say. The measure is how bright the brightest fiftieth of the aligned square is, skin,
eyes, clothes and background together: where light is weak nothing is bright. The mean brightness of the face alone
would not do: the hundred darkest faces of ``lfw-expressions`` by that measure are nearly all dark-skinned people
under press lights, and this rule calls none of them weak. It is a rule of thumb all the same: automatic exposure hides
weak light, and a black backdrop without highlights imitates it.
"""

from __future__ import annotations

import numpy as np

from lssl_augment.attributes import LIGHTS
from lssl_augment.errors import DataError

__all__ = ["DARK_BELOW", "WEAK_BELOW", "brightness", "light_names"]

#: Brightness (0 to 255) below which light counts as weak, and as dark. All 9,758 faces of ``lfw-expressions`` are
#: above the first (the least is 110.9, one in a hundred is below 151); pixel values halved put 58 % below it.
WEAK_BELOW, DARK_BELOW = 110.0, 55.0

#: Luma of ITU-R BT.601.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_PERCENTILE = 98.0
_CHUNK = 256


def brightness(images: np.ndarray) -> np.ndarray:
    """98th percentile of luma over each aligned face.

    Args:
        images: ``(N, S, S, 3)`` uint8 RGB.

    Returns:
        ``(N,)`` float32 in [0, 255].

    Raises:
        DataError: images of another shape or type.
    """
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or not min(images.shape[1:3]):
        raise DataError(f"images must be (N, S, S, 3) uint8; got {images.shape} {images.dtype}")
    found = np.empty(len(images), np.float32)
    for start in range(0, len(images), _CHUNK):
        luma = images[start : start + _CHUNK].astype(np.float32) @ _LUMA
        found[start : start + _CHUNK] = np.percentile(luma.reshape(len(luma), -1), _PERCENTILE, axis=1)
    return found


def light_names(images: np.ndarray) -> np.ndarray:
    """``normal``, ``weak`` or ``dark`` for each aligned face; see the module's text for what that is worth.

    Args:
        images: ``(N, S, S, 3)`` uint8 RGB.

    Returns:
        ``(N,)`` text.

    Raises:
        DataError: images of another shape or type.
    """
    value = brightness(images)
    normal, weak, dark = LIGHTS
    return np.where(value < DARK_BELOW, dark, np.where(value < WEAK_BELOW, weak, normal))
