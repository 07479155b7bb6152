"""Where a run happens, for its records."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

from lssl_augment._version import __version__

__all__ = ["environment"]


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
