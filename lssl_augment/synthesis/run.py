"""A resolved run: engine, sources, gate and plan, and the file attributes that say what they are."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lssl_augment._version import __version__
from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import DataError
from lssl_augment.faces.align import template68
from lssl_augment.synthesis.config import GenerateConfig
from lssl_augment.synthesis.gating import GateScorer, Scorer
from lssl_augment.synthesis.plan import Plan, resolve_counts, resolve_plan
from lssl_augment.synthesis.schema import FORMAT, SCHEMA_VERSION
from lssl_augment.synthesis.sources import BuiltinSource, FaceSource, PackSource, check_generator

__all__ = ["Block", "Editor", "Loaded", "Run", "load_parts", "resolve_device", "resolve_run"]

_PHOTO_TERMS = "; made from photographs, whose own terms apply as well"


class Editor(Protocol):
    """The part of ``models.engine.ExpressionEngine`` that is used here."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def face_size_px(self) -> int: ...

    def encode(self, images: Tensor, dense: Tensor | None = None, labels: Tensor | None = None) -> Any:
        """See docs/architecture.md."""

    def edit(self, faces: Any, targets: Tensor, intensity: Tensor, seeds: Tensor) -> Tensor:
        """See docs/architecture.md."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A generator ready to run: its engine, the card of its weights and the device it is on."""

    engine: Editor
    card: dict[str, Any]
    device: str


@dataclass(frozen=True, eq=False)
class Block:
    """The finished rows of a few sources, with the seconds each part took."""

    rows: slice
    images: np.ndarray  #: (R, S, S, 3) uint8
    scores: np.ndarray  #: (R,) float32
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Run:
    """Everything the images follow from."""

    config: GenerateConfig
    loaded: Loaded
    source: FaceSource
    gate: Scorer | None
    plan: Plan

    def blocks(self) -> list[slice]:
        """Row ranges made as one; the same for a plan however often it is killed and resumed."""
        return self.plan.blocks(self.config.batch)

    def load(self, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, float]:
        """Distinct source ids of these rows in order, their faces, dense landmarks, and the seconds taken."""
        begin = time.perf_counter()
        ids = self.plan.source_ids[rows]
        ids = ids[np.flatnonzero(np.diff(ids, prepend=ids[:1] - 1))]
        images, dense = self.source.load(ids)
        size = self.loaded.engine.face_size_px
        if images.shape[1:] != (size, size, 3):
            raise DataError(
                f"the generator takes faces of {size} pixels; the sources are {images.shape[1:3]}"
            )
        return ids, images, dense, time.perf_counter() - begin

    def make(self, rows: slice, images: np.ndarray, dense: np.ndarray | None) -> Block:
        """Make the images of a block from its sources' faces: each source encoded once."""
        plan, engine, device = self.plan, self.loaded.engine, self.loaded.device
        begin = time.perf_counter()
        seconds = {"network": 0.0, "gate": 0.0}
        starts = np.diff(plan.source_ids[rows], prepend=plan.source_ids[rows.start] - 1) != 0
        owner = torch.from_numpy(np.cumsum(starts) - 1)
        source_labels = torch.from_numpy(plan.source_labels[rows][starts])
        size = engine.face_size_px
        out = np.empty((len(owner), size, size, 3), np.uint8)
        scores = np.full(len(owner), np.nan, np.float32)
        with torch.inference_mode():
            faces = engine.encode(
                to_unit(images, device),
                None if dense is None else torch.from_numpy(dense).to(device),
                source_labels.to(device),
            )
            for first in range(0, len(owner), self.config.batch):
                part = slice(first, min(first + self.config.batch, len(owner)))
                of_plan = slice(rows.start + part.start, rows.start + part.stop)
                edited = engine.edit(
                    faces.select(owner[part].to(device)),
                    torch.from_numpy(plan.targets[of_plan]).to(device),
                    torch.from_numpy(plan.intensities[of_plan]).to(device),
                    torch.from_numpy(plan.seeds[of_plan]).to(device),
                )
                out[part] = to_uint8(edited)
                now = time.perf_counter()
                seconds["network"] += now - begin
                begin = now
                if self.gate is not None:
                    scores[part] = self.gate(edited, plan.targets[of_plan])
                    now = time.perf_counter()
                    seconds["gate"] += now - begin
                    begin = now
        return Block(rows, out, scores, seconds)

    def accepted(self, scores: np.ndarray) -> np.ndarray:
        """Which rows pass, shape ``(R,)`` bool; unscored rows do."""
        return ~(scores < self.config.min_score)

    def attributes(self) -> dict[str, Any]:
        """The attributes of the file, but for the complete flag; no time, no path."""
        card, names = self.loaded.card, self.plan.vocabulary.names
        photographs = self.source.describe()["kind"] != "built-in"
        return {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "class_names": _json(list(names)),
            "face_size_px": self.loaded.engine.face_size_px,
            "template68": template68(self.loaded.engine.face_size_px),
            "config": _json(self.config.recorded(self.loaded.device)),
            "counts": _json(self.plan.counts),
            "source": _json(self.source.describe()),
            "seed": self.config.seed,
            "plan_sha256": self.plan.sha256(),
            "weights_sha256": str(card["sha256"]),
            "weights_card": _json(card),
            "gate_sha256": "" if self.gate is None else self.gate.identity,
            "licence": str(card["licence"]) + (_PHOTO_TERMS if photographs else ""),
            "ai_generated": np.bool_(True),
            "digital_source_type": self.source.digital_source_type,
            "test_subjects_allowed": np.bool_(self.config.allow_test_subjects),
            "package_version": __version__,
            "torch_version": str(torch.__version__),
        }


