"""Texture vectors and mirror-symmetric components: nothing is lost, and mirroring is a change of signs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lssl_augment.errors import WeightsError
from lssl_augment.simulation.mirror_basis import MirrorBasis, fit_mirror_basis
from lssl_augment.simulation.texture_code import (
    from_planes,
    merge_mirror,
    split_mirror,
    texture_halves,
    texture_pixels,
    to_planes,
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_splitting_and_merging_is_the_identity_and_keeps_lengths(
    batch: int, channels: int, height: int, half_width: int, seed: int
) -> None:
    images = noise(batch, channels, height, 2 * half_width, seed=seed)
    even, odd = split_mirror(images)
    assert torch.allclose(merge_mirror(even, odd, channels, height), images, atol=1e-5)
    length = images.square().flatten(1).sum(1)
    assert torch.allclose(even.square().sum(1) + odd.square().sum(1), length, rtol=1e-4)
    mirrored = split_mirror(images.flip(-1))
    assert torch.equal(mirrored[0], even)
    assert torch.equal(mirrored[1], -odd)


def test_grey_textures_pass_unchanged_and_coloured_ones_keep_their_luma() -> None:
    grey = noise(2, 1, 16, 16).expand(-1, 3, -1, -1)
    assert torch.allclose(texture_pixels(*texture_halves(grey), 16), grey, atol=1e-4)
    coloured = noise(2, 3, 16, 16)
    back = texture_pixels(*texture_halves(coloured), 16)
    assert torch.allclose(to_planes(back)[0], to_planes(coloured)[0], atol=1e-4)
    flat = noise(2, 3, 1, 1).expand(-1, -1, 16, 16)
    assert torch.allclose(from_planes(*to_planes(flat)), flat, atol=1e-4)


@pytest.fixture
def fitted() -> tuple[MirrorBasis, Tensor, Tensor, Tensor]:
    even = noise(12, 30, seed=1) * torch.linspace(3, 0.1, 30) + 5
    odd = noise(12, 30, seed=2)
    weight = torch.linspace(0.5, 1.5, 30)
    basis, coefficients, _ = fit_mirror_basis(even, odd, weight, 23)
    return basis, even, odd, coefficients


def test_components_are_orthonormal_and_all_of_them_rebuild_the_data(
    fitted: tuple[MirrorBasis, Tensor, Tensor, Tensor],
) -> None:
    basis, even, odd, coefficients = fitted
    for rows in (basis.even, basis.odd):
        assert torch.allclose(rows @ rows.T, torch.eye(len(rows)), atol=1e-4)
    rebuilt = basis.decode(coefficients)
    assert torch.allclose(rebuilt[0], even, atol=1e-3)
    assert torch.allclose(rebuilt[1], odd, atol=1e-3)
    assert torch.allclose(coefficients.square().mean(0).sqrt(), basis.sigma, rtol=1e-3)


def test_mirroring_flips_the_signs_of_odd_coefficients(
    fitted: tuple[MirrorBasis, Tensor, Tensor, Tensor],
) -> None:
    basis, even, odd, coefficients = fitted
    assert torch.allclose(basis.encode(even, -odd), coefficients * basis.signs, atol=1e-4)


def test_fewer_components_keep_the_largest_share(fitted: tuple[MirrorBasis, Tensor, Tensor, Tensor]) -> None:
    _, even, odd, _ = fitted
    shares = [fit_mirror_basis(even, odd, torch.ones(30), keep)[2] for keep in (1, 4, 12, 23)]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0, abs=1e-3)
    assert fit_mirror_basis(even, odd, torch.ones(30), 4)[0].size == 4


def test_compact_storage_loses_less_than_one_percent(
    fitted: tuple[MirrorBasis, Tensor, Tensor, Tensor],
) -> None:
    basis, even, _, coefficients = fitted
    tensors = basis.tensors("texture", compact=True)
    assert tensors["texture.even"].dtype == torch.int8
    rebuilt = MirrorBasis.from_tensors(tensors, "texture").decode(coefficients)[0]
    assert (rebuilt - even).norm() < 0.01 * even.norm()
    del tensors["texture.odd"]
    with pytest.raises(WeightsError, match=r"texture\.odd"):
        MirrorBasis.from_tensors(tensors, "texture")
