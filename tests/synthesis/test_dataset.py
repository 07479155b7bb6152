"""SyntheticExpressionDataset: items, filters, classes, pickling, refusals."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from lssl_augment.errors import DataError, SchemaError
from lssl_augment.synthesis.dataset import SyntheticExpressionDataset


def change(source: Path, target: Path, **attributes: object) -> Path:
    """A copy of a file with other attributes (None: removed)."""
    shutil.copy(source, target)
    with h5py.File(target, "r+") as h5:
        for name, value in attributes.items():
            if value is None:
                del h5.attrs[name]
            else:
                h5.attrs[name] = value
    return target


def test_items_are_what_the_file_holds(made: Path) -> None:
    data = SyntheticExpressionDataset(made)
    assert len(data) == 60
    assert data.classes == ["neutral", "happiness", "anger"]
    assert data.class_to_idx == {"neutral": 0, "happiness": 1, "anger": 2}
    with h5py.File(made) as h5:
        assert data.targets == h5["labels"][:].tolist()
        for i in (0, 17, 59, -1):
            image, label = data[i]
            assert isinstance(image, Image.Image)
            assert type(label) is int
            assert np.array_equal(np.asarray(image), h5["images"][i])
            assert label == h5["labels"][i]
        assert np.array_equal(data.seeds, h5["seeds"][:])
        assert data.subjects.tolist() == h5["subjects"].asstr()[:].tolist()
    assert set(data.folds.tolist()) == {"built-in"}
    assert data.info.counts == {"neutral": 20, "happiness": 20, "anger": 20}
    assert data.info.licence == "CC0-1.0"
    assert list(data.info.counts) == data.classes
    with pytest.raises(IndexError, match="60 items"):
        data[60]


def test_iteration_ends(made: Path) -> None:
    assert sum(1 for _ in SyntheticExpressionDataset(made)) == 60


def test_transforms_and_tensors(made: Path) -> None:
    data = SyntheticExpressionDataset(made, lambda image: image.size, lambda label: f"class {label}")
    assert data[1] == ((32, 32), "class 1")
    tensor, _ = SyntheticExpressionDataset(made, as_tensor=True)[5]
    assert (tensor.dtype, tuple(tensor.shape)) == (torch.uint8, (3, 32, 32))
    assert tensor.is_contiguous()
    image, _ = SyntheticExpressionDataset(made)[5]
    assert np.array_equal(tensor.permute(1, 2, 0).numpy(), np.asarray(image))


def test_filter_by_score_and_acceptance(toy: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    report = toy.generate_run(toy.toy_run(out, min_score=0.5))
    everything = SyntheticExpressionDataset(out, accepted_only=False)
    accepted = SyntheticExpressionDataset(out)
    assert len(everything) == 60  # rejected rows are kept
    assert 0 < len(accepted) == int((everything.scores >= 0.5).sum()) < 60
    assert len(accepted) == sum(report.accepted.values())
    stricter = SyntheticExpressionDataset(out, min_score=0.6)
    assert len(stricter) == int((everything.scores >= 0.6).sum())
    image, label = stricter[0]
    row = int(stricter.rows[0])
    assert (label, np.asarray(image).tolist()) == (
        everything[row][1],
        np.asarray(everything[row][0]).tolist(),
    )
    with pytest.raises(DataError, match="none of its 60 images is left"):
        SyntheticExpressionDataset(out, min_score=1.1)


def test_without_a_gate_there_are_no_scores(toy: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    toy.generate_run(toy.toy_run(out, gate=False))
    assert np.isnan(SyntheticExpressionDataset(out).scores).all()
    with pytest.raises(DataError, match="none of its 60 images is left"):
        SyntheticExpressionDataset(out, min_score=0.1)


def test_classes_in_the_users_order_and_words(made: Path) -> None:
    plain = SyntheticExpressionDataset(made)
    data = SyntheticExpressionDataset(made, classes=["angry", "disgust", "happy"])
    assert data.classes == ["angry", "disgust", "happy"]
    assert data.vocabulary.names == ("anger", "disgust", "happiness")
    assert len(data) == 40
    for i in range(len(data)):
        assert plain.classes[plain.targets[data.rows[i]]] == data.vocabulary.names[data.targets[i]]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["anger", "bored"], "unknown classes .'bored'.; allowed: neutral"),
        (["happy", "happiness"], "must be distinct"),
        (["fear"], "none of the classes"),
    ],
)
def test_classes_that_do_not_fit(classes: list[str], message: str, made: Path) -> None:
    with pytest.raises(DataError, match=message):
        SyntheticExpressionDataset(made, classes=classes)
    with pytest.raises(TypeError, match="list of names"):
        SyntheticExpressionDataset(made, classes="anger")


def test_pickles_without_its_handle(made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(made.parent)
    data = SyntheticExpressionDataset(made.name)  # a relative path
    first = np.asarray(data[3][0])
    content = pickle.dumps(data)
    assert len(content) < 20_000  # labels and names, no images
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(np.asarray(pickle.loads(content)[3][0]), first)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            {"format": "lssl-augment/face-pack"},
            "not a synthetic file: its format is 'lssl-augment/face-pack'",
        ),
        ({"format": None}, "not a synthetic file"),
        ({"schema_version": 2}, "schema version 2; this package reads version 1"),
        ({"complete": False}, "not finished"),
        ({"licence": None}, "lacks licence"),
        ({"face_size_px": 64}, "images must be"),
        ({"class_names": "[1"}, "cannot be read"),
        ({"class_names": '["angry"]'}, "cannot be read"),
    ],
)
def test_other_files_are_refused(attributes: dict[str, object], message: str, made: Path, tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=message):
        SyntheticExpressionDataset(change(made, tmp_path / "x.h5", **attributes))


def test_damaged_files_are_refused(made: Path, tmp_path: Path) -> None:
    content = made.read_bytes()
    for name, part in {
        "cut": content[:-5000],
        "short": content[:300],
        "empty": b"",
        "text": b"hello" * 100,
    }.items():
        path = tmp_path / f"{name}.h5"
        path.write_bytes(part)
        with pytest.raises(SchemaError, match="no readable HDF5 file"):
            SyntheticExpressionDataset(path)
    lacking = tmp_path / "lacking.h5"
    shutil.copy(made, lacking)
    with h5py.File(lacking, "r+") as h5:
        del h5["seeds"]
        h5["scores2"] = h5["scores"][:]
    with pytest.raises(SchemaError, match="lacks seeds"):
        SyntheticExpressionDataset(lacking)
    with pytest.raises(FileNotFoundError):
        SyntheticExpressionDataset(tmp_path / "nothing.h5")


def test_the_file_reads_with_plain_h5py(made: Path) -> None:
    with h5py.File(made) as h5:
        assert h5.attrs["ai_generated"]
        assert h5.attrs["digital_source_type"].endswith("/trainedAlgorithmicMedia")
        assert h5.attrs["complete"]
        assert h5.attrs["template68"].shape == (68, 2)
        assert h5["images"].chunks is None
        assert h5["images"].compression is None
        types = {name: str(h5[name].dtype) for name in h5 if h5[name].dtype.kind != "S"}
        # Nothing of this machine or of the time of day.
        everything = " ".join(str(v) for v in h5.attrs.values())
    assert str(made.parent) not in everything
    assert types == {
        "images": "uint8",
        "yaws": "float32",
        "labels": "int64",
        "source_labels": "int64",
        "source_ids": "int64",
        "intensities": "float32",
        "seeds": "int64",
        "scores": "float32",
        "accepted": "bool",
    }
