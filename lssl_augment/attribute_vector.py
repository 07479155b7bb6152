"""Attribute vectors: expression, and where wanted head pose and light, side by side as one-hot groups.

This is the y of Bozorgtabar et al. 2019: what a face shows, and what a generated face is to show. Each group is
one-hot where it is known and all zeros where it is not; :meth:`AttributeSpec.mask` says which is which, so that a loss
can leave the unknown ones out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lssl_augment.attributes import LIGHTS, POSES_DEG, SIGNED_POSES_DEG, Vocabulary, check_poses, pose_index
from lssl_augment.errors import DataError, WeightsError

__all__ = ["GROUPS", "AttributeSpec", "attribute_words"]

#: The groups in the order of the vector.
GROUPS = ("expression", "pose", "light")


@dataclass(frozen=True)
class AttributeSpec:
    """Which attributes a vector holds, and in which order.

    Codes are ``(B, G)`` int64, one column a group of :attr:`groups`: the index of what is shown, or −1 where that is
    not known. Vectors are ``(B, D)`` float32, D = ``len(spec)``.

    Args:
        expressions: always the first group.
        poses_deg: second group, or empty: head poses in degrees, such as ``POSES_DEG`` or ``SIGNED_POSES_DEG``.
        lights: last group, or empty: light conditions, of ``LIGHTS``.

    Attributes:
        groups: group → its columns in the vector, in order.

    Raises:
        DataError: poses or lights that are none, or that come twice.
    """

    expressions: Vocabulary
    poses_deg: tuple[int, ...] = ()
    lights: tuple[str, ...] = ()
    groups: dict[str, slice] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "poses_deg", check_poses(self.poses_deg) if len(self.poses_deg) else ())
        object.__setattr__(self, "lights", tuple(self.lights))
        unknown = [light for light in self.lights if light not in LIGHTS]
        if unknown or len(set(self.lights)) != len(self.lights):
            raise DataError(f"lights must be distinct and of {', '.join(LIGHTS)}; got {list(self.lights)}")
        groups, start = {}, 0
        for name, size in zip(GROUPS, (len(self.expressions), len(self.poses_deg), len(self.lights)), strict=True):
            if size:
                groups[name] = slice(start, start + size)
                start += size
        object.__setattr__(self, "groups", groups)

    def __len__(self) -> int:
        return max(columns.stop for columns in self.groups.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each column of the vector: ``neutral``, …, ``pose -15``, …, ``light weak`` …"""
        poses = tuple(f"pose {pose}" for pose in self.poses_deg)
        return self.expressions.names + poses + tuple(f"light {light}" for light in self.lights)

    def codes(
        self,
        labels: Sequence[int] | np.ndarray,
        yaw_deg: Sequence[float] | np.ndarray | None = None,
        lights: Sequence[str] | np.ndarray | None = None,
    ) -> np.ndarray:
        """What is known of some faces → codes.

        Args:
            labels: ``(B,)`` integers of ``expressions``; −1 is unlabelled.
            yaw_deg: ``(B,)`` degrees, NaN where unknown; None: unknown for all. See :func:`pose_index`.
            lights: ``(B,)`` text, empty where unknown; None: unknown for all. A light condition that is none of
                this spec's is unknown too.

        Returns:
            ``(B, G)`` int64. What belongs to a group that this spec lacks is left out.

        Raises:
            DataError: lengths that differ, labels out of range, or a word that is no light condition.
        """
        expression = np.asarray(labels)
        if expression.ndim != 1 or not np.issubdtype(expression.dtype, np.integer):
            came = f"shape {expression.shape}, dtype {expression.dtype}"
            raise DataError(f"labels must be a 1-D integer array; got {came}")
        unknown = np.full(len(expression), -1, np.int64)
        columns = {
            "expression": expression,
            "pose": pose_index(yaw_deg, self.poses_deg) if yaw_deg is not None and self.poses_deg else unknown,
            "light": unknown if lights is None else self._light_codes(lights),
        }
        for name in self.groups:
            if len(columns[name]) != len(expression):
                raise DataError(f"{len(expression)} labels need as many values of {name}; got {len(columns[name])}")
        return self._checked(np.stack([columns[name] for name in self.groups], axis=1))

    def encode(self, codes: np.ndarray) -> np.ndarray:
        """Codes ``(B, G)`` → vectors ``(B, D)`` float32 in {0, 1}; an unknown group is all zeros.

        Raises:
            DataError: codes of another shape or type, or out of range.
        """
        codes = self._checked(codes)
        vectors = np.zeros((len(codes), len(self)), np.float32)
        for column, place in zip(codes.T, self.groups.values(), strict=True):
            rows = np.flatnonzero(column >= 0)
            vectors[rows, place.start + column[rows]] = 1.0
        return vectors

    def mask(self, codes: np.ndarray) -> np.ndarray:
        """Which columns of the vectors are known, ``(B, D)`` bool: all of a group or none.

        Raises:
            DataError: as :meth:`encode`.
        """
        sizes = [place.stop - place.start for place in self.groups.values()]
        return np.repeat(self._checked(codes) >= 0, sizes, axis=1)

    def decode(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors ``(B, D)`` (also scaled by an intensity, or scores) → codes ``(B, G)`` int64.

        The largest entry of a group counts; the first, where several are the largest; a group without a positive
        entry is unknown.

        Raises:
            DataError: vectors of another shape, or not finite.
        """
        vectors = np.asarray(vectors)
        if vectors.ndim != 2 or vectors.shape[1] != len(self):
            raise DataError(f"attribute vectors must have shape (B, {len(self)}); got {vectors.shape}")
        if not np.isfinite(vectors).all():
            raise DataError("attribute vectors must be finite")
        parts = [vectors[:, place] for place in self.groups.values()]
        return np.stack([np.where(p.max(1) > 0, p.argmax(1), -1) for p in parts], axis=1).astype(np.int64)

    def replace(self, codes: np.ndarray, **groups: Sequence[int] | np.ndarray | int) -> np.ndarray:
        """A copy of codes with some groups set, the others kept: ``spec.replace(codes, expression=labels)``.

        Args:
            codes: ``(B, G)``.
            groups: group → one code for all faces, or ``(B,)`` codes; −1 makes it unknown.

        Raises:
            DataError: a group that this spec lacks, or codes that do not fit.
        """
        out = self._checked(codes).copy()
        order = list(self.groups)
        for name, values in groups.items():
            if name not in order:
                raise DataError(f"there is no attribute group {name!r} here; this spec has {', '.join(order)}")
            column = np.asarray(values)
            if column.ndim > 1 or (column.ndim and len(column) != len(out)):
                raise DataError(f"{name}: one code, or {len(out)} of them; got shape {column.shape}")
            if not np.issubdtype(column.dtype, np.integer):
                raise DataError(f"{name}: codes must be integers; got {column.dtype}")
            out[:, order.index(name)] = column
        return self._checked(out)

    def describe(self, codes: Sequence[int] | np.ndarray) -> dict[str, str | int | None]:
        """One face's codes ``(G,)`` in words: ``{"expression": "anger", "pose": -15, "light": None}``."""
        row = self._checked(np.asarray(codes)[None])[0].tolist()
        words = {"expression": self.expressions.names, "pose": self.poses_deg, "light": self.lights}
        return {name: words[name][code] if code >= 0 else None for name, code in zip(self.groups, row, strict=True)}

    def to_card(self) -> dict[str, list[Any]]:
        """Plain lists, for ``card["attributes"]`` of a set of weights; groups that are not there are left out."""
        full = {"expression": self.expressions.names, "pose_deg": self.poses_deg, "light": self.lights}
        return {name: list(values) for name, values in full.items() if values}

    @classmethod
    def from_card(cls, attributes: object) -> AttributeSpec:
        """From ``card["attributes"]``.

        Raises:
            WeightsError: unknown or missing keys, or values that are no such attributes.
        """
        known = ("expression", "pose_deg", "light")
        if not isinstance(attributes, Mapping) or "expression" not in attributes or set(attributes) - set(known):
            raise WeightsError(
                f"a card's attributes need expression and may have pose_deg and light; got {attributes!r}"
            )
        lists = [attributes.get(key, []) for key in known]
        kinds = (str, int, str)
        for key, values, kind in zip(known, lists, kinds, strict=True):
            if not isinstance(values, list) or not all(type(value) is kind for value in values):
                raise WeightsError(f"attributes: {key} must be a list of {kind.__name__}; got {values!r}")
        try:
            return cls(Vocabulary(tuple(lists[0])), tuple(lists[1]), tuple(lists[2]))
        except DataError as error:
            raise WeightsError(f"attributes: {error}") from error

    def _light_codes(self, lights: Sequence[str] | np.ndarray) -> np.ndarray:
        words = np.asarray(lights, np.str_)
        if words.ndim != 1:
            raise DataError(f"lights must be a 1-D array of texts; got shape {words.shape}")
        unknown = sorted(set(words.tolist()) - {"", *LIGHTS})
        if unknown:
            raise DataError(f"unknown light {unknown[0]!r}; allowed: {', '.join(LIGHTS)}, or empty where unknown")
        place = {word: i for i, word in enumerate(self.lights)}
        return np.array([place.get(word, -1) for word in words.tolist()], np.int64)

    def _checked(self, codes: np.ndarray) -> np.ndarray:
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] != len(self.groups) or not np.issubdtype(codes.dtype, np.integer):
            names = ", ".join(self.groups)
            raise DataError(
                f"codes must be integers of shape (B, {len(self.groups)}), a column each for {names}; "
                f"got {codes.shape} {codes.dtype}"
            )
        for column, (name, place) in zip(codes.T, self.groups.items(), strict=True):
            size = place.stop - place.start
            if len(column) and (column.min() < -1 or column.max() >= size):
                raise DataError(
                    f"{name}: codes must be 0 to {size - 1}, or -1 where unknown; got {column.min()} to {column.max()}"
                )
        return codes.astype(np.int64)


