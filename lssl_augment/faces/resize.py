"""Aligned faces at another size, landmarks with them."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["resize_images", "scale_dense"]


def resize_images(images: np.ndarray, size_px: int) -> np.ndarray:
    """``(N, H, H, C)`` uint8 → ``(N, S, S, C)``: averaged over areas when smaller, bilinear when larger."""
    if images.shape[1] == size_px:
        return images
    how = cv2.INTER_AREA if size_px < images.shape[1] else cv2.INTER_LINEAR
    out = np.empty((len(images), size_px, size_px, images.shape[3]), np.uint8)
    for row, image in zip(out, images, strict=True):
        row[:] = cv2.resize(image, (size_px, size_px), interpolation=how)
    return out


def scale_dense(dense: np.ndarray, factor: float) -> np.ndarray:
    """Dense landmarks ``(N, 478, 3)`` in pixels of a face ``factor`` times as large."""
    scaled = dense * np.float32(factor)
    scaled[..., :2] += np.float32(0.5 * factor - 0.5)  # pixel centres sit at integers; depth is only scaled
    return scaled
