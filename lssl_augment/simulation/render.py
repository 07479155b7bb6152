"""Mesh → picture: textured, without light or shadow, smooth at the edges; and the way back from pixels to the surface.

The texture of a scan already holds the light it was taken in, so none is added. Everything is deterministic numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lssl_augment.errors import DataError
from lssl_augment.simulation.camera import MAX_SIZE_PX, Camera, frame
from lssl_augment.simulation.mesh import Mesh
from lssl_augment.simulation.rasterise import Fragments, rasterise

__all__ = ["BACKGROUND", "Rendering", "render"]

#: Mid grey, as behind transparent photographs.
BACKGROUND = (128, 128, 128)
#: Colour of meshes without texture where they face the viewer; half as bright where they are seen edge-on.
_CLAY = (200.0, 190.0, 180.0)
#: Samples of one pixel that lie further apart in depth than this, in pixels, belong to different surfaces.
_ONE_SURFACE_PX = 2.0
#: And neighbouring pixels that lie further apart than this.
_STEEPEST_PX = 8.0


@dataclass(frozen=True, eq=False)
class Rendering:
    """A picture and where its pixels lie.

    Args:
        image: ``(S, S, 3)`` uint8 RGB. depth: of the nearest surface, ``(S, S)`` float32, pixels, smaller is nearer,
            0 at the camera's centre; infinite where nothing is. camera: that took it.
    """

    image: np.ndarray
    depth: np.ndarray
    camera: Camera

    def project(self, points: np.ndarray) -> np.ndarray:
        """Places on the mesh ``(..., 3)`` → pixels and depth ``(..., 3)`` float64, whether they are seen or hidden."""
        return self.camera.project(points)

    def depth_at(self, points: np.ndarray) -> np.ndarray:
        """Depth of the surface at places ``(N, 2)`` in the picture: ``(N,)`` float64; NaN where nothing is.

        Between pixels it is linear, but never a mixture of two surfaces one behind the other.
        """
        points = np.asarray(points, np.float64)
        size = len(self.depth)
        inside = np.all((points > -1) & (points < size), axis=1)  # NaN is not
        corner = np.floor(np.where(inside[:, None], points, 0.0)).astype(np.int64)
        part = np.where(inside[:, None], points, 0.0) - corner
        depth, weight = np.zeros((4, len(points))), np.zeros((4, len(points)))
        for i, (right, below) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
            x, y = corner[:, 0] + right, corner[:, 1] + below
            there = inside & (x >= 0) & (x < size) & (y >= 0) & (y < size)
            z = self.depth[y.clip(0, size - 1), x.clip(0, size - 1)]
            there &= np.isfinite(z)
            depth[i, there] = z[there]
            weight[i, there] = (np.abs(1 - right - part[:, 0]) * np.abs(1 - below - part[:, 1]))[there]
        nearest = np.take_along_axis(depth, weight.argmax(axis=0)[None], axis=0)
        weight[np.abs(depth - nearest) > _STEEPEST_PX] = 0
        known = weight.sum(axis=0)
        found = known > 0
        return np.where(found, (weight * depth).sum(axis=0) / np.where(found, known, 1.0), np.nan)

    def lift(self, points: np.ndarray) -> np.ndarray:
        """Pixels ``(N, 2)`` → places on the surface seen there, ``(N, 3)`` float64; NaN where nothing is."""
        points = np.where(np.isfinite(points), points, np.nan)
        return self.camera.unproject(np.concatenate([points, self.depth_at(points)[:, None]], axis=1))


def render(
    mesh: Mesh,
    *,
    yaw_deg: float = 0.0,
    pitch_deg: float = 0.0,
    size_px: int = 256,
    camera: Camera | None = None,
    supersample: int = 2,
    background: tuple[int, int, int] = BACKGROUND,
    hide_backs: bool = False,
) -> Rendering:
    """Draw a mesh.

    Args:
        mesh: with its texture; without one it is drawn as grey clay, brighter where it faces the viewer.
        yaw_deg: positive turns the mesh to the viewer's right. pitch_deg: positive turns it up.
        size_px: side of the picture.
        camera: takes the picture at its own scale, size and pose, instead of ``frame(mesh, size_px)`` turned by the
            angles.
        supersample: samples a pixel in each direction, whose colours are averaged.
        background: RGB where the mesh is not. hide_backs: leave out triangles that are seen from inside; without it
            both sides are drawn alike, so that the order of corners does not matter.

    Raises:
        DataError: a bad size, supersampling or background, angles besides a camera, or a mesh that shows nothing.
    """
    if supersample < 1 or supersample > 8:
        raise DataError(f"supersample must be 1 to 8; got {supersample}")
    if len(background) != 3 or not all(0 <= value <= 255 for value in background):
        raise DataError(f"background must be three values in 0–255; got {background}")
    if camera is None:
        camera = frame(mesh, size_px).turned(yaw_deg, pitch_deg)
    elif yaw_deg or pitch_deg:
        raise DataError("give either a camera or angles: a camera has its own; camera.turned(yaw, pitch) changes them")
    side = camera.size_px * supersample
    if side > 2 * MAX_SIZE_PX:
        raise DataError(f"size times supersample must be at most {2 * MAX_SIZE_PX}; got {side}")
    points = (camera.project(mesh.vertices) + (0.5, 0.5, 0)) * supersample - (0.5, 0.5, 0)  # in samples
    triangles = mesh.triangles
    shown = _facing(points, triangles) if hide_backs else np.arange(len(triangles))
    fragments = rasterise(points, triangles[shown], (side, side))
    rows = shown[fragments.triangle.ravel()[fragments.seen]]
    canvas = np.empty((side * side, 3), np.float32)
    canvas[:] = background
    canvas[fragments.seen] = _colours(mesh, points, rows, fragments.weights)
    blocks = canvas.reshape(camera.size_px, supersample, camera.size_px, supersample, 3)
    image = blocks.mean(axis=(1, 3)).round().astype(np.uint8)
    return Rendering(image, _depth(fragments, camera.size_px, supersample), camera)


def _facing(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Rows of the triangles whose corners run counter-clockwise for the viewer (y points down here)."""
    a, b, c = (points[triangles[:, i], :2] for i in range(3))
    (x1, y1), (x2, y2) = (b - a).T, (c - a).T
    return np.flatnonzero(x1 * y2 - x2 * y1 < 0)


