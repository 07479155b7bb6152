"""The landmark network as a data set loader uses it."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lssl_augment.models.landmark_net import LandmarkNet

__all__ = ["NetworkLocator"]


class NetworkLocator:
    """Finds the one face of a photo with the package's landmark network, which is loaded when first needed.

    Safe to use from several threads.

    Args:
        weights: name of released weights, or the path of a ``.safetensors`` file.
    """

    def __init__(self, weights: str | os.PathLike[str] = "landmarks") -> None:
        self._weights = weights
        self._net: LandmarkNet | None = None
        self._lock = threading.Lock()

    def load(self) -> LandmarkNet:
        """The network.

        Raises:
            WeightsError: its weights are missing or damaged.
        """
        with self._lock:
            if self._net is None:
                # Late: torch takes a second to import, and not every data set needs the network.
                from lssl_augment.models.landmark_net import load_landmark_net

                self._net = load_landmark_net(self._weights)
            return self._net

    def __call__(self, photo: np.ndarray) -> np.ndarray | None:
        """Photo ``(H, W, 3)`` uint8 → dense points ``(478, 3)`` float64, photo pixels; None: no face."""
        from lssl_augment.models.landmark_net import FACE_SPREAD_LIMIT, locate_face

        dense, spread = locate_face(self.load(), photo)
        # Written so that a spread that is not a number is refused too.
        return dense.astype(np.float64) if spread <= FACE_SPREAD_LIMIT else None
