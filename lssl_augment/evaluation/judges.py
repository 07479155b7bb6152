"""Judges: classifiers of real faces that say what an edited face shows.

A judge sees the real faces of the training subjects alone, with ordinary augmentation and balanced classes. It takes no
part in training a generator or in filtering its faces, or the score would say how well it agrees with itself; weights
of another kind (a gate's) are refused as a judge.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import WeightsError
from lssl_augment.evaluation.batches import BatchSource
from lssl_augment.evaluation.classifiers import ClassifierConfig, build_network, predict, train_classifier
from lssl_augment.evaluation.face_table import FACE_BOX, FaceTable, cut_faces, pack_table
from lssl_augment.faces.pack import FacePack
from lssl_augment.models.weights import read_weights, write_weights

__all__ = ["JUDGE_PX", "Judge", "judge_cache", "load_judge", "pack_fingerprint", "train_judges"]

#: Side of the faces a judge sees.
JUDGE_PX = 64

_BATCH = 64


@dataclass(frozen=True)
class Judge:
    """A classifier and where it came from.

    Args:
        network: in eval mode. vocabulary: what its logits stand for. card: as stored beside its weights.
    """

    network: nn.Module
    vocabulary: Vocabulary
    card: dict[str, Any]

    def says(self, images: Tensor) -> Tensor:
        """Label it gives each whole uint8 face ``(N, 3, S, S)`` of any size, ``(N,)`` int64 in its vocabulary."""
        return predict(self.network, cut_faces(images, JUDGE_PX)).argmax(1)


def judge_cache() -> Path:
    """Folder where trained judges are kept: ``LSSL_AUGMENT_CACHE/judges``, else in the user's cache folder."""
    cache = os.environ.get("LSSL_AUGMENT_CACHE")
    if not cache:
        cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "lssl_augment")
    return Path(cache).expanduser() / "judges"


def pack_fingerprint(pack: FacePack) -> str:
    """sha256 of a pack's columns (faces differ where landmarks differ): which judges belong to it."""
    digest = hashlib.sha256(json.dumps([pack.dataset, list(pack.vocabulary.names), pack.face_size_px]).encode())
    for column in (pack.subjects, pack.files, pack.split):
        digest.update("\n".join(np.asarray(column).tolist()).encode())
    digest.update(np.ascontiguousarray(pack.labels, "<i8").tobytes())
    digest.update(np.ascontiguousarray(pack.landmarks, "<f4").tobytes())
    return digest.hexdigest()


def train_judges(
    pack: FacePack,
    vocabulary: Vocabulary,
    configs: Sequence[ClassifierConfig],
    *,
    cache: Path | None,
    device: str | torch.device = "cpu",
    on_step: Callable[[int, int, float], None] | None = None,
) -> list[Judge]:
    """One judge a configuration, taken from the cache where it has been trained before.

    Args:
        pack: its training split is what they learn; it is read only when a judge must be trained.
        vocabulary: expressions to tell apart.
        cache: folder; None: nothing is kept.
        on_step: called with (number of the judge, steps done, loss); not for judges from the cache.

    A judge read from the cache gives the same answers as the run that trained it: both use the stored float32 values.
    """
    fingerprint, judges = pack_fingerprint(pack), []
    table: FaceTable | None = None
    for number, config in enumerate(configs):
        key = _key(vocabulary, fingerprint, config)
        path = None if cache is None else cache / f"judge-{key[:20]}.safetensors"
        if path is not None and path.is_file():
            judges.append(load_judge(path, device))
            continue

        def tell(step: int, loss: float, number: int = number) -> None:
            if on_step is not None:
                on_step(number, step, loss)

        if table is None:
            table = pack_table(pack.path, "train", vocabulary, JUDGE_PX)
        source = BatchSource(table, _BATCH, balanced=True, augmented=True)
        network = train_classifier(source, len(table.classes), config, device, tell)
        card = _card(table, fingerprint, config)
        if path is not None:
            tensors = network.state_dict()
            floats = {name: torch.float32 for name, tensor in tensors.items() if tensor.is_floating_point()}
            write_weights(path, tensors, card, dtypes=floats)
        judges.append(Judge(network, Vocabulary(table.classes), card))
    return judges


def load_judge(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> Judge:
    """A stored judge.

    Raises:
        WeightsError: everything ``read_weights`` refuses, weights of another kind (a gate is no judge) among it.
    """
    tensors, card = read_weights(path, "judge")
    try:
        vocabulary = Vocabulary(tuple(card["class_names"]))
        network = _build(len(vocabulary), ClassifierConfig(**card["architecture"]))
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: the tensors and the card do not describe a judge ({error})") from error
    if card.get("face_box") != list(FACE_BOX):
        raise WeightsError(f"{path}: this judge learned from faces cut in another way; train it anew")
    network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Judge(network.eval().requires_grad_(False), vocabulary, card)


def _build(classes: int, config: ClassifierConfig) -> nn.Module:
    return build_network(config.name, classes, config.seed, config.face_size_px)


def _key(vocabulary: Vocabulary, fingerprint: str, config: ClassifierConfig) -> str:
    told = [fingerprint, list(vocabulary.names), JUDGE_PX, FACE_BOX, _BATCH, asdict(config)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _card(table: FaceTable, fingerprint: str, config: ClassifierConfig) -> dict[str, Any]:
    return {
        "kind": "judge",
        "architecture": asdict(config),
        "class_names": list(table.classes),
        "face_size_px": JUDGE_PX,
        "face_box": list(FACE_BOX),
        "training": {"pack_fingerprint": fingerprint, "faces": table.counts, "batch": _BATCH, "seed": config.seed},
        "metrics": {},
        "licence": "as the face pack it was trained on",
        "intended_use": "Judging edited faces. Not for filtering them, and not for inferring what a person feels.",
    }
