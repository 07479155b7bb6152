"""Which expression a chosen face is turned into: the ``targets=`` wish, resolved once into plain numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lssl_augment.attributes import Vocabulary, canonical_expression
from lssl_augment.errors import DataError

__all__ = ["ClassMap", "TargetFunction", "TargetPolicy", "resolve_counts", "resolve_targets", "water_fill"]

TargetFunction = Callable[[Tensor, torch.Generator], Any]

_FORMS = (
    "'uniform', 'balance', 'keep', a list of class names or labels, a dict of class → weight, "
    "or a callable(labels, generator)"
)


@dataclass(frozen=True)
class ClassMap:
    """The user's class order beside the generator's.

    Args:
        names: the user's class names in label order.
        to_generator: the generator's label for each of them, −1 where it cannot make that class.
    """

    names: tuple[str, ...]
    to_generator: tuple[int, ...]

    @classmethod
    def build(cls, classes: object, vocabulary: Vocabulary) -> ClassMap:
        """Match class names (any case, aliases allowed) with the generator's vocabulary.

        Raises:
            TypeError: when ``classes`` is no sequence of names.
            DataError: when names are empty or repeated, or the generator can make none of them.
        """
        if classes is None:
            classes = vocabulary
        names = classes.names if isinstance(classes, Vocabulary) else classes
        if (
            isinstance(names, str)
            or not isinstance(names, Sequence)
            or not all(isinstance(n, str) for n in names)
        ):
            raise TypeError(
                "classes must be a sequence of class names in label order, such as ['angry', 'happy', "
                "'sad'], "
                f"or None for the model's own ({', '.join(vocabulary.names)}); got {classes!r}"
            )
        words = [canonical_expression(n) for n in names]
        if not words or len(set(words)) != len(words):
            raise DataError(f"classes must be distinct, at least one; got {list(names)}")
        to_generator = tuple(vocabulary.index(w) if w in vocabulary else -1 for w in words)
        if max(to_generator) < 0:
            raise DataError(
                f"the generator can make none of the classes {list(names)}; it makes "
                f"{', '.join(vocabulary.names)}"
            )
        return cls(tuple(names), to_generator)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def makeable(self) -> np.ndarray:
        """Which classes the generator can make, shape ``(C,)`` bool."""
        return np.array(self.to_generator) >= 0

    def makeable_names(self) -> str:
        return ", ".join(n for n, g in zip(self.names, self.to_generator, strict=True) if g >= 0)

    def label(self, entry: object, what: str) -> int:
        """User label of a class name or label; ``DataError``/``TypeError`` names ``what`` and what is
        allowed.
        """
        if isinstance(entry, str):
            words = [canonical_expression(n) for n in self.names]
            word = canonical_expression(entry)
            if word not in words:
                raise DataError(f"{what}: unknown class {entry!r}; allowed: {', '.join(self.names)}")
            return words.index(word)
        if isinstance(entry, bool) or not isinstance(entry, (int, np.integer)):
            raise TypeError(f"{what}: classes are given as names or integer labels; got {entry!r}")
        if not 0 <= int(entry) < len(self):
            raise DataError(
                f"{what}: label {int(entry)} is outside 0 to {len(self) - 1} ({', '.join(self.names)})"
            )
        return int(entry)


@dataclass(frozen=True)
class TargetPolicy:
    """A resolved ``targets=``: fixed weights (shape ``(C,)``, sum 1), or one of the three other kinds."""

    kind: Literal["weights", "balance", "keep", "callable"]
    weights: tuple[float, ...] | None = None
    function: TargetFunction | None = None

    def probabilities(self, makeable: np.ndarray, counts: np.ndarray, p: float) -> np.ndarray:
        """Chance of each class to be the target of an edited row, shape ``(C,)`` float64, sum 1.

        For ``balance``: rows stay as they are with chance 1 − p, so the labels that come out are
        (1 − p)·frequency + p·t; t is chosen to raise the lowest of the makeable classes as far as it goes.
        """
        if self.weights is not None:
            return np.array(self.weights)
        share = counts / max(float(counts.sum()), 1.0)
        filled = np.zeros(len(counts))
        filled[makeable] = water_fill((1.0 - p) * share[makeable], p if p > 0 else 1.0)
        return filled / filled.sum()

    def call(self, labels: Tensor, generator: torch.Generator, classes: ClassMap) -> np.ndarray:
        """Targets from the user's function, shape ``(B,)`` int64; −1 means: leave that row alone."""
        assert self.function is not None  # kind == "callable" always carries one
        result = torch.as_tensor(self.function(labels.clone(), generator)).detach().cpu()
        integral = not (result.is_floating_point() or result.is_complex() or result.dtype == torch.bool)
        if not integral or result.shape != labels.shape:
            raise DataError(
                f"the callable given as targets must return {len(labels)} integer labels, one for each row; "
                f"got {result.dtype} of shape {tuple(result.shape)}"
            )
        targets = result.long().numpy()
        allowed = np.append(classes.makeable, True)  # the last entry serves −1
        outside = (targets < -1) | (targets >= len(classes))
        wrong = outside | ~allowed[np.where(outside, -1, targets)]
        if wrong.any():
            raise DataError(
                f"the callable given as targets returned label {int(targets[wrong][0])}; the generator can "
                "make "
                f"{classes.makeable_names()} of the classes {', '.join(classes.names)} (or −1: leave the row "
                "alone)"
            )
        return targets


