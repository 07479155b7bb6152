"""What every loader returns: a table of records, one for each photograph that can be used."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from lssl_augment.attributes import Vocabulary
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError

__all__ = ["FRAMES", "Locate", "PhotoSource", "ReadOptions", "Record", "RecordTable"]

#: Which frames of a sequence to take: those that show the expression (and the neutral first one), or all.
FRAMES = ("peak", "all")

#: Photo ``(H, W, 3)`` uint8 → dense points ``(478, 3)`` in photo pixels, or None when it shows no face.
Locate = Callable[[np.ndarray], "np.ndarray | None"]
#: Makes a photograph that no file holds (a view rendered from a 3D model): files of the data set and something
#: that finds landmarks, or None → photo ``(H, W, 3)`` uint8 RGB and dense points ``(478, 3)`` where it knows
#: them. It raises ImageError or FileNotFoundError, and must be picklable.
PhotoSource = Callable[[FileTree, "Locate | None"], "tuple[np.ndarray, np.ndarray | None]"]


@dataclass(frozen=True)
class ReadOptions:
    """What the user may ask of a loader.

    Args:
        seed: of the split by subject, where a data set brings no split of its own.
        classes: expressions to keep, in the order of their labels; None keeps the data set's usual ones.
        aliases: further names of expressions, ``{"grin": "happiness"}``.
        subject_pattern: regular expression that finds the subject in a file's name (``folder`` only): its
            group named ``subject``, else its first group, else all it matches.
        frames: of sequences: ``"peak"`` or ``"all"``.
        lights: light conditions to keep (``normal``, ``weak``, ``dark``); None: the data set's usual ones.
        modality: camera to keep where there are several (Oulu-CASIA: ``VL`` or ``NI``); None: the usual one.
        views_deg: yaw angles to render or keep, in degrees; None: the data set's usual ones.
        label_file: another file of labels (FER2013: that of FER+).

    Which of the options a data set knows is told by its ``DatasetInfo.options``.

    Raises:
        DataError: a pattern that is no regular expression, or frames that are neither.
    """

    seed: int = 0
    classes: tuple[str, ...] | None = None
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    subject_pattern: str | None = None
    frames: str = "peak"
    lights: tuple[str, ...] | None = None
    modality: str | None = None
    views_deg: tuple[float, ...] | None = None
    label_file: Path | None = None

    def __post_init__(self) -> None:
        if self.frames not in FRAMES:
            raise DataError(f"frames must be one of {', '.join(FRAMES)}; got {self.frames!r}")
        if self.subject_pattern is None:
            return
        try:
            re.compile(self.subject_pattern)
        except re.error as error:
            raise DataError(f"subject pattern {self.subject_pattern!r} is no regular expression: {error}") from error

    def subject_of(self, file: str) -> str:
        """The subject in a file's name; without a pattern each file is its own subject.

        Raises:
            DataError: the pattern finds nothing in it.
        """
        if self.subject_pattern is None:
            return file
        match = re.search(self.subject_pattern, file)
        subject = None
        if match is not None:
            groups = match.groupdict()
            subject = groups["subject"] if "subject" in groups else match[1 if match.re.groups else 0]
        if not subject:
            raise DataError(f"subject pattern {self.subject_pattern!r} finds no subject in {file!r}")
        return subject


@dataclass(frozen=True)
class Record:
    """One photograph.

    Args:
        file: name within the data set, parts separated by ``/``. label: of the vocabulary; −1 is unlabelled.
        subject: who is seen. split: ``train``, ``test`` …
        image: pixels ``(H, W)`` uint8 grey where the list itself holds them; None: read ``file``.
        points68: landmarks in photo pixels, ``(68, 2)``, or None. dense: ``(478, 3)``, or None.
        light: ``normal``, ``weak`` or ``dark`` as the data set says; empty: it does not say.
        yaw_deg: of the head, positive when it turns to the viewer's right; None: the data set does not say.
        intensity: of the expression, in [0, 1]; None: the data set does not say.
        sequence: name of the sequence that this is a frame of; empty: a photograph on its own. frame: its
            place there.
        photo: makes the photograph, where no file holds it as it is.
    """

    file: str
    label: int
    subject: str
    split: str
    image: np.ndarray | None = None
    points68: np.ndarray | None = None
    dense: np.ndarray | None = None
    light: str = ""
    yaw_deg: float | None = None
    intensity: float | None = None
    sequence: str = ""
    frame: int = 0
    photo: PhotoSource | None = None


@dataclass(frozen=True)
class RecordTable:
    """The photographs of a data set.

    Args:
        dataset: its name. vocabulary: of the labels. tree: where the files are. records: the photographs.
        skipped: pairs (file, reason) of what the loader left out.
        landmark_file: which landmarks came with the data set or its rows: ``"dense"``, ``"sparse"`` or none at all.
        notes: what the user should know about this copy of the data set.
    """

    dataset: str
    vocabulary: Vocabulary
    tree: FileTree
    records: tuple[Record, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    landmark_file: str | None = None
    notes: tuple[str, ...] = ()
