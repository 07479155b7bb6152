"""The script that makes the released weights again, on simulated people and with hardly any steps."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lssl_augment.faces.pack import FacePack

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "train_released_weights.sh"
#: The command that is installed beside this Python.
BIN = Path(sys.executable).parent


def published(name: str, root: Path, people: int, size_px: int) -> Path:
    """A simulated copy of a data set whose photographs are aligned faces, with a landmarks.npz as the real one has."""
    pack = root.parent / f"{name}-stand-in.h5"
    words = ["prepare", name, "--simulated", "--subjects", str(people), "--root", str(root), "--out", str(pack)]
    subprocess.run([str(BIN / "lssl-augment"), *words], check=True, capture_output=True)
    faces = FacePack.open(pack)
    scale = size_px / faces.images.shape[1]
    for file, image in zip(faces.files, faces.images, strict=True):
        Image.fromarray(np.asarray(image)).resize((size_px, size_px)).save(root / file)
    points = (np.asarray(faces.landmarks_dense, np.float32) + 0.5) * scale - 0.5
    np.savez(root / "landmarks.npz", files=np.array(list(faces.files)), points478=points)
    return root


@pytest.mark.slow
def test_all_weights_are_made_again_and_what_is_finished_is_kept(tmp_path: Path) -> None:
    lfw = shutil.make_archive(str(tmp_path / "lfw"), "zip", published("lfw-expressions", tmp_path / "lfw", 240, 250))
    fer = published("fer2013", tmp_path / "fer", 90, 48)
    out = tmp_path / "out"
    env = {**os.environ, "STEPS_OVER": "100000", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    env["PATH"] = f"{BIN}{os.pathsep}{env['PATH']}"
    run = ["bash", str(SCRIPT), lfw, str(fer), str(out)]
    subprocess.run(run, check=True, env=env)
    networks = ("landmarks", "parser", "faces", "gate", "recogniser", "lfw-128", "lfw-fer-128", "fer-128")
    made = {path: path.stat().st_mtime_ns for name in networks for path in out.glob(f"{name}.*") if path.is_file()}
    assert {path.name for path in made} >= {f"{name}{end}" for name in networks for end in (".safetensors", ".json")}
    assert sorted(path.name for path in out.glob("evaluate_*.json")) == [
        "evaluate_fer-128.json",
        "evaluate_lfw-128.json",
        "evaluate_lfw-fer-128.json",
    ]
    # A run that was stopped after its last checkpoint goes on from there; nothing else is made again.
    (out / "fer-128.json").unlink()
    (finished,) = (out / "runs" / "fer-128").glob("*/weights/compact-128.json")
    finished.unlink()
    again = subprocess.run(run, check=True, env=env, capture_output=True, text=True)
    assert [line for line in again.stdout.splitlines() if line.startswith("==")] == ["== fer-128"]
    assert {path: path.stat().st_mtime_ns for path in made if not path.name.startswith("fer-128")} == {
        path: at for path, at in made.items() if not path.name.startswith("fer-128")
    }
