"""What every loader returns: a table of records, one for each photograph that can be used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from lssl_augment.attributes import Vocabulary
from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError

__all__ = ["ReadOptions", "Record", "RecordTable"]


@dataclass(frozen=True)
class ReadOptions:
    """What the user may ask of a loader.

    Args:
        seed: of the split by subject, where a data set brings no split of its own.
        classes: expressions to keep, in the order of their labels; None keeps the data set's usual ones.
        aliases: further names of expressions, ``{"grin": "happiness"}``.
        subject_pattern: regular expression that finds the subject in a file's name (``folder`` only): its
            group named ``subject``, else its first group, else all it matches.

    Raises:
        DataError: a pattern that is no regular expression.
    """

    seed: int = 0
    classes: tuple[str, ...] | None = None
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    subject_pattern: str | None = None

    def __post_init__(self) -> None:
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
    """

    file: str
    label: int
    subject: str
    split: str
    image: np.ndarray | None = None
    points68: np.ndarray | None = None
    dense: np.ndarray | None = None


@dataclass(frozen=True)
class RecordTable:
    """The photographs of a data set.

    Args:
        dataset: its name. vocabulary: of the labels. tree: where the files are. records: the photographs.
        skipped: pairs (file, reason) of what the loader left out.
        landmark_file: which landmarks came with the data set: ``"dense"``, ``"sparse"`` or none at all.
        notes: what the user should know about this copy of the data set.
    """

    dataset: str
    vocabulary: Vocabulary
    tree: FileTree
    records: tuple[Record, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    landmark_file: str | None = None
    notes: tuple[str, ...] = ()
