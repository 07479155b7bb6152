"""Files of small generators with shaken weights, as training releases them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny_faces import NAMES, SIZE_PX, compact_bundle, fitted

from lssl_augment.attribute_vector import AttributeSpec
from lssl_augment.attributes import Vocabulary
from lssl_augment.models.presets import PRESETS, build_generator
from lssl_augment.models.weights import write_weights

TEXT = {"training": {"data": "drawn"}, "metrics": {}, "licence": "none", "intended_use": "tests"}


def compact_weights(path: Path, poses_deg: tuple[int, ...] = ()) -> Path:
    """A compact generator of three expressions at 64 pixels, statistics included, that turns heads to these poses."""
    release = fitted().release(compact_bundle().generator)
    card = _card(dict(release.architecture), AttributeSpec(Vocabulary(NAMES), poses_deg), SIZE_PX)
    return write_weights(path, release.tensors, card, dtypes=release.dtypes)


def bare_weights(path: Path, spec: AttributeSpec, preset: str = "paper", size_px: int = 32, **numbers: Any) -> Path:
    """A generator that works from the attribute vector alone: the paper's or another method's."""
    chosen = PRESETS[preset].with_numbers(generator={"width": 4, **numbers})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = build_generator(chosen, len(spec), size_px)
    card = _card({"kind": chosen.kind, "generator": dict(chosen.generator)}, spec, size_px)
    return write_weights(path, {f"generator.{k}": v for k, v in generator.state_dict().items()}, card)


def _card(architecture: dict[str, Any], spec: AttributeSpec, size_px: int) -> dict[str, Any]:
    names = list(spec.expressions.names)
    return {
        "kind": "generator",
        "architecture": architecture,
        "class_names": names,
        "attributes": spec.to_card(),
        "face_size_px": size_px,
        **TEXT,
    }
