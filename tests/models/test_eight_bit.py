from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lssl_augment.errors import DataError
from lssl_augment.models.eight_bit import from_eight_bit, to_eight_bit


@given(seed=st.integers(0, 2**31), rows=st.integers(1, 5), size=st.floats(1e-3, 1e3))
def test_values_come_back_within_half_a_step(seed: int, rows: int, size: float) -> None:
    own = torch.Generator().manual_seed(seed)
    weight = size * torch.randn(rows, 3, 2, 2, generator=own)
    state = {"conv.weight": weight, "conv.bias": torch.randn(rows, generator=own)}
    packed = to_eight_bit(state)
    assert packed["conv.weight"].dtype == torch.int8
    back = from_eight_bit(packed)
    assert set(back) == set(state)
    assert torch.equal(back["conv.bias"], state["conv.bias"])
    step = state["conv.weight"].flatten(1).abs().amax(1) / 127
    error = (back["conv.weight"] - state["conv.weight"]).flatten(1).abs().amax(1)
    # Half a step, and what rounding the scale to half precision costs the largest value.
    assert bool((error <= step * (0.5 + 127 * 2**-10) + 1e-6 * 127).all())


def test_packing_again_changes_nothing() -> None:
    once = from_eight_bit(to_eight_bit({"w": torch.randn(4, 6, generator=torch.Generator().manual_seed(0))}))
    again = from_eight_bit(to_eight_bit(once))
    torch.testing.assert_close(again["w"], once["w"], rtol=2e-3, atol=1e-4)


def test_plain_tensors_pass() -> None:
    plain = {"w": torch.ones(2, 2), "n": torch.tensor([3])}
    assert from_eight_bit(plain) == plain


def test_what_does_not_fit() -> None:
    good = to_eight_bit({"w": torch.ones(2, 2)})
    for broken in (
        {"w.scale": good["w.scale"]},
        {"w": good["w"], "w.scale": torch.ones(3)},
        {"w": good["w"].float(), "w.scale": good["w.scale"]},
    ):
        with pytest.raises(DataError, match="w"):
            from_eight_bit(broken)
    with pytest.raises(DataError, match="not finite"):
        to_eight_bit({"w": torch.full((2, 2), float("nan"))})
    with pytest.raises(DataError, match="must not end"):
        to_eight_bit({"w.scale": torch.ones(2)})
