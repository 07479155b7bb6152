"""Results of a benchmark that never ran: predictions drawn so that some arms are better than others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lssl_augment.evaluation.statistics import Cell, measure, read_cells

CLASSES = ("neutral", "happiness", "surprise")
COUNTS = (40, 25, 12)


def draw_faces(fold: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, subjects and files of a fold's test faces."""
    labels = np.repeat(np.arange(len(CLASSES)), COUNTS)
    subjects = np.array([f"f{fold}s{i % 20}" for i in range(len(labels))])
    return labels, subjects, np.array([f"{fold}/{i}.jpg" for i in range(len(labels))])


def draw_cell(
    folder: Path, arm: str, *, fold: int = 0, seed: int = 0, skill: float = 1.0, prefix: str = "", **changes: Any
) -> dict[str, Any]:
    """Write one cell; ``skill`` is how far the logit of the right class stands out."""
    labels, subjects, files = draw_faces(fold)
    own = np.random.default_rng([seed, fold, *arm.encode()])
    logits = own.normal(size=(len(labels), len(CLASSES)))
    logits[np.arange(len(labels)), labels] += skill
    probabilities = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
    amount = changes.get("amount")
    name = f"cells/{arm.replace(' ', '-').replace('<', '')}-{amount}-{changes.get('regime', 'all')}-{fold}-{seed}.npz"
    (folder / "cells").mkdir(parents=True, exist_ok=True)
    files = np.char.add(prefix, files)
    np.savez(folder / name, probabilities=probabilities, labels=labels, subjects=subjects, files=files)
    record = {
        "schema_version": 1,
        "protocol": "folder",
        "dataset": "drawn",
        "simulated": False,
        "regime": "all",
        "arm": arm,
        "amount": None,
        "fold": fold,
        "seed": seed,
        "classifier": "tiny",
        "classes": list(CLASSES),
        "n_train": 300,
        "n_synthetic": 0,
        "n_test": len(labels),
        "steps": 100,
        "seconds": 2.5,
        **measure(labels, probabilities, CLASSES),
        "predictions": name,
        "generator": None,
        "environment": {"python": "3.11", "torch": "2.14"},
        "git_commit": "abc123",
        "command": f"lssl-augment benchmark folder --only '{arm}'",
        "notes": [],
        **changes,
    }
    with (folder / "results.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    return record


def draw_results(folder: Path, skills: dict[str, float], *, folds: int = 2, seeds: int = 3, **changes: Any) -> None:
    """One cell for each arm, fold and seed; arms whose name holds ``lssl`` or ``stargan`` count as synthetic."""
    for arm, skill in skills.items():
        made = any(word in arm for word in ("lssl", "stargan"))
        for fold in range(folds):
            for seed in range(seeds):
                given = {"n_synthetic": 500 if made else 0, **changes}
                if made:
                    given.setdefault("generator", {"name": arm, "sha256": "0" * 64, "trained_on": "training fold"})
                draw_cell(folder, arm, fold=fold, seed=seed, skill=skill, **given)


def drawn(folder: Path, skills: dict[str, float], **changes: Any) -> list[Cell]:
    """The same, read back."""
    draw_results(folder, skills, **changes)
    return read_cells(folder)
