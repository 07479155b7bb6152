"""What each choice of the `compact` recipe is worth: trained without it, for as long, and measured on unseen people.

    python benchmarks/training_choices.py lfw.h5 --minutes 3 --seeds 0,1 --runs choices --out training_choices_lfw.json

Every run fits the same network to the same statistics for the same processor time on one core, from first weights of
its seed; the recipe differs in what its name says. What is measured is what ``lssl-augment evaluate`` measures: label
fidelity by judges, identity, distance to real faces (KID), sharpness. Runs whose weights lie in the folder already are
not repeated, so a stopped command goes on where it was. It prints the table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lssl_augment.attribute_vector import AttributeSpec
from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import TrainingError
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

#: The recipe with every loss, from which `compact` started.
_ALL: Mapping[str, float | bool] = {"lambda_bi": 5.0, "lambda_cls": 0.2, "critic_views": True}
#: Name → numbers of the objective.
CHOICES: Mapping[str, Mapping[str, float | bool]] = {
    "recipe": _ALL,
    "no critic": {**_ALL, "lambda_gan": 0.0, "lambda_features": 0.0, "lambda_cls": 0.0},
    "no restoration": {**_ALL, "lambda_pair": 0.0, "lambda_features": 0.0},
    "no bidirectional loss": {**_ALL, "lambda_bi": 0.0},
    "no identity loss": {**_ALL, "lambda_id": 0.0},
    "no attribute loss": {**_ALL, "lambda_cls": 0.0},
    "critic sees plain faces": {**_ALL, "critic_views": False},
    "faces as they occur": {**_ALL, "uniform_share": 0.0},
    # What none of the rows above shows to be needed, left out together; `compact` keeps the identity loss.
    "lean": {"lambda_bi": 0.0, "lambda_id": 0.0, "lambda_cls": 0.0, "critic_views": False},
    "lean with the identity loss": {"lambda_bi": 0.0, "lambda_cls": 0.0, "critic_views": False},
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
            raise TrainingError(f"a loss is not finite at step {step}: { {k: float(v) for k, v in log.items()} }")
    return objective, ema.module, step


def store(objective: CompactObjective, generator: nn.Module, steps: int, path: Path) -> None:
    """Write what ``train`` would release."""
    release, names = objective.release(generator), objective.faces.vocabulary
    card = {
        "kind": "generator",
        "architecture": dict(release.architecture),
        "class_names": list(names.names),
        "attributes": AttributeSpec(names).to_card(),
        "face_size_px": objective.size,
        "training": {"data": objective.faces.dataset, "steps": steps},
        "metrics": {},
        "licence": "not to be passed on",
        "intended_use": "a trial",
    }
    write_weights(path, release.tensors, card, dtypes=release.dtypes)


def run_name(choice: str, seed: int) -> str:
    """Of the weights of a run."""
    return f"{choice.replace(' ', '-').replace(',', '')}-{seed}"


def train_runs(plan: TrainConfig, seeds: list[int], choices: list[str], args: Any) -> None:
    """All runs whose weights are not in the folder yet."""
    wanted = [(seed, choice) for seed in seeds for choice in choices]
    wanted = [pair for pair in wanted if not (args.runs / f"{run_name(pair[1], pair[0])}.safetensors").is_file()]
    if not wanted:
        return
    faces = load_training_faces(plan.pack, plan.face_size_px, plan.classes)
    source = CompactFaces(faces, plan.face_size_px, 0, torch.device("cpu"))
    for seed, choice in wanted:
        numbers = {"critic_first_steps": args.critic_first_steps, **CHOICES[choice]}
        config = replace(plan, seed=seed, objective=numbers)
        objective, average, steps = train(source, config, 60 * args.minutes)
        if choice == "recipe":
            store(objective, objective.generator, steps, args.runs / f"{run_name(UNAVERAGED, seed)}.safetensors")
            fresh = CompactObjective(config, faces, source)
            store(fresh, fresh.generator, 0, args.runs / f"{run_name(UNTRAINED, seed)}.safetensors")
        # Last: a run is whole when this is there.
        store(objective, average, steps, args.runs / f"{run_name(choice, seed)}.safetensors")
        print(f"{choice}, seed {seed}: {steps} steps", flush=True)


def figures(part: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """The few numbers of an evaluation, or of its part without something, that the table shows."""
    fidelity = part["label_fidelity"]
    fidelity = fidelity.get("edits", fidelity)
    kids = {name: part["kid"][name]["edits_to_real"]["mean"] for name in names if name in part["kid"]}
    same = part.get("identity")
    return {
        "label_fidelity": {name: fidelity[name]["mean"] for name in (*names, "balanced")},
        "kid": kids,
        "identity": same["above_threshold"] if isinstance(same, dict) else same,
        "sharpness": part["sharpness_ratio"][1],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown; mean ± standard deviation over seeds, of KID over the mean of the classes."""
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
            told([float(np.mean(list(row["kid"].values()))) for row in found], 2),
            told([row["identity"] for row in found], 1, 100),
            told([row["sharpness"] for row in found], 2),
        ]
        lines.append(f"| {name} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path, help="face pack with dense landmarks")
    parser.add_argument("--minutes", type=float, default=3.0, help="processor time of a run (default: 3)")
    parser.add_argument("--seeds", default="0,1", help="a run of each choice with each (default: 0,1)")
    parser.add_argument("--choices", default=",".join(CHOICES), help="separated by commas (default: all)")
    parser.add_argument("--size", type=int, default=64, help="side of the faces, px (default: 64)")
    parser.add_argument("--batch", type=int, default=12, help="faces a step (default: 12)")
    parser.add_argument("--width", type=int, default=16, help="of the generator (default: 16, half the preset's)")
    parser.add_argument("--critic-width", type=int, default=24, help="of the critic (default: 24, half the preset's)")
    parser.add_argument("--critic-first-steps", type=int, default=60, help="in which the critic learns alone")
    parser.add_argument("--classes", default="neutral,happiness,surprise,anger,sadness")
    parser.add_argument("--split", default="test", help="of people who were not trained on (default: test)")
    parser.add_argument("--sources", type=int, default=100, help="neutral and happy faces to edit (default: 100)")
    parser.add_argument("--judges", type=int, default=2)
    parser.add_argument("--judge-steps", type=int, default=400)
    parser.add_argument("--judge-cache", type=Path, default=None)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the weights; runs there are not repeated")
    parser.add_argument("--out", type=Path, help="JSON of what is measured; left out: runs are trained, no more")
    args = parser.parse_args()
    torch.set_num_threads(1)
    choices, seeds, classes = args.choices.split(","), [int(s) for s in args.seeds.split(",")], args.classes.split(",")
    if unknown := [name for name in choices if name not in CHOICES]:
        raise SystemExit(f"unknown choice {unknown[0]!r}; there are {', '.join(CHOICES)}")
    if args.out and "recipe" not in choices:
        raise SystemExit(f"--out needs the choice recipe, whose runs are those of no network too; got {args.choices}")
    args.runs.mkdir(parents=True, exist_ok=True)
    same = {key: str(getattr(args, key)) for key in ("minutes", "size", "batch", "width", "critic_width")}
    same |= {"pack": args.pack.name, "classes": args.classes, "critic_first_steps": str(args.critic_first_steps)}
    settings = args.runs / "settings.json"
    if settings.is_file() and json.loads(settings.read_text()) != same:
        raise SystemExit(f"{args.runs} holds runs with other settings ({settings}); give another --runs, or remove it")
    write_text(settings, json.dumps(same, indent=1) + "\n")
    networks = {"generator": {"width": args.width}, "critic": {"width": args.critic_width}}
    wanted = {"pack": str(args.pack), "face_size_px": args.size, "batch": args.batch, "classes": classes, "steps": 1}
    plan = make_config("compact", {**wanted, **networks, "ema_decay": 0.99})
    train_runs(plan, seeds, choices, args)
    if args.out is None:
        return

    pack, vocabulary = FacePack.open(args.pack), Vocabulary(tuple(classes))
    judged_by = [ClassifierConfig(name="resnet18", steps=args.judge_steps, seed=11 + i) for i in range(args.judges)]
    cache = judge_cache() if args.judge_cache is None else args.judge_cache
    judges = train_judges(pack, vocabulary, judged_by, cache=cache)
    also = [(UNAVERAGED, seed) for seed in seeds if "recipe" in choices]
    asked = [*((choice, seed) for choice in choices for seed in seeds), *also]
    first = ExpressionEngine(load_model(args.runs / f"{run_name(UNTRAINED, seeds[0])}.safetensors"))
    models = {pair: load_model(args.runs / f"{run_name(*pair)}.safetensors") for pair in asked}
    shown = tuple(name for name in ("neutral", "happiness") if name in classes)
    report = evaluate(
        first, pack, judges, choose_embedder("auto"), load_landmark_net(),
        EvaluateConfig(split=args.split, sources=args.sources, source_classes=shown),
        without={run_name(*pair): ExpressionEngine(model) for pair, model in models.items()},
        progress=lambda text: print(text, file=sys.stderr),
    )
    rows = [{"choice": UNTRAINED, "seed": seeds[0], "steps": 0, **figures(report, classes)}]
    for pair, model in models.items():
        told = {"choice": pair[0], "seed": pair[1], "steps": model.card["training"]["steps"]}
        rows.append({**told, **figures(report["without"][run_name(*pair)], classes)})
    whole = {
        "command": shlex.join(["python", "benchmarks/training_choices.py", *sys.argv[1:]]),
        "recipe": {**vars(CompactNumbers()), "critic_first_steps": args.critic_first_steps},
        "choices": CHOICES,
        "environment": environment("cpu"),
        "real": report["label_fidelity"]["real"],
        "rows": rows,
    }
    write_text(args.out, json.dumps(whole, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
