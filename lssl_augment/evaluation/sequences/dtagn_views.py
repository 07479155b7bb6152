"""Training videos turned and mirrored, their landmarks with them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.faces.landmarks import FLIP68

__all__ = ["moved_views"]


def moved_views(
    videos: Tensor | None, landmarks: np.ndarray, size_px: int, turns_deg: Tensor, flips: Tensor
) -> tuple[Tensor | None, np.ndarray]:
    """Mirror some videos, then turn each about its middle, all frames alike; pixels from beyond repeat the border.

    Args:
        videos: ``(B, T, S, S)`` uint8; None: landmarks only. landmarks: ``(B, T, 68, 2)``. size_px: S.
        turns_deg: ``(B,)``, clockwise on the screen. flips: ``(B,)`` bool.

    Returns:
        Videos float32 in [0, 255] (or None) and landmarks float64.
    """
    points = landmarks.astype(np.float64)
    mirrored = points[:, :, FLIP68] * (-1, 1) + (size_px - 1, 0)
    points = np.where(flips.numpy()[:, None, None, None], mirrored, points)
    angle = torch.deg2rad(turns_deg.double())
    cos, sin = torch.cos(angle), torch.sin(angle)
    forward = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)  # x right, y down
    middle = (size_px - 1) / 2
    points = np.einsum("bij,btpj->btpi", forward.numpy(), points - middle) + middle
    if videos is None:
        return None, points
    # From a place in the result back to the video: turned back, then mirrored.
    back = forward.transpose(1, 2).clone()
    back[flips, 0] *= -1
    theta = torch.cat([back, torch.zeros(len(back), 2, 1, dtype=torch.float64)], 2).float()
    grid = F.affine_grid(theta, [len(videos), 1, size_px, size_px], align_corners=False)
    return F.grid_sample(videos.float(), grid, padding_mode="border", align_corners=False), points
