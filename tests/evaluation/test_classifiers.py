"""The small classifier: it learns, it repeats, it leaves the global generators alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lssl_augment.errors import DataError, TrainingError
from lssl_augment.evaluation.batches import BatchSource
from lssl_augment.evaluation.classifiers import (
    FaceClassifier,
    TrainConfig,
    build_classifier,
    predict,
    train_classifier,
)

SMALL = TrainConfig(steps=12, width=8, learning_rate=4e-3)


def test_it_learns_what_is_plain_to_see(train: Any, test: Any) -> None:
    losses: list[tuple[int, float]] = []
    source = BatchSource(train, 32, balanced=True, augmented=False)
    model = train_classifier(source, 5, TrainConfig(steps=40, width=8), on_step=lambda *a: losses.append(a))
    assert [step for step, _ in losses] == list(range(1, 41))
    assert losses[-1][1] < losses[0][1] / 2
    assert not model.training
    probabilities = predict(model, test.images, batch=7)
    assert torch.allclose(probabilities.sum(1), torch.ones(len(test)), atol=1e-5)
    assert (probabilities.argmax(1) == test.labels).float().mean() > 0.8


def test_a_seed_repeats_and_nothing_global_moves(train: Any, test: Any) -> None:
    before = torch.get_rng_state()
    source = BatchSource(train, 8, balanced=True, augmented=True)
    runs = [
        predict(train_classifier(source, 5, TrainConfig(steps=3, width=8, seed=s)), test.images)
        for s in (1, 1, 2)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert torch.equal(before, torch.get_rng_state())


def test_every_parameter_is_initialised_and_gets_a_gradient() -> None:
    model = build_classifier(5, 8, seed=0)
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    logits = model(images)
    assert logits.shape == (4, 5)
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter).all(), name
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert all(torch.isfinite(b).all() for b in model.buffers())
    assert sum(p.numel() for p in FaceClassifier(5).parameters()) == 2_796_325


def test_nan_stops_the_run(train: Any) -> None:
    def broken(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full((4, 3, 16, 16), float("nan")), torch.zeros(4, dtype=torch.int64)

    with pytest.raises(TrainingError, match="step 1"):
        train_classifier(broken, 5, SMALL)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("weight_decay", -1.0),
        ("warmup", 1.0),
        ("width", 0),
        ("seed", -1),
    ],
)
def test_bad_configs(name: str, value: Any) -> None:
    with pytest.raises(DataError, match=f"{name} must be"):
        TrainConfig(**{name: value})
