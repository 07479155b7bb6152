"""The run itself: determinism, one encoding per source, report, sheet, configuration."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from lssl_augment.attribute_vector import AttributeSpec
from lssl_augment.errors import DataError
from lssl_augment.faces.resize import resize_images
from lssl_augment.synthesis.config import GenerateConfig, parse_intensity, parse_yaw
from lssl_augment.synthesis.dataset import SyntheticExpressionDataset
from lssl_augment.synthesis.generate import estimate_run
from lssl_augment.synthesis.making import Stopwatch, make_parts, to_uint8, to_unit
from lssl_augment.synthesis.run import Loaded, resolve_run
from lssl_augment.synthesis.sheet import contact_sheet, sheet_rows
from lssl_augment.synthesis.sources import PackSource


def test_report(toy: ModuleType, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    run = toy.toy_run(tmp_path / "new" / "a.h5")
    report = toy.generate_run(run, lambda done, total: seen.append((done, total)))
    assert report.path == tmp_path / "new" / "a.h5"
    assert report.sheet.exists()
    assert report.counts == {"neutral": 20, "happiness": 20, "anger": 20}
    assert (report.rows, report.rows_made, report.sources) == (60, 60, 20)
    assert seen == [(n, 60) for n in range(4, 61, 4)]
    assert set(report.seconds) == {"sources", "network", "gate", "writing", "total"}
    assert all(s > 0 for s in report.seconds.values())
    assert report.writing_share == report.seconds["writing"] / report.seconds["network"]


def test_each_source_is_encoded_once(toy: ModuleType, tmp_path: Path) -> None:
    run = toy.toy_run(tmp_path / "a.h5", per_class=50, people=7)
    toy.generate_run(run)
    assert run.loaded.engine.encoded == 7


def test_many_rows_of_one_source_come_in_parts(toy: ModuleType, tmp_path: Path) -> None:
    run = toy.toy_run(tmp_path / "a.h5", per_class=30, people=2)
    parts = list(make_parts(run, 0, Stopwatch()))
    assert [len(part.images) for part in parts] == [4] * 22 + [2]
    assert run.loaded.engine.encoded == 2
    # From the middle of a block on, the same images come out.
    rest = list(make_parts(run, 52, Stopwatch()))
    assert rest[0].rows == slice(52, 56)
    whole = {part.rows.start: part.images for part in parts}
    assert all(np.array_equal(whole[part.rows.start], part.images) for part in rest)


def test_images_are_what_the_engine_makes_of_the_plan(toy: ModuleType, tmp_path: Path) -> None:
    run = toy.toy_run(tmp_path / "a.h5")
    toy.generate_run(run)
    plan, engine = run.plan, toy.ToyEngine()
    with h5py.File(tmp_path / "a.h5") as h5, torch.inference_mode():
        for row in (0, 13, 59):
            faces = engine.encode(to_unit(run.source.load(plan.source_ids[[row]])[0], "cpu"))
            one = [torch.from_numpy(c[[row]]) for c in (plan.targets, plan.intensities, plan.seeds)]
            edited = engine.edit(faces, *one)
            # Another batch may round the last bit differently.
            assert np.abs(to_uint8(edited)[0].astype(int) - h5["images"][row]).max() <= 1
            assert h5["scores"][row] == pytest.approx(toy.ToyGate()(edited, one[0].numpy())[0], abs=1e-5)
            assert h5["source_ids"][row] == plan.source_ids[row]


def test_heads_turn_as_the_plan_says(toy: ModuleType, tmp_path: Path) -> None:
    run = toy.toy_run(tmp_path / "a.h5", yaw=(-20.0, 20.0))
    toy.generate_run(run)
    toy.generate_run(toy.toy_run(tmp_path / "still.h5"))
    plan, engine = run.plan, toy.ToyEngine()
    with h5py.File(tmp_path / "a.h5") as h5, h5py.File(tmp_path / "still.h5") as still, torch.inference_mode():
        assert np.array_equal(h5["yaws"][:], plan.yaws)
        assert np.isnan(still["yaws"][:]).all()
        assert json.loads(h5.attrs["config"])["yaw"] == [-20.0, 20.0]
        faces = engine.encode(to_unit(run.source.load(plan.source_ids[[7]])[0], "cpu"))
        one = [torch.from_numpy(c[[7]]) for c in (plan.targets, plan.intensities, plan.seeds)]
        edited = engine.edit(faces, *one, yaw_deg=torch.from_numpy(plan.yaws[[7]]))
        assert np.abs(to_uint8(edited)[0].astype(int) - h5["images"][7]).max() <= 1
        assert not np.array_equal(h5["images"][7], still["images"][7])
    data = SyntheticExpressionDataset(tmp_path / "a.h5")
    assert np.array_equal(data.yaws, plan.yaws)


def test_a_file_from_before_poses_is_read(toy: ModuleType, tmp_path: Path) -> None:
    toy.generate_run(toy.toy_run(tmp_path / "a.h5"))
    with h5py.File(tmp_path / "a.h5", "r+") as h5:
        del h5["yaws"]
    assert np.isnan(SyntheticExpressionDataset(tmp_path / "a.h5").yaws).all()


def test_weights_that_turn_no_heads_are_known_before_any_face(toy: ModuleType, tmp_path: Path) -> None:
    class Still(toy.ToyEngine):  # type: ignore[misc, name-defined]
        attributes = AttributeSpec(toy.CLASSES)

    class Turning(toy.ToyEngine):  # type: ignore[misc, name-defined]
        attributes, turns_heads = AttributeSpec(toy.CLASSES, (-15, 0, 15)), True

    run = toy.toy_run(tmp_path / "a.h5")
    config = replace(run.config, yaw=(-20.0, 20.0))
    for engine, message in ((Still(), "turn no heads to any angle"), (Turning(), "from -15 to 15 degrees; got yaw")):
        with pytest.raises(DataError, match=message):
            resolve_run(config, Loaded(engine, run.loaded.card, "cpu"), run.source, run.gate)


def test_pixels_survive_the_round_trip() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    assert np.array_equal(to_uint8(to_unit(every, "cpu")), every)
    assert to_uint8(torch.full((1, 3, 2, 2), 1.7)).min() == 255


def test_sources_of_another_size_are_brought_to_the_generators(toy: ModuleType, tmp_path: Path) -> None:
    pack = toy.ToyPack(labels=np.array([0, 1]), subjects=np.array(["a", "b"]), split=np.array(["train"] * 2))
    pack.images = pack.images[:, ::2, ::2]
    toy.generate_run(toy.toy_run(tmp_path / "small.h5", PackSource(pack, toy.CLASSES)))
    pack.images = resize_images(pack.images, 32)
    toy.generate_run(toy.toy_run(tmp_path / "right.h5", PackSource(pack, toy.CLASSES)))
    with h5py.File(tmp_path / "small.h5") as small, h5py.File(tmp_path / "right.h5") as right:
        assert small["images"].shape[1:] == (32, 32, 3)
        np.testing.assert_array_equal(small["images"][:], right["images"][:])


def test_balance_fills_up_a_pack(toy: ModuleType, tmp_path: Path) -> None:
    labels = np.array([0] * 6 + [1] * 2 + [2])
    pack = toy.ToyPack(labels=labels, subjects=labels.astype(str), split=np.full(9, "train"))
    source = PackSource(pack, toy.CLASSES)
    report = toy.generate_run(toy.toy_run(tmp_path / "a.h5", source, targets="balance", per_class=None))
    assert report.counts == {"neutral": 0, "happiness": 4, "anger": 5}
    with h5py.File(tmp_path / "a.h5") as h5:
        assert h5.attrs["digital_source_type"].endswith("/compositeWithTrainedAlgorithmicMedia")
        assert "photographs" in h5.attrs["licence"]
        assert not np.any(h5["labels"][:] == h5["source_labels"][:])


def test_estimate_writes_nothing(toy: ModuleType, tmp_path: Path) -> None:
    estimate = estimate_run(toy.toy_run(tmp_path / "a.h5"))
    assert estimate.counts == {"neutral": 20, "happiness": 20, "anger": 20}
    assert estimate.image_bytes == 60 * 32 * 32 * 3
    assert estimate.sources == 20
    assert 0 < estimate.seconds < 60
    assert list(tmp_path.iterdir()) == []


def test_sheet_shows_source_and_targets(toy: ModuleType, made: Path) -> None:
    run = toy.toy_run(made.with_name("unused.h5"))
    ids, rows = sheet_rows(run.plan)
    assert rows.shape == (8, 3)
    assert np.array_equal(run.plan.targets[rows], np.tile(np.arange(3), (8, 1)))
    assert np.array_equal(run.plan.source_ids[rows], np.repeat(ids[:, None], 3, axis=1))
    with Image.open(made.with_suffix(".png")) as sheet, h5py.File(made) as h5:
        assert sheet.text["ai_generated"] == "true"
        assert "trainedAlgorithmicMedia" in sheet.text["XML:com.adobe.xmp"]
        pixels = np.asarray(sheet)
        assert pixels.shape == (8 * 36 + 4 + 22, 4 * 36 + 4, 3)
        source, _ = run.source.load(ids)
        for line in (0, 7):
            y = 22 + 36 * line
            assert np.array_equal(pixels[y : y + 32, 4:36], source[line])
            for column in range(3):
                x = 4 + 36 * (column + 1)
                assert np.array_equal(pixels[y : y + 32, x : x + 32], h5["images"][rows[line, column]])


def test_sheet_leaves_missing_cells_grey() -> None:
    sheet = np.asarray(contact_sheet(["source", "anger"], [[np.zeros((32, 32, 3), np.uint8), None]], 32))
    assert (sheet[22 + 16, 4 + 16] == 0).all()
    assert (sheet[22 + 16, 4 + 36 + 16] == 228).all()


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"out": Path("faces.zip")}, "must end in .h5"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"min_score": 1.5}, r"min-score must be in \[0, 1\]"),
        ({"min_score": 0.5, "gate": None}, "needs the gate"),
        ({"resume": True, "overwrite": True}, "choose one"),
        ({"people": 5, "source": Path("p.h5")}, "people counts built-in people"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_bad_configuration(wish: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        GenerateConfig(**wish)  # type: ignore[arg-type]


def test_everything_the_images_depend_on_is_recorded() -> None:
    paths_and_manners = {"out", "source", "weights", "gate", "split", "splits", "resume", "overwrite"}
    recorded = GenerateConfig().recorded("cpu")
    assert recorded.pop("splits_sha256") is None  # of the file, instead of its path
    assert set(recorded) == {f.name for f in fields(GenerateConfig)} - paths_and_manners


@pytest.mark.parametrize(("text", "expected"), [("0.9", (0.9, 0.9)), ("0.5:1", (0.5, 1.0)), ("0:0", (0.0, 0.0))])
def test_intensity(text: str, expected: tuple[float, float]) -> None:
    assert parse_intensity(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("15", (15, 15)), ("-20:20", (-20, 20)), ("-90:90", (-90, 90))])
def test_yaw(text: str, expected: tuple[float, float]) -> None:
    assert parse_yaw(text) == expected


@pytest.mark.parametrize("text", ["", "left", "20:-20", "1:2:3", "-91", "nan", "0:inf"])
def test_bad_yaw(text: str) -> None:
    with pytest.raises(DataError, match="DEGREES or LOW:HIGH"):
        parse_yaw(text)


@pytest.mark.parametrize("text", ["", "x", "1:0.5", "0.5:1:1", "-0.1", "nan", "0.5:2"])
def test_bad_intensity(text: str) -> None:
    with pytest.raises(DataError, match="VALUE or LOW:HIGH"):
        parse_intensity(text)
