"""How long a training step of `compact` takes, against StarGAN's, in one run on one machine.

    python benchmarks/training_speed.py --pack lfw.h5 --batch 12 --out benchmarks/results/training_speed.json

Both steps take faces of 128 pixels in batches of the same size. A StarGAN step is five critic steps, each with a batch
of its own, and one generator step (`evaluation/baselines/stargan.py`, not channels-last: on a CPU the penalty's
gradients of gradients take half as long again that way); a compact step is what `training/compact_objective.py` does.
The two take turns, so that whatever else the machine does slows both, and the ratio is the median of the ratios of
neighbours. With --critic-share N the critic step of StarGAN, five equal ones a step, is run N times and counted five.

Peak is what the same machine reaches, in the same run, in a 3×3 convolution of 256 channels at 32×32. FLOPs are counted
with torch's formulas over whole steps, backward passes included. Without --pack drawn faces are used: what a
step costs does not depend on what the faces show.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import lssl_augment
from lssl_augment.checkout import commit
from lssl_augment.evaluation.baselines.stargan import StarGanObjective, StarGanOptions
from lssl_augment.training import compact_objective
from lssl_augment.training.batches import TrainingFaces, load_training_faces
from lssl_augment.training.compact_objective import CompactObjective
from lssl_augment.training.config import make_config
from lssl_augment.training.environment import environment
from lssl_augment.training.modes import compile_generator

SIZE_PX = 128


def drawn_faces() -> TrainingFaces:
    """Faces of the test suite, at the size of the benchmark."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import tiny_faces

    faces = tiny_faces.drawn_faces(56, SIZE_PX)
    points = faces.dense[:, tiny_faces.SPARSE_FROM_DENSE, :2]
    return tiny_faces.training_faces(images=faces.images, dense=faces.dense, points68=points)


class Parts:
    """Seconds spent in the parts of a step, by wrapping what is called; parts must not call each other."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        self._undo: list[Callable[[], None]] = []

    def clock(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def wrap(self, owner: Any, name: str, part: str) -> None:
        """Time every call of ``owner.name``."""
        own, original = name in vars(owner), getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = self.clock()
            try:
                return original(*args, **kwargs)
            finally:
                self.seconds[part] += self.clock() - begun

        setattr(owner, name, timed)
        self._undo.append(lambda: setattr(owner, name, original) if own else delattr(owner, name))

    def release(self) -> None:
        while self._undo:
            self._undo.pop()()


@contextmanager
def parts_of_compact(objective: CompactObjective, device: torch.device) -> Iterator[Parts]:
    """Time generator, critic, backward, optimisers; the rest is geometry, first guesses and losses."""
    parts = Parts(device)
    for name in ("encode", "decode"):
        parts.wrap(objective.generator, name, "generator forward")
    parts.wrap(objective.modules["critic"], "forward", "critic forward")
    if hasattr(compact_objective, "critic_augment"):
        parts.wrap(compact_objective, "critic_augment", "critic's augmentation")
    parts.wrap(torch.Tensor, "backward", "backward")
    for optimizer in objective.optimizers.values():
        parts.wrap(optimizer, "step", "optimisers")
    try:
        yield parts
    finally:
        parts.release()


def summary(seconds: list[float]) -> dict[str, Any]:
    low, median, high = np.percentile(seconds, [25, 50, 75])
    return {"median_s": float(median), "iqr_s": [float(low), float(high)], "all_s": [round(s, 4) for s in seconds]}


def measure_peak(batch: int, device: torch.device, repeats: int = 9) -> dict[str, Any]:
    """FLOP/s of one large convolution, forward; the fastest counts, because it is a peak."""
    conv = nn.Conv2d(256, 256, 3, padding=1, bias=False).to(device, memory_format=torch.channels_last)
    x = torch.randn(batch, 256, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    clock, seconds = Parts(device).clock, []
    with torch.no_grad():
        for _ in range(repeats + 2):
            begun = clock()
            conv(x)
            seconds.append(clock() - begun)
    return {"flops_per_s": 2 * 256 * 256 * 9 * 32 * 32 * batch / min(seconds[2:]), **summary(seconds[2:])}


class _FlopCounter(TorchDispatchMode):
    """As torch's FlopCounterMode, whose hooks on modules do not bear gradients of gradients."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


def count_flops(run: Callable[[], object]) -> int:
    with _FlopCounter() as counter:
        run()
    return counter.total


