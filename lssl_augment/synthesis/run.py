"""A resolved run: engine, sources, gate and plan, and the file attributes that say what they are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lssl_augment._version import __version__
from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import DataError
from lssl_augment.faces.align import template68
from lssl_augment.models.yaw_range import check_yaw_range
from lssl_augment.synthesis.config import GenerateConfig
from lssl_augment.synthesis.gating import GateScorer, Scorer
from lssl_augment.synthesis.plan import Plan, resolve_counts, resolve_plan
from lssl_augment.synthesis.schema import FORMAT, SCHEMA_VERSION
from lssl_augment.synthesis.sources import BuiltinSource, FaceSource, PackSource, check_generator

__all__ = ["Editor", "Loaded", "Run", "load_parts", "resolve_run"]

_PHOTO_TERMS = "; made from photographs, whose own terms apply as well"


class Editor(Protocol):
    """The part of ``models.engine.ExpressionEngine`` that is used here."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def face_size_px(self) -> int: ...

    def encode(self, images: Tensor, dense: Tensor | None = None, labels: Tensor | None = None) -> Any:
        """See docs/architecture.md."""

    def edit(
        self, faces: Any, targets: Tensor, intensity: Tensor, seeds: Tensor, *, yaw_deg: Tensor | None = None
    ) -> Tensor:
        """See docs/architecture.md."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A generator ready to run: its engine, the card of its weights and the device it is on."""

    engine: Editor
    card: dict[str, Any]
    device: str


@dataclass(frozen=True, eq=False)
class Run:
    """Everything the images follow from."""

    config: GenerateConfig
    loaded: Loaded
    source: FaceSource
    gate: Scorer | None
    plan: Plan

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


def load_parts(config: GenerateConfig) -> tuple[Loaded, FaceSource, Scorer | None]:
    """Load generator, sources and gate from the package's own registry or from the paths given."""
    from lssl_augment.models.bundle import load_model
    from lssl_augment.models.device import resolve_device
    from lssl_augment.models.engine import ExpressionEngine

    device = resolve_device(config.device)
    bundle = load_model(config.weights, device=device)
    engine = ExpressionEngine(bundle, device=device)
    source = _open_source(config, engine.vocabulary)
    gate = None if config.gate is None else GateScorer(config.gate, engine.vocabulary, device)
    return Loaded(engine, bundle.card, device), source, gate


def _open_source(config: GenerateConfig, vocabulary: Vocabulary) -> FaceSource:
    if config.source is None:
        from lssl_augment.simulation.face_model import load_face_model

        model = load_face_model()
        counts = resolve_counts(config.targets, config.per_class, vocabulary, np.zeros(0, np.int64))
        people = max(counts.values()) if config.people is None else config.people
        return BuiltinSource(model, str(model.card["sha256"]), people, config.seed, vocabulary)
    wishes: dict[str, Any] = {
        "split": config.split,
        "allow_test_subjects": config.allow_test_subjects,
    }
    if config.source.is_dir() or config.source.suffix.lower() == ".zip":
        from lssl_augment.synthesis.photographs import PhotographSource

        if config.splits is not None:
            raise DataError(f"{config.source}: a split file goes with a face pack; `lssl-augment prepare` writes one")
        return PhotographSource(config.source, vocabulary, **wishes)
    from lssl_augment.datasets.split_file import open_fold

    return PackSource(open_fold(config.source, config.splits, config.fold), vocabulary, **wishes)


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
    if config.yaw is not None:
        check_yaw_range(loaded.engine, *config.yaw)
    plan = resolve_plan(
        source.table, vocabulary, counts, intensity=config.intensity, seed=config.seed, yaw=config.yaw
    )
    return Run(config, loaded, source, gate, plan)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
