"""Where a run happens, for its records."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from lssl_augment._version import __version__

__all__ = ["commit", "environment"]


def environment(workers: int, device: str) -> dict[str, Any]:
    """Versions and machine, for every record."""
    threads = torch.get_num_threads() if workers == 1 else max(1, (os.cpu_count() or 1) // workers)
    cuda = torch.cuda.get_device_name() if device.startswith("cuda") else ""
    return {
        "lssl_augment": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": threads,
        "workers": workers,
        "device": cuda or device,
    }


def commit() -> str:
    """Of the package's own checkout; empty when it is installed."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return ""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
