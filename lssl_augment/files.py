"""Text files that appear whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["write_json", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 under another name, flush it to disk, rename: a kill leaves the old file or the new one.

    Folders on the way are made. Several processes may write the same path; the last one wins.

    Raises:
        OSError: the file cannot be written; what was there before is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, as :func:`write_text` does."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
