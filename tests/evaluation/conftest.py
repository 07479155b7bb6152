"""Tiny faces whose class is plain to see: a grey level for each class, a little noise, three faces a
subject.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lssl_augment.attributes import BASIC5
from lssl_augment.evaluation.face_table import FaceTable


def make_table(counts: list[int], *, prefix: str = "p", size_px: int = 16, seed: int = 0) -> FaceTable:
    own = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(5), torch.tensor(counts))
    noise = torch.randint(-10, 11, (len(labels), 3, size_px, size_px), generator=own)
    images = (30 + 45 * labels[:, None, None, None] + noise).to(torch.uint8)
    subjects = np.array([f"{prefix}{i // 3}" for i in range(len(labels))])
    return FaceTable(images, labels, subjects, BASIC5.names)


@pytest.fixture
def train() -> FaceTable:
    return make_table([60, 50, 8, 6, 5])


@pytest.fixture
def test() -> FaceTable:
    return make_table([12, 12, 6, 6, 6], prefix="q", seed=1)
