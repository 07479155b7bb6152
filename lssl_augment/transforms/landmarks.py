"""Dense landmarks that come with the batch or from a face pack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lssl_augment.errors import DataError
from lssl_augment.faces.landmarks import DENSE_COUNT

__all__ = ["LandmarkPack", "batch_landmarks", "check_pack", "pack_landmarks"]


class LandmarkPack(Protocol):
    """The part of a ``FacePack`` that is read here."""

    @property
    def landmarks_dense(self) -> Any: ...

    @property
    def face_size_px(self) -> int: ...


def check_pack(pack: object) -> LandmarkPack:
    """``landmarks=``: a pack with dense points; ``TypeError``/``DataError`` otherwise."""
    if not hasattr(pack, "landmarks_dense") or not hasattr(pack, "face_size_px"):
        raise TypeError(
            f"landmarks must be an open FacePack, or None; got {type(pack).__name__}. Points of one batch "
            "are passed "
            "with the call: augment(images, labels, landmarks=points)"
        )
    if pack.landmarks_dense is None:
        raise DataError(
            f"this face pack has no dense landmarks ({DENSE_COUNT} points a face); leave landmarks=None to "
            "find them "
            "with the landmark network"
        )
    return pack


def pack_landmarks(pack: LandmarkPack, rows: Sequence[int]) -> tuple[Tensor, int]:
    """Points of these pack rows, shape ``(R, 478, 3)`` float32, and the face size they are pixels of."""
    total = len(pack.landmarks_dense)
    outside = [row for row in rows if row >= total]
    if outside:
        raise DataError(f"index {outside[0]} is outside the face pack, which has {total} faces")
    # Row by row: an HDF5 data set takes no unsorted or repeated index list.
    points = np.stack([np.asarray(pack.landmarks_dense[row], np.float32) for row in rows])
    return batch_landmarks(points, len(rows)), int(pack.face_size_px)


def batch_landmarks(points: object, batch: int) -> Tensor:
    """Points of a batch, shape ``(B, 478, 3)`` float32 on the CPU; ``DataError`` for anything else."""
    if not isinstance(points, (Tensor, np.ndarray)):
        raise TypeError(f"landmarks must be a tensor or an array; got {type(points).__name__}")
    tensor = torch.as_tensor(points).detach().cpu()
    if tuple(tensor.shape) != (batch, DENSE_COUNT, 3):
        raise DataError(
            f"landmarks must be dense points of shape ({batch}, {DENSE_COUNT}, 3) in pixels of the images; "
            "got "
            f"{tuple(tensor.shape)}. With 68 points, or none, pass landmarks=None: the landmark network "
            "finds them"
        )
    tensor = tensor.float()
    if not bool(torch.isfinite(tensor).all()):
        raise DataError("landmarks must be finite numbers; got NaN or infinity")
    return tensor
