"""What the package knows about a data set before it sees a copy: layout, licence, protocol, citation, size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from lssl_augment.attributes import Vocabulary
from lssl_augment.datasets.records import ReadOptions, RecordTable

__all__ = ["Dataset", "DatasetInfo", "StandInFace", "StandInFile"]


@dataclass(frozen=True)
class DatasetInfo:
    """One data set, as its publishers describe it.

    Args:
        name: as typed after ``lssl-augment prepare``. title: with authors and year.
        layout: the tree of files, in one or a few lines.
        ask: where a copy is asked for, and how.
        licence: terms in one sentence. citation: of the paper. protocol: the split that papers report on.
        classes: the usual vocabulary.
        options: fields of ``ReadOptions`` that its loader knows beyond ``seed``, ``classes`` and ``aliases``.
        published: what its publishers count, by name (``subjects``, ``sequences``, ``images``, a class …), to
            be compared with a copy.
    """

    name: str
    title: str
    layout: str
    ask: str
    licence: str
    citation: str
    protocol: str
    classes: Vocabulary
    options: tuple[str, ...] = ()
    published: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class StandInFace:
    """What a face of a stand-in shows. Args: subject: from 0. expression: canonical name. light: ``normal``,
    ``weak`` or ``dark``. yaw_deg: of the head. intensity: of the expression, in [0, 1].
    """

    subject: int
    expression: str
    light: str = "normal"
    yaw_deg: float = 0.0
    intensity: float = 1.0


@dataclass(frozen=True)
class StandInFile:
    """One file of a stand-in: a simulated copy of a data set, in exactly its layout.

    Args:
        file: its name in the tree; images are encoded as its suffix says.
        face: whom it shows; None for a file without a picture.
        encode: the picture ``(S, S, 3)`` uint8 RGB and its dense points ``(478, 3)``, pixels → bytes of the file; None:
            the picture itself. size_px: side of the picture.
        content: bytes of a file without a picture.
    """

    file: str
    face: StandInFace | None = None
    encode: Callable[[np.ndarray, np.ndarray], bytes] | None = None
    size_px: int = 256
    content: bytes | None = None


@dataclass(frozen=True)
class Dataset:
    """A data set the package can read.

    Args:
        info: what is known about it.
        read: its folder, archive or list → table of records.
        stand_in: number of subjects → the files of a simulated copy, small but complete; None: it has none.
    """

    info: DatasetInfo
    read: Callable[[Path, ReadOptions], RecordTable]
    stand_in: Callable[[int], Iterable[StandInFile]] | None = None
