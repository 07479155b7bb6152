from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from lssl_augment.errors import DataError
from lssl_augment.models.device import resolve_device
from lssl_augment.training.config import (
    TrainConfig,
    from_mapping,
    make_config,
    parse_settings,
)
from lssl_augment.training.paper_objective import PaperOptions, learning_rate_factor


def test_the_paper_presets_defaults_are_the_papers_numbers() -> None:
    config = make_config("paper", {"pack": "p.h5"})
    assert (config.batch, config.epochs, config.face_size_px) == (8, 200, 128)
    options = PaperOptions()
    assert options.lambda_bi == options.lambda_id == options.lambda_p == options.lambda_gp == 10
    assert options.lambda_cls == 1
    assert (options.lr, options.beta1, options.beta2, options.critic_steps) == (1e-4, 0.5, 0.999, 5)
    # 100 of 200 epochs at full rate, then linearly down.
    factors = [learning_rate_factor(epoch / 200, options.constant_share) for epoch in (0, 99, 100, 150, 199)]
    assert factors == pytest.approx([1, 1, 1, 0.5, 0.01])


def test_json_round_trip() -> None:
    values = {"pack": "p.h5", "classes": ["neutral", "anger"], "hours": 2, "generator": {"width": 8}}
    config = make_config("compact", values)
    assert config.classes == ("neutral", "anger")
    assert isinstance(config.hours, float)
    assert TrainConfig.from_json(config.to_json()) == config
    assert config.networks.generator["width"] == 8
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.batch = 3  # type: ignore[misc]


def test_settings_of_the_command_line() -> None:
    settings = ["batch=4", "hours=.5", "tensorboard=false", "steps=none", "classes=neutral,anger"]
    settings += ["objective.lr=1e-3", "objective.flip=True", "generator.width=8", "precision=bf16"]
    assert parse_settings(settings) == {
        "batch": 4,
        "hours": 0.5,
        "tensorboard": False,
        "steps": None,
        "classes": ["neutral", "anger"],
        "objective": {"lr": 1e-3, "flip": True},
        "generator": {"width": 8},
        "precision": "bf16",
    }
    assert make_config("paper", {"pack": "p", **parse_settings(settings)}).objective == {
        "lr": 1e-3,
        "flip": True,
    }


@pytest.mark.parametrize(
    ("setting", "message"),
    [("batch", "KEY=VALUE"), ("=3", "KEY=VALUE"), ("loss.x=3", "unknown section 'loss'")],
)
def test_bad_settings(setting: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_settings([setting])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bacth": 4}, "unknown setting bacth; allowed: pack"),
        ({"batch": True}, "batch must be int; got True"),
        ({"batch": 2.5}, "batch must be int; got 2.5"),
        ({"batch": 0}, "batch must be greater than 0"),
        ({"seed": -1}, "seed must not be negative"),
        ({"precision": "fp16"}, "precision must be one of fp32, bf16"),
        ({"steps": 5, "hours": 1.0}, "steps or hours, not both"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"classes": [1, 2]}, "classes must be"),
        ({"generator": 3}, "generator must be dict"),
        ({"preset": "papre"}, "unknown preset 'papre'"),
        ({"pack": None}, "pack must be str; got None"),
        ({"record_steps": True}, "preset stargan.*preset=paper"),
        ({"preset": "stargan", "record_steps": True}, "needs a GPU; got device=cpu"),
        ({"preset": "stargan", "record_steps": True, "device": "cuda", "accumulate": 2}, "2 parts"),
        ({"preset": "stargan", "record_steps": True, "device": "cuda", "compile": True}, "compile=True"),
    ],
)
def test_bad_values(values: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_config("paper", {"pack": "p.h5", **values})


def test_missing_and_damaged() -> None:
    with pytest.raises(DataError, match=r"incomplete configuration: .*pack"):
        from_mapping(TrainConfig, {})
    with pytest.raises(DataError, match="not JSON"):
        TrainConfig.from_json("{")
    with pytest.raises(DataError, match="must be a JSON object"):
        TrainConfig.from_json("[]")


def test_devices() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") in ("cpu", "cuda")
    with pytest.raises(DataError, match="unknown device 'gpu'"):
        resolve_device("gpu")
    with pytest.raises(DataError, match="is not there"):
        resolve_device("cuda:99")
