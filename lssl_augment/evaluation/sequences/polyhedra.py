"""Directions in space and time, quantised on a regular polyhedron (Kläser, Marszałek, Schmid 2008, section 3.2)."""

from __future__ import annotations

from itertools import product

import numpy as np

from lssl_augment.errors import DataError

__all__ = ["POLYHEDRA", "polyhedron_axes", "quantise"]

#: Names → faces.
POLYHEDRA = {"icosahedron": 20, "dodecahedron": 12}

_GOLDEN = (1 + 5**0.5) / 2


def polyhedron_axes(name: str) -> tuple[np.ndarray, float]:
    """Unit vectors (x, y, t) through the middles of the faces, and the cosine between neighbouring ones.

    Row i + F/2 is the opposite of row i. The middles of an icosahedron's faces are the corners of a dodecahedron,
    and the other way round.

    Returns:
        ``(F, 3)`` float64; the cosine: √5/3 for the icosahedron, 1/√5 for the dodecahedron.

    Raises:
        DataError: another name.
    """
    if name == "icosahedron":
        inverse = 1 / _GOLDEN
        half = [(1.0, a, b) for a, b in product((1.0, -1.0), repeat=2)]
        half += [(0.0, inverse, s * _GOLDEN) for s in (1.0, -1.0)]
        half += [(inverse, s * _GOLDEN, 0.0) for s in (1.0, -1.0)]
        half += [(_GOLDEN, 0.0, s * inverse) for s in (1.0, -1.0)]
        cosine = 5**0.5 / 3
    elif name == "dodecahedron":
        half = [(0.0, 1.0, s * _GOLDEN) for s in (1.0, -1.0)]
        half += [(1.0, s * _GOLDEN, 0.0) for s in (1.0, -1.0)]
        half += [(_GOLDEN, 0.0, s * 1.0) for s in (1.0, -1.0)]
        cosine = 5**-0.5
    else:
        raise DataError(f"polyhedron must be one of {', '.join(POLYHEDRA)}; got {name!r}")
    unit = np.array(half) / np.linalg.norm(half[0])
    return np.concatenate([unit, -unit]), cosine


def quantise(gradients: np.ndarray, axes: np.ndarray, threshold: float, *, half: bool = False) -> np.ndarray:
    """Shares of vectors along the axes, at each vector's own length.

    The cosine with each axis, less the threshold and never below 0, is scaled so that the row has the length of the
    vector: a vector along an axis is counted for that axis alone.

    Args:
        gradients: ``(..., 3)``. axes: ``(F, 3)`` unit vectors, second half opposite to the first.
        threshold: cosine of neighbouring axes. half: count opposite directions as one.

    Returns:
        ``(..., F)``, or ``(..., F/2)`` with ``half``; the null vector gives zeros.
    """
    length = np.linalg.norm(gradients, axis=-1, keepdims=True)
    unit = np.divide(gradients, length, out=np.zeros_like(gradients), where=length > 0)
    shares = np.maximum(unit @ axes.T - threshold, 0.0)
    if half:
        middle = len(axes) // 2
        shares = shares[..., :middle] + shares[..., middle:]
    norm = np.linalg.norm(shares, axis=-1, keepdims=True)
    return length * np.divide(shares, norm, out=np.zeros_like(shares), where=norm > 0)
