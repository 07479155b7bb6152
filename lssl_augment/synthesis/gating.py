"""The gate inside a run: scores in the generator's vocabulary."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lssl_augment.attributes import Vocabulary

__all__ = ["GateScorer", "Scorer"]


class Scorer(Protocol):
    """Says how well faces show their targets."""

    #: Tells this gate from another one (sha256 of its weights).
    identity: str

    def __call__(self, images: Tensor, targets: np.ndarray) -> np.ndarray:
        """Faces ``(R, 3, S, S)`` in [-1, 1] and labels ``(R,)`` → scores ``(R,)`` float32 in [0, 1], NaN
        where it cannot tell."""


class GateScorer:
    """The package's gate network; never the critic that trained the generator, nor a judge.

    Args:
        name_or_path: weights of kind ``gate``. vocabulary: the generator's, in which targets come.
        device: where the images are.
    """

    def __init__(self, name_or_path: str, vocabulary: Vocabulary, device: str) -> None:
        from lssl_augment.models.gate_net import load_gate
        from lssl_augment.models.weights import find_weights, read_card

        self.identity = str(read_card(find_weights(name_or_path, "gate"))["sha256"])
        self._gate = load_gate(name_or_path, device)
        self._labels = np.full(len(vocabulary), -1, np.int64)
        for ours, theirs in self._gate.vocabulary.mapping_from(vocabulary).items():
            self._labels[ours] = theirs

    def __call__(self, images: Tensor, targets: np.ndarray) -> np.ndarray:
        """See :class:`Scorer`; NaN for classes the gate never learned."""
        from lssl_augment.models.gate_net import scores

        labels = self._labels[targets]
        known = labels >= 0
        out = np.full(len(targets), np.nan, np.float32)
        if known.any():
            rows = torch.from_numpy(np.flatnonzero(known)).to(images.device)
            wanted = torch.from_numpy(labels[known]).to(images.device)
            out[known] = scores(self._gate, images[rows].float(), wanted).float().cpu().numpy()
        return out
