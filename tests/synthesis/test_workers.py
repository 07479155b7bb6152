"""DataLoader workers: 0 and 4, under fork, spawn and forkserver."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from lssl_augment.synthesis.dataset import SyntheticExpressionDataset

METHODS = [m for m in ("fork", "spawn", "forkserver") if m in multiprocessing.get_all_start_methods()]


def read(data: SyntheticExpressionDataset, workers: int, method: str | None) -> tuple[torch.Tensor, list[int]]:
    context = multiprocessing.get_context(method) if method else None
    loader = DataLoader(data, batch_size=7, num_workers=workers, multiprocessing_context=context)
    batches = list(loader)
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches]).tolist()


@pytest.mark.parametrize("opened_before", [False, True])
@pytest.mark.parametrize("method", [pytest.param(m, marks=[] if m == "fork" else pytest.mark.slow) for m in METHODS])
def test_four_workers_read_what_none_reads(method: str, opened_before: bool, made: Path) -> None:
    data = SyntheticExpressionDataset(made, as_tensor=True)
    images, labels = read(data, 0, None)
    if not opened_before:
        data = SyntheticExpressionDataset(made, as_tensor=True)
    found, found_labels = read(data, 4, method)
    assert found_labels == labels == data.targets
    assert torch.equal(found, images)
    # The parent's own handle still works.
    assert torch.equal(data[0][0], images[0])
