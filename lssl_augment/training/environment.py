"""Where a training run runs: what somebody who wants the same numbers must know."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from lssl_augment._version import __version__
from lssl_augment.checkout import commit

__all__ = ["environment"]


def environment(device: str) -> dict[str, Any]:
    """Versions, machine and time, for ``environment.json``; ``device`` as torch names it."""
    kind = torch.device(device).type
    return {
        "lssl_augment": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if kind == "cuda" else kind,
        "executable": os.path.basename(sys.executable),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