def measure(
    faces: TrainingFaces, batch: int, repeats: int, critic_share: int, device: torch.device, compiled: bool
) -> dict[str, Any]:
    """Compact and StarGAN steps in turn; every number of the report for one batch size."""
    numbers = {"critic_first_steps": 0}
    config = make_config(
        "compact", {"pack": "-", "batch": batch, "device": str(device), "objective": numbers, "face_size_px": SIZE_PX}
    )
    compact = CompactObjective(config, faces)
    given = {"pack": "-", "batch": batch, "device": str(device), "face_size_px": SIZE_PX, "channels_last": False}
    stargan = StarGanObjective(make_config("stargan", given), faces)
    critic_steps = stargan.options.critic_steps
    clock = Parts(device).clock

    # Warm-up, in which FLOPs are counted too. Odd and even steps of compact differ; both are measured equally often.
    flops = {"compact": sum(count_flops(lambda i=i: compact.step(0.0, i)) for i in range(2)) / 2}
    flops["stargan"] = critic_steps * count_flops(stargan.critic_step)
    flops["stargan"] += count_flops(stargan.generator_step)
    peak_before = measure_peak(batch, device)
    times: dict[str, list[float]] = {"compact": [], "stargan": [], "stargan critic": [], "stargan generator": []}
    shares: list[dict[str, float]] = []
    for turn in range(repeats):
        with parts_of_compact(compact, device) as parts:
            begun = clock()
            for index in (2 * turn, 2 * turn + 1):
                compact.step(0.0, index)
            times["compact"].append((clock() - begun) / 2)
        shares.append({name: seconds / 2 for name, seconds in parts.seconds.items()})
        begun = clock()
        for _ in range(critic_share):
            stargan.critic_step()
        middle = clock()
        stargan.generator_step()
        times["stargan critic"].append((middle - begun) / critic_share)
        times["stargan generator"].append(clock() - middle)
        times["stargan"].append(critic_steps * times["stargan critic"][-1] + times["stargan generator"][-1])
    peak_after = measure_peak(batch, device)
    peak = max(peak_before, peak_after, key=lambda found: found["flops_per_s"])
    ratios = [s / c for s, c in zip(times["stargan"], times["compact"], strict=True)]
    median = {name: float(np.median(found)) for name, found in times.items()}
    by_part = {name: float(np.median([share[name] for share in shares])) for name in shares[0]}
    rest = median["compact"] - sum(by_part.values())
    report: dict[str, Any] = {
        "batch": batch,
        "ratio": {"median": float(np.median(ratios)), "all": [round(r, 3) for r in ratios]},
        "seconds": {name: summary(found) for name, found in times.items()},
        "compact_parts_s": {**by_part, "geometry, first guesses, losses": rest},
        "flops_per_step": flops,
        "peak": peak,
        "share_of_peak": {name: flops[name] / median[name] / peak["flops_per_s"] for name in flops},
    }
    if compiled:
        compile_generator(compact.generator, device)
        begun = clock()
        for index in range(2):
            compact.step(0.0, index)
        first = clock() - begun
        again = []
        for turn in range(repeats):
            begun = clock()
            for index in (2 * turn, 2 * turn + 1):
                compact.step(0.0, index)
            again.append((clock() - begun) / 2)
        report["compact_compiled"] = {**summary(again), "first_two_steps_s": first}
    return report


def show(report: dict[str, Any]) -> None:
    print(f"batch {report['batch']}")
    for name, found in report["seconds"].items():
        low, high = found["iqr_s"]
        print(f"  {name:34} {found['median_s']:8.3f} s  (IQR {low:.3f} to {high:.3f})")
    if "compact_compiled" in report:
        found = report["compact_compiled"]
        first = found["first_two_steps_s"]
        print(f"  {'compact, torch.compile':34} {found['median_s']:8.3f} s  (first two {first:.0f} s)")
    print(f"  StarGAN / compact {report['ratio']['median']:.2f}  {report['ratio']['all']}")
    whole = report["seconds"]["compact"]["median_s"]
    for name, seconds in sorted(report["compact_parts_s"].items(), key=lambda item: -item[1]):
        print(f"    {name:32} {seconds:8.3f} s  {seconds / whole:6.1%}")
    for name, share in report["share_of_peak"].items():
        print(f"  {name}: {report['flops_per_step'][name] / 1e9:.0f} GFLOP a step, {share:.1%} of the peak")
    print(f"  peak {report['peak']['flops_per_s'] / 1e9:.1f} GFLOP/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, help="face pack with dense landmarks; without it faces are drawn")
    parser.add_argument("--batch", type=int, nargs="+", default=[12], help="faces a batch; several may be given")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of compact steps, each beside a StarGAN step")
    parser.add_argument("--critic-share", type=int, default=5, metavar="N", help="StarGAN critic steps that are run")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="threads of torch")
    parser.add_argument("--compile", action="store_true", help="measure torch.compile of the compact generator too")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    if not 1 <= options.critic_share <= StarGanOptions.critic_steps or options.repeats < 1:
        parser.error("--critic-share must be 1 to 5 and --repeats at least 1")
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device(options.device)
    faces = drawn_faces() if options.pack is None else load_training_faces(options.pack, SIZE_PX)
    results = [
        measure(faces, batch, options.repeats, options.critic_share, device, options.compile) for batch in options.batch
    ]
    report = {
        "what": "seconds of a training step at 128x128, compact against StarGAN",
        "command": shlex.join(["python", "benchmarks/training_speed.py", *sys.argv[1:]]),
        "faces": faces.dataset,
        "classes": len(faces.vocabulary),
        "results": results,
        "environment": {**environment(str(device)), "processor": processor(), "load_average": load()},
        "version": lssl_augment.__version__,
        "commit": commit(),
    }
    for result in results:
        show(result)
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def load() -> list[float] | None:
    """Of the machine, when the benchmark ends: above the number of its processors others were working too."""
    import os

    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None


if __name__ == "__main__":
    main()
