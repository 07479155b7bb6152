"""Classifiers in training: they learn, they repeat, they leave the global generators alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lssl_augment.errors import DataError, TrainingError
from lssl_augment.evaluation.batches import BatchSource
from lssl_augment.evaluation.classifiers import ClassifierConfig, predict, train_classifier
from lssl_augment.evaluation.classifiers.precision import fast_bf16, uses_bf16
from lssl_augment.evaluation.mixing import MixUp


def test_it_learns_what_is_plain_to_see(train: Any, test: Any) -> None:
    losses: list[tuple[int, float]] = []
    source = BatchSource(train, 32, balanced=True)
    config = ClassifierConfig("tiny", 40, 2e-3)
    model = train_classifier(source, 5, config, on_step=lambda *a: losses.append(a))
    assert [step for step, _ in losses] == list(range(1, 41))
    assert losses[-1][1] < losses[0][1] / 2
    assert not model.training
    probabilities = predict(model, test.images, batch=7)
    assert torch.allclose(probabilities.sum(1), torch.ones(len(test)), atol=1e-5)
    assert (probabilities.argmax(1) == test.labels).float().mean() > 0.8


@pytest.mark.parametrize("mix", [None, MixUp()])
def test_a_seed_repeats_and_nothing_global_moves(train: Any, test: Any, mix: Any) -> None:
    before = torch.get_rng_state()
    source = BatchSource(train, 8, balanced=True, augmented=True, mix=mix)
    runs = [
        predict(train_classifier(source, 5, ClassifierConfig("tiny", 3, seed=s)), test.images) for s in (1, 1, 2)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert torch.equal(before, torch.get_rng_state())


def test_nan_stops_the_run() -> None:
    def broken(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full((4, 3, 16, 16), float("nan")), torch.zeros(4, dtype=torch.int64)

    with pytest.raises(TrainingError, match="step 1"):
        train_classifier(broken, 5, ClassifierConfig("tiny", 5))


def test_precision() -> None:
    assert uses_bf16("bf16", "cpu")
    assert not uses_bf16("fp32", "cuda")
    assert uses_bf16("auto", "cpu") == fast_bf16(torch.device("cpu"))
    with pytest.raises(DataError, match="auto, bf16, fp32"):
        uses_bf16("fp16", "cpu")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("weight_decay", -1.0),
        ("warmup", 1.0),
        ("label_smoothing", 1.0),
        ("seed", -1),
        ("precision", "fp8"),
        ("face_size_px", 8),
    ],
)
def test_bad_configs(name: str, value: Any) -> None:
    with pytest.raises(DataError, match=f"{name} must be"):
        ClassifierConfig(**{name: value})


def test_weights_only_where_they_fit() -> None:
    assert ClassifierConfig("vgg-face").initial_weights == "from scratch"
    assert ClassifierConfig("vgg-face", weights="a/vgg.safetensors").initial_weights == "file vgg.safetensors"
    with pytest.raises(DataError, match="vgg-face only"):
        ClassifierConfig("resnet18", weights="vgg.safetensors")
