"""Does it help? A small classifier on lfw-expressions, trained with and without synthetic faces.

    lssl-augment prepare lfw-expressions --root DIR --out lfw.h5
    lssl-augment generate --source lfw.h5 --per-class 5000 --out synthetic.h5
    python examples/lfw_expressions.py --pack lfw.h5 --synthetic synthetic.h5 --out table.json

Arms, all with the same number of optimiser steps and the same test subjects:

- real: faces as they come, no augmentation
- ordinary: flip, crop, affine, colour, and class-balanced sampling (so also the upsampled-real control)
- synthetic: as ordinary, with part of the rare classes' places taken by faces of a file (--synthetic)
- in the loop: the same with faces made while training by LSSLAugment (--in-loop)

Prints a Markdown table; --out also writes every run, with the environment and the command, as JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from lssl_augment import BASIC5, LSSLAugment, LSSLError, __version__
from lssl_augment.evaluation.batches import AugmentedFaces, BatchSource, StoredFaces
from lssl_augment.evaluation.classifiers import NETWORKS, ClassifierConfig
from lssl_augment.evaluation.comparison import compare, markdown_table, summarise
from lssl_augment.evaluation.face_table import (
    check_subjects_apart,
    limit_faces,
    pack_table,
    rare_classes,
    synthetic_table,
)

SIZE_PX = 64


def parse(argv: list[str] | None) -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--pack", type=Path, required=True, metavar="H5", help="with splits train and test")
    parser.add_argument(
        "--synthetic", type=Path, metavar="H5", help="by `lssl-augment generate --source PACK`"
    )
    parser.add_argument("--in-loop", action="store_true", help="also train with LSSLAugment in the loop")
    parser.add_argument(
        "--weights", default="lfw-128", metavar="NAME|PATH", help="for --in-loop [%(default)s]"
    )
    parser.add_argument(
        "--synthetic-share",
        type=float,
        default=0.2,
        metavar="0..1",
        help="part of the rare classes' places given to synthetic faces [%(default)s]",
    )
    parser.add_argument(
        "--rare-limit", type=int, metavar="N", help="keep only N real faces of each rare class"
    )
    parser.add_argument("--steps", type=int, default=600, help="optimiser steps of every arm [%(default)s]")
    parser.add_argument(
        "--classifier", default="small", metavar="NAME", help=f"{', '.join(NETWORKS)} or timm:NAME [%(default)s]"
    )
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="peak [%(default)s]")
    parser.add_argument("--batch", type=int, default=64, help="faces a batch [%(default)s]")
    parser.add_argument("--seeds", default="0,1,2", metavar="N,N,…", help="[%(default)s]")
    parser.add_argument("--device", default="cpu", help="of the classifier [%(default)s]")
    parser.add_argument("--out", type=Path, metavar="JSON", help="where to write all runs")
    args = parser.parse_args(argv)
    try:
        args.seeds = [int(s) for s in args.seeds.split(",")]
    except ValueError:
        parser.error(f"--seeds takes whole numbers with commas between them; got {args.seeds!r}")
    return args


def run(args: argparse.Namespace) -> dict[str, Any]:
    test = pack_table(args.pack, "test", BASIC5, SIZE_PX)
    large = pack_table(args.pack, "train", BASIC5)
    rare = rare_classes(large)
    if args.rare_limit is not None:
        large = limit_faces(large, rare, args.rare_limit)
    train = large.cut(SIZE_PX)
    check_subjects_apart(test, train)

    plain = {"balanced": True, "augmented": True}
    mixed = {**plain, "shares": dict.fromkeys(rare, args.synthetic_share)}
    arms = {
        "real": BatchSource(train, args.batch, balanced=False, augmented=False),
        "ordinary": BatchSource(train, args.batch, **plain),
    }
    origin = None
    if args.synthetic is not None:
        table, origin = synthetic_table(args.synthetic, BASIC5, SIZE_PX)
        check_subjects_apart(test, table)
        arms["synthetic"] = BatchSource(train, args.batch, **mixed, synthetic=StoredFaces(table, rare))
    if args.in_loop:
        augment = LSSLAugment(p=1.0, targets=list(rare), classes=BASIC5, weights=args.weights, seed=0)
        made = AugmentedFaces(large, augment, SIZE_PX)
        arms["in the loop"] = BatchSource(train, args.batch, **mixed, synthetic=made)

    config = ClassifierConfig(args.classifier, args.steps, args.learning_rate, face_size_px=SIZE_PX)
    with tqdm(total=len(arms) * len(args.seeds) * args.steps, unit="step", file=sys.stderr) as bar:

        def on_step(arm: str, seed: int, step: int, loss: float) -> None:
            bar.set_description(f"{arm}, seed {seed}", refresh=False)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update()

        results = compare(arms, test, config, args.seeds, device=args.device, on_step=on_step)
    return {
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "environment": {
            "lssl_augment": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
            "device": args.device,
        },
        "seeds": args.seeds,
        "steps": args.steps,
        "batch": args.batch,
        "classifier": args.classifier,
        "learning_rate": args.learning_rate,
        "image_size_px": SIZE_PX,
        "synthetic_share": args.synthetic_share,
        "rare_limit": args.rare_limit,
        "rare_classes": [BASIC5.names[c] for c in rare],
        "train_faces": train.counts,
        "test_faces": test.counts,
        "synthetic_file": origin,
        "arms": summarise(results, test, baseline="ordinary"),
    }


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    try:
        report = run(args)
        if args.out is not None:
            args.out.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except (LSSLError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(markdown_table(report["arms"]))
    print(f"\n{args.steps} steps of {args.batch}, seeds {args.seeds}; test faces: {report['test_faces']}")
    if args.rare_limit is not None and (args.synthetic is not None or args.in_loop):
        print(
            f"\nOnly {args.rare_limit} real faces of each rare class are left, but the generator's weights "
            "and "
            "donors may come from more: read the synthetic arms as what a generator trained elsewhere adds."
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
