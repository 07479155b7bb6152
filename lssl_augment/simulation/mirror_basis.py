"""Principal components of mirror-symmetric data: an even and an odd half that are analysed apart.

Every training face also counts as its own mirror image. Components are then even or odd under mirroring, the
mean is even, and mirroring a face flips the sign of its odd coefficients and does nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lssl_augment.errors import WeightsError

__all__ = ["MirrorBasis", "fit_mirror_basis"]


@dataclass(frozen=True)
class MirrorBasis:
    """Mean and components; vectors come as an even and an odd half of length D.

    Attributes:
        mean: of the even halves, ``(D,)``; that of the odd ones is 0.
        even, odd: orthonormal components of weighted vectors, ``(Ke, D)`` and ``(Ko, D)``.
        weight: what a vector is multiplied by before, ``(D,)``, positive.
        sigma: standard deviation of every coefficient, ``(Ke + Ko,)``, even ones first.
    """

    mean: Tensor
    even: Tensor
    odd: Tensor
    weight: Tensor
    sigma: Tensor

    @property
    def size(self) -> int:
        """How many coefficients there are."""
        return len(self.even) + len(self.odd)

    @property
    def signs(self) -> Tensor:
        """1 for even coefficients, −1 for odd ones, ``(K,)``: what mirroring multiplies them by."""
        return torch.cat([torch.ones(len(self.even)), -torch.ones(len(self.odd))])

    def encode(self, even: Tensor, odd: Tensor) -> Tensor:
        """Halves ``(B, D)`` → coefficients ``(B, K)``."""
        even = ((even - self.mean) * self.weight) @ self.even.T
        return torch.cat([even, (odd * self.weight) @ self.odd.T], dim=1)

    def decode(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients ``(B, K)`` → even and odd halves ``(B, D)``."""
        cut = len(self.even)
        even = self.mean + (coefficients[:, :cut] @ self.even) / self.weight
        return even, (coefficients[:, cut:] @ self.odd) / self.weight

    def tensors(self, prefix: str, *, compact: bool = False) -> dict[str, Tensor]:
        """Tensors to store; ``compact`` stores components as int8, each with a scale of its own."""
        out = {"mean": self.mean, "weight": self.weight, "sigma": self.sigma}
        for name, rows in (("even", self.even), ("odd", self.odd)):
            if compact:
                scale = rows.abs().amax(dim=1) / 127.0
                out[name] = (rows / scale[:, None]).round().to(torch.int8)
                out[f"{name}_scale"] = scale
            else:
                out[name] = rows
        return {f"{prefix}.{name}": value for name, value in out.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], prefix: str) -> MirrorBasis:
        """Read what :meth:`tensors` gave."""
        parts = {}
        for name in ("mean", "even", "odd", "weight", "sigma"):
            if f"{prefix}.{name}" not in tensors:
                raise WeightsError(f"the face model lacks the tensor {prefix}.{name}; learn it again")
            value = tensors[f"{prefix}.{name}"]
            scale = tensors.get(f"{prefix}.{name}_scale")
            parts[name] = value.float() if scale is None else value.float() * scale[:, None]
        return cls(**parts)


def fit_mirror_basis(even: Tensor, odd: Tensor, weight: Tensor, keep: int) -> tuple[MirrorBasis, Tensor, float]:
    """Weighted principal components of vectors and their mirror images.

    Args:
        even, odd: halves, ``(N, D)`` float32. weight: ``(D,)``. keep: components in all.

    Returns:
        The basis, the coefficients of the N vectors ``(N, K)``, and the share of the variance that they hold.
    """
    mean = even.mean(0)
    parts = [_components((even - mean) * weight), _components(odd * weight)]
    variances = torch.cat([variance for _, variance in parts])
    # The largest of both kinds together.
    largest = variances.sort(descending=True).values
    floor = largest[min(keep, len(largest)) - 1].clamp_min(largest[0] * 1e-9)
    rows = [vectors[variance >= floor] for vectors, variance in parts]
    sigma = torch.cat([variance[variance >= floor] for _, variance in parts]).sqrt()
    basis = MirrorBasis(mean, rows[0], rows[1], weight, sigma)
    share = float(sigma.square().sum() / variances.sum())
    return basis, basis.encode(even, odd), share


def _components(data: Tensor) -> tuple[Tensor, Tensor]:
    """Components ``(R, D)`` of rows whose mean is 0, and their variances ``(R,)``, falling."""
    count, length = data.shape
    if count <= length:
        variance, vectors = torch.linalg.eigh((data @ data.T).double() / count)
    else:
        variance, vectors = torch.linalg.eigh((data.T @ data).double() / count)
    variance, vectors = variance.flip(0).clamp_min(0), vectors.flip(1)
    good = variance > variance[0] * 1e-7
    variance, vectors = variance[good], vectors[:, good]
    rows = vectors.T.float()
    if count <= length:
        rows = (rows @ data) / (variance * count).sqrt().float()[:, None]
    # A sign of its own choosing: what a solver returns may differ from machine to machine.
    rows *= torch.sign(rows.gather(1, rows.abs().argmax(dim=1, keepdim=True)))
    return rows, variance.float()
