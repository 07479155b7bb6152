"""Large tensors without a detour through the system."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_memory"]

# Of glibc's <malloc.h>.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_MIB = 1 << 20


def keep_memory() -> bool:
    """Let this process keep the memory of tensors that it gives up, for the next ones.

    glibc returns large blocks to the system at once and asks for them again at the next operation, page by page, which
    can take as long as the arithmetic. Commands and worker processes of this package call this; a library that is
    imported does not decide on its host's memory. At its peak a process is as large as before; it stays so longer.

    Returns:
        Whether there is a glibc that could be asked.
    """
    if not sys.platform.startswith("linux"):
        return False
    ask = getattr(ctypes.CDLL(None), "mallopt", None)
    if ask is None:
        return False
    wishes = {_MMAP_THRESHOLD: 1024 * _MIB, _TRIM_THRESHOLD: 2047 * _MIB, _TOP_PAD: 64 * _MIB}
    return all([ask(which, size) == 1 for which, size in wishes.items()])
