"""Networks' configuration dataclasses in the words of a card's ``architecture``."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, ClassVar, Protocol, TypeVar

from lssl_augment.errors import WeightsError

__all__ = ["read_architecture", "write_architecture"]


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


T = TypeVar("T", bound=_Dataclass)


def read_architecture(cls: type[T], architecture: object, whose: str) -> T:
    """The configuration a card tells; ``WeightsError`` on unknown or missing keys, naming ``whose`` it is."""
    known = {f.name for f in fields(cls)}
    if not isinstance(architecture, dict) or set(architecture) != known:
        raise WeightsError(f"{whose} architecture needs exactly {sorted(known)}; got {architecture!r}")
    return cls(**architecture)


def write_architecture(config: _Dataclass) -> dict[str, Any]:
    """Plain lists and numbers for the card."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}