def _depth(fragments: Fragments, size: int, supersample: int) -> np.ndarray:
    """Mean depth of the nearest surface in each pixel."""
    z = fragments.depth.reshape(size, supersample, size, supersample) / supersample
    z = z.transpose(0, 2, 1, 3).reshape(size, size, -1)
    same = z <= z.min(axis=2, keepdims=True) + _ONE_SURFACE_PX
    return np.asarray(np.where(same, z, 0).sum(axis=2) / same.sum(axis=2), np.float32)


def _colours(mesh: Mesh, points: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Colours ``(N, 3)`` float32 of samples: the triangle seen there and the place in it."""
    if mesh.texture is None or mesh.uv is None or mesh.uv_triangles is None:
        return _clay(points, mesh.triangles)[rows]
    corners = mesh.uv[mesh.uv_triangles]
    u, v = (weights[:, :, None] * corners[rows]).sum(axis=1).T
    height, width = mesh.texture.shape[:2]
    halvings = _halvings(corners[rows] * (width, height), points[mesh.triangles[rows], :2])
    texture = mesh.texture
    for _ in range(halvings):
        texture = _half(texture)
    # Row 0 is the upper border, v = 1. Halves of odd sides are rounded up, so the sides are not measured again.
    return _read(texture, _wrapped(u) * (width / 2**halvings) - 0.5, _wrapped(-v + 1) * (height / 2**halvings) - 0.5)


def _clay(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (points[triangles[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    length = np.linalg.norm(normals, axis=1)
    facing = np.abs(normals[:, 2]) / np.where(length > 0, length, 1.0)
    return np.asarray((0.5 + 0.5 * facing)[:, None] * _CLAY, np.float32)


def _halvings(texels: np.ndarray, samples: np.ndarray) -> int:
    """How often to halve the texture, so that it is not read at gaps: from areas in texels and in samples."""
    (tx, ty), (sx, sy) = (np.moveaxis(t[:, 1:] - t[:, :1], -1, 0) for t in (texels, samples))
    texel_area = np.abs(tx[:, 0] * ty[:, 1] - tx[:, 1] * ty[:, 0]).sum()
    sample_area = np.abs(sx[:, 0] * sy[:, 1] - sx[:, 1] * sy[:, 0]).sum()
    if texel_area <= sample_area or sample_area == 0:
        return 0
    return int(np.log2(texel_area / sample_area) / 2)


def _half(texture: np.ndarray) -> np.ndarray:
    """A texture at half the size, odd sides rounded up."""
    height, width = texture.shape[:2]
    if height % 2 or width % 2:
        texture = np.pad(texture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    blocks = texture.reshape(texture.shape[0] // 2, 2, texture.shape[1] // 2, 2, 3)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))


def _wrapped(values: np.ndarray) -> np.ndarray:
    """Values beyond [0, 1] repeat; 1 itself stays the far border."""
    return np.where((values < 0) | (values > 1), values - np.floor(values), values)


def _read(texture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Colours ``(N, 3)`` float32 between the pixels of a texture; beyond its border the edge is repeated."""
    height, width = texture.shape[:2]
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right_part, lower_part = (x - left).astype(np.float32)[:, None], (y - top).astype(np.float32)[:, None]
    flat = texture.reshape(-1, 3)
    x0, x1 = left.clip(0, width - 1), (left + 1).clip(0, width - 1)
    y0, y1 = top.clip(0, height - 1) * width, (top + 1).clip(0, height - 1) * width
    upper = flat[y0 + x0] * (1 - right_part) + flat[y0 + x1] * right_part
    lower = flat[y1 + x0] * (1 - right_part) + flat[y1 + x1] * right_part
    return np.asarray(upper * (1 - lower_part) + lower * lower_part)
