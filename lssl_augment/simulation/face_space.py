"""A face as a short vector: coefficients of its texture, its silhouette and its shape.

Shape-free texture and shape as in the active appearance model (Cootes, Edwards, Taylor 2001). Deviations:
mirror images double the training faces; the outline of the head (hair included) is modelled apart, as a signed
distance, so that heads have an edge and no ghost of a mean background behind them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.errors import WeightsError
from lssl_augment.faces.dense_flip import DENSE_FLIP
from lssl_augment.faces.landmarks import DENSE_COUNT
from lssl_augment.simulation.mirror_basis import MirrorBasis
from lssl_augment.simulation.shape_warp import ShapeWarp, fill_outside
from lssl_augment.simulation.texture_code import (
    merge_mirror,
    split_mirror,
    texture_halves,
    texture_pixels,
)

__all__ = ["SILHOUETTE_SIDE", "FaceSpace", "shape_halves", "silhouette_halves"]

#: Side of the grid that silhouettes are kept on.
SILHOUETTE_SIDE = 64
#: Width of the soft edge of a head, in pixels of distance.
_EDGE_PX = 1.1
_LEAST_SLOPE = 0.25


def _smooth(images: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(images, (2,) * 4, mode="replicate"), 5, stride=1)


def shape_halves(dense: Tensor, size_px: int) -> tuple[Tensor, Tensor]:
    """Landmarks ``(B, 478, 3)`` → even and odd part under mirroring, each ``(B, 1434)``."""
    mirrored = dense[:, torch.from_numpy(DENSE_FLIP.copy())].clone()
    mirrored[..., 0] = (size_px - 1) - mirrored[..., 0]
    return ((dense + mirrored) / 2).flatten(1), ((dense - mirrored) / 2).flatten(1)


def silhouette_halves(distance: Tensor) -> tuple[Tensor, Tensor]:
    """Signed distances ``(B, 64, 64)`` → even and odd halves, each ``(B, 2048)``."""
    return split_mirror(distance[:, None])


@dataclass(frozen=True)
class FaceSpace:
    """The three sets of components; a coefficient vector is texture, silhouette, shape, in this order.

    Attributes:
        texture: of :func:`~lssl_augment.simulation.texture_code.texture_halves`, mean shape, [0, 255].
        silhouette: of :func:`silhouette_halves`: pixels to the head's edge in the mean shape, positive inside.
        shape: of :func:`shape_halves`, in pixels; its even mean is the mean shape.
        silhouette_map: silhouette coefficients that texture coefficients let expect, ``(Kt, Ks)``.
        size_px: side of the faces.
    """

    texture: MirrorBasis
    silhouette: MirrorBasis
    shape: MirrorBasis
    silhouette_map: Tensor
    size_px: int

    @property
    def size(self) -> int:
        """Length of a coefficient vector."""
        return self.texture.size + self.silhouette.size + self.shape.size

    @property
    def signs(self) -> Tensor:
        """What mirroring multiplies a coefficient vector by, ``(K,)``."""
        return torch.cat([self.texture.signs, self.silhouette.signs, self.shape.signs])

    @property
    def sigma(self) -> Tensor:
        """Standard deviation of every coefficient, ``(K,)``."""
        return torch.cat([self.texture.sigma, self.silhouette.sigma, self.shape.sigma])

    @property
    def mean_shape(self) -> Tensor:
        """``(478, 3)`` in pixels."""
        return self.shape.mean.view(DENSE_COUNT, 3)

    @cached_property
    def warp(self) -> ShapeWarp:
        """Between this mean shape and any other."""
        return ShapeWarp(self.mean_shape, self.size_px)

    def dense(self, coefficients: Tensor) -> Tensor:
        """Landmarks ``(B, 478, 3)`` of coefficient vectors ``(B, K)``."""
        even, odd = self.shape.decode(coefficients[:, self.size - self.shape.size :])
        return (even + odd).view(-1, DENSE_COUNT, 3)

    def textures(self, coefficients: Tensor) -> Tensor:
        """Textures in the mean shape ``(B, 3, S, S)`` of the texture coefficients ``(B, Kt)``."""
        even, odd = self.texture.decode(coefficients)
        return texture_pixels(even, odd, self.size_px)

    def heads(self, coefficients: Tensor) -> Tensor:
        """How much each place of the mean shape is head, ``(B, 1, S, S)`` in [0, 1], of silhouette coefficients."""
        even, odd = self.silhouette.decode(coefficients)
        distance = merge_mirror(even, odd, 1, SILHOUETTE_SIDE)
        size = (self.size_px, self.size_px)
        distance = F.interpolate(distance, size=size, mode="bicubic", align_corners=False)
        # Averages of distances fall more slowly than one pixel a pixel where outlines differ; without this,
        # such edges would be as wide as the difference.
        slope = torch.hypot(*torch.gradient(distance, dim=(2, 3)))
        return torch.sigmoid(distance / (_EDGE_PX * _smooth(slope).clamp(_LEAST_SLOPE, 1.0)))

    def encode_textures(self, textures: Tensor) -> tuple[Tensor, Tensor]:
        """Whole crops in the mean shape, backgrounds and all → texture coefficients and heads.

        Where a head ends is not known beforehand: the mean silhouette gives a first guess of the texture, the
        texture then tells the silhouette that goes with it. Everything outside is replaced by colours from inside.
        """
        start = torch.zeros(len(textures), self.silhouette.size)
        inside = self.heads(start)
        for _ in range(2):
            even, odd = texture_halves(fill_outside(textures, inside))
            coefficients = self.texture.encode(even, odd)
            inside = self.heads(coefficients @ self.silhouette_map)
        return coefficients, inside

    def tensors(self) -> dict[str, Tensor]:
        """What :meth:`from_tensors` reads."""
        return {
            **self.texture.tensors("texture", compact=True),
            **self.silhouette.tensors("silhouette"),
            **self.shape.tensors("shape"),
            "silhouette_map": self.silhouette_map,
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], size_px: int) -> FaceSpace:
        """Read what :meth:`tensors` gave.

        Raises:
            WeightsError: tensors that are missing or do not fit one another.
        """
        bases = [MirrorBasis.from_tensors(tensors, name) for name in ("texture", "silhouette", "shape")]
        lengths = (3 * size_px * size_px // 4, SILHOUETTE_SIDE**2 // 2, 3 * DENSE_COUNT)
        for name, basis, length in zip(("texture", "silhouette", "shape"), bases, lengths, strict=True):
            shapes = [tuple(t.shape) for t in (basis.even, basis.odd, basis.mean, basis.weight, basis.sigma)]
            wanted = [
                (len(basis.even), length),
                (len(basis.odd), length),
                (length,),
                (length,),
                (basis.size,),
            ]
            if shapes != wanted:
                raise WeightsError(f"the face model's {name} has tensors of shapes {shapes}; needed: {wanted}")
        mapping = tensors.get("silhouette_map")
        if mapping is None or mapping.shape != (bases[0].size, bases[1].size):
            raise WeightsError("the face model's silhouette_map is missing or does not fit; learn it again")
        return cls(bases[0], bases[1], bases[2], mapping.float(), size_px)
