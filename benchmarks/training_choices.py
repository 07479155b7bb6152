"""What each choice of the `compact` recipe is worth: trained without it, for as long, and measured on unseen people.

    python benchmarks/training_choices.py lfw.h5 --minutes 3 --seeds 2 --out training_choices_lfw.json

Every run fits the same network to the same statistics for the same processor time on one core, from first weights of
its seed; the recipe differs in what its name says. What is measured is what ``lssl-augment evaluate`` measures: label
fidelity by judges, identity, distance to real faces (KID), sharpness. Runs that the JSON holds already are not
repeated, so a stopped command goes on where it was. It prints the table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lssl_augment.attribute_vector import AttributeSpec
from lssl_augment.errors import DataError
from lssl_augment.evaluation.classifiers import ClassifierConfig
from lssl_augment.evaluation.evaluate import EvaluateConfig, evaluate
from lssl_augment.evaluation.identity import choose_embedder
from lssl_augment.evaluation.judges import judge_cache, train_judges
from lssl_augment.faces.pack import FacePack
from lssl_augment.files import write_text
from lssl_augment.models.bundle import load_model
from lssl_augment.models.engine import ExpressionEngine
from lssl_augment.models.landmark_net import load_landmark_net
from lssl_augment.models.weights import write_weights
from lssl_augment.training.batches import load_training_faces
from lssl_augment.training.compact_faces import CompactFaces
from lssl_augment.training.compact_objective import CompactNumbers, CompactObjective
from lssl_augment.training.config import TrainConfig, make_config
from lssl_augment.training.ema import Ema
from lssl_augment.training.environment import environment

#: Name → numbers of the objective that differ from the recipe's.
CHOICES: Mapping[str, Mapping[str, float | bool]] = {
    "recipe": {},
    "no critic": {"lambda_gan": 0.0, "lambda_features": 0.0, "lambda_cls": 0.0},
    "no restoration": {"lambda_pair": 0.0, "lambda_features": 0.0},
    "no bidirectional loss": {"lambda_bi": 0.0},
    "no identity loss": {"lambda_id": 0.0},
    "no attribute loss": {"lambda_cls": 0.0},
    "critic sees plain faces": {"critic_views": False},
    "faces as they occur": {"uniform_share": 0.0},
}
#: Measured on the recipe's own runs.
UNAVERAGED, UNTRAINED = "recipe, last weights instead of their average", "no network"


def train(source: CompactFaces, config: TrainConfig, seconds: float) -> tuple[CompactObjective, nn.Module, int]:
    """The objective after so much processor time, the average of its generator, and the steps it made."""
    objective = CompactObjective(config, source.faces, source)
    ema, step, begun = Ema(objective.generator, config.ema_decay), 0, time.process_time()
    while (progress := (time.process_time() - begun) / seconds) < 1:
        log = objective.step(progress, step)
        ema.update(objective.generator)
        step += 1
        if not all(np.isfinite(float(value)) for value in log.values()):
            raise DataError(f"a loss is not finite at step {step}: { {k: float(v) for k, v in log.items()} }")
    return objective, ema.module, step


def as_engine(objective: CompactObjective, generator: nn.Module, folder: Path) -> ExpressionEngine:
    """What ``train`` would release."""
    release, names = objective.release(generator), objective.faces.vocabulary
    card = {
        "kind": "generator",
        "architecture": dict(release.architecture),
        "class_names": list(names.names),
        "attributes": AttributeSpec(names).to_card(),
        "face_size_px": objective.size,
        "training": {},
        "metrics": {},
        "licence": "not to be passed on",
        "intended_use": "a trial",
    }
    return ExpressionEngine(load_model(write_weights(folder / "trial.safetensors", release.tensors, card)))


def figures(report: Mapping[str, Any]) -> dict[str, Any]:
    """The few numbers of an evaluation that the table shows."""
    names = report["classes"]
    kids = [report["kid"][name]["edits_to_real"]["mean"] for name in names if name in report["kid"]]
    fidelity = report["label_fidelity"]
    return {
        "label_fidelity": {name: fidelity["edits"][name]["mean"] for name in (*names, "balanced")},
        "of_real": fidelity["edits_over_real"],
        "kid": float(np.mean(kids)),
        "identity": report["identity"]["above_threshold"] if "identity" in report else None,
        "sharpness": report["sharpness_ratio"][1],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown; mean ± standard deviation over seeds."""
    lines = ["| | runs | steps | named as the target, % | KID | identity, % | sharpness |", "|" + "---|" * 7]
    for name in (*CHOICES, UNAVERAGED, UNTRAINED):
        found = [row for row in rows if row["choice"] == name]
        if not found:
            continue

        def told(values: list[float | None], digits: int, scale: float = 1.0) -> str:
            if any(value is None for value in values):
                return ""
            known = scale * np.array(values, float)
            spread = f" ± {known.std(ddof=1):.{digits}f}" if len(known) > 1 else ""
            return f"{known.mean():.{digits}f}{spread}"

        cells = [
            told([row["steps"] for row in found], 0) if found[0]["steps"] else "0",
            told([row["label_fidelity"]["balanced"] for row in found], 1, 100),
            told([row["kid"] for row in found], 2),
            told([row["identity"] for row in found], 1, 100),
            told([row["sharpness"] for row in found], 2),
        ]
        lines.append(f"| {name} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path, help="face pack with dense landmarks")
    parser.add_argument("--minutes", type=float, default=3.0, help="processor time of a run (default: 3)")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each choice (default: 2)")
    parser.add_argument("--choices", default=",".join(CHOICES), help="separated by commas (default: all)")
    parser.add_argument("--size", type=int, default=64, help="side of the faces, px (default: 64)")
    parser.add_argument("--batch", type=int, default=12, help="faces a step (default: 12)")
    parser.add_argument("--width", type=int, default=16, help="of the generator (default: 16, half the preset's)")
    parser.add_argument("--critic-width", type=int, default=24, help="of the critic (default: 24, half the preset's)")
    parser.add_argument("--critic-first-steps", type=int, default=60, help="in which the critic learns alone")
    parser.add_argument("--classes", default="neutral,happiness,surprise,anger,sadness")
    parser.add_argument("--split", default="test", help="of people who were not trained on (default: test)")
    parser.add_argument("--sources", type=int, default=100, help="faces that are edited (default: 100)")
    parser.add_argument("--judges", type=int, default=2)
    parser.add_argument("--judge-steps", type=int, default=400)
    parser.add_argument("--judge-cache", type=Path, default=None)
    parser.add_argument("--out", type=Path, required=True, help="JSON; runs that it holds are not repeated")
    args = parser.parse_args()
    torch.set_num_threads(1)
    choices = args.choices.split(",")
    if unknown := [name for name in choices if name not in CHOICES]:
        raise SystemExit(f"unknown choice {unknown[0]!r}; there are {', '.join(CHOICES)}")
    settings = {
        "pack": args.pack.name, "minutes": args.minutes, "size_px": args.size, "batch": args.batch,
        "width": args.width, "critic_width": args.critic_width,
        "critic_first_steps": args.critic_first_steps, "classes": args.classes.split(","), "split": args.split,
        "sources": args.sources, "judges": args.judges, "judge_steps": args.judge_steps,
        "recipe": {**vars(CompactNumbers()), "critic_first_steps": args.critic_first_steps},
    }
    told: dict[str, Any] = {"settings": settings, "environment": environment("cpu"), "rows": []}
    if args.out.is_file():
        told = json.loads(args.out.read_text())
        if told["settings"] != settings:
            raise SystemExit(f"{args.out} holds runs with other settings; give another --out, or remove it")
    told["command"] = shlex.join(["python", "benchmarks/training_choices.py", *sys.argv[1:]])

    classes = tuple(settings["classes"])
    pack = FacePack.open(args.pack)
    networks = {"generator": {"width": args.width}, "critic": {"width": args.critic_width}}
    wanted = {"pack": str(args.pack), "face_size_px": args.size, "batch": args.batch, "classes": classes, "steps": 1}
    plan = make_config("compact", {**wanted, **networks, "ema_decay": 0.99})
    source = CompactFaces(load_training_faces(args.pack, args.size, classes), args.size, 0, torch.device("cpu"))
    judges = train_judges(
        pack, source.faces.vocabulary,
        [ClassifierConfig(name="resnet18", steps=args.judge_steps, seed=11 + i) for i in range(args.judges)],
        cache=judge_cache() if args.judge_cache is None else args.judge_cache,
    )
    asked = EvaluateConfig(split=args.split, sources=args.sources, source_classes=classes[:2])
    embedder, landmarks = choose_embedder("auto"), load_landmark_net()

    def measure(choice: str, seed: int, objective: CompactObjective, generator: nn.Module, steps: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            engine = as_engine(objective, generator, Path(folder))
        row = {"choice": choice, "seed": seed, "steps": steps}
        row |= figures(evaluate(engine, pack, judges, embedder, landmarks, asked))
        told["rows"].append(row)
        write_text(args.out, json.dumps(told, indent=1) + "\n")
        print(json.dumps(row), flush=True)

    for seed in range(args.seeds):
        for choice in choices:
            if any(row["choice"] == choice and row["seed"] == seed for row in told["rows"]):
                continue
            numbers = {"critic_first_steps": args.critic_first_steps, **CHOICES[choice]}
            config = replace(plan, seed=seed, objective=numbers)
            objective, average, steps = train(source, config, 60 * args.minutes)
            if choice == "recipe" and seed == 0:
                measure(UNTRAINED, seed, objective, CompactObjective(config, source.faces, source).generator, 0)
            if choice == "recipe":
                measure(UNAVERAGED, seed, objective, objective.generator, steps)
            measure(choice, seed, objective, average, steps)
    print(table(told["rows"]))


if __name__ == "__main__":
    main()
