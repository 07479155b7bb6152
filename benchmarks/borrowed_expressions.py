"""Are expressions that a further pack taught named rightly on the faces of the first one?

    python benchmarks/borrowed_expressions.py lfw-fer-128 lfw.h5 fer2013.h5 --out borrowed_lfw-fer-128.json

`evaluate` needs photographs of every class, and the first pack has none of what it borrows. So judges learn the
training faces of the further pack, and look at the edits of the first pack's people as if these were of that kind: grey
and without detail, as the critic sees them. What it costs that they are not is told by photographs of the first pack,
shown in the same way, beside photographs of the further pack, shown so too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lssl_augment.evaluation.classifiers import ClassifierConfig
from lssl_augment.evaluation.edits import choose_sources, edit_sources
from lssl_augment.evaluation.evaluate import labelled, read_split, share_named
from lssl_augment.evaluation.judges import Judge, judge_cache, train_judges
from lssl_augment.faces.pack import FacePack
from lssl_augment.models.bundle import load_model
from lssl_augment.models.engine import ExpressionEngine
from lssl_augment.training.further import as_seen

#: With fewer faces a class is left out.
_LEAST = 20


def shown_small(images: Tensor) -> Tensor:
    """uint8 faces ``(N, 3, S, S)``, grey and without detail."""
    parts = [as_seen(part, torch.ones(len(part), dtype=torch.bool)) for part in images.split(256)]
    return torch.cat(parts).round().clamp(0, 255).to(torch.uint8)


def named(judges: Sequence[Judge], images: Tensor, labels: Tensor) -> dict[str, Any]:
    """Share of each class that is named rightly, and how many faces it has; classes with few are left out."""
    names = judges[0].vocabulary.names
    counts = torch.bincount(labels, minlength=len(names))
    keep = counts[labels] >= _LEAST
    images, labels = images[keep], labels[keep]
    shares = share_named([judge.says(images) == labels for judge in judges], labels, names)
    return {**shares, "faces": {name: int(n) for name, n in zip(names, counts, strict=True) if n >= _LEAST}}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("pack", type=Path)
    parser.add_argument("further", type=Path)
    parser.add_argument("--split", default="test", help="of the pack, people the generator never saw")
    parser.add_argument("--further-split", default="public_test", help="of the further pack")
    parser.add_argument("--sources", type=int, default=200)
    parser.add_argument("--judges", type=int, default=2)
    parser.add_argument("--judge-steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    bundle = load_model(args.weights)
    engine = ExpressionEngine(bundle)
    names, size = engine.vocabulary.names, engine.face_size_px
    with FacePack.open(args.pack) as pack, FacePack.open(args.further) as further:
        configs = [
            ClassifierConfig(name="resnet18", steps=args.judge_steps, seed=11 + i) for i in range(args.judges)
        ]
        judges = train_judges(further, engine.vocabulary, configs, cache=judge_cache())
        rows = choose_sources(
            pack, engine.vocabulary, split=args.split, count=args.sources, classes=("neutral", "happiness"),
            seed=args.seed,
        )
        edits = edit_sources(engine, pack, rows, args.seed)
        told: dict[str, Any] = {
            "command": f"python benchmarks/borrowed_expressions.py {Path(args.weights).name} {args.pack.name} "
            f"{args.further.name} --split {args.split} --further-split {args.further_split} --sources {args.sources} "
            f"--judges {args.judges} --judge-steps {args.judge_steps} --seed {args.seed}",
            "sha256": bundle.card["sha256"],
            "torch": torch.__version__,
            "classes": list(names),
            "edits": named(judges, shown_small(edits.images), edits.targets),
        }
        parts = {"photographs": (pack, args.split), "photographs_further": (further, args.further_split)}
        for what, (photos, split) in parts.items():
            rows = photos.select(split=split)
            faces, _ = labelled(read_split(photos, split, size), photos, rows, engine.vocabulary)
            told[what] = named(judges, shown_small(faces.images), faces.labels)
    args.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    for what in ("edits", "photographs", "photographs_further"):
        print(what.ljust(19), {name: row["mean"] for name, row in told[what].items() if name != "faces"})


if __name__ == "__main__":
    main()
