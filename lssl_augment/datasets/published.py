"""A copy of a data set beside what its publishers say of it: differences in counts, and another layout altogether."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lssl_augment.datasets.info import DatasetInfo
from lssl_augment.errors import DataError

__all__ = ["count_notes", "wrong_layout"]


def count_notes(published: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    """Sentences about the counts in which a copy differs: "480 sequences are published, this copy has 12".

    Args:
        published: of ``DatasetInfo``, name → count. found: the same of this copy; give 0 for what it lacks,
            since a name that is missing here was not counted and is not compared.

    Returns:
        One sentence a difference, in the order of ``published``; empty when all counts agree.
    """
    return [
        f"{count} {name} are published, this copy has {found[name]}"
        for name, count in published.items()
        if name in found and found[name] != count
    ]


def wrong_layout(info: DatasetInfo, root: Path, looked_for: str, found: str) -> DataError:
    """The error for a tree that is not that of a data set, in one line; to be raised by the loader.

    Args:
        info: of the data set. root: as the user gave it. looked_for: what the loader needs to go on.
        found: what lies there instead, as told by ``FileTree.found()``.
    """
    return DataError(
        f"{root} is not {info.name}: looked for {looked_for}, found {found}; expected {_line(info.layout)}. "
        f"Where to ask for a copy: {_line(info.ask)}. To try things without one, --simulated makes a stand-in"
    )


def _line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
