"""Drawing people: coefficient vectors around averages of several real faces.

A single Gaussian over all coefficients draws faces whose fine details do not belong together: mottled skin, hair
of no kind. The coefficients of real faces lie along a curved sheet, so the model keeps *prototypes*, each the
average of a handful of different people who look alike, mixes two of them for every person drawn, and adds
Gaussian variation of the kind that those people show around their averages (a kernel density with
wide kernels, whose kernels are centred on averages and never on one training face).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lssl_augment.errors import DataError, WeightsError
from lssl_augment.simulation.backdrop import NUMBERS
from lssl_augment.simulation.face_space import FaceSpace

__all__ = ["Mixture", "People", "PeopleConfig", "Persons", "learn_people", "look_features"]

#: Key word of the generators, so that a person's numbers are not those of another use of the same seed.
_STREAM = 0xFACE
#: Weights of silhouette and shape against texture when looks are compared.
_SILHOUETTE, _SHAPE = 0.6, 0.7


@dataclass(frozen=True)
class PeopleConfig:
    """How prototypes are made and mixed.

    Attributes:
        prototypes: how many. members: different people that each averages.
        lonely: share of the training faces, those farthest from their likes, that no prototype is made around.
        variations: directions of the variation added. second: largest share of the second prototype.
        spread: size of the variation, 1 as training faces vary around their prototypes.
        calm: size of the variation of silhouette and shape against that of texture; below 1 outlines stay regular
            and mouths and brows at rest.
        limit: where its normal numbers are cut, in standard deviations.
    """

    prototypes: int = 600
    members: int = 6
    lonely: float = 0.08
    variations: int = 128
    second: float = 0.35
    spread: float = 1.12
    calm: float = 0.8
    limit: float = 2.5


@dataclass(frozen=True)
class Mixture:
    """Numbers drawn for B people; nothing in it depends on the model but the number of prototypes.

    Attributes:
        first, other: prototypes, ``(B,)`` int64. share: of the other one, ``(B,)`` in [0, 1).
        mirrored: ``(B,)`` bool. normal: ``(B, R)``. backdrop: ``(B, NUMBERS)`` in [0, 1).
    """

    first: np.ndarray
    other: np.ndarray
    share: np.ndarray
    mirrored: np.ndarray
    normal: np.ndarray
    backdrop: np.ndarray


@dataclass(frozen=True)
class Persons:
    """What was drawn: coefficient vectors ``(B, K)`` and the numbers of the backdrops ``(B, NUMBERS)``."""

    coefficients: Tensor
    backdrop: Tensor


@dataclass(frozen=True)
class People:
    """What people are drawn from.

    Attributes:
        prototypes: coefficient vectors in standard deviations, ``(P, K)``.
        variations: directions scaled by how much people vary along them, same unit, ``(R, K)``.
        second, spread, limit: see :class:`PeopleConfig`.
    """

    prototypes: Tensor
    variations: Tensor
    second: float
    spread: float
    limit: float

    def mixture(self, seeds: np.ndarray) -> Mixture:
        """Draw the numbers of people by seed, ``(B,)`` integers; a row depends on its seed alone."""
        count = len(seeds)
        pair = np.empty((count, 2), np.int64)
        share, mirrored = np.empty(count, np.float32), np.empty(count, bool)
        normal = np.empty((count, len(self.variations)), np.float32)
        backdrop = np.empty((count, NUMBERS), np.float32)
        for row, seed in enumerate(seeds.tolist()):
            key = np.array([seed & 0xFFFFFFFFFFFFFFFF, _STREAM], np.uint64)
            rng = np.random.Generator(np.random.Philox(key=key))
            first = rng.integers(len(self.prototypes))
            # Any other one: a step of 1 to P − 1 around the circle.
            pair[row] = first, (first + rng.integers(1, len(self.prototypes))) % len(self.prototypes)
            share[row] = rng.uniform(0.0, self.second)
            mirrored[row] = rng.random() < 0.5
            normal[row] = rng.standard_normal(normal.shape[1])
            backdrop[row] = rng.random(NUMBERS)
        limit = np.float32(self.limit)
        return Mixture(pair[:, 0], pair[:, 1], share, mirrored, np.clip(normal, -limit, limit), backdrop)

    def draw(self, space: FaceSpace, seeds: np.ndarray) -> Persons:
        """People by seed, ``(B,)`` integers; a row depends on its seed alone."""
        drawn = self.mixture(seeds)
        share = torch.from_numpy(drawn.share)[:, None]
        mixed = (1 - share) * self.prototypes[drawn.first] + share * self.prototypes[drawn.other]
        # Two averages mixed are more average than either: back to the distance from the mean that one has.
        mixed = mixed / torch.sqrt((1 - share).square() + share.square())
        mixed = mixed + self._variation(space, torch.from_numpy(drawn.normal))
        sign = torch.where(torch.from_numpy(drawn.mirrored)[:, None], space.signs, torch.ones(()))
        return Persons(mixed * sign * space.sigma, torch.from_numpy(drawn.backdrop))

    def _variation(self, space: FaceSpace, normal: Tensor) -> Tensor:
        """Variation of a random kind, ``(B, K)``, but of one size.

        A few directions weigh most, so sizes would differ widely: people with little of it could be too close to
        a training face, those with much of it would look odd.
        """
        scale = space.sigma * _look_scale(space)
        change = normal @ self.variations
        size = (self.variations * scale).norm()  # the root mean square size
        return change * (self.spread * size / (change * scale).norm(dim=1, keepdim=True).clamp_min(1e-9))

    def tensors(self) -> dict[str, Tensor]:
        """What :meth:`from_tensors` reads."""
        numbers = torch.tensor([self.second, self.spread, self.limit])
        parts = {"prototypes": self.prototypes, "variations": self.variations, "numbers": numbers}
        return {f"people.{name}": value for name, value in parts.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], space: FaceSpace) -> People:
        """Read what :meth:`tensors` gave.

        Raises:
            WeightsError: tensors that are missing or do not fit the space.
        """
        try:
            prototypes, variations, numbers = (
                tensors[f"people.{name}"].float() for name in ("prototypes", "variations", "numbers")
            )
        except KeyError as error:
            raise WeightsError(f"the face model lacks the tensor {error}; learn it again") from error
        for name, value in (("prototypes", prototypes), ("variations", variations)):
            if value.ndim != 2 or value.shape[1] != space.size:
                raise WeightsError(
                    f"the face model's {name} have shape {tuple(value.shape)}; needed: (*, {space.size})"
                )
        second, spread, limit = numbers.tolist()
        return cls(prototypes, variations, second, spread, limit)


def look_features(space: FaceSpace, coefficients: Tensor) -> Tensor:
    """Coefficients ``(N, K)`` scaled so that Euclidean distance compares looks, ``(N, K)``.

    Texture counts by its variance in the picture; silhouette and shape are put on its scale.
    """
    return coefficients * _look_scale(space)


def _look_scale(space: FaceSpace) -> Tensor:
    kinds = ((space.texture, 1.0), (space.silhouette, _SILHOUETTE), (space.shape, _SHAPE))
    scales = [weight / basis.sigma.square().sum().sqrt() for basis, weight in kinds]
    return torch.cat([s.expand(basis.size) for s, (basis, _) in zip(scales, kinds, strict=True)])


def learn_people(
    space: FaceSpace, coefficients: Tensor, subjects: np.ndarray, config: PeopleConfig, seed: int
) -> People:
    """Prototypes and variations from the training faces and their mirror images.

    Args:
        coefficients: of the training faces, ``(N, K)``. subjects: their names, ``(N,)``.
        seed: of the first face a prototype is made around; the others follow.

    Raises:
        DataError: fewer different subjects than a prototype needs.
    """
    names = np.unique(subjects)
    if len(names) < config.members + 1:
        raise DataError(
            f"prototypes of {config.members} people need faces of more than {config.members} subjects; got {len(names)}"
        )
    both = torch.cat([coefficients, coefficients * space.signs])
    owner = np.tile(np.searchsorted(names, subjects), 2)
    features = look_features(space, both)
    # A face or its mirror image: drawing mirrors people anyway.
    distance = torch.cdist(features[: len(coefficients)], features)
    order = distance.argsort(dim=1).numpy()
    groups = np.stack([_nearest_people(row, owner, config.members) for row in order])
    # Faces that look like nobody else (a hat, a hand, a microphone) would stand alone in their averages.
    radius = distance.gather(1, torch.from_numpy(groups)).mean(dim=1)
    company = np.sort(radius.argsort()[: max(1, round(len(radius) * (1 - config.lonely)))].numpy())
    groups = groups[company[_far_apart(features[company], config.prototypes, seed)]]
    members = (both / space.sigma)[torch.from_numpy(groups)]
    prototypes = members.mean(dim=1)
    # Averages of m people lack the factor (m − 1)/m of the variance around them.
    rest = (members - prototypes[:, None]).flatten(0, 1) * (config.members / (config.members - 1)) ** 0.5
    scale = space.sigma * _look_scale(space)
    _, length, directions = torch.linalg.svd(rest * scale, full_matrices=False)
    keep = min(config.variations, len(length))
    variations = directions[:keep] * (length[:keep, None] / len(rest) ** 0.5) / scale
    variations[:, space.texture.size :] *= config.calm
    return People(prototypes, variations, config.second, config.spread, config.limit)


def _far_apart(features: Tensor, count: int, seed: int) -> np.ndarray:
    """Rows chosen one after the other, each as far as possible from those before: rare looks are not left out."""
    rng = np.random.Generator(np.random.Philox(key=[seed, _STREAM]))
    rows = [int(rng.integers(len(features)))]
    distance = torch.full((len(features),), torch.inf)
    while len(rows) < min(count, len(features)):
        distance = torch.minimum(distance, (features - features[rows[-1]]).norm(dim=1))
        rows.append(int(distance.argmax()))
    return np.array(rows)


def _nearest_people(order: np.ndarray, owner: np.ndarray, count: int) -> np.ndarray:
    """The first ``count`` rows of ``order`` that belong to different people."""
    _, first = np.unique(owner[order], return_index=True)
    return order[np.sort(first)[:count]]
