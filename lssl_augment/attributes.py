"""Vocabularies of expressions, head poses and lights, and attribute vectors of expressions.

The only place a class count comes from: never count classes from the data at hand. Words follow the basic
expressions of Ekman; aliases map the names that data sets use (``angry``, ``happy`` …) onto them. Poses and lights
are those of Bozorgtabar et al. 2019; ``attribute_vector.py`` joins all three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lssl_augment.errors import DataError

__all__ = [
    "BASIC5",
    "BASIC7",
    "BASIC8",
    "LIGHTS",
    "POSES_DEG",
    "POSE_STEP_DEG",
    "SIGNED_POSES_DEG",
    "Vocabulary",
    "canonical_expression",
    "check_poses",
    "pose_index",
]

#: Light conditions (as Oulu-CASIA names them), in the order of their attributes.
LIGHTS = ("normal", "weak", "dark")
#: Width of a pose bin.
POSE_STEP_DEG = 15
#: Head poses of the paper: how far the head is turned, to whichever side.
POSES_DEG = (0, 15, 30, 45)
#: The same with sides; positive when the nose points to the viewer's right.
SIGNED_POSES_DEG = (-45, -30, -15, 0, 15, 30, 45)

_ALIASES = {
    "angry": "anger",
    "contemptuous": "contempt",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "happy": "happiness",
    "joy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
}


def canonical_expression(name: str) -> str:
    """The package's word for an expression name: lower case, ``happy`` → ``happiness`` and so on."""
    key = name.strip().lower()
    return _ALIASES.get(key, key)


@dataclass(frozen=True)
class Vocabulary:
    """An ordered, fixed list of expression names.

    Args:
        names: canonical expression names; index = integer label.

    Raises:
        DataError: when names are empty, repeated or not canonical.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        if not self.names:
            raise DataError("a vocabulary needs at least one expression name; got none")
        if len(set(self.names)) != len(self.names):
            raise DataError(f"expression names must be distinct; got {list(self.names)}")
        for name in self.names:
            if canonical_expression(name) != name:
                raise DataError(f"expression name {name!r} is an alias; use {canonical_expression(name)!r}")

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and canonical_expression(name) in self.names

    def index(self, name: str) -> int:
        """Integer label of an expression name or alias; ``DataError`` names what is allowed."""
        word = canonical_expression(name)
        if word not in self.names:
            raise DataError(f"unknown expression {name!r}; allowed: {', '.join(self.names)}")
        return self.names.index(word)

    def one_hot(self, labels: Sequence[int] | np.ndarray) -> np.ndarray:
        """Integer labels, shape ``(B,)`` → attribute vectors, shape ``(B, len(self))``, float32 in {0, 1}."""
        array = np.asarray(labels)
        if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
            raise DataError(f"labels must be a 1-D integer array; got shape {array.shape}, dtype {array.dtype}")
        if array.size and (array.min() < 0 or array.max() >= len(self)):
            raise DataError(f"labels must be in [0, {len(self) - 1}]; got {int(array.min())} to {int(array.max())}")
        return np.eye(len(self), dtype=np.float32)[array]

    def mapping_from(self, other: Vocabulary) -> dict[int, int]:
        """Labels of ``other`` → labels here, for the expressions both have."""
        return {i: self.names.index(n) for i, n in enumerate(other.names) if n in self.names}


def pose_index(yaw_deg: Sequence[float] | np.ndarray, poses_deg: Sequence[int] = POSES_DEG) -> np.ndarray:
    """Yaw angles → the nearest of some poses.

    Args:
        yaw_deg: ``(B,)``; NaN where it is not known.
        poses_deg: 0, 15, … (then sides do not matter) or …, −15, 0, 15, … .

    Returns:
        ``(B,)`` int64, index into ``poses_deg``; −1 where the yaw is unknown or beyond the outermost pose by more
        than half a step. Half-way angles go to the outer pose.

    Raises:
        DataError: yaw that is not 1-D and numeric, or infinite; poses that are not such a row.
    """
    poses = check_poses(poses_deg)
    yaw = np.asarray(yaw_deg)
    if yaw.ndim != 1 or not (np.issubdtype(yaw.dtype, np.floating) or np.issubdtype(yaw.dtype, np.integer)):
        raise DataError(f"yaw_deg must be a 1-D array of numbers; got shape {yaw.shape}, dtype {yaw.dtype}")
    if np.isinf(yaw).any():
        raise DataError("yaw_deg must be finite, or NaN where it is not known; got an infinite angle")
    far = len(poses)  # steps that no pose is away
    steps = np.nan_to_num(np.minimum(np.floor(np.abs(yaw) / POSE_STEP_DEG + 0.5), far), nan=far)
    if poses[0] < 0:
        steps = np.copysign(steps, np.nan_to_num(yaw))
    index = steps.astype(np.int64) - poses[0] // POSE_STEP_DEG
    return np.where((index >= 0) & (index < len(poses)), index, -1)


def check_poses(poses_deg: Sequence[int]) -> tuple[int, ...]:
    """Poses that are 0, 15, … or symmetric about 0, as they came.

    Raises:
        DataError: they are not.
    """
    poses = tuple(poses_deg)
    rows = [tuple(POSE_STEP_DEG * (i - start) for i in range(len(poses))) for start in (0, (len(poses) - 1) // 2)]
    if not poses or poses not in rows or poses[-1] < 0 or (poses[0] < 0 and poses[0] != -poses[-1]):
        raise DataError(
            f"poses must be 0, 15, 30 … or symmetric about 0, in steps of {POSE_STEP_DEG} degrees, such as "
            f"{list(POSES_DEG)} or {list(SIGNED_POSES_DEG)}; got {list(poses)}"
        )
    return poses


#: The five expressions ``lfw-expressions`` has enough faces of.
BASIC5 = Vocabulary(("neutral", "happiness", "surprise", "anger", "sadness"))
#: FER2013's seven, in the order of its integer labels.
BASIC7 = Vocabulary(("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"))
#: All eight words; what ``folder`` and ``csv`` accept when no other vocabulary is asked for.
BASIC8 = Vocabulary(("neutral", "happiness", "surprise", "anger", "sadness", "fear", "disgust", "contempt"))
