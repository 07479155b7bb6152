"""What the columns of a sheet show: every target, one target at growing intensity, or the way between two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lssl_augment.attribute_vector import AttributeSpec
from lssl_augment.errors import DataError

__all__ = ["Column", "intensity_columns", "mixed_columns", "parse_intensities", "target_columns"]


@dataclass(frozen=True)
class Column:
    """One edit of every source.

    Args:
        caption: heading. section: of the group of columns it belongs to.
        expression: index of the target; −1 keeps the source's. intensity: of it.
        second, share: another expression and how much of it, from 0 to 1; −1: none.
        pose, light: codes of the engine's attributes; −1 keeps the source's.
    """

    caption: str
    section: str = ""
    expression: int = -1
    intensity: float = 1.0
    second: int = -1
    share: float = 0.0
    pose: int = -1
    light: int = -1


def target_columns(spec: AttributeSpec, targets: Sequence[str] = ()) -> tuple[Column, ...]:
    """A column a target, grouped into expressions, poses and lights where more than one group is shown.

    Args:
        spec: what the generator can make. targets: names as of ``spec.names``, aliases of expressions too; empty: all.

    Raises:
        DataError: a target that the generator lacks, or one that comes twice.
    """
    places = list(range(len(spec))) if not targets else [_place(spec, name) for name in targets]
    if len(set(places)) != len(places):
        raise DataError(f"--targets: each once; got {', '.join(targets)}")
    found = [
        (group, place, place - columns.start)
        for group, columns in spec.groups.items()
        for place in places
        if columns.start <= place < columns.stop
    ]
    several = len({group for group, _, _ in found}) > 1
    return tuple(Column(spec.names[place], group if several else "", **{group: code}) for group, place, code in found)


def parse_intensities(text: str) -> tuple[float, ...]:
    """``'0,0.5,1'`` → ``(0.0, 0.5, 1.0)``.

    Raises:
        DataError: anything but numbers.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise DataError(f"--intensity takes numbers separated by commas, such as 0,0.5,1; got {text!r}") from error


def intensity_columns(
    spec: AttributeSpec, targets: Sequence[str], intensities: Sequence[float], most: float
) -> tuple[Column, ...]:
    """One expression at several intensities.

    Args:
        spec: what the generator can make. targets: the one expression. intensities: in [0, most].

    Raises:
        DataError: another number of targets than one, a pose or light, or intensities out of range or repeated.
    """
    if len(targets) != 1:
        came = ", ".join(targets) or "none"
        raise DataError(
            f"--intensity draws one target, named with --targets (for example --targets "
            f"{spec.expressions.names[-1]}); got {came}"
        )
    expression = _expression(spec, targets[0], "--intensity")
    if not all(0 <= value <= most for value in intensities) or len(set(intensities)) != len(intensities):
        raise DataError(
            f"--intensity takes different numbers from 0 to {most:g} with these weights; got "
            f"{', '.join(f'{value:g}' for value in intensities)}"
        )
    section = f"{spec.expressions.names[expression]}, intensity"
    return tuple(Column(f"{value:g}", section, expression, value) for value in intensities)


def mixed_columns(spec: AttributeSpec, between: Sequence[str], steps: int) -> tuple[Column, ...]:
    """From one expression to another in equal steps, both ends among them.

    Args:
        spec: what the generator can make. between: the two expressions. steps: columns, at least 2.

    Raises:
        DataError: not two different expressions, or too few steps.
    """
    if len(between) != 2:
        raise DataError(f"--between takes two expressions, A,B; got {', '.join(between) or 'none'}")
    first, second = (_expression(spec, name, "--between") for name in between)
    if first == second:
        raise DataError(f"--between takes two different expressions; got {between[0]} and {between[1]}")
    if steps < 2:
        raise DataError(f"--steps counts the columns, both ends among them, so at least 2; got {steps}")
    names = spec.expressions.names
    shares = [i / (steps - 1) for i in range(steps)]
    captions = [names[first], *(f"{100 * share:.0f} %" for share in shares[1:-1]), names[second]]
    section = f"from {names[first]} to {names[second]}"
    return tuple(
        Column(caption, section, first, second=second, share=share)
        for caption, share in zip(captions, shares, strict=True)
    )


def _place(spec: AttributeSpec, name: str) -> int:
    """Column of the attribute vector that a name stands for."""
    if name in spec.names:
        return spec.names.index(name)
    if name in spec.expressions:  # an alias
        return spec.expressions.index(name)
    group = name.split(" ")[0]
    hint = ""
    if group in ("pose", "light") and group not in spec.groups:
        preset = "--preset paper " if group == "light" else ""  # a compact generator has light without being trained so
        hint = f"; a generator that can is trained with {preset}--set attributes=expression,{group}"
    raise DataError(f"these weights cannot make {name!r}; they can make: {', '.join(spec.names)}{hint}")


def _expression(spec: AttributeSpec, name: str, option: str) -> int:
    place = _place(spec, name)
    if place >= len(spec.expressions):
        raise DataError(f"{option} takes expressions ({', '.join(spec.expressions.names)}); got {name!r}")
    return place
