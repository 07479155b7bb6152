"""The files of a data set, in a folder or straight from a zip archive."""

from __future__ import annotations

import errno
import os
import stat
import threading
import zipfile
from functools import cached_property
from pathlib import Path

from lssl_augment.errors import DataError, ImageError
from lssl_augment.faces.images import MAX_BYTES

__all__ = ["FileTree"]


class FileTree:
    """Read-only view of a folder or a zip archive; nothing is unpacked. Safe to use from several threads.

    Hidden files are not seen. An archive that holds nothing but one folder is entered.

    Args:
        root: the folder or the ``.zip`` file.

    Attributes:
        root: as given.

    Raises:
        DataError: nothing is there, or it is neither a folder nor a readable zip archive.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._local = threading.local()
        self._members: dict[str, zipfile.ZipInfo] | None = None
        if not root.exists():
            raise DataError(f"there is no folder or zip archive {root}")
        if not root.is_dir():
            self._members = self._list_archive()

    @cached_property
    def names(self) -> list[str]:
        """All files, sorted, parts separated by ``/``."""
        return sorted(_walk(self.root) if self._members is None else self._members)

    def __contains__(self, name: str) -> bool:
        return (self.root / name).is_file() if self._members is None else name in self._members

    def read(self, name: str) -> bytes:
        """Bytes of a file.

        Raises:
            FileNotFoundError: there is no such file.
            ImageError: it cannot be read.
        """
        try:
            if self._members is None:
                path = self.root / name
                status = path.stat()
                if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
                    raise ImageError(f"{name}: not a file")
                _check_size(name, status.st_size)
                return path.read_bytes()
            if name not in self._members:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
            # Checked first, so that a small archive cannot fill the memory.
            _check_size(name, self._members[name].file_size)
            return self._archive().read(self._members[name])
        except (FileNotFoundError, ImageError):
            raise
        except Exception as error:
            # Damaged, encrypted or oddly compressed members: BadZipFile, RuntimeError, zlib.error, EOFError …
            raise ImageError(f"{name}: cannot be read from {self.root.name} ({error})") from error

    def top(self) -> list[str]:
        """Files and folders (with a ``/`` behind) at the top, sorted."""
        if self._members is None:
            found = {f"{entry.name}/" if entry.is_dir() else entry.name for entry in self.root.iterdir()}
        else:
            found = {f"{head}{slash}" for head, slash, _ in (name.partition("/") for name in self._members)}
        return sorted(name for name in found if not _hidden(name))

    def found(self, limit: int = 6) -> str:
        """What lies at the top, in words, for messages about a wrong layout."""
        entries = self.top()
        more = f" and {len(entries) - limit} more" if len(entries) > limit else ""
        return ", ".join(entries[:limit]) + more if entries else "nothing"

    def _list_archive(self) -> dict[str, zipfile.ZipInfo]:
        try:
            infos = [info for info in self._archive().infolist() if not info.is_dir()]
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
            raise DataError(f"{self.root} is neither a folder nor a zip archive, or a damaged one ({error})") from error
        members = {info.filename: info for info in infos if not _hidden(info.filename)}
        tops = {name.split("/", 1)[0] for name in members}
        if len(tops) == 1 and all("/" in name for name in members):
            cut = len(next(iter(tops))) + 1
            members = {name[cut:]: info for name, info in members.items()}
        return members

    def _archive(self) -> zipfile.ZipFile:
        # One handle a thread: they would wait for each other's reads.
        if not hasattr(self._local, "archive"):
            self._local.archive = zipfile.ZipFile(self.root)
        archive: zipfile.ZipFile = self._local.archive
        return archive


def _check_size(name: str, size: int) -> None:
    if size > MAX_BYTES:
        raise ImageError(f"{name}: a file of more than {MAX_BYTES >> 20} MB")


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/") if part)


def _walk(root: Path) -> list[str]:
    names, seen = [], set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link back up
            folders.clear()
            continue
        seen.add(real)
        inside = Path(folder).relative_to(root)
        names += [(inside / file).as_posix() for file in files]
    return [name for name in names if not _hidden(name)]
