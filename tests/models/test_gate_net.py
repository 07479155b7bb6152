"""The gate network: contracts of input and output, folding, storing and loading."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lssl_augment.attributes import BASIC5, Vocabulary
from lssl_augment.errors import DataError, WeightsError
from lssl_augment.models.gate_net import GateConfig, GateNet, fold_batch_norm, load_gate, scores
from lssl_augment.models.weights import read_weights, write_weights

SMALL = GateConfig(widths=(4, 6, 8, 10), blocks=(1, 0, 1), input_size_px=32)


def trained_like(config: GateConfig = SMALL) -> GateNet:
    """A gate whose batch norms have seen data, as after training."""
    generator = torch.Generator().manual_seed(0)
    net = GateNet(BASIC5, config)
    for _ in range(3):
        net(torch.rand(8, 3, 32, 32, generator=generator) * 2 - 1)
    return net.eval()


def faces(count: int, size: int = 32, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def store(path: Path, gate: GateNet, **changes: object) -> Path:
    card = {
        "kind": "gate",
        "architecture": gate.config.to_card(),
        "class_names": list(gate.vocabulary.names),
        "face_size_px": 128,
        "temperature": 1.5,
        "training": {},
        "metrics": {},
        "licence": "none",
        "intended_use": "tests",
    }
    return write_weights(path, gate.state_dict(), card | changes)


def test_size_of_the_released_architecture() -> None:
    net = GateNet(BASIC5).eval()
    macs = 0

    def count(module: nn.Module, _: object, out: torch.Tensor) -> None:
        nonlocal macs
        if isinstance(module, nn.Conv2d):
            macs += out[0].numel() * module.weight[0].numel()

    for module in net.modules():
        module.register_forward_hook(count)
    net(torch.zeros(1, 3, 128, 128))
    assert 20e6 < macs < 40e6
    assert sum(p.numel() for p in net.parameters()) < 700_000


def test_folding_changes_nothing_but_the_layers() -> None:
    net = trained_like()
    net.temperature = 2.0
    folded = fold_batch_norm(net)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert folded.temperature == 2.0
    torch.testing.assert_close(folded(faces(5)), net(faces(5)), rtol=1e-4, atol=1e-5)


def test_every_parameter_gets_a_gradient() -> None:
    net = GateNet(BASIC5, SMALL)
    nn.functional.cross_entropy(net(faces(6)), torch.tensor([0, 1, 2, 3, 4, 0])).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@given(size=st.sampled_from([16, 32, 48, 64, 100, 128]), count=st.integers(1, 3))
def test_faces_of_any_size_give_logits(size: int, count: int) -> None:
    logits = fold_batch_norm(trained_like())(faces(count, size))
    assert logits.shape == (count, 5)
    assert logits.dtype == torch.float32
    assert bool(torch.isfinite(logits).all())


@given(
    targets=st.lists(st.integers(0, 4), min_size=1, max_size=6),
    temperature=st.floats(0.1, 10),
)
def test_scores_are_calibrated_probabilities(targets: list[int], temperature: float) -> None:
    gate = fold_batch_norm(trained_like())
    gate.temperature = temperature
    images = faces(len(targets))
    found = scores(gate, images, torch.tensor(targets))
    assert found.shape == (len(targets),)
    assert found.dtype == torch.float32
    expected = (gate(images) / temperature).softmax(1)[torch.arange(len(targets)), torch.tensor(targets)]
    torch.testing.assert_close(found, expected)
    every = torch.stack([scores(gate, images, torch.full((len(targets),), c)) for c in range(5)])
    torch.testing.assert_close(every.sum(0), torch.ones(len(targets)))
    alone = torch.cat([scores(gate, images[i : i + 1], torch.tensor([t])) for i, t in enumerate(targets)])
    torch.testing.assert_close(alone, found)


def test_no_faces_give_no_scores() -> None:
    gate = fold_batch_norm(trained_like())
    assert scores(gate, faces(0), torch.zeros(0, dtype=torch.long)).shape == (0,)


def test_bad_input_is_refused() -> None:
    gate = fold_batch_norm(trained_like())
    with pytest.raises(DataError, match=r"got \(2, 1, 32, 32\)"):
        gate(torch.zeros(2, 1, 32, 32))
    with pytest.raises(DataError, match=r"torch\.uint8"):
        gate(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(DataError, match=r"integers of shape \(2,\); got \(3,\)"):
        scores(gate, faces(2), torch.zeros(3, dtype=torch.long))
    with pytest.raises(DataError, match=r"torch\.float32"):
        scores(gate, faces(2), torch.zeros(2))
    with pytest.raises(DataError, match=r"in \[0, 4\] \(neutral, .*\); got -1 to 5"):
        scores(gate, faces(2), torch.tensor([-1, 5]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widths": (4, 4, 4)}, "widths must be four"),
        ({"widths": (4, 4, 4, 0)}, "widths must be four"),
        ({"blocks": (1, 1)}, "blocks must be three"),
        ({"blocks": (1, 1, -1)}, "blocks must be three"),
        ({"input_size_px": 40}, "multiple of 16; got 40"),
    ],
)
def test_bad_configs_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        GateConfig(**arguments)  # type: ignore[arg-type]


def test_store_and_load(tmp_path: Path) -> None:
    gate = fold_batch_norm(trained_like())
    state = torch.random.get_rng_state()
    loaded = load_gate(store(tmp_path / "g.safetensors", gate))
    assert torch.equal(state, torch.random.get_rng_state())  # loading draws nothing
    assert loaded.vocabulary == BASIC5
    assert loaded.config == SMALL
    assert loaded.temperature == 1.5
    assert not loaded.training
    torch.testing.assert_close(loaded(faces(4)), gate(faces(4)), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": None}, "temperature above 0; got None"),
        ({"temperature": -1.0}, r"temperature above 0; got -1\.0"),
        ({"class_names": None}, "list of class_names"),
        ({"class_names": ["neutral", "anger"]}, "tensors do not fit the card"),
        ({"architecture": {"widths": [4, 6, 8, 10]}}, "needs exactly"),
        ({"architecture": "resnet"}, "needs exactly"),
    ],
)
def test_cards_of_something_else_are_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = store(tmp_path / "g.safetensors", fold_batch_norm(trained_like()), **changes)
    with pytest.raises(WeightsError, match=message):
        load_gate(path)


def test_released_gate() -> None:
    gate = load_gate()
    tensors, card = read_weights("gate", "gate")
    assert gate.vocabulary == BASIC5
    assert card["bytes"] < 2_000_000
    assert {"balanced_accuracy", "recall"} <= card["metrics"].keys()
    assert json.loads(json.dumps(card)) == card
    assert not any("norm" in name for name in tensors)
    probabilities = torch.stack([scores(gate, faces(2, 128), torch.full((2,), c)) for c in range(5)])
    torch.testing.assert_close(probabilities.sum(0), torch.ones(2))


def test_a_vocabulary_of_its_own() -> None:
    gate = GateNet(Vocabulary(("neutral", "surprise")), SMALL)
    assert gate(faces(2)).shape == (2, 2)
