"""Meshes in VRML 2.0 files (ISO/IEC 14772-1): the part of the format that 3D scans use.

Read: ``Shape`` with an ``IndexedFaceSet`` (coordinates, texture coordinates, polygons of any size) and the name of
its ``ImageTexture``, inside of ``Transform``, ``Group``, ``Anchor``, ``Billboard`` and ``Collision``; ``DEF`` and
``USE``. Materials, colours, normals, lights and all other nodes are passed over. Polygons are cut into fans, so
concave ones (``convex FALSE``) may come out wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lssl_augment.errors import DataError
from lssl_augment.simulation.mesh import Mesh
from lssl_augment.simulation.vrml_nodes import Node, parse_nodes

__all__ = ["VrmlShape", "read_vrml", "write_vrml"]

_GROUPS = frozenset({"", "Transform", "Group", "Anchor", "Billboard", "Collision"})
#: A node may be used many times: what small files could grow to is limited.
_MAX_NODES, _MAX_TRIANGLES = 10_000, 4_000_000
_NUMBERS_A_LINE = 12


@dataclass(frozen=True, eq=False)
class VrmlShape:
    """One shape of a file. Args: mesh: in the coordinates of the file, without its texture. texture: name of the
    texture's picture as the file has it, or None.
    """

    mesh: Mesh
    texture: str | None


def read_vrml(data: bytes) -> list[VrmlShape]:
    """The shapes of a file, in its order; at least one.

    Polygons of fewer than three corners, which cover nothing, are dropped. Texture coordinates that are there without
    ``texCoordIndex`` follow ``coordIndex``, as the standard has it.

    Raises:
        DataError: not VRML 2.0, damaged, too large, or without any mesh.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # of absurd scales; Mesh refuses what comes out of them
        return _shapes(parse_nodes(data))


def write_vrml(mesh: Mesh, texture: str | None = None) -> bytes:
    """A file with one shape, from which :func:`read_vrml` reads exactly the same numbers.

    Args:
        mesh: what to write; the picture of its texture is not part of such a file. texture: name of that picture.
    """
    lines = ["#VRML V2.0 utf8", "Shape {"]
    if texture is not None:
        quoted = texture.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'  appearance Appearance {{ texture ImageTexture {{ url "{quoted}" }} }}')
    lines += ["  geometry IndexedFaceSet {", "    solid FALSE", "    coord Coordinate { point ["]
    lines += [*_lines(mesh.vertices), "    ] }"]
    if mesh.uv is not None:
        lines += ["    texCoord TextureCoordinate { point [", *_lines(mesh.uv), "    ] }"]
    lines += ["    coordIndex [", *_lines(_closed(mesh.triangles)), "    ]"]
    if mesh.uv_triangles is not None:
        lines += ["    texCoordIndex [", *_lines(_closed(mesh.uv_triangles)), "    ]"]
    return "\n".join([*lines, "  }", "}", ""]).encode()


def _shapes(root: Node) -> list[VrmlShape]:
    shapes: list[VrmlShape] = []
    seen, triangles, visited = set(), 0, 0
    waiting = [(root, np.eye(4))]
    while waiting:
        node, placed = waiting.pop()
        seen.add(node.kind)
        visited += 1
        if visited > _MAX_NODES or triangles > _MAX_TRIANGLES:
            raise DataError(
                f"more than {_MAX_NODES:,} nodes or {_MAX_TRIANGLES:,} triangles; this is no scan of a face"
            )
        if node.kind == "Shape":
            geometry = node.node("geometry")
            if geometry is not None and geometry.kind == "IndexedFaceSet":
                shapes.append(VrmlShape(_mesh(geometry, placed), _texture(node)))
                triangles += len(shapes[-1].mesh.triangles)
        elif node.kind in _GROUPS:
            inner = placed @ _transform(node) if node.kind == "Transform" else placed
            # Last in, first out: reversed, so that shapes come in the order of the file.
            waiting += [(child, inner) for child in reversed(node.nodes("children"))]
    if not shapes:
        raise DataError(f"no Shape with an IndexedFaceSet; the nodes are: {', '.join(sorted(seen - {''})) or 'none'}")
    return shapes


