"""Real processes, really killed: nothing of a run may depend on where it stopped."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_faces import NAMES, drawn_faces

from lssl_augment.training.checkpoint import read_checkpoint
from lssl_augment.training.metrics_log import read_stats

pytestmark = pytest.mark.slow

STEPS = 24
PROGRAM = [sys.executable, "-c", "from lssl_augment.cli.main import main; main()"]
COMMON = (
    f"train --steps {STEPS} --device cpu --set log_every_steps=1 --set sheet_every_steps=9 --set sheet_sources=2 "
    "--set checkpoint_every_steps=3 --set tensorboard=false"
)
PRESETS = {
    "paper": "--preset paper --batch 2 --set face_size_px=32 --set generator.width=4 --set generator.blocks=1 --set "
    "critic.width=4 --set objective.critic_steps=2",
    "compact": "--preset compact --batch 2 --size 64 --set generator.width=8 --set generator.blocks=1 --set "
    "critic.width=8 --set critic.depth=3 --set objective.critic_first_steps=4",
}
PRESETS["compact, accumulated"] = PRESETS["compact"] + " --set accumulate=2"


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn faces as an ``.npz``."""
    faces = drawn_faces()
    path = tmp_path_factory.mktemp("pack") / "drawn.npz"
    np.savez(
        path, images=faces.images, labels=faces.labels, dense=faces.dense, subjects=faces.subjects,
        split=np.array(["train"] * len(faces.labels)), class_names=np.array(NAMES),
    )  # fmt: skip
    return path


def begin(program: list[str], *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*program, *words], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True,
    )  # fmt: skip


def outcome(run: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    stats = [{k: v for k, v in line.items() if k != "seconds"} for line in read_stats(run / "stats.jsonl")]
    state = read_checkpoint(run / "checkpoints" / f"step-{STEPS:08d}.safetensors")
    del state["seconds"]
    return stats, state


def logged(run: Path) -> int:
    path = run / "stats.jsonl"
    return max((line["step"] for line in read_stats(path)), default=0) if path.is_file() else 0


def children(pid: int) -> list[int]:
    """Processes that a process started: the workers of torchrun, which outlive it."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(number) for number in path.read_text().split()] if path.exists() else []


def kill_at(process: subprocess.Popen[bytes], run: Path, step: int, number: int) -> None:
    deadline = time.monotonic() + 240
    while not (logged(run) >= step and list((run / "checkpoints").glob("step-*"))):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for pid in (*children(process.pid), process.pid):
        os.kill(pid, number)
    process.wait()


@pytest.mark.parametrize("kind", list(PRESETS))
def test_a_run_killed_at_a_random_step_ends_the_same(kind: str, pack: Path, tmp_path: Path) -> None:
    preset = kind.split(",")[0]
    words = [*COMMON.split(), str(pack), *PRESETS[kind].split(), "--out", str(tmp_path)]
    assert begin(PROGRAM, *words).wait() == 0
    run = tmp_path / f"00001-{preset}-drawn"
    step = random.Random().randrange(4, STEPS - 3)
    kill_at(begin(PROGRAM, *words), run, step, signal.SIGKILL)
    assert not (run / "weights").exists()
    assert begin(PROGRAM, "train", "--resume", str(run)).wait() == 0
    expected = outcome(tmp_path / f"00000-{preset}-drawn")
    found = outcome(run)
    assert found[0] == expected[0], f"killed at step {step}"
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=0)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds torchrun's workers in /proc")
def test_two_processes_killed_go_on_and_end_the_same(pack: Path, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--no-python"]
    words = [*COMMON.split(), str(pack), *PRESETS["paper"].split(), "--out", str(tmp_path)]
    assert begin([*torchrun, *PROGRAM], *words).wait() == 0
    run = tmp_path / "00001-paper-drawn"
    kill_at(begin([*torchrun, *PROGRAM], *words), run, random.Random().randrange(4, STEPS - 3), signal.SIGKILL)
    assert begin([*torchrun, *PROGRAM], "train", "--resume", str(run)).wait() == 0
    expected = outcome(tmp_path / "00000-paper-drawn")
    assert outcome(run)[0] == expected[0]
    torch.testing.assert_close(outcome(run)[1], expected[1], rtol=0, atol=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00000-paper-drawn", "00001-paper-drawn"]
