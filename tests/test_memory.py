"""Memory that a process keeps is not asked for again."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import resource, sys
import torch
torch.set_num_threads(1)
from lssl_augment.memory import keep_memory
kept = keep_memory() if sys.argv[1] == "keep" else None
x = torch.ones(16 << 20)
for _ in range(3):
    y = x * 2
    del y
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    y = x * 2
    del y
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, float((x * 2).sum()))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks glibc")
def test_freed_tensors_are_used_again() -> None:
    told = {
        how: subprocess.run([sys.executable, "-c", _PROGRAM, how], capture_output=True, text=True, check=True).stdout
        for how in ("keep", "plain")
    }
    (kept, faults, value), (_, plain_faults, plain_value) = (told[how].split() for how in ("keep", "plain"))
    assert value == plain_value
    if kept == "False":
        pytest.skip("no glibc")
    # 64 MB a tensor: 16384 pages of 4 KB, or 32 of 2 MB, each time without it.
    assert int(plain_faults) >= 20 * 32
    # Not none with it: a system short of memory takes back a tensor or some that lie unused.
    assert int(faults) * 2 < int(plain_faults)
