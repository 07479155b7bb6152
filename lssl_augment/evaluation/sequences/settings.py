"""Settings of sequence classifiers as words of a command line: ``frames=8``, ``dtagn.steps=100``."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from lssl_augment.errors import DataError
from lssl_augment.evaluation.sequences.adalbp import AdaLbpConfig
from lssl_augment.evaluation.sequences.dtagn import DtagnConfig
from lssl_augment.evaluation.sequences.hog3d import Hog3dConfig
from lssl_augment.evaluation.sequences.lbp_top import LbpTopConfig

__all__ = ["SequenceSettings", "parse_sequence_settings"]

#: Classifier → argument of its class → the dataclass it takes; no two of one classifier share a field.
_CONFIGS: dict[str, dict[str, type[Any]]] = {
    "hog3d": {"config": Hog3dConfig},
    "adalbp": {"config": AdaLbpConfig, "layout": LbpTopConfig},
    "dtagn": {"config": DtagnConfig},
}


@dataclass(frozen=True)
class SequenceSettings:
    """How sequences are read and classified.

    Args:
        frames: of every video, ≥ 2. size_px: side of its faces, ≥ 8. arguments: classifier → further arguments of
            :func:`~.evaluate.build_sequence_classifier`.

    Raises:
        DataError: a number out of range.
    """

    frames: int
    size_px: int
    arguments: dict[str, dict[str, Any]]

    def __post_init__(self) -> None:
        if self.frames < 2 or self.size_px < 8:
            raise DataError(f"frames must be at least 2 and size_px at least 8; got {self.frames} and {self.size_px}")


def parse_sequence_settings(words: Sequence[str], *, frames: int = 16, size_px: int = 64) -> SequenceSettings:
    """Settings out of words; what no word names keeps its default, and of two words for one thing the last counts.

    Args:
        words: ``frames=N``, ``size_px=N``, or ``CLASSIFIER.FIELD=VALUE`` with a field of its configuration;
            several numbers with commas between them: ``hog3d.blocks=1,3,3``. frames, size_px: defaults.

    Raises:
        DataError: a word of another form, an unknown classifier or field, or a value of another type or out of range.
    """
    plain: dict[str, Any] = {"frames": frames, "size_px": size_px}
    given: dict[tuple[str, str], dict[str, Any]] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise DataError(f"settings of sequence classifiers are written KEY=VALUE; got {word!r}")
        if key in plain:
            plain[key] = _value(int, text, word)
            continue
        name, _, setting = key.partition(".")
        argument, kind = _field(name, setting, word)
        given.setdefault((name, argument), {})[setting] = _value(kind, text, word)
    arguments: dict[str, dict[str, Any]] = {name: {} for name in _CONFIGS}
    for (name, argument), values in given.items():
        arguments[name][argument] = _CONFIGS[name][argument](**values)
    return SequenceSettings(**plain, arguments=arguments)


def _field(name: str, setting: str, word: str) -> tuple[str, Any]:
    """Argument that a setting belongs to, and the type of its value."""
    if name not in _CONFIGS:
        raise DataError(
            f"unknown setting {word!r}; allowed: frames=, size_px=, {', '.join(f'{n}.…=' for n in _CONFIGS)}"
        )
    for argument, config in _CONFIGS[name].items():
        if setting in {field.name for field in fields(config)}:
            return argument, typing.get_type_hints(config)[setting]
    allowed = ", ".join(field.name for config in _CONFIGS[name].values() for field in fields(config))
    raise DataError(f"unknown setting {word!r}; {name} has {allowed}")


def _value(kind: Any, text: str, word: str) -> Any:
    try:
        if typing.get_origin(kind) is tuple:
            return tuple(int(part) for part in text.split(","))
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        convert: Callable[[str], Any] = kind
        return convert(text)
    except (ValueError, KeyError) as error:
        wanted = {int: "a whole number", float: "a number", bool: "true or false"}.get(
            kind, "whole numbers with commas"
        )
        raise DataError(f"{word!r} needs {wanted} behind the =; got {text!r}") from error
