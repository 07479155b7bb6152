"""Landmarks of faces by the landmark network, in batches."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lssl_augment.models.landmark_net import LandmarkNet

__all__ = ["dense_points"]


@torch.no_grad()
def dense_points(landmarks: LandmarkNet, images: Tensor) -> np.ndarray:
    """Landmarks ``(N, 478, 3)`` px of faces ``(N, 3, S, S)`` uint8."""
    device = next(landmarks.parameters()).device
    parts = [landmarks.aligned(part.to(device).float() / 127.5 - 1).cpu() for part in images.split(128)]
    return torch.cat(parts).numpy()
