"""The configuration of a training run: frozen, saved beside the run, strict about what it does not know."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lssl_augment.attribute_vector import attribute_words
from lssl_augment.errors import DataError
from lssl_augment.models.presets import Number, Preset, find_preset

__all__ = [
    "PRESET_DEFAULTS",
    "TrainConfig",
    "from_mapping",
    "make_config",
    "parse_settings",
]

T = TypeVar("T")

#: What each preset changes in :class:`TrainConfig`; losses and optimisers are the objective's.
PRESET_DEFAULTS: Mapping[str, Mapping[str, Any]] = types.MappingProxyType(
    {
        # The paper: batch 8; 100 epochs at full learning rate, then linear decay over another 100.
        "paper": {"batch": 8, "epochs": 200.0, "balanced": False},
        "compact": {"batch": 12, "epochs": 40.0},
        # As published, where the publication says so; docs/baselines.md.
        "stargan": {"batch": 16, "epochs": 200.0},
        "cyclegan": {"batch": 1, "epochs": 200.0},
        "icgan": {"batch": 64, "epochs": 50.0},
        "simgan": {"batch": 16, "epochs": 100.0},
    }
)

_PRECISIONS = ("fp32", "bf16")
_SECTIONS = ("generator", "critic", "objective")
_POSITIVE = (
    "face_size_px",
    "steps",
    "hours",
    "epochs",
    "batch",
    "accumulate",
    "processes",
    "log_every_steps",
    "sheet_every_steps",
    "checkpoint_every_steps",
    "checkpoint_every_minutes",
    "keep_checkpoints",
    "sheet_sources",
)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a run does.

    Attributes:
        pack: path of the face pack.
        preset: name of the networks' preset.
        further: path of a second face pack, whose training faces teach the expressions that ``pack`` has hardly any
            faces of (:mod:`lssl_augment.training.further`); empty: none. ``compact`` only.
        init: generator weights to go on from, by name or path; empty: fresh ones. ``compact`` only.
        splits: path of a split file; empty: the pack's own split. fold: of it, from 0.
        classes: expressions to learn; empty: all of the pack's.
        attributes: groups of the attribute vector, ``expression`` and perhaps ``pose`` and ``light``
            (:func:`lssl_augment.attribute_vector.attribute_words`); more than the expression is for ``paper`` alone.
        face_size_px: size of the faces; the pack's are resized.
        seed: of first weights, sampling and targets.
        device: ``cpu``, ``cuda``, ``cuda:1`` …
        precision: ``fp32`` or ``bf16`` (autocast; penalties, losses and weights stay float32).
        channels_last: memory format of networks and faces.
        deterministic: only algorithms that repeat to the last digit; an operation that has none is an error.
        compile: compile the generator with ``torch.compile``; the first steps take long.
        record_steps: on a GPU, record the steps of the networks as CUDA graphs and replay them
            (:mod:`lssl_augment.training.replay`); ``stargan`` only, in one part.
        steps, hours: where to end; at most one of them. ``epochs`` counts when there is neither.
        epochs: passes over the training faces.
        batch: faces a batch, or of each part of one where ``accumulate`` or ``processes`` is above 1.
        accumulate: parts that each process takes one after another before a step of the optimiser; N parts learn
            what one batch N times as large would teach, in the memory of one.
        processes: how many train together; set from what ``torchrun`` started, not by hand.
        balanced: draw every class equally often instead of as often as it occurs.
        ema_decay: of the released average of the generator.
        log_every_steps, sheet_every_steps, checkpoint_every_steps, checkpoint_every_minutes: how often.
        keep_checkpoints: the newest so many are kept.
        best_metric: name of a value of the log; the checkpoint with the best one so far is kept too. Empty: none.
        best_is: ``highest`` or ``lowest``.
        sheet_sources: rows of a sample sheet.
        monitor_judge: weights of kind ``judge`` that score the edits of each sheet; empty: none.
        monitor_recogniser: weights that measure the identity of these edits, by name or path; empty: none.
        tensorboard: write TensorBoard scalars too.
        generator, critic: numbers of the networks that differ from the preset's.
        objective: numbers of the objective that differ from its defaults.

    Raises:
        DataError: a value out of range.
    """

    pack: str
    preset: str = "compact"
    further: str = ""
    init: str = ""
    splits: str = ""
    fold: int | None = None
    classes: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ("expression",)
    face_size_px: int = 128
    seed: int = 0
    device: str = "cpu"
    precision: str = "fp32"
    channels_last: bool = True
    deterministic: bool = False
    compile: bool = False
    record_steps: bool = False
    steps: int | None = None
    hours: float | None = None
    epochs: float = 200.0
    batch: int = 8
    accumulate: int = 1
    processes: int = 1
    balanced: bool = False
    ema_decay: float = 0.999
    log_every_steps: int = 20
    sheet_every_steps: int = 500
    checkpoint_every_steps: int = 1000
    checkpoint_every_minutes: float = 20.0
    keep_checkpoints: int = 3
    best_metric: str = ""
    best_is: str = "highest"
    sheet_sources: int = 8
    monitor_judge: str = ""
    monitor_recogniser: str = "recogniser"
    tensorboard: bool = True
    generator: dict[str, Number] = field(default_factory=dict)
    critic: dict[str, Number] = field(default_factory=dict)
    objective: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kind = find_preset(self.preset).kind
        poses, lights = attribute_words(self.attributes)
        if (poses and kind not in ("paper", "compact")) or (lights and kind != "paper"):
            what = "expressions and poses" if kind == "compact" else "expressions alone"
            raise DataError(
                f"preset {self.preset!r} learns {what}; got attributes={','.join(self.attributes)}; for "
                "pose and light in one generator use --preset paper"
            )
        for name in ("further", "init"):
            if getattr(self, name) and kind != "compact":
                raise DataError(
                    f"preset {self.preset!r} takes no {name}; got {getattr(self, name)!r}; use it with --preset compact"
                )
        if self.record_steps:
            if kind != "stargan" or self.compile or self.accumulate * self.processes > 1:
                raise DataError(
                    "record_steps is for the preset stargan, not compiled, in one part; got "
                    f"preset={self.preset}, compile={self.compile}, {self.accumulate * self.processes} parts"
                )
            if not self.device.startswith("cuda"):
                raise DataError(f"record_steps needs a GPU; got device={self.device}; use --device cuda, or not this")
        if self.steps is not None and self.hours is not None:
            raise DataError(f"give steps or hours, not both; got {self.steps} and {self.hours}")
        if self.precision not in _PRECISIONS:
            raise DataError(f"precision must be one of {', '.join(_PRECISIONS)}; got {self.precision!r}")
        if self.best_is not in ("highest", "lowest"):
            raise DataError(f"best_is must be highest or lowest; got {self.best_is!r}")
        if self.fold is not None and (self.fold < 0 or not self.splits):
            raise DataError(f"fold counts from 0 and needs splits, a split file; got {self.fold} of {self.splits!r}")
        if not 0 <= self.ema_decay < 1:
            raise DataError(f"ema_decay must be in [0, 1); got {self.ema_decay}")
        if self.seed < 0:
            raise DataError(f"seed must not be negative; got {self.seed}")
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise DataError(f"{name} must be greater than 0; got {value}")

    @property
    def networks(self) -> Preset:
        """The preset with this run's numbers."""
        return find_preset(self.preset).with_numbers(self.generator, self.critic)

    def total_steps(self, faces: int, faces_per_step: int) -> int | None:
        """Steps until the end, for the faces a step takes in a part; None when hours decide."""
        if self.hours is not None:
            return None
        if self.steps is not None:
            return self.steps
        return math.ceil(self.epochs * faces / (faces_per_step * self.accumulate * self.processes))

    def to_json(self) -> str:
        """As indented JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> TrainConfig:
        """From :meth:`to_json`; ``DataError`` on unknown keys and values of the wrong type."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise DataError(f"the configuration is not JSON ({error})") from error
        if not isinstance(values, dict):
            raise DataError(f"the configuration must be a JSON object; got {type(values).__name__}")
        return from_mapping(cls, values)


