"""Vocabularies of expressions and their attribute vectors.

The only place a class count comes from: never count classes from the data at hand. Words follow the basic
expressions of Ekman; aliases map the names that data sets use (``angry``, ``happy`` …) onto them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lssl_augment.errors import DataError

__all__ = ["BASIC5", "BASIC7", "BASIC8", "Vocabulary", "canonical_expression"]

_ALIASES = {
    "angry": "anger",
    "contemptuous": "contempt",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "happy": "happiness",
    "joy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
}


def canonical_expression(name: str) -> str:
    """The package's word for an expression name: lower case, ``happy`` → ``happiness`` and so on."""
    key = name.strip().lower()
    return _ALIASES.get(key, key)


@dataclass(frozen=True)
class Vocabulary:
    """An ordered, fixed list of expression names.

    Args:
        names: canonical expression names; index = integer label.

    Raises:
        DataError: when names are empty, repeated or not canonical.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        if not self.names:
            raise DataError("a vocabulary needs at least one expression name; got none")
        if len(set(self.names)) != len(self.names):
            raise DataError(f"expression names must be distinct; got {list(self.names)}")
        for name in self.names:
            if canonical_expression(name) != name:
                raise DataError(f"expression name {name!r} is an alias; use {canonical_expression(name)!r}")

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and canonical_expression(name) in self.names

    def index(self, name: str) -> int:
        """Integer label of an expression name or alias; ``DataError`` names what is allowed."""
        word = canonical_expression(name)
        if word not in self.names:
            raise DataError(f"unknown expression {name!r}; allowed: {', '.join(self.names)}")
        return self.names.index(word)

    def one_hot(self, labels: Sequence[int] | np.ndarray) -> np.ndarray:
        """Integer labels, shape ``(B,)`` → attribute vectors, shape ``(B, len(self))``, float32 in {0, 1}."""
        array = np.asarray(labels)
        if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
            raise DataError(f"labels must be a 1-D integer array; got shape {array.shape}, dtype {array.dtype}")
        if array.size and (array.min() < 0 or array.max() >= len(self)):
            raise DataError(f"labels must be in [0, {len(self) - 1}]; got {int(array.min())} to {int(array.max())}")
        return np.eye(len(self), dtype=np.float32)[array]

    def mapping_from(self, other: Vocabulary) -> dict[int, int]:
        """Labels of ``other`` → labels here, for the expressions both have."""
        return {i: self.names.index(n) for i, n in enumerate(other.names) if n in self.names}


#: The five expressions ``lfw-expressions`` has enough faces of.
BASIC5 = Vocabulary(("neutral", "happiness", "surprise", "anger", "sadness"))
#: FER2013's seven, in the order of its integer labels.
BASIC7 = Vocabulary(("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"))
#: All eight words; what ``folder`` and ``csv`` accept when no other vocabulary is asked for.
BASIC8 = Vocabulary(
    ("neutral", "happiness", "surprise", "anger", "sadness", "fear", "disgust", "contempt")
)
