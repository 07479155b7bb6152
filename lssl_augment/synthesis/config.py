"""What a user asks of a generation run."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lssl_augment.errors import DataError
from lssl_augment.synthesis.keyed import check_seed
from lssl_augment.synthesis.sources import TRAIN

__all__ = ["DEFAULT_INTENSITY", "GenerateConfig", "parse_intensity", "parse_yaw"]

#: Intensities drawn when none are asked for: clear expressions, not all alike.
DEFAULT_INTENSITY = (0.8, 1.0)


def parse_intensity(text: str) -> tuple[float, float]:
    """``'0.9'`` → ``(0.9, 0.9)``, ``'0.5:1'`` → ``(0.5, 1.0)``; ``DataError`` for anything else."""
    return _range(text, 0.0, 1.0, "intensity must be VALUE or LOW:HIGH with 0 <= LOW <= HIGH <= 1")


def parse_yaw(text: str) -> tuple[float, float]:
    """``'15'`` → ``(15.0, 15.0)``, ``'-20:20'`` → ``(-20.0, 20.0)``; ``DataError`` for anything else."""
    return _range(text, -90.0, 90.0, "yaw must be DEGREES or LOW:HIGH with -90 <= LOW <= HIGH <= 90")


def _range(text: str, least: float, most: float, what: str) -> tuple[float, float]:
    parts = text.split(":")
    try:
        low, high = (float(parts[0]), float(parts[-1])) if len(parts) <= 2 else (math.nan, math.nan)
    except ValueError:
        low = high = math.nan
    if not least <= low <= high <= most:
        raise DataError(f"{what}; got {text!r}")
    return low, high


@dataclass(frozen=True)
class GenerateConfig:
    """One run of :func:`~lssl_augment.synthesis.generate.generate`.

    Args:
        out: the HDF5 file to make; must end in ``.h5`` or ``.hdf5``. A contact sheet of the same stem
            (``.png``) comes beside it.
        per_class: images a class; None where ``targets`` says how many.
        targets: see :func:`~lssl_augment.synthesis.plan.resolve_counts`.
        source: a face pack, a folder of photographs, or None for built-in people.
        weights: name or path of a generator.
        intensity: range of expression intensity, in [0, 1].
        yaw: range of degrees that heads are turned to (positive: nose to larger x); None: they keep their pose.
        seed: of everything random.
        people: built-in people to draw; None: as many as the largest class has images.
        splits: a split file whose people take the place of the pack's own splits. fold: of it, from 0.
        split: split of a pack to read. allow_test_subjects: let another split than ``train`` in (recorded).
        gate: name or path of the gate; None: no scores.
        min_score: images the gate scores lower are kept and marked not accepted.
        device: ``'auto'`` (CUDA where there is any), ``'cpu'``, ``'cuda'`` …
        batch: source faces encoded at once, and images edited at once. Part of the run's identity: another
            batch may round differently.
        resume: go on with an unfinished run of the same arguments. overwrite: replace what is there.

    Raises:
        DataError: a value that cannot be used.
    """

    out: Path = Path("synthetic.h5")
    per_class: int | None = None
    targets: str = "uniform"
    source: Path | None = None
    weights: str = "lfw-128"
    intensity: tuple[float, float] = DEFAULT_INTENSITY
    yaw: tuple[float, float] | None = None
    seed: int = 0
    people: int | None = None
    splits: Path | None = None
    fold: int | None = None
    split: str = TRAIN
    allow_test_subjects: bool = False
    gate: str | None = "gate"
    min_score: float = 0.0
    device: str = "auto"
    batch: int = 32
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", Path(self.out))
        if self.source is not None:
            object.__setattr__(self, "source", Path(self.source))
        if self.out.suffix not in (".h5", ".hdf5"):
            raise DataError(f"out must end in .h5 or .hdf5; got {self.out.name!r}")
        check_seed(self.seed)
        if self.batch < 1:
            raise DataError(f"batch must be at least 1; got {self.batch}")
        if not 0.0 <= self.min_score <= 1.0:
            raise DataError(f"min-score must be in [0, 1]; got {self.min_score}")
        if self.min_score > 0 and self.gate is None:
            raise DataError("min-score needs the gate; leave one of min-score and no-gate away")
        if self.resume and self.overwrite:
            raise DataError("resume goes on with the unfinished run, overwrite throws it away: choose one")
        if self.splits is None and self.fold is not None:
            raise DataError(f"fold {self.fold} needs splits, a split file (`lssl-augment split`)")
        if self.splits is not None and self.source is None:
            raise DataError("splits go with a source, a face pack; built-in people have none")
        if self.people is not None and self.source is not None:
            raise DataError("people counts built-in people; with a source, its own faces are used")

    @property
    def sheet_path(self) -> Path:
        """The contact sheet beside the file."""
        return self.out.with_suffix(".png")

    def recorded(self, device: str) -> dict[str, Any]:
        """What is stored in the file: the wishes that the images depend on, no paths."""
        return {
            "per_class": self.per_class,
            "targets": self.targets,
            "intensity": list(self.intensity),
            "yaw": None if self.yaw is None else list(self.yaw),
            "seed": self.seed,
            "people": self.people,
            "allow_test_subjects": self.allow_test_subjects,
            "splits_sha256": None if self.splits is None else hashlib.sha256(self.splits.read_bytes()).hexdigest(),
            "fold": self.fold,
            "min_score": self.min_score,
            "device": device,
            "batch": self.batch,
        }