def to_unit(images: np.ndarray, device: str) -> Tensor:
    """``(B, S, S, 3)`` uint8 → ``(B, 3, S, S)`` float32 in [-1, 1] on the device."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def to_uint8(images: Tensor) -> np.ndarray:
    """``(R, 3, S, S)`` float in [-1, 1] → ``(R, S, S, 3)`` uint8 on the CPU."""
    scaled = images.float().add(1.0).mul(127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def resolve_device(name: str) -> str:
    """``'auto'`` → ``'cuda'`` or ``'cpu'``; ``DataError`` for a device that is not there."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DataError(f"unknown device {name!r}; use auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DataError(f"device {name!r} was asked for, but no CUDA GPU is available here; use auto or cpu")
    return name


def load_parts(config: GenerateConfig) -> tuple[Loaded, FaceSource, Scorer | None]:
    """Load generator, sources and gate from the package's own registry or from the paths given."""
    from lssl_augment.models.bundle import load_model
    from lssl_augment.models.engine import ExpressionEngine

    device = resolve_device(config.device)
    bundle = load_model(config.weights, device=device)
    engine = ExpressionEngine(bundle, device=device)
    source = _open_source(config, engine.vocabulary)
    gate = None if config.gate is None else GateScorer(config.gate, engine.vocabulary, device)
    return Loaded(engine, bundle.card, device), source, gate


def _open_source(config: GenerateConfig, vocabulary: Vocabulary) -> FaceSource:
    if config.source is None:
        from lssl_augment.models.weights import find_weights, read_card
        from lssl_augment.simulation.face_model import load_face_model

        identity = str(read_card(find_weights("faces", "faces"))["sha256"])
        counts = resolve_counts(config.targets, config.per_class, vocabulary, np.zeros(0, np.int64))
        people = max(counts.values()) if config.people is None else config.people
        return BuiltinSource(load_face_model(), identity, people, config.seed, vocabulary)
    wishes: dict[str, Any] = {
        "split": config.split,
        "allow_test_subjects": config.allow_test_subjects,
    }
    if config.source.is_dir() or config.source.suffix.lower() == ".zip":
        from lssl_augment.synthesis.photographs import PhotographSource

        return PhotographSource(config.source, vocabulary, **wishes)
    from lssl_augment.faces.pack import FacePack

    return PackSource(FacePack.open(config.source), vocabulary, **wishes)


def resolve_run(config: GenerateConfig, loaded: Loaded, source: FaceSource, gate: Scorer | None) -> Run:
    """Check that the parts go together and draw the plan.

    Raises:
        LeakageError: the generator learned from people the source holds out.
        DataError: a wish that cannot be met.
    """
    check_generator(loaded.card, source, allow_test_subjects=config.allow_test_subjects)
    vocabulary = loaded.engine.vocabulary
    labels = source.table.labels if source.describe()["kind"] != "built-in" else np.zeros(0, np.int64)
    counts = resolve_counts(config.targets, config.per_class, vocabulary, labels)
    plan = resolve_plan(source.table, vocabulary, counts, intensity=config.intensity, seed=config.seed)
    return Run(config, loaded, source, gate, plan)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
