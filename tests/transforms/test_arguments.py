"""One battery over every parameter: bad values are named at construction, every default and form works."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

from lssl_augment.attributes import BASIC5
from lssl_augment.errors import DataError
from lssl_augment.transforms import LSSLAugment

#: parameter → (value, error, what the message must say besides the parameter's name)
BAD: dict[str, list[tuple[Any, type[Exception], str]]] = {
    "p": [
        ("half", TypeError, "half"),
        (1.5, DataError, "1.5"),
        (-0.1, DataError, "0, 1"),
        (True, TypeError, "True"),
        (float("nan"), DataError, "nan"),
    ],
    "targets": [
        ("rare", DataError, "'uniform'"),
        ("happiness", DataError, r"pass \['happiness'\]"),
        (["joyless"], DataError, "allowed: happiness"),
        (["sad"], DataError, "sad"),
        ([], DataError, "at least one"),
        ([7], DataError, "0 to 3"),
        ([1.5], TypeError, "1.5"),
        ({"happy": -1}, DataError, "-1"),
        ({"happy": 0}, DataError, "above 0"),
        ({"happy": "x"}, TypeError, "x"),
        (3, TypeError, "int 3"),
        ({"happy": float("inf")}, DataError, "inf"),
        (None, TypeError, "NoneType"),
    ],
    "intensity": [
        (1.2, DataError, "1.2"),
        ((0.9, 0.1), DataError, "low ≤ high"),
        ((0.1,), DataError, "low, high"),
        ("strong", TypeError, "strong"),
        ((0, "x"), TypeError, "x"),
    ],
    "weights": [(3, TypeError, "3"), (None, TypeError, "path")],
    "value_range": [
        ((1, 0), DataError, "low < high"),
        (1, TypeError, "1"),
        ((0, 1, 2), TypeError, "two"),
        ((0, float("inf")), DataError, "finite"),
        (("a", 1), TypeError, "a"),
    ],
    "classes": [
        ("happy", TypeError, "happy"),
        (["happy", "happiness"], DataError, "distinct"),
        ([], DataError, "at least"),
        (["cat", "dog"], DataError, "it makes happiness, neutral"),
        (5, TypeError, "5"),
        ([1, 2], TypeError, "1"),
    ],
    "landmarks": [(torch.zeros(4, 478, 3), TypeError, "FacePack"), ("pack.h5", TypeError, "str")],
    "seed": [
        (-1, DataError, "-1"),
        (2**63, DataError, "9223372036854775808"),
        (1.0, TypeError, "1.0"),
        (True, TypeError, "True"),
    ],
    "labels_getter": [("second", DataError, "'default'"), (None, TypeError, "None"), (1, TypeError, "1")],
    "return_record": [(1, TypeError, "1"), ("yes", TypeError, "True or False")],
    "device": [("gpu", DataError, "gpu"), (0, TypeError, "cuda:0"), ("cuda:99", DataError, "cuda:99")],
    "engine": [
        (object(), TypeError, "vocabulary, face_size_px, encode, edit"),
        ("lfw-128", TypeError, "str"),
    ],
    "compute_dtype": [(torch.int8, DataError, "torch.bfloat16"), ("bf16", TypeError, "bf16")],
    "yaw": [
        ("15", TypeError, "15"),
        (True, TypeError, "True"),
        ((0, "b"), TypeError, "range"),
        ((20, -20), DataError, r"low ≤ high"),
        ((1, 2, 3), DataError, "1, 2, 3"),
        (91, DataError, "91"),
        (float("nan"), DataError, "nan"),
    ],
    "class_counts": [
        ([1, 2], DataError, "2"),
        ({"cat": 3}, DataError, "allowed"),
        (5, TypeError, "5"),
        ([0, 0, 0, 0], DataError, "at least one"),
        ([1, 1, 1, -1], DataError, "-1"),
        (["a", 1, 1, 1], TypeError, "'a'"),
    ],
}

GOOD: dict[str, list[Any]] = {
    "p": [0, 1, 0.25],
    "targets": ["uniform", "balance", "keep", ["joy"], [0, 1], {"anger": 2}, lambda labels, own: labels],
    "intensity": [0, 1.0, (0.2, 0.2), [0, 1]],
    "weights": ["another-name", Path("file.safetensors")],
    "value_range": [None, (0, 1), [-1, 1]],
    "classes": [None, BASIC5, ["Surprised", "HAPPY", "bored"]],
    "landmarks": [None],
    "seed": [None, 0, 2**63 - 1],
    "labels_getter": ["default", lambda sample: sample[1]],
    "return_record": [True, False],
    "device": [None, "cpu", torch.device("cpu")],
    "compute_dtype": [None, torch.float32, torch.bfloat16],
    "class_counts": [None],
    "yaw": [None, 0, -12.5, (-20, 20), [5, 5]],
}


def test_the_battery_covers_every_parameter() -> None:
    names = list(inspect.signature(LSSLAugment).parameters)
    assert sorted(BAD) == sorted(names)
    assert sorted([*GOOD, "engine"]) == sorted(names)


@pytest.mark.parametrize(
    ("name", "value", "error", "message"), [(n, *c) for n, cases in BAD.items() for c in cases]
)
def test_bad_values_are_named(
    engine: Any, name: str, value: Any, error: type[Exception], message: str
) -> None:
    arguments: dict[str, Any] = {"engine": engine, name: value}
    if name == "class_counts":
        arguments["targets"] = "balance"
    with pytest.raises(error, match=message) as caught:
        LSSLAugment(**arguments)
    assert name in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in GOOD.items() for v in values])
def test_every_form_works(engine: Any, name: str, value: Any) -> None:
    out = LSSLAugment(**{"engine": engine, name: value})(
        torch.zeros(4, 3, 32, 32), torch.tensor([0, 1, 2, 1])
    )
    assert out[0].shape == (4, 3, 32, 32)


def test_counts_need_balance(engine: Any) -> None:
    with pytest.raises(DataError, match=r"class_counts .*targets='uniform'"):
        LSSLAugment(engine=engine, class_counts=[1, 1, 1, 1])
    for counts in ([4, 3, 2, 1], torch.tensor([4, 3, 2, 1]), {"happy": 4, "neutral": 3, 2: 2, "surprise": 1}):
        augment = LSSLAugment(p=0.1, engine=engine, targets="balance", class_counts=counts)
        chances = augment.target_probabilities()
        assert chances == pytest.approx({"happiness": 0, "neutral": 0, "anger": 0.05, "surprise": 0.95})


@pytest.mark.parametrize(("epoch", "error"), [(-1, DataError), (1.5, TypeError), (None, TypeError)])
def test_bad_epochs(engine: Any, epoch: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="epoch"):
        LSSLAugment(engine=engine).set_epoch(epoch)


def test_an_engine_that_answers_in_another_shape(engine: Any) -> None:
    class Halved(type(engine)):  # type: ignore[misc]
        def edit(self, *args: Any) -> torch.Tensor:
            return super().edit(*args)[..., ::2]

    with pytest.raises(DataError, match=r"the engine answered \(4, 3, 32, 16\)"):
        LSSLAugment(p=1, engine=Halved())(torch.zeros(4, 3, 32, 32), torch.zeros(4, dtype=torch.int64))
