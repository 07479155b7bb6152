"""Text files of a data set too large to be held in memory, line by line."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from lssl_augment.datasets.tree import FileTree
from lssl_augment.errors import DataError

__all__ = ["open_text"]


@contextmanager
def open_text(tree: FileTree, name: str) -> Iterator[TextIO]:
    """Open a UTF-8 text file of a folder or zip archive; line ends stay as they are, for ``csv``.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is not UTF-8 text, or its archive is damaged or encrypted; also while it is read.
    """
    try:
        if tree.root.is_dir():
            with (tree.root / name).open(encoding="utf-8-sig", newline="") as file:
                yield file
        else:
            with (
                zipfile.ZipFile(tree.root) as archive,
                archive.open(_member(archive, name)) as member,
                io.TextIOWrapper(member, encoding="utf-8-sig", newline="") as text,
            ):
                yield text
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 text: {error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # the last: encrypted
        raise DataError(f"{name}: cannot be read from {tree.root.name} ({error})") from error


def _member(archive: zipfile.ZipFile, name: str) -> str:
    """The archive's name of a file of its tree, which leaves out the one folder around everything."""
    members = archive.namelist()
    if name in members:
        return name
    for member in members:
        if member.partition("/")[2] == name:
            return member
    raise FileNotFoundError(name)
