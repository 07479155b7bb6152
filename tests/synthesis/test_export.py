"""Exports keep images, labels and the AI-generated mark."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from lssl_augment.errors import DataError
from lssl_augment.synthesis.export import ExportConfig, export_synthetic

MARK = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def read_index(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_image_folder(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "faces"
    assert export_synthetic(ExportConfig(made, out)) == 60
    folder = ImageFolder(str(out / "images"))
    assert folder.classes == ["anger", "happiness", "neutral"]
    index = read_index(out / "index.csv")
    assert len(index) == len(folder) == 60
    with h5py.File(made) as h5:
        for row in (index[0], index[41]):
            with Image.open(out / row["file"]) as image:
                assert np.array_equal(np.asarray(image), h5["images"][int(row["row"])])
                assert image.text["digital_source_type"] == MARK  # type: ignore[attr-defined]
            assert row["expression"] == Path(row["file"]).parent.name
            assert int(row["seed"]) == h5["seeds"][int(row["row"])]
            assert (row["ai_generated"], row["fold"]) == ("True", "built-in")
    about = json.loads((out / "dataset.json").read_text(encoding="utf-8"))
    assert about["ai_generated"] is True
    assert about["digital_source_type"] == MARK
    assert about["weights_card"]["licence"] == about["licence"] == "CC0-1.0"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["faces"]


def test_jpeg_carries_the_mark(made: Path, tmp_path: Path) -> None:
    export_synthetic(ExportConfig(made, tmp_path / "faces", image_format="jpg"))
    path = min((tmp_path / "faces" / "images" / "anger").iterdir())
    assert path.suffix == ".jpg"
    with Image.open(path) as image:
        assert MARK in image.info["xmp"].decode()
        assert image.size == (32, 32)


def test_webdataset(made: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert export_synthetic(ExportConfig(made, tmp_path / name, to="webdataset", shard_size=25)) == 60
    shards = sorted(p.name for p in (tmp_path / "a").glob("*.tar"))
    assert shards == ["shard-000000.tar", "shard-000001.tar", "shard-000002.tar"]
    for shard in shards:  # equal data make equal tars
        assert (tmp_path / "a" / shard).read_bytes() == (tmp_path / "b" / shard).read_bytes()
    with tarfile.open(tmp_path / "a" / shards[1]) as tar, h5py.File(made) as h5:
        names = tar.getnames()
        assert names[:3] == ["00000025.png", "00000025.cls", "00000025.json"]
        content = [tar.extractfile(name).read() for name in names[:3]]  # type: ignore[union-attr]
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(content[0]))), h5["images"][25])
        assert int(content[1]) == h5["labels"][25]
        row = json.loads(content[2])
        assert row["row"] == 25
        assert row["ai_generated"] is True


def test_csv(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "index.csv"
    export_synthetic(ExportConfig(made, out, to="csv"))
    rows = read_index(out)
    with h5py.File(made) as h5:
        assert [int(r["label"]) for r in rows] == h5["labels"][:].tolist()
        assert [float(r["score"]) for r in rows] == pytest.approx(h5["scores"][:].tolist(), abs=1e-6)
    assert rows[0]["file"] == "synthetic.h5"
    assert json.loads((tmp_path / "index.json").read_text(encoding="utf-8"))["images"] == 60


def test_rejected_images_are_left_out_unless_asked_for(toy: ModuleType, tmp_path: Path) -> None:
    source = tmp_path / "s.h5"
    report = toy.generate_run(toy.toy_run(source, min_score=0.5))
    accepted = sum(report.accepted.values())
    assert export_synthetic(ExportConfig(source, tmp_path / "a.csv", to="csv")) == accepted < 60
    assert export_synthetic(ExportConfig(source, tmp_path / "b.csv", to="csv", accepted_only=False)) == 60


def test_nothing_of_the_users_is_replaced(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="exists already"):
        export_synthetic(ExportConfig(made, out))
    with pytest.raises(DataError, match="no export made"):
        export_synthetic(ExportConfig(made, out, overwrite=True))
    assert (out / "thesis.txt").exists()
    other = tmp_path / "faces"
    export_synthetic(ExportConfig(made, other))
    (other / "images" / "stale").mkdir()
    export_synthetic(ExportConfig(made, other, overwrite=True))
    assert not (other / "images" / "stale").exists()


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"to": "parquet"}, "folder, webdataset, csv; got 'parquet'"),
        ({"image_format": "gif"}, "png, jpg; got 'gif'"),
        ({"shard_size": 0}, "at least 1"),
        ({"to": "csv"}, "NAME.csv"),
    ],
)
def test_bad_configuration(wish: dict[str, object], message: str, made: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        ExportConfig(made, tmp_path / "out", **wish)  # type: ignore[arg-type]
