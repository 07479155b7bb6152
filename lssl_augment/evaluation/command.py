"""What ``lssl-augment evaluate`` does: load, train or find the judges, measure, write."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lssl_augment._version import __version__
from lssl_augment.evaluation.ablation import ablated
from lssl_augment.evaluation.classifiers import ClassifierConfig
from lssl_augment.evaluation.evaluate import EvaluateConfig, evaluate, evaluation_vocabulary
from lssl_augment.evaluation.identity import choose_embedder
from lssl_augment.evaluation.judges import Judge, judge_cache, load_judge, pack_fingerprint, train_judges
from lssl_augment.faces.pack import FacePack
from lssl_augment.files import write_text
from lssl_augment.models.bundle import load_model
from lssl_augment.models.engine import ExpressionEngine
from lssl_augment.models.landmark_net import load_landmark_net

__all__ = ["EvaluateWish", "evaluate_weights"]


@dataclass(frozen=True)
class EvaluateWish:
    """What to load for an evaluation; see ``lssl-augment evaluate --help``."""

    weights: str
    pack: Path
    judges: int = 3
    judge_network: str = "resnet18"
    judge_steps: int = 400
    judge_seed: int = 11
    judge_files: tuple[Path, ...] = ()
    judge_cache: Path | None = None
    recogniser: str = "auto"
    ablate: tuple[tuple[str, ...], ...] = ()
    device: str = "cpu"

    @property
    def command(self) -> str:
        """The command that makes the same report, without folders."""
        parts = ["lssl-augment evaluate", Path(self.weights).name, self.pack.name]
        if self.judge_files:
            parts += [f"--judge {path.name}" for path in self.judge_files]
        else:
            parts.append(f"--judges {self.judges} --judge-steps {self.judge_steps} --judge-seed {self.judge_seed}")
            parts.append(f"--judge-network {self.judge_network}")
        parts.append(f"--recogniser {Path(self.recogniser).name}")
        parts += [f"--ablate {'+'.join(left_out)}" for left_out in self.ablate]
        return " ".join(parts)


def evaluate_weights(
    wish: EvaluateWish,
    config: EvaluateConfig,
    *,
    out: Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Run :func:`~lssl_augment.evaluation.evaluate.evaluate` on stored weights and say how it was done.

    Args:
        out: JSON file to write, whole or not at all.

    Raises:
        DataError, LeakageError, WeightsError: what was asked for does not fit together.
    """
    began = time.monotonic()
    pack = FacePack.open(wish.pack)
    bundle = load_model(wish.weights, wish.device)
    engine = ExpressionEngine(bundle, wish.device)
    evaluation_vocabulary(engine, pack, config.split)  # said before the work, not after it
    unseen = _unseen(bundle.card, pack)
    without = {"+".join(parts): ablated(wish.weights, parts, wish.device) for parts in wish.ablate}
    embedder = None if wish.recogniser == "none" else choose_embedder(wish.recogniser, wish.device)
    judges = _judges(wish, pack, engine, progress)
    report = evaluate(
        engine,
        pack,
        judges,
        embedder,
        load_landmark_net(device=wish.device),
        config,
        without=without,
        progress=progress,
    )
    report = {
        "command": _command(wish, config),
        "weights": Path(wish.weights).name,
        "weights_sha256": bundle.card["sha256"],
        "pack": {"dataset": pack.dataset, "fingerprint": pack_fingerprint(pack)},
        "training_of_the_generator": unseen,
        "judge_training": [{"architecture": j.card["architecture"], **j.card["training"]} for j in judges],
        "environment": {
            "lssl_augment": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "device": wish.device,
            "threads": torch.get_num_threads(),
        },
        "seconds": round(time.monotonic() - began, 1),
        **report,
    }
    if out is not None:
        write_text(out, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return report


def _judges(
    wish: EvaluateWish, pack: FacePack, engine: ExpressionEngine, progress: Callable[[str], None]
) -> list[Judge]:
    if wish.judge_files:
        return [load_judge(path, wish.device) for path in wish.judge_files]
    configs = [
        ClassifierConfig(name=wish.judge_network, steps=wish.judge_steps, seed=wish.judge_seed + i)
        for i in range(wish.judges)
    ]

    def tell(number: int, step: int, loss: float) -> None:
        if step % 50 == 0 or step == wish.judge_steps:
            progress(f"judge {number + 1} of {wish.judges}: step {step} of {wish.judge_steps}, loss {loss:.3f}")

    cache = judge_cache() if wish.judge_cache is None else wish.judge_cache
    return train_judges(pack, engine.vocabulary, configs, cache=cache, device=wish.device, on_step=tell)


def _unseen(card: dict[str, Any], pack: FacePack) -> str:
    """What the card says the generator was trained on: whether the split is unseen is the data's, not ours, to know."""
    training = card.get("training")
    told = json.dumps(training, ensure_ascii=False) if training is not None else ""
    if pack.dataset in told:
        return f"its card names {pack.dataset}; the training split of that data set is what it should have seen"
    return f"its card does not name {pack.dataset}"


def _command(wish: EvaluateWish, config: EvaluateConfig) -> str:
    classes = ",".join(config.source_classes) or "all"
    return (
        f"{wish.command} --split {config.split} --sources {config.sources} --per-subject {config.per_subject} "
        f"--source-classes {classes} --seed {config.seed}"
    )