def attribute_words(words: Sequence[str]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """How a configuration names attribute groups → poses and lights of an :class:`AttributeSpec`.

    ``expression`` is always there. ``pose`` is 0 to 45 degrees, sides alike (the paper's); ``signed-pose`` −45 to 45;
    ``light`` normal, weak and dark. A colon narrows a group down: ``pose:30`` ends at 30 degrees,
    ``light:normal+dark`` leaves weak light out.

    Args:
        words: such as ``("expression", "pose", "light")``, in any order.

    Raises:
        DataError: another word, one that comes twice, or a group narrowed to what is none of its values.
    """
    bases = [word.partition(":")[0] for word in words]
    names = ["pose" if base == "signed-pose" else base for base in bases]
    if "expression" not in names or len(set(names)) != len(names) or set(names) - set(GROUPS) or "" in words:
        raise DataError(
            "attributes are expression, and where wanted pose (or signed-pose) and light, each once; "
            f"got {','.join(words) or 'none'}"
        )
    poses: tuple[int, ...] = ()
    lights: tuple[str, ...] = ()
    for word, name in zip(words, names, strict=True):
        base, colon, part = word.partition(":")
        if name == "pose":
            full = POSES_DEG if base == "pose" else SIGNED_POSES_DEG
            last = full[-1] if not colon else int(part) if part.isdecimal() else -1
            if last not in full or last <= 0:
                raise DataError(f"{base}:N ends at one of {', '.join(str(p) for p in full if p > 0)}; got {word!r}")
            poses = tuple(pose for pose in full if abs(pose) <= last)
        elif name == "light":
            chosen = part.split("+") if colon else list(LIGHTS)
            if len(chosen) < 2 or set(chosen) - set(LIGHTS) or len(set(chosen)) != len(chosen):
                raise DataError(f"light:A+B takes two or three of {', '.join(LIGHTS)}; got {word!r}")
            lights = tuple(light for light in LIGHTS if light in chosen)
        elif word != "expression":
            raise DataError(f"expressions are chosen with classes=…; got {word!r}")
    return poses, lights
