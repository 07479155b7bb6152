"""Presets: named sets of numbers for generator and critic, and how to build networks from them.

``PRESETS`` is never changed at run time; a preset with other numbers is a new value
(:meth:`Preset.with_numbers`), as training makes one from ``--set generator.width=32``.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from types import MappingProxyType

from torch import nn

from lssl_augment.errors import DataError
from lssl_augment.models.critic import Critic
from lssl_augment.models.paper_generator import PaperGenerator

__all__ = ["KINDS", "PRESETS", "Number", "Preset", "build_critic", "build_generator", "find_preset"]

Number = int | float | bool | None

#: The families of networks; each preset names one.
KINDS = ("paper", "compact", "stargan", "cyclegan", "icgan", "simgan")

#: Module and class of the networks that are loaded on first use.
_GENERATORS = {
    "compact": "compact_generator:CompactGenerator",
    "stargan": "baselines.stargan:StarGanGenerator",
    "cyclegan": "baselines.cyclegan:CycleGanGenerators",
    "icgan": "baselines.icgan:IcGanGenerator",
    "simgan": "baselines.simgan:Refiner",
}
_CRITICS = {
    "compact": "conditional_critic:ConditionalCritic",
    "cyclegan": "baselines.cyclegan:CycleGanCritics",
    "icgan": "baselines.icgan:IcGanCritic",
    "simgan": "baselines.simgan:LocalCritic",
}


@dataclass(frozen=True)
class Preset:
    """Numbers of one pair of networks.

    Attributes:
        name: what the command line calls it.
        kind: the family of the generator, one of :data:`KINDS`.
        generator, critic: keyword arguments of the two networks, every one spelled out.
        face_sizes_px: face sizes it is meant for.
    """

    name: str
    kind: str
    generator: Mapping[str, Number] = field(default_factory=dict)
    critic: Mapping[str, Number] = field(default_factory=dict)
    face_sizes_px: tuple[int, ...] = (64, 128)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DataError(f"unknown kind of generator {self.kind!r}; allowed: {', '.join(KINDS)}")
        for part in ("generator", "critic"):
            object.__setattr__(self, part, MappingProxyType(dict(getattr(self, part))))

    def with_numbers(
        self, generator: Mapping[str, Number] | None = None, critic: Mapping[str, Number] | None = None
    ) -> Preset:
        """A copy with some numbers replaced."""
        return replace(
            self,
            generator={**self.generator, **(generator or {})},
            critic={**self.critic, **(critic or {})},
        )


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "paper": Preset(
            name="paper",
            kind="paper",
            generator={"width": 64, "downs": 4, "blocks": 6, "side_channels": 1},
            critic={
                "width": 64,
                "depth": None,
                "side_channels": 1,
                "max_width": 2048,
                "slope": 0.01,
                "spectral": False,
            },
        ),
        "compact": Preset(
            name="compact",
            kind="compact",
            generator={"width": 32, "blocks": 3, "side_channels": 5},
            critic={"width": 48, "depth": 4, "side_channels": 5},
        ),
        # The methods LSSL is compared with; docs/baselines.md. A hub of None becomes neutral when training starts.
        "stargan": Preset(
            name="stargan",
            kind="stargan",
            generator={"width": 64, "downs": 2, "blocks": 6, "hub": None},
            critic={
                "width": 64,
                "depth": None,
                "side_channels": 0,
                "max_width": 2048,
                "slope": 0.01,
                "spectral": False,
            },
        ),
        "cyclegan": Preset(
            name="cyclegan",
            kind="cyclegan",
            generator={"width": 64, "blocks": 6, "hub": None},
            critic={"width": 64, "layers": 3},
        ),
        "icgan": Preset(
            name="icgan",
            kind="icgan",
            generator={"width": 64, "code": 100, "encoder_width": 32, "output_px": None, "hub": None},
            critic={"width": 64},
        ),
        "simgan": Preset(
            name="simgan",
            kind="simgan",
            generator={"width": 64, "blocks": 10},
            critic={"width": 96},
        ),
    }
)


def find_preset(name: str) -> Preset:
    """The preset of that name; ``DataError`` names the ones there are."""
    if name not in PRESETS:
        raise DataError(f"unknown preset {name!r}; allowed: {', '.join(PRESETS)}")
    return PRESETS[name]


def build_generator(preset: Preset | str, num_attributes: int, face_size_px: int) -> nn.Module:
    """The generator of a preset, with random weights.

    Args:
        preset: a preset or its name.
        num_attributes: length of the attribute vector, ``len(vocabulary)``.
        face_size_px: size of the faces it will see.

    Raises:
        DataError: unknown preset, numbers the network does not take, or a face size it cannot work at.
    """
    preset = find_preset(preset) if isinstance(preset, str) else preset
    cls = _generator_class(preset.kind)
    _check_numbers(cls, preset.generator, preset.name)
    generator = cls(num_attributes, **preset.generator)
    reduction = getattr(generator, "reduction", 1)
    if face_size_px < 2 * reduction or face_size_px % reduction:
        raise DataError(
            f"preset {preset.name!r} needs a face_size_px that is a multiple of {reduction}, at least "
            f"{2 * reduction}; got {face_size_px}"
        )
    return generator


def build_critic(preset: Preset | str, num_attributes: int, face_size_px: int) -> nn.Module:
    """The critic of a preset, with random weights; arguments and errors as in :func:`build_generator`."""
    preset = find_preset(preset) if isinstance(preset, str) else preset
    if preset.kind in ("paper", "stargan"):
        _check_numbers(Critic, preset.critic, preset.name)
        return Critic(num_attributes, face_size_px, **preset.critic)  # type: ignore[arg-type]
    cls = _load(_CRITICS[preset.kind])
    _check_numbers(cls, preset.critic, preset.name)
    return cls(num_attributes, **preset.critic)


def _generator_class(kind: str) -> type[nn.Module]:
    return PaperGenerator if kind == "paper" else _load(_GENERATORS[kind])


def _load(place: str) -> type[nn.Module]:
    module, _, name = place.partition(":")
    cls: type[nn.Module] = getattr(import_module(f"lssl_augment.models.{module}"), name)
    return cls


def _check_numbers(cls: type[nn.Module], numbers: Mapping[str, Number], preset: str) -> None:
    allowed = [
        name
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    unknown = sorted(set(numbers) - set(allowed))
    if unknown:
        raise DataError(
            f"{cls.__name__} of preset {preset!r} has no number called {', '.join(unknown)}; "
            f"allowed: {', '.join(allowed)}"
        )
