"""Would a stranger name the generated faces rightly? A judge that took no part in training or filtering says.

    python benchmarks/label_fidelity.py --pack lfw.h5 --weights lfw-128 --out benchmarks/results/label_fidelity.json

The judge is a small classifier trained on the real faces of the training subjects (ordinary augmentation, balanced
classes), once per seed. It then names (a) the real faces of test subjects and (b) neutral and happy faces of test
subjects edited towards every other expression, by the generator and, for comparison, by its first guess alone (the warp
with shading and mouth, before the network). Printed per target: share of faces named as the target, mean and standard
deviation over judges. Sharpness is the ratio of the variance of the Laplacian, result over source.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from lssl_augment import __version__
from lssl_augment.attributes import BASIC5
from lssl_augment.evaluation.batches import BatchSource
from lssl_augment.evaluation.classifiers import ClassifierConfig, predict, train_classifier
from lssl_augment.evaluation.face_table import check_subjects_apart, pack_table
from lssl_augment.faces.pack import FacePack
from lssl_augment.models.bundle import load_model
from lssl_augment.models.engine import ExpressionEngine

JUDGE_PX = 64


def edited_faces(
    engine: ExpressionEngine, pack: FacePack, sources: np.ndarray, labels: Tensor, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Each source edited to every other class: images uint8, targets, row of the source."""
    names = engine.vocabulary.names
    made, wanted, origin, plain = [], [], [], []
    dense = pack.landmarks_dense
    for start in range(0, len(sources), 16):
        rows = sources[start : start + 16]
        photos = torch.from_numpy(np.stack([pack.images[int(r)] for r in rows])).permute(0, 3, 1, 2)
        plain.append(photos)
        points = None if dense is None else torch.from_numpy(np.stack([dense[int(r)] for r in rows]))
        own = labels[start : start + 16]
        faces = engine.encode(photos.float() / 127.5 - 1, points, own)
        index, targets = np.nonzero(np.arange(len(names))[None] != own.numpy()[:, None])
        rng = np.random.default_rng([seed, start])
        out = engine.edit(
            faces.select(torch.from_numpy(index)),
            torch.from_numpy(targets),
            torch.full((len(index),), 1.0),
            torch.from_numpy(rng.integers(0, 1 << 62, len(index))),
        )
        made.append(((out + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))
        wanted.append(torch.from_numpy(targets))
        origin.append(torch.from_numpy(index) + start)
    return torch.cat(made), torch.cat(wanted), torch.cat(origin), torch.cat(plain)


def sharpness(images: Tensor) -> np.ndarray:
    """Variance of the Laplacian of the grey face, ``(N,)``."""
    grey = images.float().mean(1).numpy()
    return np.array([cv2.Laplacian(g, cv2.CV_32F)[16:112, 16:112].var() for g in grey])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--weights", default="lfw-128")
    parser.add_argument("--sources", type=int, default=200, help="test faces to edit [%(default)s]")
    parser.add_argument("--steps", type=int, default=500, help="of each judge [%(default)s]")
    parser.add_argument("--seeds", default="11,12,13", metavar="N,N,…")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    seeds = [int(s) for s in args.seeds.split(",")]

    pack = FacePack.open(args.pack)
    test, train = pack_table(args.pack, "test", BASIC5, JUDGE_PX), pack_table(args.pack, "train", BASIC5, JUDGE_PX)
    check_subjects_apart(test, train)
    mapping = BASIC5.mapping_from(pack.vocabulary)
    rng = np.random.default_rng(0)
    calm = [i for i in pack.select(split="test") if mapping.get(int(pack.labels[i])) in (0, 1)]
    sources = np.sort(rng.choice(calm, min(args.sources, len(calm)), replace=False))
    labels = torch.tensor([mapping[int(pack.labels[i])] for i in sources])

    engine = ExpressionEngine(load_model(args.weights))
    bare = ExpressionEngine(load_model(args.weights))
    with torch.no_grad():  # the first guess alone: heads that add nothing
        for parameter in bare._generator.heads.parameters():
            parameter.zero_()
    sets = {
        "generator": edited_faces(engine, pack, sources, labels, 0),
        "first guess": edited_faces(bare, pack, sources, labels, 0),
    }
    report: dict[str, object] = {
        "command": shlex.join(["python", "benchmarks/label_fidelity.py", *sys.argv[1:]]),
        "environment": {"lssl_augment": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "weights_sha256": engine.card["sha256"],
        "sources": len(sources),
        "judge_seeds": seeds,
        "judge_steps": args.steps,
    }
    hits: dict[str, list[list[float]]] = {"real": [], **{name: [] for name in sets}}
    for seed in seeds:
        batches = BatchSource(train, 64, balanced=True, augmented=True)
        judge = train_classifier(batches, len(BASIC5), ClassifierConfig("small", args.steps, 2e-3, seed=seed))
        said = predict(judge, test.images).argmax(1)
        hits["real"].append([float((said[test.labels == c] == c).float().mean()) for c in range(len(BASIC5))])
        for name, (images, wanted, _, _) in sets.items():
            small = torch.nn.functional.interpolate(images.float(), size=(JUDGE_PX, JUDGE_PX), mode="area")
            said = predict(judge, small.round().to(torch.uint8)).argmax(1)
            hits[name].append([float((said[wanted == c] == c).float().mean()) for c in range(len(BASIC5))])
    for name, rows in hits.items():
        table = np.array(rows)
        report[name] = {
            "mean": dict(zip(BASIC5.names, table.mean(0).round(4).tolist(), strict=True)),
            "sd": dict(zip(BASIC5.names, table.std(0, ddof=1).round(4).tolist(), strict=True)),
            "balanced": {"mean": round(float(table.mean()), 4), "sd": round(float(table.mean(1).std(ddof=1)), 4)},
        }
    for name, (images, _, origin, photos) in sets.items():
        ratio = sharpness(images) / sharpness(photos)[origin.numpy()]
        quartiles = np.percentile(ratio, [25, 50, 75]).round(3).tolist()
        report[name]["sharpness_ratio_quartiles"] = quartiles  # type: ignore[index]
    text = json.dumps(report, indent=1)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
