"""Learning a :class:`~lssl_augment.simulation.face_space.FaceSpace` from aligned faces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.errors import DataError
from lssl_augment.faces.dense_flip import flip_dense
from lssl_augment.simulation.face_space import (
    SILHOUETTE_SIDE,
    FaceSpace,
    shape_halves,
    silhouette_halves,
)
from lssl_augment.simulation.head_mask import head_mask, signed_distance
from lssl_augment.simulation.mirror_basis import fit_mirror_basis
from lssl_augment.simulation.shape_warp import ShapeWarp, fill_outside, to_float
from lssl_augment.simulation.texture_code import texture_halves, to_planes

__all__ = ["LearnedSpace", "SpaceConfig", "learn_space", "warped_luma"]

_BATCH = 128


@dataclass(frozen=True)
class SpaceConfig:
    """How many components are kept, and how.

    Attributes:
        texture, silhouette, shape: components of each kind.
        least_weight: weight of places that are hardly ever head, against 1 for places that always are.
    """

    texture: int = 640
    silhouette: int = 40
    shape: int = 60
    least_weight: float = 0.1


@dataclass(frozen=True)
class LearnedSpace:
    """A space and what the training faces are in it.

    Attributes:
        space: the components. coefficients: of the training faces, ``(N, K)``.
        kept: share of the variance that the components hold, by kind.
    """

    space: FaceSpace
    coefficients: Tensor
    kept: dict[str, float]


def learn_space(
    images: np.ndarray,
    dense: np.ndarray,
    config: SpaceConfig,
    report: Callable[[str, float], None] = lambda step, share: None,
) -> LearnedSpace:
    """Learn the components.

    Args:
        images: aligned faces, ``(N, S, S, 3)`` uint8; S even. dense: landmarks, ``(N, 478, 3)``, face pixels.
        report: called with the name of the step and how much of it is done.

    Raises:
        DataError: fewer than 8 faces.
    """
    count, size_px = len(images), images.shape[1]
    if count < 8:
        raise DataError(f"a face model needs at least 8 faces to learn from; got {count}")
    points = torch.from_numpy(np.array(dense, np.float32))
    warp = ShapeWarp(_symmetric_mean(points, size_px), size_px)
    even, odd, distances, heads = [], [], [], torch.zeros(size_px, size_px)
    for start in range(0, count, _BATCH):
        rows = slice(start, start + _BATCH)
        masks = [head_mask(image, shape) for image, shape in zip(images[rows], dense[rows], strict=True)]
        inside = torch.from_numpy(np.stack(masks)[:, None]).float()
        warped = warp.to_mean(torch.cat([to_float(images[rows]), inside], dim=1), points[rows])
        masks = list((warped[:, 3] > 0.5).numpy())
        inside = torch.from_numpy(np.stack(masks)[:, None]).float()
        distances += [signed_distance(mask, SILHOUETTE_SIDE) for mask in masks]
        heads += inside.sum((0, 1))
        # Two pixels off the edge: there a head's colours are mixed with the background's.
        inner = -F.max_pool2d(-inside, 5, 1, 2)
        halves = texture_halves(fill_outside(warped[:, :3], inner))
        # Half precision for the wait: a few thousand faces then fit into a few hundred megabytes.
        even.append(halves[0].half())
        odd.append(halves[1].half())
        report("warp", min(1.0, (start + _BATCH) / count))

    weight = _texture_weight(heads / count, config.least_weight)
    texture, textures, kept_texture = fit_mirror_basis(
        torch.cat(even).float(), torch.cat(odd).float(), weight, config.texture
    )
    report("texture", 1.0)
    distance = silhouette_halves(torch.from_numpy(np.stack(distances)))
    flat = torch.ones(distance[0].shape[1])
    silhouette, silhouettes, kept_silhouette = fit_mirror_basis(*distance, flat, config.silhouette)
    halves = shape_halves(points, size_px)
    shape, shapes, kept_shape = fit_mirror_basis(*halves, torch.ones(halves[0].shape[1]), config.shape)
    report("shape", 1.0)
    mapping = _regression(textures, silhouettes, texture.signs, silhouette.signs)
    return LearnedSpace(
        FaceSpace(texture, silhouette, shape, mapping, size_px),
        torch.cat([textures, silhouettes, shapes], dim=1),
        {"texture": kept_texture, "silhouette": kept_silhouette, "shape": kept_shape},
    )


def warped_luma(images: np.ndarray, dense: np.ndarray) -> np.ndarray:
    """Faces ``(N, S, S, 3)`` uint8 with landmarks ``(N, 478, 3)`` as luma in their mean shape, ``(N, S, S)``."""
    points = torch.from_numpy(np.array(dense, np.float32))
    warp = ShapeWarp(_symmetric_mean(points, images.shape[1]), images.shape[1])
    out = np.empty(images.shape[:3], np.float32)
    for start in range(0, len(images), _BATCH):
        rows = slice(start, start + _BATCH)
        out[rows] = to_planes(warp.to_mean(to_float(images[rows]), points[rows]))[0][:, 0].numpy()
    return out


def _symmetric_mean(points: Tensor, size_px: int) -> Tensor:
    mean = points.mean(0)
    return (mean + torch.from_numpy(flip_dense(mean.numpy(), size_px))) / 2


def _texture_weight(heads: Tensor, least: float) -> Tensor:
    """Weight of every entry of a texture vector, from how often each place is head ``(S, S)``."""
    heads = (heads + heads.flip(1)) / 2
    heads = F.avg_pool2d(heads[None, None], 5, 1, 2, count_include_pad=False).clamp(least, 1)
    luma = heads[..., : heads.shape[-1] // 2].flatten()
    chroma = F.avg_pool2d(heads, 2)
    chroma = chroma[..., : chroma.shape[-1] // 2].flatten()
    return torch.cat([luma, chroma, chroma]).sqrt()


def _regression(given: Tensor, wanted: Tensor, given_signs: Tensor, wanted_signs: Tensor) -> Tensor:
    """Ridge weights ``(K, M)``; even predicts even and odd predicts odd, as mirrored training faces demand."""
    ridge = 0.05 * given.square().mean(0).max()
    gram = given.T @ given / len(given) + ridge * torch.eye(given.shape[1])
    weights = torch.linalg.solve(gram, given.T @ wanted / len(given))
    return weights * (given_signs[:, None] == wanted_signs)
