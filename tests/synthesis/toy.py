"""A small, quick, real stand-in for generator, face model, pack and gate; also a program that is killed by
tests.

Run as a program: ``toy.py '[[FOLDER, [KILL, KILL, …], MARK_EVERY_S], …]'``; see :func:`attempt`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lssl_augment.attributes import Vocabulary
from lssl_augment.synthesis.config import GenerateConfig
from lssl_augment.synthesis.generate import generate_run
from lssl_augment.synthesis.run import Loaded, Run, resolve_run
from lssl_augment.synthesis.sources import BuiltinSource, FaceSource

SIZE = 32
CLASSES = Vocabulary(("neutral", "happiness", "anger"))


@dataclass(frozen=True)
class Faces:
    latent: Tensor

    def select(self, rows: Tensor) -> Faces:
        return replace(self, latent=self.latent[rows])


class ToyEngine(nn.Module):
    """One convolution to encode, one to edit, with a fixed draw of weights."""

    def __init__(self, vocabulary: Vocabulary = CLASSES) -> None:
        super().__init__()
        self.vocabulary, self.face_size_px, self.encoded = vocabulary, SIZE, 0
        generator = torch.Generator().manual_seed(3)
        self.inner = nn.Parameter(torch.randn(4, 3, 3, 3, generator=generator) * 0.2)
        self.outer = nn.Parameter(torch.randn(3, 4, 3, 3, generator=generator) * 0.2)
        self.colours = nn.Parameter(torch.randn(len(vocabulary), 4, generator=generator))

    def encode(self, images: Tensor, dense: Tensor | None = None, labels: Tensor | None = None) -> Faces:
        assert images.dtype == torch.float32
        assert images.shape[1:] == (3, SIZE, SIZE)
        assert -1.0 <= float(images.min()) <= float(images.max()) <= 1.0
        self.encoded += len(images)
        return Faces(nn.functional.conv2d(images, self.inner, padding=1))

    def edit(
        self,
        faces: Faces,
        targets: Tensor,
        intensity: Tensor,
        seeds: Tensor,
        *,
        yaw_deg: Tensor | None = None,
    ) -> Tensor:
        if yaw_deg is not None:
            intensity = intensity + yaw_deg / 90
        shift = self.colours[targets] * intensity[:, None] + (seeds % 97).float()[:, None] / 97
        mixed = torch.tanh(faces.latent + shift[:, :, None, None])
        return torch.tanh(nn.functional.conv2d(mixed, self.outer, padding=1))


class ToyPeople:
    """Faces of noise, keyed on the seed."""

    def sample(self, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        draws = [np.random.default_rng(int(s)) for s in seeds]
        images = np.stack([d.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) for d in draws])
        return images, np.zeros((len(seeds), 478, 3), np.float32)


class ToyGate:
    """Scores the mean red of a face."""

    identity = "toy-gate"

    def __call__(self, images: Tensor, targets: np.ndarray) -> np.ndarray:
        return ((images[:, 0].mean((1, 2)) + 1) / 2).float().cpu().numpy()


@dataclass
class ToyPack:
    """What a FacePack offers, in memory."""

    labels: np.ndarray
    subjects: np.ndarray
    split: np.ndarray
    vocabulary: Vocabulary = CLASSES
    dataset: str = "toy"
    landmarks_dense: np.ndarray | None = None
    images: np.ndarray = field(init=False)
    landmarks: np.ndarray = field(init=False)
    files: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        n = len(self.labels)
        self.images = np.random.default_rng(0).integers(0, 256, (n, SIZE, SIZE, 3), dtype=np.uint8)
        self.landmarks = np.zeros((n, 68, 2), np.float32)
        self.files = np.array([f"{i}.png" for i in range(n)])


def card(**training: Any) -> dict[str, Any]:
    return {"sha256": "ab" * 32, "licence": "CC0-1.0", "kind": "generator", "training": training}


def toy_run(out: Path, source: FaceSource | None = None, gate: bool = True, **wishes: Any) -> Run:
    config = GenerateConfig(out=out, **{"per_class": 20, "batch": 4, "device": "cpu", **wishes})
    people = config.people or config.per_class or 20
    if source is None:
        source = BuiltinSource(ToyPeople(), "toy-people", people, config.seed, CLASSES)
    return resolve_run(config, Loaded(ToyEngine(), card(), "cpu"), source, ToyGate() if gate else None)


def attempt(out: Path, kill_after: float, mark_every_s: float) -> None:
    """Make or resume OUT in a child process that dies by SIGKILL: from inside after that many rows (an int),
    or from outside that many seconds after it began (a float)."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        if isinstance(kill_after, int):
            run = toy_run(out, resume=True)
            generate_run(run, lambda done, total: _die(done >= kill_after), mark_every_s=mark_every_s)
        else:
            # Slowed down a little, so that the moments fall everywhere.
            generate_run(toy_run(out, resume=True), lambda *_: time.sleep(0.005), mark_every_s=mark_every_s)
        os._exit(0)
    if isinstance(kill_after, float):
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _die(now: bool) -> None:
    if now:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    # Forked before torch has started a thread; importing it once for all attempts saves most of the time.
    for folder, kill_moments, marks in json.loads(sys.argv[1]):
        for moment in kill_moments:
            attempt(Path(folder) / "synthetic.h5", moment, marks)
