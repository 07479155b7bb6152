"""What the training loop drives: an objective owns networks, optimisers, samplers and one training step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from lssl_augment.training.batches import TrainingFaces
from lssl_augment.training.config import TrainConfig

__all__ = ["Objective", "ObjectiveClass", "Preview", "Release", "objective_class"]


class Preview(NamedTuple):
    """A few sources, each with every target: what sample sheets and condition sensitivity are made of."""

    #: ``(R, 3, H, W)`` in [-1, 1].
    sources: Tensor
    #: ``(R, T, 3, H, W)`` in [-1, 1].
    edits: Tensor
    #: Name of each of the T targets.
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Release:
    """What a set of released weights consists of."""

    tensors: Mapping[str, Tensor]
    #: JSON-able description from which the networks can be built again.
    architecture: Mapping[str, Any]
    #: Tensors to be stored in another type than half precision.
    dtypes: Mapping[str, torch.dtype] = field(default_factory=dict)
    #: JSON-able, what the card should tell of the training beside the run's own data.
    training: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Objective(Protocol):
    """One way to train a generator.

    All randomness is drawn from generators of its own, whose state (or the step they are keyed on) is in
    :meth:`state_dict`, so that a resumed run repeats the rest of the first one exactly.

    To train in several processes, it works on its own :class:`~lssl_augment.training.parts.Parts` of each batch and
    averages gradients before each optimiser step (:func:`lssl_augment.training.parts.update` does both), and its
    state is the same in all of them.
    """

    #: Every network with weights that change, by name; ``generator`` is one of them.
    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]

    @property
    def generator(self) -> nn.Module:
        """The network whose average is previewed and released."""
        ...

    def step(self, progress: float, step_index: int) -> Mapping[str, float | Tensor]:
        """One training step.

        Args:
            progress: share of the run that is done, in [0, 1); learning rates follow it.
            step_index: steps done before this one.

        Returns:
            Scalars to log; the run stops when one of them is not finite.
        """
        ...

    def preview(self, generator: nn.Module) -> Preview:
        """A few fixed sources edited by ``generator`` (the averaged one); draws no run randomness."""
        ...

    def release(self, generator: nn.Module) -> Release:
        """What to store of ``generator`` (the averaged one)."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Samplers and random generators, as plain values and tensors; the loop saves everything else."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        ...


class ObjectiveClass(Protocol):
    """What each objective's class provides."""

    def __call__(self, config: TrainConfig, faces: TrainingFaces) -> Objective:
        """Build networks and samplers on ``config.device``; ``DataError`` on numbers it does not know."""
        ...

    def faces_per_step(self, config: TrainConfig) -> int:
        """Training faces that one part of a step takes in, which is how epochs become steps."""
        ...


_CLASSES = {
    "paper": ("lssl_augment.training.paper_objective", "PaperObjective"),
    "compact": ("lssl_augment.training.compact_objective", "CompactObjective"),
    "stargan": ("lssl_augment.evaluation.baselines.stargan", "StarGanObjective"),
    "cyclegan": ("lssl_augment.evaluation.baselines.cyclegan", "CycleGanObjective"),
    "icgan": ("lssl_augment.evaluation.baselines.icgan", "IcGanObjective"),
    "simgan": ("lssl_augment.evaluation.baselines.simgan", "SimGanObjective"),
}


def objective_class(kind: str) -> ObjectiveClass:
    """The objective that trains a kind of generator (:data:`lssl_augment.models.presets.KINDS`)."""
    module, name = _CLASSES[kind]
    cls: ObjectiveClass = getattr(import_module(module), name)
    return cls
