from __future__ import annotations

import pytest
import torch
from torch import nn

from lssl_augment.errors import DataError
from lssl_augment.training.ema import Ema


def test_it_follows_by_the_stated_shares() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 0.0)
    ema = Ema(module, 0.2)
    nn.init.constant_(module.weight, 1.0)
    # The first updates keep (1 + n) / (10 + n): 1/10, 2/11, then the limit 0.2.
    expected = 0.0
    for kept in (1 / 10, 2 / 11, 0.2, 0.2):
        ema.update(module)
        expected = kept * expected + (1 - kept)
        assert ema.module.weight.item() == pytest.approx(expected, rel=1e-6)
    assert module.weight.item() == 1.0
    assert not ema.module.weight.requires_grad


def test_buffers_are_copied() -> None:
    module = nn.BatchNorm1d(2)
    ema = Ema(module, 0.9)
    module(torch.randn(8, 2) + 5)
    ema.update(module)
    assert torch.equal(ema.module.running_mean, module.running_mean)
    assert not ema.module.training


def test_it_goes_on_from_its_state() -> None:
    module = nn.Linear(3, 3)
    first = Ema(module, 0.5)
    nn.init.zeros_(module.weight)
    first.update(module)
    second = Ema(nn.Linear(3, 3), 0.5)
    second.load_state_dict(first.state_dict())
    for ema in (first, second):
        ema.update(module)
    assert torch.equal(first.module.weight, second.module.weight)
    assert first.updates == second.updates == 2


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_decay_out_of_range(decay: float) -> None:
    with pytest.raises(DataError, match="ema_decay"):
        Ema(nn.Linear(1, 1), decay)