def water_fill(levels: np.ndarray, mass: float) -> np.ndarray:
    """Additions ≥ 0, shape ``(K,)``, that sum to ``mass`` and make the lowest levels as high as they can
    be.
    """
    order = np.sort(levels)
    below = np.arange(1, len(order) + 1)
    surfaces = (mass + np.cumsum(order)) / below
    # The surface over the k lowest is right when it reaches none of the others.
    k = int(np.nonzero(surfaces >= order)[0][-1])
    return np.maximum(surfaces[k] - levels, 0.0)


def resolve_targets(targets: object, classes: ClassMap) -> TargetPolicy:
    """Turn ``targets=`` into a policy, checking every name.

    Raises:
        TypeError: for a form that is not understood.
        DataError: for unknown words or classes, classes the generator cannot make, and weights that are
            negative, not finite or all zero.
    """
    makeable = classes.makeable
    if isinstance(targets, str):
        if targets in ("balance", "keep"):
            return TargetPolicy("balance" if targets == "balance" else "keep")
        if targets == "uniform":
            return _weighted(makeable.astype(np.float64))
        raise DataError(f"targets must be {_FORMS}; got {targets!r}" + _list_hint(targets, classes))
    if isinstance(targets, Mapping):
        entries, values = list(targets), list(targets.values())
        for value in values:
            if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
                raise TypeError(f"targets: weights must be numbers; got {value!r}")
    elif isinstance(targets, Sequence) and not isinstance(targets, bytes):
        entries, values = list(targets), [1.0] * len(targets)
    elif callable(targets):
        return TargetPolicy("callable", function=targets)
    else:
        raise TypeError(f"targets must be {_FORMS}; got {type(targets).__name__} {targets!r}")
    weights = np.zeros(len(classes))
    for entry, value in zip(entries, values, strict=True):
        label = classes.label(entry, "targets")
        if not math.isfinite(value) or value < 0:
            raise DataError(f"targets: weights must be finite and not negative; got {value!r} for {entry!r}")
        if value > 0 and not makeable[label]:
            raise DataError(
                f"targets: the generator cannot make {classes.names[label]!r}; of your classes it makes "
                f"{classes.makeable_names()}"
            )
        weights[label] += float(value)
    if weights.sum() <= 0:
        raise DataError(f"targets must name at least one class with a weight above 0; got {targets!r}")
    return _weighted(weights)


def resolve_counts(class_counts: object, classes: ClassMap) -> np.ndarray:
    """``class_counts=`` (dict of class → n, or n in label order) as numbers, shape ``(C,)`` float64."""
    counts = np.zeros(len(classes))
    if isinstance(class_counts, Mapping):
        pairs = [(classes.label(k, "class_counts"), v) for k, v in class_counts.items()]
    elif isinstance(class_counts, (Sequence, np.ndarray, Tensor)) and not isinstance(
        class_counts, (str, bytes)
    ):
        values = (
            class_counts.tolist() if isinstance(class_counts, (np.ndarray, Tensor)) else list(class_counts)
        )
        if len(values) != len(classes):
            raise DataError(
                f"class_counts needs one number for each of the {len(classes)} classes "
                f"({', '.join(classes.names)}); got {len(values)}"
            )
        pairs = list(enumerate(values))
    else:
        raise TypeError(
            "class_counts must be a dict of class → number of faces, or numbers in label order; got "
            f"{class_counts!r}"
        )
    for label, value in pairs:
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            raise TypeError(f"class_counts must be numbers; got {value!r}")
        if not math.isfinite(value) or value < 0:
            raise DataError(f"class_counts must be finite and not negative; got {value!r}")
        counts[label] += float(value)
    if counts.sum() <= 0:
        raise DataError(f"class_counts must count at least one face; got {class_counts!r}")
    return counts


def _weighted(weights: np.ndarray) -> TargetPolicy:
    return TargetPolicy("weights", weights=tuple((weights / weights.sum()).tolist()))


def _list_hint(word: str, classes: ClassMap) -> str:
    known = canonical_expression(word) in [canonical_expression(n) for n in classes.names]
    return f"; for that one class pass [{word!r}]" if known else ""
