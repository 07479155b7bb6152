"""Folders of photographs as sources, and real packs read as data sets."""

from __future__ import annotations

import gc
import os
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import DataError, LeakageError
from lssl_augment.faces.align import template68
from lssl_augment.faces.pack import FacePack, PackWriter
from lssl_augment.synthesis.dataset import FacePackDataset, SyntheticExpressionDataset
from lssl_augment.synthesis.mixing import concat
from lssl_augment.synthesis.photographs import PhotographSource, read_photographs
from lssl_augment.synthesis.sources import PackSource

CLASSES = Vocabulary(("neutral", "happiness", "anger"))


def photographs(root: Path, names: list[str]) -> Path:
    """Noise with a landmark file beside it, so that no network is needed."""
    rng = np.random.default_rng(0)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (150, 140, 3), dtype=np.uint8)).save(root / name)
    points = np.repeat(template68()[None] + 8, len(names), axis=0)
    np.savez(root / "landmarks.npz", files=np.array(names), points68=points)
    return root


def write_pack(path: Path, labels: list[int], subjects: list[str], split: list[str], size: int = 32) -> Path:
    n = len(labels)
    images = np.random.default_rng(1).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    with PackWriter(path, CLASSES, dataset="test", face_size_px=size) as writer:
        files = [f"{i}.png" for i in range(n)]
        writer.append(images, np.array(labels), subjects, files, np.zeros((n, 68, 2), np.float32), split)
    return path


def test_a_flat_folder_gives_unlabelled_faces(tmp_path: Path) -> None:
    root = photographs(tmp_path / "photos", ["a.png", "b.png", "trip/c.png"])
    (root / "notes.txt").write_text("hello")
    source = PhotographSource(root, CLASSES)
    assert source.table.labels.tolist() == [-1, -1, -1]
    assert source.table.subjects.tolist() == ["a.png", "b.png", "trip/c.png"]
    images, dense = source.load(np.array([2, 0]))
    assert images.shape == (2, 128, 128, 3)
    assert dense is None
    described = source.describe()
    assert (described["kind"], described["skipped"]) == ("photographs", {"not an image file": 1})
    assert str(tmp_path) not in str(described)
    # Moved elsewhere, they are the same source still.
    os.rename(root, tmp_path / "moved")
    assert PhotographSource(tmp_path / "moved", CLASSES).describe() == described


def test_class_folders_give_labels_and_all_is_for_training(tmp_path: Path) -> None:
    root = photographs(tmp_path, [f"{c}/{i}.png" for c in ("happy", "angry", "neutral") for i in range(4)])
    source = PhotographSource(root, CLASSES)
    assert np.bincount(source.table.labels).tolist() == [4, 4, 4]
    assert set(source.table.folds.tolist()) == {"train"}


def test_split_folders_are_kept(tmp_path: Path) -> None:
    names = [f"{split}/{name}/{split}{name}.png" for split in ("train", "test") for name in ("happy", "angry")]
    root = photographs(tmp_path, names)
    assert len(PhotographSource(root, CLASSES).table) == 2
    with pytest.raises(LeakageError, match="'train' only"):
        PhotographSource(root, CLASSES, split="test")


def test_folders_without_use(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no photographs; found nothing"):
        read_photographs(tmp_path)
    (tmp_path / "a.png").write_bytes(b"no image")
    np.savez(tmp_path / "landmarks.npz", files=np.array(["a.png"]), points68=template68()[None])
    with pytest.raises(DataError, match="none of 1 photographs gave a face: unreadable image"):
        PhotographSource(tmp_path, CLASSES)


def test_temporary_faces_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    source = PhotographSource(photographs(tmp_path / "photos", ["a.png"]), CLASSES)
    assert len(list((tmp_path / "temporary").rglob("faces.h5"))) == 1
    del source
    gc.collect()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_pack_data_set(tmp_path: Path) -> None:
    path = write_pack(tmp_path / "p.h5", [0, 2, -1, 1, 0], ["a", "b", "c", "d", "e"], ["train"] * 3 + ["test", "train"])
    pack = FacePack.open(path)
    data = FacePackDataset(path)
    assert data.rows.tolist() == [0, 1, 4]  # labelled faces of the training split
    assert data.targets == [0, 2, 0]
    assert data.subjects.tolist() == ["a", "b", "e"]
    assert data.held_out_subjects == {"d"}
    assert not data.is_synthetic
    image, label = data[1]
    assert label == 2
    assert np.array_equal(np.asarray(image), pack.images[1])
    assert FacePackDataset(path, classes=["angry", "happy"]).targets == [0]
    assert FacePackDataset(path, "test").targets == [1]
    with pytest.raises(DataError, match=r"no face of split 'val'.*its splits: test, train"):
        FacePackDataset(path, "val")


def test_real_and_synthetic_from_one_pack(toy: ModuleType, tmp_path: Path) -> None:
    path = write_pack(tmp_path / "p.h5", [0, 2, 1, 0, 0], list("abcde"), ["train"] * 4 + ["test"])
    out = tmp_path / "s.h5"
    toy.generate_run(toy.toy_run(out, PackSource(FacePack.open(path), CLASSES), per_class=5))
    synthetic = SyntheticExpressionDataset(out)
    mixed = FacePackDataset(path) + synthetic
    assert mixed.synthetic.tolist() == [False] * 4 + [True] * 15
    assert mixed[0][0].size == mixed[18][0].size == (32, 32)
    with pytest.raises(LeakageError, match="training faces only; this real part is of split test"):
        concat(FacePackDataset(path, "test"), synthetic)
    # The same faces, split another way: people of the synthetic images are test subjects now.
    split = ["test", "train", "train", "test", "train"]
    other = write_pack(tmp_path / "q.h5", [0, 2, 1, 0, 0], list("abcde"), split)
    with pytest.raises(LeakageError, match="2 people of the synthetic images are held out"):
        concat(FacePackDataset(other), synthetic)
