"""How close synthetic people come to the faces they were learned from, against how close those are to each other.

Two distances, each to the nearest training face or mirror image of one:

- *look*: Euclidean between :func:`~lssl_augment.simulation.people.look_features`, that is, between texture,
  silhouette and shape coefficients;
- *pixel*: root mean square difference of the face crop's RGB values in [0, 1], both at half resolution.

Training faces are compared with those of other subjects only. Averages lie nearer to everything than single
faces do, so synthetic people must vary as widely as real ones to pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.simulation.face_space import FaceSpace
from lssl_augment.simulation.people import look_features
from lssl_augment.simulation.shape_warp import to_float

__all__ = ["DISTANCES", "TrainingFaces", "summary"]

DISTANCES = ("look", "pixel")
#: The face crop as shares of the image side: left, right, top, bottom.
_CROP = (24 / 128, 104 / 128, 20 / 128, 116 / 128)
_ROWS = 512


@dataclass(frozen=True)
class TrainingFaces:
    """Features of the training faces and their mirror images, by distance: ``(2N, D)`` each; their subjects."""

    space: FaceSpace
    features: dict[str, Tensor]
    subjects: np.ndarray

    @classmethod
    def of(cls, space: FaceSpace, images: np.ndarray, coefficients: Tensor, subjects: np.ndarray) -> TrainingFaces:
        """From faces ``(N, S, S, 3)`` uint8, their coefficient vectors ``(N, K)`` and subjects ``(N,)``."""
        both = torch.cat([coefficients, coefficients * space.signs])
        pixels = torch.cat([_crops(images), _crops(images[:, :, ::-1])])
        return cls(space, {"look": look_features(space, both), "pixel": pixels}, np.tile(subjects, 2))

    def to_each_other(self) -> dict[str, np.ndarray]:
        """Distance of every training face to the nearest one of another subject, ``(N,)`` by distance."""
        out = {}
        for name, features in self.features.items():
            count = len(features) // 2
            nearest = []
            for start in range(0, count, _ROWS):
                rows = slice(start, min(start + _ROWS, count))
                distance = torch.cdist(features[rows], features)
                same = self.subjects[rows][:, None] == self.subjects[None]
                distance[torch.from_numpy(same)] = torch.inf
                nearest.append(distance.amin(dim=1))
            out[name] = torch.cat(nearest).numpy()
        return out

    def to_people(self, images: np.ndarray, coefficients: Tensor) -> dict[str, np.ndarray]:
        """Distance of synthetic people to the nearest training face.

        Args:
            images: ``(B, S, S, 3)`` uint8. coefficients: ``(B, K)``.

        Returns:
            ``(B,)`` by distance.
        """
        given = {"look": look_features(self.space, coefficients), "pixel": _crops(images)}
        return {
            name: torch.cat([torch.cdist(part, self.features[name]).amin(1) for part in f.split(_ROWS)]).numpy()
            for name, f in given.items()
        }


def summary(distances: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Minimum, 1 % quantile and median by distance."""
    return {
        name: {
            "min": round(float(values.min()), 4),
            "q01": round(float(np.quantile(values, 0.01)), 4),
            "median": round(float(np.median(values)), 4),
        }
        for name, values in distances.items()
    }


def _crops(images: np.ndarray) -> Tensor:
    left, right, top, bottom = (round(share * images.shape[1]) for share in _CROP)
    pixels = F.avg_pool2d(to_float(images[:, top:bottom, left:right]), 2).flatten(1) / 255
    # Euclidean distance is then the root mean square difference.
    return pixels / pixels.shape[1] ** 0.5
