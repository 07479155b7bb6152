"""Settings of all tests. No test needs the network, a data set or a GPU."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

# For `tiny_faces`, which several folders use.
sys.path.insert(0, str(Path(__file__).parent))

# No deadline: the first call into torch takes seconds on a busy machine. Derandomised: every run is the same.
settings.register_profile(
    "lssl",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("lssl")
