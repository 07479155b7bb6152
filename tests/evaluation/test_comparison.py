"""Arms compared, and the example script from its files to its table."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from lssl_augment.attributes import BASIC5, BASIC8
from lssl_augment.errors import DataError, LeakageError
from lssl_augment.evaluation.batches import BatchSource
from lssl_augment.evaluation.classifiers import ClassifierConfig
from lssl_augment.evaluation.comparison import compare, markdown_table, summarise
from lssl_augment.evaluation.face_table import FACE_BOX, FaceTable, cut_faces, pack_table, synthetic_table
from lssl_augment.faces.align import template68
from lssl_augment.faces.pack import PackWriter
from lssl_augment.synthesis.schema import COLUMNS, FORMAT, SCHEMA_VERSION

EXAMPLE = Path(__file__).parents[2] / "examples" / "lfw_expressions.py"


def test_equal_arms_do_not_differ(train: FaceTable, test: FaceTable) -> None:
    source = BatchSource(train, 8, balanced=True, augmented=True)
    natural = BatchSource(train, 8, balanced=False, augmented=False)
    calls: list[Any] = []
    config = ClassifierConfig("tiny", steps=2)
    arms = {"ordinary": source, "twin": source, "real": natural}
    results = compare(arms, test, config, [0, 5], on_step=lambda *a: calls.append(a[:3]))
    assert calls[:4] == [("ordinary", 0, 1), ("ordinary", 0, 2), ("ordinary", 5, 1), ("ordinary", 5, 2)]
    assert len(calls) == 12  # the same number of steps for every arm
    summary = summarise(results, test, "ordinary")
    assert "difference" not in summary["ordinary"]
    twin = summary["twin"]["difference"]
    assert set(twin["mean"].values()) == set(twin["sd"].values()) == {0.0}
    assert twin["subject_interval"] == (0.0, 0.0)
    assert len(summary["real"]["runs"]) == 2
    by_seed = summary["real"]["difference"]["by_seed"]["accuracy"]
    assert np.mean(by_seed) == pytest.approx(
        summary["real"]["mean"]["accuracy"] - summary["ordinary"]["mean"]["accuracy"]
    )
    table = markdown_table(json.loads(json.dumps(summary)))
    assert table.count("\n| twin |") == 2
    assert "+0.0 ± 0.0" in table


def test_compare_refuses(train: FaceTable, test: FaceTable) -> None:
    source = BatchSource(train, 8, balanced=True, augmented=True)
    config = ClassifierConfig("tiny", steps=1)
    for arms, seeds in (({}, [0]), ({"a": source}, []), ({"a": source}, [1, 1])):
        with pytest.raises(DataError, match="distinct seeds"):
            compare(arms, test, config, seeds)
    with pytest.raises(DataError, match="baseline"):
        summarise(compare({"a": source}, test, config, [0]), test, "b")


def write_pack(path: Path, tables: dict[str, FaceTable]) -> None:
    with PackWriter(path, BASIC8, dataset="tiny") as writer:
        for split, table in tables.items():
            count = len(table)
            landmarks = np.repeat(template68()[None], count, axis=0).astype(np.float32)
            images = table.images.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
            writer.append(
                images.permute(0, 2, 3, 1).numpy(),
                table.labels.numpy(),
                table.subjects.tolist(),
                [f"{split}/{i}.jpg" for i in range(count)],
                landmarks,
                [split] * count,
            )


def write_synthetic(path: Path, table: FaceTable, *, rejected: int = 0, **attributes: Any) -> None:
    count, size_px = len(table), table.images.shape[-1]
    with h5py.File(path, "w") as file:
        file["images"] = table.images.permute(0, 2, 3, 1).numpy()
        for name, dtype in COLUMNS.items():
            file[name] = np.ones(count, dtype)
        file["labels"][:] = table.labels.numpy()
        file["accepted"][:rejected] = False
        text = h5py.string_dtype("utf-8")
        file.create_dataset("subjects", data=table.subjects.astype(object), dtype=text)
        file.create_dataset("folds", data=np.array(["train"] * count, object), dtype=text)
        file.attrs.update(
            {
                "format": FORMAT,
                "schema_version": SCHEMA_VERSION,
                "class_names": json.dumps(BASIC5.names),
                "face_size_px": size_px,
                "config": "{}",
                "counts": json.dumps(table.counts),
                "source": "{}",
                "weights_sha256": "0" * 64,
                "weights_card": "{}",
                "licence": "none",
                "ai_generated": True,
                "digital_source_type": "x",
                "complete": True,
                **attributes,
            }
        )


@pytest.fixture
def files(tmp_path: Path, train: FaceTable, test: FaceTable) -> tuple[Path, Path]:
    pack, synthetic = tmp_path / "pack.h5", tmp_path / "synthetic.h5"
    write_pack(pack, {"train": train, "test": test})
    write_synthetic(synthetic, train)
    return pack, synthetic


def test_tables_from_files(files: tuple[Path, Path], train: FaceTable, tmp_path: Path) -> None:
    pack, synthetic = files
    table = pack_table(pack, "train", BASIC5, 16)
    whole = pack_table(pack, "train", BASIC5)
    assert torch.equal(whole.images[..., ::8, ::8], train.images)  # the pack has them enlarged by 8
    assert torch.equal(table.images, cut_faces(whole.images, 16))
    assert torch.equal(table.images, whole.cut(16).images)
    assert torch.equal(table.labels, train.labels)
    assert table.subjects.tolist() == train.subjects.tolist()
    assert pack_table(pack, "test", BASIC5).images.shape[-1] == 128
    with pytest.raises(DataError, match=r"no face .*'dev'.*test, train"):
        pack_table(pack, "dev", BASIC5)
    made, origin = synthetic_table(synthetic, BASIC5)
    assert torch.equal(made.images, train.images)
    assert origin["counts"] == train.counts
    part = tmp_path / "part.h5"
    write_synthetic(part, train, rejected=70)
    assert len(synthetic_table(part, BASIC5)[0]) == len(train) - 70
    open_to_test = tmp_path / "open.h5"
    write_synthetic(open_to_test, train, test_subjects_allowed=True)
    with pytest.raises(LeakageError, match="test subjects"):
        synthetic_table(open_to_test, BASIC5)


@pytest.fixture(scope="module")
def example() -> Any:
    spec = importlib.util.spec_from_file_location("lfw_expressions", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example(example: Any, files: tuple[Path, Path], tmp_path: Path, capsys: Any) -> None:
    pack, synthetic = files
    out = tmp_path / "table.json"
    arguments = ["--pack", str(pack), "--synthetic", str(synthetic), "--steps", "1", "--batch", "4"]
    assert example.main([*arguments, "--seeds", "3,4", "--rare-limit", "4", "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "| synthetic |" in shown.out
    assert "may come from more" in shown.out
    report = json.loads(out.read_text(encoding="utf-8"))
    assert list(report["arms"]) == ["real", "ordinary", "synthetic"]
    assert report["seeds"] == [3, 4]
    assert report["rare_classes"] == ["surprise", "anger", "sadness"]
    assert report["train_faces"]["anger"] == 4
    assert report["environment"]["torch"] == torch.__version__


def test_the_example_refuses_leaks_in_one_line(
    example: Any, files: tuple[Path, Path], test: FaceTable, tmp_path: Path, capsys: Any
) -> None:
    leaky = tmp_path / "leaky.h5"
    write_synthetic(leaky, test)
    assert example.main(["--pack", str(files[0]), "--synthetic", str(leaky), "--steps", "1"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.strip().startswith("error: ")
    assert len(shown.err.strip().splitlines()) == 1
    assert example.main(["--pack", str(tmp_path / "none.h5")]) == 1
    with pytest.raises(SystemExit):
        example.main(["--pack", "x.h5", "--seeds", "one"])


@pytest.mark.parametrize("size", [64, 100, 128])
def test_a_classifier_sees_the_face_and_little_else(size: int) -> None:
    left, top, side = (part * size for part in FACE_BOX)
    x, y = template68(size)[17:].T - np.array([[left], [top]])  # brows, nose, eyes, mouth
    assert 0.05 * side < min(x.min(), y.min())
    assert max(x.max(), y.max()) < 0.95 * side
    chin = template68(size)[8, 1] - top
    assert 0.95 * side < chin < side
    ramp = torch.arange(size, dtype=torch.uint8).expand(2, 3, size, size)
    inside = cut_faces(ramp, round(side))  # as large as the box: nothing is resampled
    assert inside.shape == (2, 3, round(side), round(side))
    assert inside[0, 0, 0, [0, -1]].tolist() == [round(left), round(left) + round(side) - 1]
    down = cut_faces(ramp.mT, round(side))[0, 0, [0, -1], 0]
    assert down.tolist() == [round(top), round(top) + round(side) - 1]
    assert cut_faces(ramp, 16).shape == (2, 3, 16, 16)
    assert cut_faces(ramp, size).float().diff(dim=-1).min() >= 0  # enlarged, still a ramp
