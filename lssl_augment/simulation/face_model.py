"""The face model that ships with the package: synthetic people by seed, and real faces seen through the model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.errors import DataError, WeightsError
from lssl_augment.faces.landmarks import DENSE_COUNT
from lssl_augment.simulation.backdrop import backdrops
from lssl_augment.simulation.face_space import FaceSpace
from lssl_augment.simulation.people import People, Persons
from lssl_augment.simulation.shape_warp import to_float

__all__ = ["FaceModel", "load_face_model"]

#: Faces are made in blocks of this many, the last one padded: numbers then come out the same in any company.
_BLOCK = 32
#: Unsharp mask of sampled textures: averages of faces are softer than faces.
_SHARPEN = 0.7


class FaceModel:
    """Statistical model of nearly neutral, nearly frontal faces.

    Args:
        space: the components. people: what people are drawn from. card: of the weights, or empty.
    """

    def __init__(self, space: FaceSpace, people: People, card: Mapping[str, Any] | None = None) -> None:
        self.space = space
        self.people = people
        self._around = _around_head(space)
        self.card = dict(card or {})

    @property
    def face_size_px(self) -> int:
        """Side of the faces."""
        return self.space.size_px

    def tensors(self) -> dict[str, Tensor]:
        """What to store as weights of kind ``faces``."""
        return {**self.space.tensors(), **self.people.tensors()}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], size_px: int, card: Mapping[str, Any] | None = None
    ) -> FaceModel:
        """Read what :meth:`tensors` gave.

        Raises:
            WeightsError: tensors that are missing or do not fit one another.
        """
        space = FaceSpace.from_tensors(tensors, size_px)
        return cls(space, People.from_tensors(tensors, space), card)

    def as_stored(self) -> FaceModel:
        """The model as it will be read back: its numbers rounded to what the file holds."""
        stored = {k: t.half() if t.is_floating_point() else t for k, t in self.tensors().items()}
        return FaceModel.from_tensors(stored, self.face_size_px, self.card)

    @torch.no_grad()
    def sample(self, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Synthetic people, one a seed; a row depends on its seed alone.

        Args:
            seeds: ``(B,)`` integers.

        Returns:
            Faces ``(B, S, S, 3)`` uint8 and their dense landmarks ``(B, 478, 3)`` float32 in face pixels.

        Raises:
            DataError: seeds that are not a 1-D array of integers.
        """
        seeds = np.asarray(seeds)
        if seeds.ndim != 1 or not np.issubdtype(seeds.dtype, np.integer):
            raise DataError(f"seeds must be a 1-D array of integers; got {seeds.shape} {seeds.dtype}")
        size = self.face_size_px
        images = np.empty((len(seeds), size, size, 3), np.uint8)
        dense = np.empty((len(seeds), DENSE_COUNT, 3), np.float32)
        for start in range(0, len(seeds), _BLOCK):
            block = seeds[start : start + _BLOCK]
            padded = np.concatenate([block, np.zeros(_BLOCK - len(block), block.dtype)])
            faces, points = self._render(self.people.draw(self.space, padded))
            images[start : start + len(block)] = _to_uint8(faces[: len(block)])
            dense[start : start + len(block)] = points[: len(block)].numpy()
        return images, dense

    def _render(self, persons: Persons) -> tuple[Tensor, Tensor]:
        space, vectors = self.space, persons.coefficients
        cut = space.texture.size
        dense = space.dense(vectors)
        textures = space.textures(vectors[:, :cut])
        textures = textures + _SHARPEN * (textures - _blur(textures))
        # Clothes of many people average to a coarse fuzz; only their colour is kept.
        textures = textures + self._around * (_colours(textures) - textures)
        inside = space.heads(vectors[:, cut : cut + space.silhouette.size])
        warped = space.warp.from_mean(torch.cat([textures, inside], dim=1), dense)
        alpha = warped[:, 3:].clamp(0, 1)
        faces = alpha * warped[:, :3] + (1 - alpha) * backdrops(persons.backdrop, space.size_px)
        return faces, dense

    @torch.no_grad()
    def project(self, images: np.ndarray, dense: np.ndarray, components: int | None = None) -> np.ndarray:
        """Real faces as the model sees them: the head is rebuilt from its components, the rest stays.

        Args:
            images: aligned faces, ``(B, S, S, 3)`` uint8. dense: landmarks, ``(B, 478, 3)``, face pixels.
            components: how many texture components to use, the strongest first; fewer is softer. Default: all.

        Returns:
            Softer faces of the same people, ``(B, S, S, 3)`` uint8, in the same shape and pose.

        Raises:
            DataError: arrays of other shapes or types, or a number of components outside 1 to all.
        """
        size, total = self.face_size_px, self.space.texture.size
        images, dense = np.asarray(images), np.asarray(dense)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3):
            raise DataError(f"images must be (B, {size}, {size}, 3) uint8; got {images.shape} {images.dtype}")
        if dense.shape != (len(images), DENSE_COUNT, 3):
            raise DataError(f"dense must be ({len(images)}, {DENSE_COUNT}, 3); got {dense.shape}")
        if components is not None and not 1 <= components <= total:
            raise DataError(f"components must be 1 to {total}; got {components}")
        keep = torch.ones(total)
        if components is not None:
            keep[self.space.texture.sigma.argsort(descending=True)[components:]] = 0
        out = np.empty_like(images)
        for start in range(0, len(images), _BLOCK):
            rows = slice(start, start + _BLOCK)
            faces, shape = to_float(images[rows]), torch.from_numpy(np.array(dense[rows], np.float32))
            textures = self.space.warp.to_mean(faces, shape)
            coefficients, inside = self.space.encode_textures(textures)
            rebuilt = torch.cat([self.space.textures(coefficients * keep), inside], dim=1)
            rebuilt = self.space.warp.from_mean(rebuilt, shape)
            alpha = rebuilt[:, 3:].clamp(0, 1)
            out[rows] = _to_uint8(alpha * rebuilt[:, :3] + (1 - alpha) * faces)
        return out


