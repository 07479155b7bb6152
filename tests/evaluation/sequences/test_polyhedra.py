"""Regular polyhedra: axes, neighbours and the shares of a direction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lssl_augment.errors import DataError
from lssl_augment.evaluation.sequences.polyhedra import POLYHEDRA, polyhedron_axes, quantise

numbers = st.lists(st.floats(-10, 10), min_size=3, max_size=3)


@pytest.mark.parametrize(("name", "neighbours"), [("icosahedron", 3), ("dodecahedron", 5)])
def test_axes_are_those_of_a_regular_polyhedron(name: str, neighbours: int) -> None:
    axes, cosine = polyhedron_axes(name)
    assert axes.shape == (POLYHEDRA[name], 3)
    np.testing.assert_allclose(np.linalg.norm(axes, axis=1), 1)
    np.testing.assert_allclose(axes[len(axes) // 2 :], -axes[: len(axes) // 2])
    # Every face has as many neighbours as edges, and none is nearer.
    cosines = axes @ axes.T - 2 * np.eye(len(axes))
    assert (np.isclose(cosines, cosine).sum(axis=1) == neighbours).all()
    assert cosines.max() < cosine + 1e-9


@pytest.mark.parametrize("name", POLYHEDRA)
def test_an_axis_falls_into_its_own_bin_alone(name: str) -> None:
    axes, cosine = polyhedron_axes(name)
    np.testing.assert_allclose(quantise(2.5 * axes, axes, cosine), 2.5 * np.eye(len(axes)), atol=1e-7)
    half = quantise(axes, axes, cosine, half=True)
    np.testing.assert_allclose(half, np.tile(np.eye(len(axes) // 2), (2, 1)), atol=1e-7)


def test_a_gradient_along_x_is_shared_by_two_faces_of_the_icosahedron() -> None:
    axes, cosine = polyhedron_axes("icosahedron")
    shares = quantise(np.array([3.0, 0.0, 0.0]), axes, cosine)
    # (φ, 0, ±1/φ) are at cosine φ/√3 = 0.934; the next ones, (1, ±1, ±1), are at 0.577 < 0.745.
    assert (np.flatnonzero(shares) == [8, 9]).all()
    np.testing.assert_allclose(shares[[8, 9]], 3 / 2**0.5)


@given(numbers, st.sampled_from(sorted(POLYHEDRA)))
def test_length_is_kept_and_the_opposite_goes_to_the_opposite_bins(vector: list[float], name: str) -> None:
    axes, cosine = polyhedron_axes(name)
    gradient = np.array(vector)
    shares = quantise(gradient, axes, cosine)
    length = np.linalg.norm(gradient)
    np.testing.assert_allclose(np.linalg.norm(shares), length, rtol=1e-9)
    opposite = np.roll(shares, len(axes) // 2)
    np.testing.assert_allclose(quantise(-gradient, axes, cosine), opposite, atol=1e-9 + 1e-9 * length)


def test_unknown_name() -> None:
    with pytest.raises(DataError, match="icosahedron, dodecahedron; got 'cube'"):
        polyhedron_axes("cube")
