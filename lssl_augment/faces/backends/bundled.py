"""The package's own landmark network as a backend: nothing to fetch, dense points, one face a photo."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lssl_augment.faces.backends.base import TURNS_DEG, FoundFace, check_photo, turn_back, turned
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE

if TYPE_CHECKING:
    from lssl_augment.models.landmark_net import LandmarkNet

__all__ = ["SURE", "BundledBackend", "dense_of_faces"]

_NETWORK = "landmarks"
_NOTE = "landmarks by the package's landmark network: it finds the one face of a photo that shows little else"

_nets: dict[tuple[str, str], LandmarkNet] = {}
_lock = threading.Lock()


#: Part of ``FACE_SPREAD_LIMIT`` below which there is no doubt which way up the face is (docs/landmarks.md).
SURE = 0.5


@dataclass(frozen=True)
class BundledBackend:
    """Finds the one face of a photo with the landmark network (docs/landmarks.md).

    It is no detector: the face should be at least about 40 % as wide as the photo, and with several faces it may
    settle on any of them. A photo whose upright face is in doubt is looked at turned by quarters, too, and a turn
    counts when it leaves no doubt: an upside-down face now and then passes for an upright one.

    Args:
        weights: name of released weights, or the path of a ``.safetensors`` file.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
        notes: what the user should know of the choice of this backend.
    """

    weights: str | os.PathLike[str] = _NETWORK
    device: str = "cpu"
    notes: tuple[str, ...] = (_NOTE,)

    @property
    def name(self) -> str:
        """See :class:`LandmarkBackend`."""
        return "bundled"

    @property
    def gives_dense(self) -> bool:
        """See :class:`LandmarkBackend`."""
        return True

    def load(self) -> None:
        """See :class:`LandmarkBackend`."""
        _net(self.weights, self.device)

    def __call__(self, photo: np.ndarray) -> FoundFace | None:
        """See :class:`LandmarkBackend`; the score is 1 where the two looks agree, 0 at the limit."""
        check_photo(photo)
        if not photo.flags.writeable:  # torch warns of such arrays
            photo = photo.copy()
        upright = self._look(photo, 0)
        if upright is not None and upright.score >= 1 - SURE:
            return upright
        others = [self._look(photo, turn_deg) for turn_deg in TURNS_DEG[1:]]
        sure = [face for face in others if face is not None and face.score >= 1 - SURE]
        return max(sure, key=lambda face: face.score) if sure else upright

    def _look(self, photo: np.ndarray, turn_deg: int) -> FoundFace | None:
        from lssl_augment.models.landmark_net import FACE_SPREAD_LIMIT, locate_face

        dense, spread = locate_face(_net(self.weights, self.device), turned(photo, turn_deg))
        # Written so that a spread that is not a number is refused too.
        if not spread <= FACE_SPREAD_LIMIT:
            return None
        dense = turn_back(dense, turn_deg, photo.shape[1], photo.shape[0])
        return FoundFace(dense[SPARSE_FROM_DENSE, :2], dense, 1 - spread / FACE_SPREAD_LIMIT, turn_deg)


def dense_of_faces(faces: np.ndarray, weights: str | os.PathLike[str] = _NETWORK, device: str = "cpu") -> np.ndarray:
    """Dense points of aligned faces, from the landmark network: one look each.

    Args:
        faces: ``(B, S, S, 3)`` uint8 RGB.

    Returns:
        ``(B, 478, 3)`` float64, pixels of the faces.

    Raises:
        WeightsError, DataError: as of :meth:`BundledBackend.load`.
    """
    import torch

    net = _net(weights, device)
    pixels = torch.from_numpy(np.ascontiguousarray(faces)).to(next(net.parameters()).device)
    points = net.aligned(pixels.permute(0, 3, 1, 2).float() / 127.5 - 1)
    return points.double().cpu().numpy()


def _net(weights: str | os.PathLike[str], device: str) -> LandmarkNet:
    """The network, loaded once in a process and shared by its threads."""
    with _lock:
        key = os.fspath(weights), device
        if key not in _nets:
            # Late: torch takes a second to import, and not every data set needs the network.
            from lssl_augment.models.device import resolve_device
            from lssl_augment.models.landmark_net import load_landmark_net

            _nets[key] = load_landmark_net(weights, resolve_device(device))
        return _nets[key]
