"""Weak-perspective camera: a mesh turned about its middle, seen from so far away that size does not depend on depth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lssl_augment.errors import DataError
from lssl_augment.simulation.mesh import Mesh

__all__ = ["MAX_SIZE_PX", "Camera", "frame"]

MAX_SIZE_PX = 2048


@dataclass(frozen=True)
class Camera:
    """Places of a mesh ↔ pixels of its picture.

    Args:
        centre: the place that is seen in the middle of the picture and turned about. scale_px: pixels a unit of length.
        size_px: side of the picture. yaw_deg: positive turns the mesh to the viewer's right (a nose points to larger
            x). pitch_deg: positive turns it up (a nose points to smaller y); the mesh is turned by yaw first.

    Raises:
        DataError: numbers that are not finite, a scale that is not positive, or a size outside 1 to ``MAX_SIZE_PX``.
    """

    centre: tuple[float, float, float]
    scale_px: float
    size_px: int
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.size_px <= MAX_SIZE_PX:
            raise DataError(f"size_px must be 1 to {MAX_SIZE_PX}; got {self.size_px}")
        if not np.isfinite([*self.centre, self.scale_px, self.yaw_deg, self.pitch_deg]).all() or self.scale_px <= 0:
            raise DataError(f"a camera needs finite numbers and a positive scale; got {self}")

    @property
    def rotation(self) -> np.ndarray:
        """``(3, 3)`` float64, for columns in the axes of the mesh (x right, y up, z to the viewer)."""
        yaw, pitch = np.deg2rad([self.yaw_deg, self.pitch_deg])
        about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        about_x = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
        return np.asarray(about_x @ about_y)

    def turned(self, yaw_deg: float, pitch_deg: float = 0.0) -> Camera:
        """The same camera before the mesh in another pose."""
        return replace(self, yaw_deg=yaw_deg, pitch_deg=pitch_deg)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Places ``(..., 3)`` → pixels ``(..., 3)`` float64: x right, y down, pixel centres at integers; z in pixels
        too, smaller is nearer, 0 at the centre.
        """
        seen = (np.asarray(points, np.float64) - self.centre) @ self.rotation.T * self.scale_px
        middle = (self.size_px - 1) / 2
        return seen * (1, -1, -1) + (middle, middle, 0)

    def unproject(self, pixels: np.ndarray) -> np.ndarray:
        """The places ``(..., 3)`` that :meth:`project` brings to ``pixels`` ``(..., 3)``."""
        middle = (self.size_px - 1) / 2
        seen = (np.asarray(pixels, np.float64) - (middle, middle, 0)) * (1, -1, -1)
        return np.asarray(seen / self.scale_px @ self.rotation + self.centre)


def frame(mesh: Mesh, size_px: int = 256, fill: float = 0.8) -> Camera:
    """A camera in which the mesh stays inside of the picture at any yaw, at one scale.

    Args:
        fill: share of the picture's height or width that the mesh takes when it is turned most unfavourably, in (0, 1].

    Raises:
        DataError: a mesh without triangles or of no size, or a bad ``size_px`` or ``fill``.
    """
    if not 0 < fill <= 1:
        raise DataError(f"fill must be in (0, 1]; got {fill}")
    used = mesh.vertices[np.unique(mesh.triangles)]
    if not len(used):
        raise DataError("the mesh has no triangles, so there is nothing to see")
    low, high = used.min(axis=0), used.max(axis=0)
    centre = (low + high) / 2
    x, y, z = (used - centre).T
    reach = max(float(np.hypot(x, z).max()), float(np.abs(y).max()))
    if reach == 0:
        raise DataError("all vertices of the mesh are in one place")
    return Camera((float(centre[0]), float(centre[1]), float(centre[2])), fill * size_px / (2 * reach), size_px)
