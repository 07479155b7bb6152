"""What is left of the inside of a mouth that a generator's components describe and draw again.

    python benchmarks/mouth_detail.py lfw-128 lfw.h5 --out mouth_detail.json

Frontal faces of people the generator never saw are taken: their mouths are read, described by the components of the
weights, and drawn into the same face. Differences are means over the inside of the lips, in levels of 255; detail is
the variance of what a 3×3 mean leaves, drawn over photographed (median over faces). `strips` is without components.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lssl_augment.faces.expression_shapes import mouth_gap
from lssl_augment.faces.pack import FacePack
from lssl_augment.models.bundle import load_model
from lssl_augment.models.expression_textures import (
    ExpressionTextures,
    flatten_mouths,
    mouth_light,
    mouth_mask,
    skin_colour,
)
from lssl_augment.models.mouth_strip import draw_strips
from lssl_augment.training.textures import near_frontal

#: Openings over width: ajar and wide open.
_OPENINGS = {"ajar": (0.12, 0.35), "wide": (0.35, np.inf)}
_FACES = 200


def drawn_again(textures: ExpressionTextures, faces: Tensor, dense: Tensor, components: bool) -> Tensor:
    """Faces ``(B, 3, S, S)`` in [0, 1] whose every pixel is that of the mouth's strip."""
    rows, columns = textures.mouth_size.tolist()
    flat = flatten_mouths(faces * 2 - 1, dense, (rows, columns))
    if components:
        flat = textures.mouth_mean + (flat - textures.mouth_mean) @ textures.mouth_basis.T @ textures.mouth_basis
    drawn = draw_strips(flat.view(-1, 3, rows, columns), dense, faces.shape[-1])
    return drawn * mouth_light(skin_colour(faces * 2 - 1, dense))


def measure(textures: ExpressionTextures, faces: Tensor, dense: Tensor) -> dict[str, dict[str, float]]:
    """Difference and detail of faces ``(B, 3, S, S)`` in [0, 1], with components and without."""
    inside = mouth_mask(dense, faces.shape[-1])
    out = {}
    for what, components in (("components", True), ("strips", False)):
        drawn = drawn_again(textures, faces, dense, components)
        off = ((drawn - faces).abs() * inside).sum((1, 2, 3)) / (3 * inside.sum((1, 2, 3)))
        had, has = (((F.avg_pool2d(x, 3, 1, 1) - x).square() * inside).sum((1, 2, 3)) for x in (faces, drawn))
        out[what] = {
            "difference": round(float(off.mean()) * 255, 2),
            "detail": round(float((has / had.clamp_min(1e-12)).median()), 3),
        }
    return out


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("pack", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    bundle = load_model(args.weights)
    if bundle.textures is None:
        raise SystemExit(f"{args.weights} has no components of mouths: a compact generator has")
    with FacePack.open(args.pack) as pack:
        if pack.landmarks_dense is None:
            raise SystemExit(f"{args.pack} holds no dense landmarks")
        dense = torch.from_numpy(np.asarray(pack.landmarks_dense[:], np.float32))
        usable = near_frontal(dense, pack.face_size_px).numpy() & (np.asarray(pack.split) != "train")
        gap, found = mouth_gap(dense).numpy(), {}
        for name, (low, high) in _OPENINGS.items():
            rows = np.flatnonzero(usable & (gap > low) & (gap < high))[:_FACES]
            if not len(rows):
                continue
            images = np.stack([np.asarray(pack.images[int(row)]) for row in rows])
            faces = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
            found[name] = {"faces": len(rows), **measure(bundle.textures, faces, dense[rows])}
    told = {"weights": args.weights, "sha256": bundle.card["sha256"], **found}
    args.out.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