def load_face_model(name_or_path: str | os.PathLike[str] = "faces") -> FaceModel:
    """The package's face model, or one that ``lssl-augment train-sources`` wrote.

    Raises:
        WeightsError: no such weights, damaged ones, or weights of another kind.
    """
    from lssl_augment.models.weights import read_weights

    tensors, card = read_weights(name_or_path, "faces")
    size = card["face_size_px"]
    if type(size) is not int or size < 2 or size % 2:
        raise WeightsError(f"the face model's card must give face_size_px as an even integer; got {size!r}")
    return FaceModel.from_tensors(tensors, size, card)


def _around_head(space: FaceSpace) -> Tensor:
    """1 where clothes and shoulders are in the mean shape, 0 on face, hair and neck, ``(S, S)``, soft."""
    points = space.mean_shape[:, :2]
    low, high = points.amin(0), points.amax(0)
    centre, half = (low + high) / 2, (high - low) / 2
    axis = torch.arange(space.size_px, dtype=torch.float32)
    ys, xs = torch.meshgrid(axis, axis, indexing="ij")
    radius = torch.hypot((xs - centre[0]) / (1.2 * half[0]), (ys - centre[1]) / (1.45 * half[1]))
    below = torch.sigmoid((ys - centre[1]) / (0.15 * half[1]))
    return below * torch.sigmoid((radius - 1.0) * 14.0)


def _blur(images: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(images, (1,) * 4, mode="replicate"), 3, stride=1)


def _colours(images: Tensor) -> Tensor:
    """Images without their detail; blurred where they are small, which is far cheaper."""
    small = _blur(_blur(F.avg_pool2d(images, 4)))
    return F.interpolate(small, size=images.shape[-2:], mode="bilinear", align_corners=False)


def _to_uint8(faces: Tensor) -> np.ndarray:
    return faces.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