def _mesh(faces: Node, placed: np.ndarray) -> Mesh:
    coordinates = faces.node("coord")
    points = np.empty((0, 3)) if coordinates is None else coordinates.floats("point", 3)
    polygons = _Polygons.of(faces, "coordIndex", len(points))
    triangles = polygons.triangles()
    mapped = faces.node("texCoord")
    uv = uv_triangles = None
    if mapped is not None:
        uv = mapped.floats("point", 2)
        name = "texCoordIndex" if faces.fields.get("texCoordIndex") else "coordIndex"
        corners = _Polygons.of(faces, name, len(uv))
        if not np.array_equal(corners.ends, polygons.ends):
            raise faces.error("texCoordIndex has other polygons than coordIndex")
        uv_triangles = corners.triangles()
    mirrored = np.linalg.det(placed[:3, :3]) < 0
    if faces.flag("ccw", True) == mirrored:
        triangles = triangles[:, ::-1]
        uv_triangles = None if uv_triangles is None else uv_triangles[:, ::-1]
    return Mesh(points @ placed[:3, :3].T + placed[:3, 3], triangles, uv, uv_triangles)


@dataclass(frozen=True, eq=False)
class _Polygons:
    """Corners of polygons one after another, ``(N,)``, and behind the last corner of each, ``(P,)``."""

    corners: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, faces: Node, name: str, count: int) -> _Polygons:
        index = faces.integers(name)
        if index.size and (index.min() < -1 or index.max() >= count):
            raise faces.error(f"{name} must name points 0 to {count - 1}, or −1; got {index.min()} to {index.max()}")
        if index.size and index[-1] != -1:  # the last one need not be closed
            index = np.append(index, -1)
        closed = np.flatnonzero(index < 0)
        return cls(index[index >= 0], closed - np.arange(len(closed)))

    def triangles(self) -> np.ndarray:
        """``(T, 3)``: each polygon as a fan around its first corner."""
        starts = np.concatenate([[0], self.ends])[:-1].astype(np.int64)
        counts = np.maximum(self.ends - starts - 2, 0)
        first = np.repeat(starts, counts)
        step = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.stack([self.corners[first + offset] for offset in (0, step + 1, step + 2)], axis=1)


def _texture(shape: Node) -> str | None:
    appearance = shape.node("appearance")
    picture = None if appearance is None else appearance.node("texture")
    urls = [] if picture is None else picture.strings("url")
    return next((url for url in urls if url.strip()), None)


def _transform(node: Node) -> np.ndarray:
    """Matrix ``(4, 4)`` of a Transform: translation, centre, rotation, scale (along scaleOrientation)."""
    move, centre = _shift(_row(node, "translation", (0, 0, 0))), _row(node, "center", (0, 0, 0))
    along = _rotation(node, "scaleOrientation")
    scale = np.diag([*_row(node, "scale", (1, 1, 1)), 1.0])
    turned = _rotation(node, "rotation") @ along @ scale @ along.T
    return np.asarray(move @ _shift(centre) @ turned @ _shift(-centre))


def _row(node: Node, name: str, default: tuple[float, ...]) -> np.ndarray:
    values = node.floats(name, len(default))
    if len(values) > 1:
        raise node.error(f"{name} must be {len(default)} numbers; got {values.size}")
    return values[0] if len(values) else np.array(default, np.float64)


def _shift(by: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = by
    return matrix


def _rotation(node: Node, name: str) -> np.ndarray:
    """Matrix ``(4, 4)`` of an axis and an angle in radians (Rodrigues)."""
    x, y, z, angle = _row(node, name, (0, 0, 1, 0))
    length = float(np.sqrt(x * x + y * y + z * z))
    matrix = np.eye(4)
    if length > 0:
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) / length
        matrix[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return matrix


def _closed(triangles: np.ndarray) -> np.ndarray:
    return np.concatenate([triangles, np.full((len(triangles), 1), -1)], axis=1)


def _lines(values: np.ndarray) -> list[str]:
    words = [repr(value) for value in values.ravel().tolist()]
    return [" ".join(words[i : i + _NUMBERS_A_LINE]) for i in range(0, len(words), _NUMBERS_A_LINE)]
