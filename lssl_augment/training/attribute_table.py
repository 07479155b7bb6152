"""The attribute vectors of training faces, either way round, and the drawing of targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lssl_augment.attribute_vector import AttributeSpec, attribute_words
from lssl_augment.errors import DataError
from lssl_augment.training.batches import TrainingFaces

__all__ = ["AttributeTable"]


class AttributeTable:
    """What each training face shows.

    A vector tells by itself what is known: a group that is unknown is all zeros (see :meth:`known`).

    Args:
        faces: with ``yaw_deg`` and ``lights`` where these groups are asked for.
        words: groups, as :func:`lssl_augment.attribute_vector.attribute_words` takes them.

    Attributes:
        spec: groups and their columns.

    Raises:
        DataError: a value of a group that no training face shows; the critic could never learn it.
    """

    def __init__(self, faces: TrainingFaces, words: Sequence[str] = ("expression",)) -> None:
        self.spec = spec = AttributeSpec(faces.vocabulary, *attribute_words(words))
        codes = spec.codes(faces.labels, faces.yaw_deg, faces.lights)
        mirrored = spec.codes(faces.labels, None if faces.yaw_deg is None else -faces.yaw_deg, faces.lights)
        for column, (group, place) in enumerate(spec.groups.items()):
            if group == "expression":  # classes without faces are refused, or allowed, where faces are loaded
                continue
            both = np.concatenate([codes[:, column], mirrored[:, column]])
            counts = np.bincount(both[both >= 0], minlength=place.stop - place.start)
            empty = [spec.names[place][i] for i in np.flatnonzero(counts == 0)]
            if empty:
                narrower = "pose:30" if group == "pose" else "light:normal+weak"
                raise DataError(
                    f"{faces.dataset} has no training face of {', '.join(empty)}; narrow the group down (for example "
                    f"--set attributes=expression,{narrower}), leave {group} out, or prepare a pack that tells it"
                )
        # (2, N, D): as photographed, and mirrored, which turns a head to the other side.
        self._vectors = torch.from_numpy(np.stack([spec.encode(codes), spec.encode(mirrored)]))

    def own(self, rows: Tensor, flipped: Tensor) -> Tensor:
        """Vectors ``(B, D)`` of training faces ``rows``, mirrored where ``flipped``; on the CPU, where both must be."""
        return self._vectors[flipped.long(), rows]

    def draw(self, own: Tensor, random: torch.Generator) -> Tensor:
        """Targets ``(B, D)`` for sources ``own``: each group uniformly, whatever the source shows.

        A group that is unknown of the source stays so: nothing could say whether it came back in the cycle of eq. 6,
        and "unknown" so comes to mean "as it is".
        """
        targets = torch.zeros_like(own)
        for place in self.spec.groups.values():
            drawn = torch.randint(place.stop - place.start, (len(own),), generator=random)
            targets[torch.arange(len(own)), place.start + drawn] = 1.0
        return targets * self.known(own)

    def known(self, vectors: Tensor) -> Tensor:
        """Which columns of ``(B, D)`` vectors are known, ``(B, D)`` bool, on their device."""
        parts = [
            (vectors[:, place] > 0).any(1, keepdim=True).expand(-1, place.stop - place.start)
            for place in self.spec.groups.values()
        ]
        return torch.cat(parts, dim=1)

    def each_value(self, own: Tensor) -> Tensor:
        """Every value of every group as target, the other groups kept: ``(B, D)`` → ``(D, B, D)``."""
        out = own.repeat(own.shape[1], 1, 1)
        for place in self.spec.groups.values():
            for column in range(place.start, place.stop):
                out[column, :, place] = 0.0
                out[column, :, column] = 1.0
        return out
