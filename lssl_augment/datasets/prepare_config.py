"""What the user may ask of ``prepare``, checked at the door."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from lssl_augment.datasets.info import DatasetInfo
from lssl_augment.datasets.records import ReadOptions
from lssl_augment.errors import DataError
from lssl_augment.faces.backends.base import PICKS
from lssl_augment.faces.backends.choose import LANDMARK_SOURCES

__all__ = ["LIGHT_RULES", "OPTION_FLAGS", "PrepareConfig", "check_options"]

#: How light is named where the data set does not say: not at all, or by the rule of ``faces.light``.
LIGHT_RULES = ("", "photometric")
#: Options that only some data sets know: field of ``ReadOptions`` → as typed on the command line.
OPTION_FLAGS = {
    "subject_pattern": "--subject-pattern",
    "frames": "--frames",
    "lights": "--lights",
    "modality": "--modality",
    "views_deg": "--views",
    "label_file": "--label-file",
}


@dataclass(frozen=True)
class PrepareConfig:
    """How faces are cut out and where they go.

    Args:
        out: the pack to write.
        landmarks: ``"precomputed"``: of the data set only; ``"bundled"``: the package's landmark network;
            ``"insightface"``: a model pack of insightface; ``"auto"``: the data set's, and for what has none or
            useless ones insightface where a pack of it is there, else the network.
        limit: at most so many photographs, taken evenly from the whole list; None: all.
        workers: how many work at once, in processes (from some thousand photographs on) or threads; the result is
            the same with any number.
        overwrite: replace ``out``.
        pick: which of several faces insightface takes: ``"largest"`` or ``"central"``.
        device: where landmarks are found: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``. On anything but the CPU the
            workers are threads.
        insightface_pack: name or folder of a model pack; None: the first known one that is there.
        fill_dense: dense points for every face: where only 68 are known, the landmark network finds the others on
            the aligned face.
        light_rule: ``"photometric"``: name the light by the rule of :mod:`lssl_augment.faces.light`; empty: leave
            it unknown where the data set does not say.

    Raises:
        DataError: a value that is not allowed.
    """

    out: Path
    landmarks: str = "auto"
    limit: int | None = None
    workers: int = 1
    overwrite: bool = False
    pick: str = "largest"
    device: str = "cpu"
    insightface_pack: str | Path | None = None
    fill_dense: bool = False
    light_rule: str = ""

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("landmarks", self.landmarks, LANDMARK_SOURCES),
            ("pick", self.pick, PICKS),
            ("light_rule", self.light_rule, LIGHT_RULES),
        ):
            if value not in allowed:
                raise DataError(f"{name} must be one of {', '.join(filter(None, allowed))}; got {value!r}")
        for name, number in (("limit", self.limit), ("workers", self.workers)):
            if number is not None and number < 1:
                raise DataError(f"{name} must be at least 1; got {number}")


def check_options(info: DatasetInfo, options: ReadOptions) -> None:
    """See that a data set knows the options that are asked of it.

    Raises:
        DataError: one that it does not know was given; the message names those that it knows.
    """
    for field in fields(ReadOptions):
        if field.name not in OPTION_FLAGS or field.name in info.options:
            continue
        if getattr(options, field.name) != field.default:
            known = ", ".join(OPTION_FLAGS[name] for name in info.options if name in OPTION_FLAGS)
            raise DataError(
                f"{info.name} does not know {OPTION_FLAGS[field.name]} ({field.name}); beside --classes, --alias and "
                f"--seed it knows {known or 'no option'}"
            )
