"""Triangle meshes with texture coordinates: what is parsed, rendered and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lssl_augment.errors import DataError

__all__ = ["Mesh", "merge"]


@dataclass(frozen=True, eq=False)
class Mesh:
    """A surface of triangles. x to the right, y up, z towards the viewer; any unit of length.

    Args:
        vertices: ``(V, 3)`` float64, finite.
        triangles: rows of vertices, ``(T, 3)`` int64, counter-clockwise seen from outside.
        uv: texture coordinates, ``(U, 2)`` float64, finite; (0, 0) is the lower left corner of the texture and (1, 1)
            the upper right one; beyond [0, 1] the texture repeats. None: the mesh has none.
        uv_triangles: rows of ``uv`` for the corners of each triangle, ``(T, 3)`` int64; None with ``uv`` only.
        texture: ``(H, W, 3)`` uint8 RGB, or None.

    Raises:
        DataError: arrays of other shapes, rows that are not there, numbers that are not finite, one of ``uv`` and
            ``uv_triangles`` without the other, or a texture without them.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray | None = None
    uv_triangles: np.ndarray | None = None
    texture: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "vertices", _places(self.vertices, 3, "vertices"))
        object.__setattr__(self, "triangles", _rows(self.triangles, len(self.vertices), "triangles"))
        if (self.uv is None) != (self.uv_triangles is None):
            raise DataError("uv and uv_triangles belong together; got one of them")
        if self.uv is not None and self.uv_triangles is not None:
            object.__setattr__(self, "uv", _places(self.uv, 2, "uv"))
            object.__setattr__(self, "uv_triangles", _rows(self.uv_triangles, len(self.uv), "uv_triangles"))
            if len(self.uv_triangles) != len(self.triangles):
                rows = f"{len(self.triangles)} triangles; got {len(self.uv_triangles)}"
                raise DataError(f"uv_triangles needs a row for each of {rows}")
        if self.texture is None:
            return
        if self.uv is None:
            raise DataError("a texture needs texture coordinates; the mesh has none")
        texture = np.asarray(self.texture)
        if texture.dtype != np.uint8 or texture.ndim != 3 or texture.shape[2] != 3 or not texture.size:
            raise DataError(f"texture must be (H, W, 3) uint8; got {texture.shape} {texture.dtype}")
        object.__setattr__(self, "texture", texture)


def merge(meshes: Sequence[Mesh], texture: np.ndarray | None = None) -> Mesh:
    """Several meshes as one, all with the same texture; texture coordinates are kept when all of them have some.

    Raises:
        DataError: no mesh at all, or a texture for meshes of which one has no texture coordinates.
    """
    if not meshes:
        raise DataError("no mesh to merge")
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
    triangles = np.concatenate([mesh.triangles + start for mesh, start in zip(meshes, starts, strict=False)])
    vertices = np.concatenate([mesh.vertices for mesh in meshes])
    known = [(mesh.uv, mesh.uv_triangles) for mesh in meshes]
    pairs = [(uv, rows) for uv, rows in known if uv is not None and rows is not None]
    if len(pairs) < len(meshes):
        return Mesh(vertices, triangles, texture=texture)
    starts = np.cumsum([0] + [len(uv) for uv, _ in pairs])
    uv_triangles = np.concatenate([rows + start for (_, rows), start in zip(pairs, starts, strict=False)])
    return Mesh(vertices, triangles, np.concatenate([uv for uv, _ in pairs]), uv_triangles, texture)


def _places(values: np.ndarray, width: int, name: str) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or array.shape[1] != width:
        raise DataError(f"{name} must have shape (N, {width}); got {array.shape}")
    if not np.isfinite(array).all():
        raise DataError(f"{name} must be finite; {int((~np.isfinite(array)).any(axis=1).sum())} rows are not")
    return array


def _rows(values: np.ndarray, count: int, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] != 3 or not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"{name} must be (T, 3) integers; got {array.shape} {array.dtype}")
    if array.size and (array.min() < 0 or array.max() >= count):
        raise DataError(f"{name} must name rows 0 to {count - 1}; got {array.min()} to {array.max()}")
    return array.astype(np.int64)
