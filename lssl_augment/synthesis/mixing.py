"""Put real and synthetic faces together, refusing mixtures that would spoil the labels or the test."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, WeightedRandomSampler

from lssl_augment.attributes import canonical_expression
from lssl_augment.errors import DataError, LeakageError
from lssl_augment.synthesis.dataset import SyntheticExpressionDataset
from lssl_augment.synthesis.labelled import LabelledFaces
from lssl_augment.synthesis.sources import TRAIN

__all__ = ["MixedDataset", "concat"]


class MixedDataset(ConcatDataset[tuple[Any, Any]]):
    """Data sets of one vocabulary, one after the other; made by :func:`concat`.

    Attributes:
        classes, class_to_idx: those of the parts. targets: label of every item (list of int), for samplers.
        synthetic: which items are generated, shape ``(N,)`` bool.
    """

    def __init__(self, parts: list[Any]) -> None:
        super().__init__(parts)
        self.classes: list[str] = list(parts[0].classes)
        self.targets: list[int] = [int(t) for part in parts for t in part.targets]
        self.synthetic = np.concatenate([_synthetic(part) for part in parts])

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Class name → label."""
        return {name: i for i, name in enumerate(self.classes)}

    def __add__(self, other: Dataset[tuple[Any, Any]]) -> Any:
        return concat(*self.datasets, other)

    def sampler(
        self,
        num_samples: int | None = None,
        *,
        power: float = 0.2,
        worth: float = 100.0,
        generator: torch.Generator | None = None,
    ) -> WeightedRandomSampler:
        """Draws items as :meth:`chances` says, with replacement: for ``DataLoader(train, sampler=train.sampler())``.

        Args:
            num_samples: items an epoch; None: as many as there are real ones, or all where there are none.
            power, worth: as of :meth:`chances`. generator: source of randomness; None: torch's global one.

        Raises:
            DataError: a number out of range.
        """
        if num_samples is None:
            num_samples = int((~self.synthetic).sum()) or len(self)
        if num_samples < 1:
            raise DataError(f"num_samples must be at least 1; got {num_samples}")
        chances = self.chances(power=power, worth=worth)
        return WeightedRandomSampler(chances.tolist(), num_samples, replacement=True, generator=generator)

    def chances(self, *, power: float = 0.2, worth: float = 100.0) -> Tensor:
        """How often each item should be drawn, ``(N,)`` float64, sum 1.

        The defaults are those of the benchmark's arm ``lssl-power`` with ``worth`` 100, which gained most
        (docs/benchmark.md): rare classes more often than they occur but less often than the common ones, mostly as
        synthetic images, so that the few real ones are not learned by heart.

        Args:
            power: a class with n real images is drawn with a chance proportional to n^power: 1 as they occur, 0 all
                classes alike. A class that has synthetic images only counts as one of a single real image.
            worth: real images that a class's synthetic ones stand for: they take worth / (worth + n) of its draws, all
                of them where there is no real one; 0 leaves synthetic images out where there are real ones.

        Raises:
            DataError: power or worth negative or not finite.
        """
        for name, value in (("power", power), ("worth", worth)):
            if not (math.isfinite(value) and value >= 0):
                raise DataError(f"{name} must be a finite number of at least 0; got {value}")
        labels, count = np.asarray(self.targets), len(self.classes)
        real = np.bincount(labels[~self.synthetic], minlength=count).astype(np.float64)
        made = np.bincount(labels[self.synthetic], minlength=count).astype(np.float64)
        of_class = np.where(real + made > 0, np.maximum(real, 1.0) ** power, 0.0)
        share = np.where(real > 0, np.where(made > 0, worth / (worth + np.maximum(real, 1.0)), 0.0), 1.0)
        of_made, of_real = share / np.maximum(made, 1.0), (1 - share) / np.maximum(real, 1.0)
        each = np.where(self.synthetic, of_made[labels], of_real[labels])
        return torch.from_numpy(each * (of_class / of_class.sum())[labels])


def concat(*parts: Any) -> MixedDataset:
    """Real and synthetic data sets as one, for training.

    Args:
        parts: data sets with ``classes`` and ``targets`` (:class:`FacePackDataset`,
            :class:`SyntheticExpressionDataset`, torchvision's ``ImageFolder``, …).

    Raises:
        TypeError: a part without ``classes`` or ``targets``.
        DataError: parts whose classes differ in names, number or order. Names may be aliases (``happy``).
        LeakageError: a real part of another split than ``train``; synthetic images of people whom a real part
            holds out for testing; a synthetic file that was let read test subjects.
    """
    if not parts:
        raise DataError("concat needs at least one data set; got none")
    flat = [p for part in parts for p in (part.datasets if isinstance(part, MixedDataset) else [part])]
    for part in flat:
        if not hasattr(part, "classes") or not hasattr(part, "targets"):
            raise TypeError(
                f"{type(part).__name__} has no classes and targets, so nobody can tell whether its labels "
                "agree; "
                "give both attributes, as torchvision's data sets do"
            )
    for part in flat[1:]:
        _same_classes(flat[0], part)
    held_out: frozenset[str] = frozenset().union(*(getattr(p, "held_out_subjects", ()) for p in flat))
    if any(getattr(part, "is_synthetic", False) for part in flat):
        for part in flat:
            _check_leakage(part, held_out)
    return MixedDataset(flat)


def _same_classes(first: Any, second: Any) -> None:
    ours = [canonical_expression(n) for n in first.classes]
    theirs = [canonical_expression(n) for n in second.classes]
    if ours == theirs:
        return
    missing, extra = [n for n in ours if n not in theirs], [n for n in theirs if n not in ours]
    if missing or extra:
        first_only, second_only = ", ".join(missing) or "none", ", ".join(extra) or "none"
        why = f"only in the first: {first_only}; only in the second: {second_only}"
    else:
        why = f"the same names in another order: {', '.join(ours)} and {', '.join(theirs)}"
    raise DataError(
        f"{type(first).__name__} and {type(second).__name__} have different classes ({why}). Open the "
        "packaged one "
        "with classes=other.classes to count labels alike"
    )


def _check_leakage(part: Any, held_out: frozenset[str]) -> None:
    if isinstance(part, SyntheticExpressionDataset):
        if part.info.test_subjects_allowed:
            raise LeakageError(
                "the synthetic file was made with --allow-test-subjects, so it may show people of the test "
                "split; "
                "make one without"
            )
        seen = held_out & set(part.subjects.tolist())
        if seen:
            raise LeakageError(
                f"{len(seen)} people of the synthetic images are held out for testing by the real data, such "
                "as "
                f"{min(seen)!r}; generate from the training split of this pack"
            )
    elif isinstance(part, LabelledFaces):
        others = sorted(set(part.folds.tolist()) - {TRAIN})
        if others:
            raise LeakageError(
                f"synthetic images are mixed with training faces only; this real part is of split {', '.join(others)}"
            )


def _synthetic(part: Any) -> np.ndarray:
    return np.full(len(part), bool(getattr(part, "is_synthetic", False)))
