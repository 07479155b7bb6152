"""A benchmark of seconds: noise faces and the smallest networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lssl_augment.attributes import BASIC5
from lssl_augment.evaluation.benchmark.generators import GeneratorWishes
from lssl_augment.evaluation.benchmark.runner import BenchmarkConfig
from lssl_augment.evaluation.protocol import read_protocol
from lssl_augment.faces.align import template68
from lssl_augment.faces.pack import PackWriter

TRAINED = GeneratorWishes({}, steps=1, settings=("generator.width=4", "critic.width=4", "objective.critic_steps=1"),
                          lssl_preset="paper")  # fmt: skip


def write_pack(path: Path, dataset: str = "toy", people: int = 20) -> Path:
    """32 px noise: every person with each of five expressions, seven of neutral, at yaw 0, 15, 30 and 45 in turn."""
    words = [(f"p{p:02d}", c) for p in range(people) for c in (0,) * 6 + tuple(range(5))]
    count = len(words)
    split = ["test" if int(s[1:]) % 4 == 0 else "train" for s, _ in words]
    if dataset == "fer2013":
        split = ["private_test" if s == "test" else "train" for s in split]
    with PackWriter(path, BASIC5, dataset=dataset, face_size_px=32) as writer:
        writer.append(
            np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8),
            np.array([c for _, c in words]),
            [s for s, _ in words],
            [f"{i}.jpg" for i in range(count)],
            np.repeat(template68(32)[None], count, axis=0),
            split,
            yaw_deg=np.resize(np.array([15, -30, 45, 0], np.float32), count),
        )
    return path


def configured(tmp_path: Path, name: str = "lfw-expressions", **changes: Any) -> BenchmarkConfig:
    pack = tmp_path / "pack.h5"
    protocol = read_protocol(name)
    small = {"classifier": "tiny", "face_size_px": 16, "steps": 1, "batch": 4, "amounts": (4,), "regimes": ("full",)}
    small |= {k: changes.pop(k) for k in list(changes) if k in protocol.__dataclass_fields__ and k != "seeds"}
    return BenchmarkConfig(
        **{
            "protocol": replace(protocol, **small),
            "pack": pack if pack.exists() else write_pack(pack, protocol.dataset),
            "out": tmp_path / "run",
            "wishes": GeneratorWishes({}),
            "seeds": (0,),
            "all_folds": False,
            **changes,
        }
    )
