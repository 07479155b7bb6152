"""Apparent skin tone by the individual typology angle (ITA), measured on the skin pixels of a photograph.

ITA = arctan((L* − 50) / b*) in degrees (Chardon et al. 1991), in the six groups of Del Bino & Bernerd 2013. Made for
colorimeters: in press photographs light, camera and make-up move it, so a group here is how the skin looks in the
picture and says nothing of origin.
"""

from __future__ import annotations

import cv2
import numpy as np

from lssl_augment.faces.region_map import Region, region_maps

__all__ = ["GROUPS", "ita_deg", "tone_group"]

#: Group → lowest angle, from light to dark.
GROUPS = {
    "very light": 55.0,
    "light": 41.0,
    "intermediate": 28.0,
    "tan": 10.0,
    "brown": -30.0,
    "dark": -np.inf,
}

#: Skin in a colour photograph has more chroma than this; below it the photograph is grey and has no angle.
_LEAST_CHROMA = 3.0


def ita_deg(images: np.ndarray, dense: np.ndarray) -> np.ndarray:
    """ITA of the median skin colour of each face.

    Args:
        images: ``(N, S, S, 3)`` uint8 RGB (taken as sRGB, D65). dense: ``(N, 478, 3)`` px of these images.

    Returns:
        ``(N,)`` float64 degrees; NaN where no skin is seen or the photograph is grey.
    """
    out = np.full(len(images), np.nan)
    maps = region_maps(dense, images.shape[1], face_size_px=images.shape[1])
    for i, (image, regions) in enumerate(zip(images, maps, strict=True)):
        skin = regions == Region.SKIN
        if skin.any():
            lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[skin]
            light, red, yellow = (float(v) for v in np.median(lab, axis=0))
            if np.hypot(red, yellow) >= _LEAST_CHROMA:
                out[i] = _angle(light, yellow)
    return out


def _angle(light: float, yellow: float) -> float:
    # b* of skin is positive; a cast that makes it 0 or less must not flip the angle.
    return float(np.degrees(np.arctan((light - 50) / max(yellow, 1e-3))))


def tone_group(angle_deg: float) -> str:
    """Name of the group of an angle; ``unknown`` for NaN."""
    if not np.isfinite(angle_deg):
        return "unknown"
    return next(name for name, lowest in GROUPS.items() if angle_deg > lowest)
