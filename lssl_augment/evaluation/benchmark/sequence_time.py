"""How long a cell of a sequence classifier takes here, from a few videos of noise."""

from __future__ import annotations

import itertools
import statistics
import time
from collections import defaultdict
from dataclasses import replace

import numpy as np

from lssl_augment.evaluation.sequences import SequenceSettings, build_sequence_classifier
from lssl_augment.evaluation.sequences.dtagn import DtagnConfig
from lssl_augment.faces.align import template68

__all__ = ["sequence_seconds"]

_FEW = 4
_STEPS = 3


def sequence_seconds(name: str, classes: int, videos: int, settings: SequenceSettings, device: str) -> float:
    """A rough estimate, for a plan and no more.

    Args:
        name: of the sequence classifier. classes: C. videos: of a fold, trained on and tested. settings: of the run.
        device: where ``dtagn`` runs.

    Returns:
        Seconds. ``dtagn`` is timed by the step; of the others the training of a few videos is scaled up, although
        part of it does not grow with their number.
    """
    own = np.random.default_rng(0)
    labels = np.tile(np.arange(classes), _FEW)
    shape = (len(labels), settings.frames, settings.size_px, settings.size_px)
    faces = own.integers(0, 256, shape, dtype=np.uint8)
    points = np.broadcast_to(template68(settings.size_px), (*shape[:2], 68, 2))
    points = points + own.normal(0, 0.3, points.shape)
    if name == "dtagn":
        return _dtagn_seconds(classes, settings, device, faces, points, labels)
    model = build_sequence_classifier(name, classes, **settings.arguments[name])
    begin = time.perf_counter()
    model.fit(faces, points, labels)
    return (time.perf_counter() - begin) * max(videos, len(labels)) / len(labels)


def _dtagn_seconds(
    classes: int, settings: SequenceSettings, device: str, faces: np.ndarray, points: np.ndarray, labels: np.ndarray
) -> float:
    config = settings.arguments["dtagn"].get("config") or DtagnConfig()
    times: dict[str, list[float]] = defaultdict(list)
    model = build_sequence_classifier(
        "dtagn",
        classes,
        device=device,
        config=replace(config, steps=_STEPS, joint_steps=min(config.joint_steps, _STEPS)),
        on_step=lambda part, *_: times[part].append(time.perf_counter()),
    )
    model.fit(faces, points, labels)
    # The first step of each network also warms up.
    step = {
        part: statistics.median(b - a for a, b in itertools.pairwise(moments))
        for part, moments in times.items()
        if len(moments) > 1
    }
    return config.steps * (step["appearance"] + step["geometry"]) + config.joint_steps * step.get(
        "joint", step["appearance"]
    )
