"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["whole_file", "write_json", "write_text"]


@contextmanager
def whole_file(path: Path, *, alone: bool = False) -> Iterator[Path]:
    """Write the file of the name it gives; it is flushed to disk and renamed to ``path`` at the end of the block.

    A kill at any moment, or an error in the block, leaves the old file or the new one, never a part. Folders on the way
    are made. Several processes may write the same path; the last one wins. ``alone``: a lock sees to it that there is
    only one, whose next try then writes over what a kill has left of the last.

    Raises:
        OSError: the file cannot be written; what was there before is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp" if alone else f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, alone: bool = False) -> None:
    """Write UTF-8 as :func:`whole_file` does, line ends as given; errors as there."""
    with whole_file(path, alone=alone) as file:
        file.write_bytes(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, as :func:`write_text` does."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
