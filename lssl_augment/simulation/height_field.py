"""Face picture with dense points → a head-like surface: what stands in for a 3D scan where there is none."""

from __future__ import annotations

import numpy as np

from lssl_augment.errors import DataError
from lssl_augment.faces.landmarks import DENSE_COUNT, FACE_OVAL, SPARSE_FROM_DENSE, eye_distance_px
from lssl_augment.simulation.mesh import Mesh

__all__ = ["EYE_DISTANCE_MM", "height_field"]

#: Distance between the pupils of a stand-in, as adults have it.
EYE_DISTANCE_MM = 63.0
#: Rings around the face oval, as multiples of it, and how far each lies behind the oval, in eye distances.
_RINGS = ((1.15, 0.25), (1.3, 0.7))


def height_field(dense: np.ndarray, size_px: int) -> Mesh:
    """A surface through the dense points (Delaunay triangles of x and y), with rings around the face that fall back.

    Args:
        dense: ``(478, 3)``, pixels of a picture of side ``size_px``, z in the same unit, smaller is nearer.

    Returns:
        A mesh in millimetres, the middle of the face oval at its origin, whose texture is to be that picture; rings
        end at the picture's border, and what of the face lies beyond it shows the border's colours.

    Raises:
        DataError: points of another shape, not finite, or all in a line.
    """
    dense = np.asarray(dense, np.float64)
    if dense.shape != (DENSE_COUNT, 3) or not np.isfinite(dense).all():
        raise DataError(f"dense must be ({DENSE_COUNT}, 3) finite numbers; got {dense.shape}")
    from scipy.spatial import Delaunay, QhullError  # late: half a second, for stand-ins only

    eyes = float(eye_distance_px(dense[SPARSE_FROM_DENSE, :2]))
    if eyes <= 0:
        raise DataError("dense holds no face: both eyes are in one place")
    oval = dense[list(FACE_OVAL)]
    middle = oval.mean(axis=0)
    rings = []
    for share, behind in _RINGS:
        ring = middle + (oval - middle) * (share, share, 1.0)
        ring[:, 2] = oval[:, 2] + behind * eyes
        rings.append(ring)
    points = np.concatenate([dense, *rings])
    points[DENSE_COUNT:, :2] = points[DENSE_COUNT:, :2].clip(-0.5, size_px - 0.5)
    points = np.unique(points, axis=0)
    try:
        triangles = Delaunay(points[:, :2]).simplices.astype(np.int64)
    except QhullError as error:
        raise DataError("dense holds no face: all points lie in a line") from error
    a, b, c = (points[triangles[:, i], :2] for i in range(3))
    (x1, y1), (x2, y2) = (b - a).T, (c - a).T
    clockwise = x1 * y2 - x2 * y1 > 0  # for the viewer, since y points down
    triangles[clockwise] = triangles[clockwise][:, ::-1]
    uv = ((points[:, :2] + 0.5) / size_px).clip(0, 1)
    uv[:, 1] = 1 - uv[:, 1]
    vertices = (points - middle) * (1, -1, -1) * (EYE_DISTANCE_MM / eyes)
    return Mesh(vertices, triangles, uv, triangles)