def make_config(preset: str, values: Mapping[str, Any]) -> TrainConfig:
    """Defaults of the class, then of the preset, then ``values``; errors as in :func:`from_mapping`."""
    find_preset(preset)
    return from_mapping(TrainConfig, {"preset": preset, **PRESET_DEFAULTS.get(preset, {}), **values})


def parse_settings(settings: typing.Sequence[str]) -> dict[str, Any]:
    """``["batch=4", "objective.lambda_id=5", "classes=neutral,anger"]`` → values for :func:`make_config`.

    Raises:
        DataError: no ``=``, or a section other than ``generator``, ``critic`` and ``objective``.
    """
    out: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise DataError(f"settings are written KEY=VALUE; got {setting!r}")
        value = _parse_value(text)
        section, dot, name = key.partition(".")
        if not dot:
            out[key] = [v for v in text.split(",") if v] if key in ("classes", "attributes") else value
        elif section in _SECTIONS:
            out.setdefault(section, {})[name] = value
        else:
            raise DataError(f"unknown section {section!r} in {setting!r}; allowed: {', '.join(_SECTIONS)}")
    return out


def from_mapping(cls: type[T], values: Mapping[str, Any]) -> T:
    """A configuration dataclass from plain values.

    Raises:
        DataError: an unknown key, a missing one, or a value of the wrong type.
    """
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise DataError(f"unknown setting {', '.join(unknown)}; allowed: {', '.join(hints)}")
    converted = {key: _convert(key, value, hints[key]) for key, value in values.items()}
    try:
        return cls(**converted)
    except TypeError as error:
        raise DataError(f"incomplete configuration: {error}") from error


def _parse_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return float(text)  # "1e-4" and ".5", which JSON takes only in part
    except ValueError:
        return {"none": None, "true": True, "false": False}.get(text.lower(), text)


def _convert(key: str, value: Any, hint: Any) -> Any:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for option in options:
        origin = typing.get_origin(option) or option
        if origin is tuple and isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
            return tuple(value)
        if origin is dict and isinstance(value, Mapping):
            return dict(value)
        if origin is type(None) and value is None:
            return None
        if origin is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        # bool is an int to Python, but batch=true is a mistake.
        if origin in (int, str, bool) and type(value) is origin:
            return value
    names = " or ".join(getattr(o, "__name__", str(o)) for o in options)
    raise DataError(f"{key} must be {names}; got {value!r}")
