"""What :class:`~lssl_augment.transforms.LSSLAugment` drew for one batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lssl_augment.errors import DataError

__all__ = ["AugmentRecord"]

_TENSORS = {
    "chosen": torch.bool,
    "source_labels": torch.int64,
    "targets": torch.int64,
    "intensity": torch.float32,
    "seeds": torch.int64,
    "yaw_deg": torch.float32,
}


@dataclass(frozen=True, eq=False)
class AugmentRecord:
    """Everything random about one augmented batch of ``B`` rows; tensors live on the CPU.

    Args:
        chosen: rows that are edited, shape ``(B,)`` bool.
        source_labels: labels as they came, in the order of ``classes``, shape ``(B,)`` int64, −1 unlabelled.
        targets: labels after the edit, same order, shape ``(B,)`` int64; rows not chosen keep their source
            label.
        intensity: expression intensity in [0, 1], shape ``(B,)`` float32; 0 for rows not chosen.
        seeds: seed of the edit (which donor, …), shape ``(B,)`` int64; 0 for rows not chosen.
        yaw_deg: degrees that the head is turned to, shape ``(B,)`` float32; NaN where it keeps its pose.
        classes: class names in label order.
        seed, epoch, call, worker: what the draw was keyed on; epoch is None when it was never set, worker is
            0 in the main process and id + 1 in a ``DataLoader`` worker.

    Raises:
        DataError: when the tensors disagree in length or have another dtype.
    """

    chosen: Tensor
    source_labels: Tensor
    targets: Tensor
    intensity: Tensor
    seeds: Tensor
    yaw_deg: Tensor
    classes: tuple[str, ...]
    seed: int
    epoch: int | None
    call: int
    worker: int

    def __post_init__(self) -> None:
        length = len(self.chosen)
        for name, dtype in _TENSORS.items():
            tensor: Tensor = getattr(self, name)
            if tensor.dtype != dtype or tuple(tensor.shape) != (length,):
                raise DataError(
                    f"record field {name!r} must be {dtype} of shape ({length},); "
                    f"got {tensor.dtype} of shape {tuple(tensor.shape)}"
                )

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def rows(self) -> Tensor:
        """Indices of the edited rows, shape ``(R,)`` int64."""
        return torch.nonzero(self.chosen).flatten()

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, ready for JSON; :meth:`from_dict` reads them back."""
        tensors = {name: getattr(self, name).tolist() for name in _TENSORS}
        tensors["yaw_deg"] = [None if math.isnan(yaw) else yaw for yaw in tensors["yaw_deg"]]  # JSON knows no NaN
        rest = {"seed": self.seed, "epoch": self.epoch, "call": self.call, "worker": self.worker}
        return {**tensors, "classes": list(self.classes), **rest}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AugmentRecord:
        """The record :meth:`to_dict` described; ``DataError`` on missing or unknown keys."""
        known = [*_TENSORS, "classes", "seed", "epoch", "call", "worker"]
        if set(values) != set(known):
            raise DataError(f"a record needs exactly the keys {known}; got {sorted(values)}")
        yaws = [math.nan if yaw is None else yaw for yaw in values["yaw_deg"]]
        values = {**values, "yaw_deg": yaws}
        fields: dict[str, Any] = {n: torch.tensor(values[n], dtype=dtype) for n, dtype in _TENSORS.items()}
        fields.update({name: values[name] for name in ("seed", "epoch", "call", "worker")})
        return cls(**fields, classes=tuple(values["classes"]))
