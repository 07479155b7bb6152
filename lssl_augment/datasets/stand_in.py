"""The mark of a simulated copy of a data set, which goes with the copy wherever it is taken."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from lssl_augment.errors import DataError

__all__ = ["STAND_IN_MARK", "mark_stand_in", "stand_in_notes"]

#: Hidden, so that loaders do not see it among the files of the data set.
STAND_IN_MARK = ".lssl-augment-simulated.json"


def mark_stand_in(root: Path, notes: Sequence[str]) -> None:
    """Mark a folder as a simulated copy. Args: notes: how it was made, for whoever reads the pack."""
    text = json.dumps({"simulated": True, "notes": list(notes)}, indent=1, ensure_ascii=False)
    (root / STAND_IN_MARK).write_text(text + "\n", encoding="utf-8")


def stand_in_notes(root: Path) -> tuple[str, ...] | None:
    """What the mark of a folder, a zip archive, or the folder of a list of files says; None: it has no mark.

    Raises:
        DataError: the mark is damaged.
    """
    text = _mark(root)
    if text is None:
        return None
    try:
        return tuple(str(note) for note in json.loads(text)["notes"])
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"the mark {STAND_IN_MARK} of {root} is damaged; make the simulated copy again") from error


def _mark(root: Path) -> bytes | None:
    try:
        if root.is_file() and zipfile.is_zipfile(root):
            with zipfile.ZipFile(root) as archive:
                marks = [name for name in archive.namelist() if PurePosixPath(name).name == STAND_IN_MARK]
                return archive.read(marks[0]) if marks else None
        return ((root if root.is_dir() else root.parent) / STAND_IN_MARK).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, RuntimeError, zipfile.BadZipFile) as error:
        raise DataError(f"{root} cannot be read: {error}") from error
