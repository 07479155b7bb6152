"""Controls of a comparison: what synthetic faces bring beside what they show.

Synthetic faces change a batch in two ways. They show an expression, and they take places in which the few real faces of
a rare class would be repeated. Arm ``emptied`` does the second alone; ``NAME-shuffled`` does both with expressions that
say nothing about the label. What an arm gains beyond its controls is what its faces show.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from lssl_augment.evaluation.face_table import FaceTable
from lssl_augment.evaluation.prior import base_arm

__all__ = ["SHUFFLED_SUFFIX", "is_control", "shuffle_labels"]

#: ``NAME-shuffled`` is the arm NAME of a benchmark with the labels of its synthetic faces shuffled.
SHUFFLED_SUFFIX = "-shuffled"


def is_control(arm: str) -> bool:
    """Whether an arm of this name (its amount may follow) trains on synthetic faces that say nothing."""
    return base_arm(arm.partition(",")[0]).endswith(SHUFFLED_SUFFIX)


def shuffle_labels(table: FaceTable, seed: int) -> FaceTable:
    """The same faces, their labels dealt out among them anew; as many of each label as before."""
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))
    return replace(table, labels=table.labels[order])
