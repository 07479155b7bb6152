"""What makes two cells comparable: kept in the folder of a run, and compared when it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lssl_augment.errors import DataError
from lssl_augment.evaluation.benchmark.arms import POWER, PRIOR
from lssl_augment.evaluation.benchmark.setup import CellSetup
from lssl_augment.evaluation.face_table import FACE_BOX
from lssl_augment.files import write_json

__all__ = ["keep_settings", "read_settings"]

_FILE = "settings.json"


def read_settings(out: Path) -> dict[str, Any]:
    """The settings of a run in its folder; empty: there is none yet."""
    path = out / _FILE
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return values


def keep_settings(out: Path, setup: CellSetup, before: dict[str, Any]) -> None:
    """Write the settings of a run; ``DataError`` where they differ from those ``before``."""
    now = _identity(setup)
    # Further generators may join later; those that were used must stay.
    changed = [k for k in now if k in before and k != "weights" and before[k] != now[k]]
    weights = {**before.get("weights", {}), **now["weights"]}
    changed += [f"weights of {k}" for k, v in before.get("weights", {}).items() if weights[k] != v]
    if changed:
        told = ", ".join(f"{k} (there {before.get(k)!r}, now {now.get(k)!r})" for k in changed)
        raise DataError(f"{out} holds a benchmark with other settings: {told}; choose another --out")
    write_json(out / _FILE, {**now, "weights": weights})


def _identity(setup: CellSetup) -> dict[str, Any]:
    """What must be the same for two cells to be compared, or to be put into one folder."""
    p = setup.protocol
    values = {
        k: getattr(p, k) for k in ("name", "task", "classifier", "face_size_px", "steps", "batch", "learning_rate")
    }
    values |= {"power": POWER, "prior": PRIOR, "face_box": [round(part, 4) for part in FACE_BOX]}
    values |= {"key_frames": p.key_frames, "sequence_settings": list(p.sequence_settings)}
    values |= {"targets": p.targets, "worth": p.worth, "classes": list(setup.classes), "amounts": list(p.amounts)}
    w = setup.wishes
    values |= {"weights": dict(w.weights), "train_steps": w.steps, "train_hours": w.hours, "min_score": w.min_score}
    values |= {"yaw": None if w.yaw is None else list(w.yaw), "released": w.released}
    return values | {"settings": list(w.settings), "lssl_preset": w.lssl_preset, "simulated": setup.simulated}
