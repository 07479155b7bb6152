"""One folder a run, numbered: ``runs/00003-compact-lfw/`` holds all there is to know about it.

``config.json`` (the resolved configuration), ``data.json`` (what it was trained on), ``environment.json``,
``command.txt``, ``stats.jsonl``, ``tensorboard/``, ``checkpoints/``, ``sheets/`` and, when the run has ended,
``weights/``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lssl_augment.errors import DataError, TrainingError
from lssl_augment.training.batches import TrainingFaces
from lssl_augment.training.config import TrainConfig
from lssl_augment.training.distributed import describe_processes, process_rank, tell_all
from lssl_augment.training.environment import environment
from lssl_augment.training.start import describe_start

__all__ = ["RunFolder", "describe_faces"]


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @classmethod
    def create(cls, root: str | Path, config: TrainConfig, faces: TrainingFaces, command: str) -> RunFolder:
        """Make the next numbered folder below ``root`` and write down what the run is.

        Of several processes the first makes it, and the others get its path.

        Raises:
            OSError: the folder cannot be written.
        """
        world = describe_processes()
        if process_rank() > 0:
            return cls(Path(tell_all("")))
        root = Path(root)
        root.mkdir(parents=True, exist_ok=True)
        label = re.sub(r"[^A-Za-z0-9.-]+", "-", f"{config.preset}-{faces.dataset}").strip("-")
        while True:
            numbers = [int(m[1]) for p in root.iterdir() if (m := re.match(r"(\d{5})-", p.name))]
            path = root / f"{max(numbers, default=-1) + 1:05d}-{label}"
            try:
                path.mkdir()
                break
            except FileExistsError:  # another run took the number at the same moment
                continue
        run = cls(path)
        run.write_config(config)
        data = describe_faces(faces)
        if config.init:
            data["init"] = describe_start(config.init)
        run._write_json("data.json", data)
        run._write_json("environment.json", {**environment(config.device), **world})
        (path / "command.txt").write_text(command + "\n", encoding="utf-8")
        tell_all(str(path.resolve()))
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """An existing run folder.

        Raises:
            TrainingError: there is no run in that folder.
        """
        run = cls(Path(path))
        missing = [name for name in ("config.json", "data.json") if not (run.path / name).is_file()]
        if missing:
            raise TrainingError(f"{path} is no run folder: it has no {' and no '.join(missing)}")
        return run

    def read_config(self) -> TrainConfig:
        """The configuration of the run; ``TrainingError`` when it cannot be read."""
        try:
            return TrainConfig.from_json((self.path / "config.json").read_text(encoding="utf-8"))
        except (DataError, OSError, UnicodeDecodeError) as error:
            raise TrainingError(f"cannot read {self.path / 'config.json'}: {error}") from error

    def write_config(self, config: TrainConfig) -> None:
        """Write the configuration down, also when a resumed run was given another end or device."""
        (self.path / "config.json").write_text(config.to_json(), encoding="utf-8")

    def read_data(self) -> dict[str, Any]:
        """What the run was trained on (:func:`describe_faces`); ``TrainingError`` when it cannot be read."""
        try:
            data: dict[str, Any] = json.loads((self.path / "data.json").read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise TrainingError(f"cannot read {self.path / 'data.json'}: {error}") from error
        return data

    def command(self) -> str:
        """The command line that started the run."""
        return (self.path / "command.txt").read_text(encoding="utf-8").strip()

    def check_faces(self, faces: TrainingFaces) -> None:
        """Refuse to go on with other faces than the run began with (``TrainingError``)."""
        before, now = self.read_data(), describe_faces(faces)
        if before.get("fingerprint") != now["fingerprint"]:
            raise TrainingError(
                f"{self.path} began with other faces: {before.get('faces')} of {before.get('dataset')!r}, "
                f"now {now['faces']} of {now['dataset']!r}; resume with the same pack or start a new run"
            )

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        (self.path / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def describe_faces(faces: TrainingFaces) -> dict[str, Any]:
    """What a run was trained on, for its folder and the card of its weights; names of subjects stay out."""
    return {
        "dataset": faces.dataset,
        "split": "train",
        "faces": len(faces),
        "subjects": len(np.unique(faces.subjects)),
        "counts": faces.counts(),
        "face_size_px": faces.face_size_px,
        "fingerprint": faces.fingerprint(),
    }
