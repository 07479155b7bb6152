"""Which commit of the package runs, for logs and results."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["commit"]


def commit() -> str | None:
    """Commit of the package's own checkout, with ``+changes`` where files differ from it; None when installed."""
    folder = Path(__file__).resolve().parents[1]
    if not (folder / ".git").exists():
        return None

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):  # no git, or not a checkout that it trusts
        return None
