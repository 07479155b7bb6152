from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_faces import NAMES, SIZE_PX, drawn_faces

from lssl_augment.attributes import Vocabulary
from lssl_augment.cli.train_parser import train_parser_command
from lssl_augment.errors import DataError, LeakageError, TrainingError
from lssl_augment.faces.backends.base import FoundFace
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE
from lssl_augment.faces.pack import FacePack, PackWriter
from lssl_augment.faces.region_map import Region
from lssl_augment.models.parser_net import PARSER_CLASSES, ParserConfig, ParserNet, load_parser, parse_faces
from lssl_augment.models.weights import read_weights
from lssl_augment.training.metrics_log import read_stats
from lssl_augment.training.parser import ParserTraining, class_weights, draw_batch, match_shares, train_parser
from lssl_augment.training.parser_evaluation import draw_parses, evaluate_parser, region_scores
from lssl_augment.training.parser_faces import (
    ParserData,
    ParserFaces,
    faces_to_tensor,
    load_helen_faces,
    load_pack_faces,
    random_view,
)
from lssl_augment.training.parsing_loss import parsing_loss

TINY = ParserConfig(widths=(4, 6), blocks=(1, 1), expansions=(1, 2))
QUICK = ParserTraining(steps=4, batch_size=4, save_minutes=1e-9)
PEOPLE = 6


def write_pack(path: Path, *, dense: bool = True, tested: tuple[int, ...] = (0, 5), test: str = "test") -> Path:
    """Drawn faces of six people, some of them to test on."""
    faces = drawn_faces(PEOPLE)
    split = [test if int(name.split()[1]) in tested else "train" for name in faces.subjects]
    with PackWriter(path, Vocabulary(NAMES), dataset="drawn", face_size_px=SIZE_PX) as writer:
        writer.append(
            faces.images,
            faces.labels,
            faces.subjects.tolist(),
            [f"{row}.png" for row in range(len(faces.labels))],
            faces.dense[:, SPARSE_FROM_DENSE, :2],
            split,
            dense=faces.dense if dense else None,
        )
    return path


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("packs") / "drawn.h5")


@pytest.fixture(scope="module")
def data(pack: Path) -> ParserData:
    with FacePack.open(pack) as opened:
        return load_pack_faces(opened)


def test_a_pack_gives_training_subjects_to_learn_from_and_others_to_measure_on(data: ParserData) -> None:
    assert len(data.train) == 4 * len(NAMES)
    assert len(data.test) == 2 * len(NAMES)
    for faces in (data.train, data.test):
        assert faces.images.shape == (len(faces), SIZE_PX, SIZE_PX, 3)
        assert faces.regions.shape == (len(faces), SIZE_PX, SIZE_PX)
        assert set(np.unique(faces.regions)) >= {Region.BACKGROUND, Region.SKIN, Region.EYES, Region.LIPS}
    drawn = drawn_faces(PEOPLE)
    trained = [row for row, name in enumerate(drawn.subjects) if name not in ("person 0", "person 5")]
    assert np.array_equal(data.train.images, drawn.images[trained])
    assert data.description["subjects"] == 4


def test_packs_that_cannot_teach_are_refused(tmp_path: Path) -> None:
    with FacePack.open(write_pack(tmp_path / "a.h5", dense=False)) as opened:
        with pytest.raises(DataError, match=r"a\.h5 has no dense landmarks"):
            load_pack_faces(opened)
    with FacePack.open(write_pack(tmp_path / "b.h5", tested=())) as opened:
        with pytest.raises(DataError, match="its splits: train"):
            load_pack_faces(opened)
    with FacePack.open(write_pack(tmp_path / "c.h5", test="public_test")) as opened:
        assert len(load_pack_faces(opened).test) == 2 * len(NAMES)
        opened.subjects[:] = "one"
        with pytest.raises(LeakageError, match="such as 'one'"):
            load_pack_faces(opened)


def helen_tree(root: Path) -> Path:
    """Drawn faces in Helen's layout, larger, with labels made of the drawn regions."""
    faces = drawn_faces(PEOPLE)
    from lssl_augment.faces.region_map import region_maps

    regions = region_maps(faces.dense, 2 * SIZE_PX, face_size_px=SIZE_PX)
    (root / "images").mkdir(parents=True)
    names = [f"{row}_1" for row in range(6)]
    for row, name in enumerate(names):
        picture = Image.fromarray(faces.images[row]).resize((2 * SIZE_PX,) * 2)
        picture.save(root / "images" / f"{name}.jpg")
        (root / "labels" / name).mkdir(parents=True)
        for label in range(11):
            shown = {0: Region.BACKGROUND, 1: Region.SKIN, 4: Region.EYES, 7: Region.LIPS}.get(label)
            mask = (regions[row] == shown) * np.uint8(255)
            Image.fromarray(mask).save(root / "labels" / name / f"{name}_lbl{label:02d}.png")
    for file, some in (("exemplars.txt", names[:3]), ("tuning.txt", names[3:4]), ("testing.txt", names[4:])):
        (root / file).write_text("".join(f"{i} , {name}\n" for i, name in enumerate(some)))
    return root


def test_helen_gives_exemplars_to_learn_from_and_testing_photographs_to_measure_on(tmp_path: Path) -> None:
    root = helen_tree(tmp_path / "helen")
    points = drawn_faces(PEOPLE).dense[0, SPARSE_FROM_DENSE, :2].astype(np.float64) * 2
    seen: list[tuple[int, int]] = []
    missed = iter([True] + [False] * 9)

    def find(picture: np.ndarray) -> FoundFace | None:
        return None if next(missed) else FoundFace(points, None, 1.0)

    data = load_helen_faces(root, find, workers=1, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 6) for i in range(1, 7)]
    assert (len(data.train), len(data.test)) == (3, 2)
    assert data.train.images.shape == (3, 128, 128, 3)
    assert set(np.unique(data.train.regions)) == {0, 1, 2, 3}
    assert data.description["left_out"] == {"no face found": 1}
    assert "1 photographs left out: no face found" in data.notes
    with pytest.raises(DataError, match=r"0 faces to train on and 0 to measure on.*no face found: 6"):
        load_helen_faces(root, lambda picture: None)


@given(st.integers(0, 2**32 - 1))
def test_face_and_map_are_moved_alike(seed: int) -> None:
    ys, xs = np.indices((64, 64))
    regions = ((np.hypot(xs - 40, ys - 24) < 9) * 2 + (np.hypot(xs - 20, ys - 44) < 9) * 3).astype(np.uint8)
    image = np.repeat((regions * 60)[..., None], 3, axis=2).astype(np.uint8)
    before = image.copy(), regions.copy()
    rng, again = np.random.default_rng(seed), np.random.default_rng(seed)
    view, moved = random_view(image, regions, rng)
    assert view.shape == image.shape
    assert moved.shape == regions.shape
    assert view.dtype == moved.dtype == np.uint8
    assert np.array_equal(image, before[0])
    assert np.array_equal(regions, before[1])
    assert all(np.array_equal(a, b) for a, b in zip((view, moved), random_view(image, regions, again), strict=True))
    # Brightness tells the region in the view as in the face: discs of brighter grey lie where the map says.
    grey = view.astype(float).mean(2)
    for region, name in ((2, "right disc"), (3, "left disc")):
        if (moved == region).sum() > 150 and (moved == 0).sum() > 150:
            assert grey[moved == region].mean() > grey[moved == 0].mean(), name


def test_batches_depend_on_seed_and_step_alone(data: ParserData) -> None:
    one, again = draw_batch(data.train, QUICK, 5), draw_batch(data.train, QUICK, 5)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert one[0].shape == (4, 3, SIZE_PX, SIZE_PX)
    assert one[1].shape == (4, SIZE_PX, SIZE_PX)
    assert one[1].dtype == torch.int64
    assert one[0].abs().max() <= 1
    for other in (draw_batch(data.train, QUICK, 6), draw_batch(data.train, replace(QUICK, seed=1), 5)):
        assert not torch.equal(one[0], other[0])


@given(st.floats(0, 1))
def test_rare_classes_weigh_more(rarity: float) -> None:
    regions = np.array([0] * 60 + [1] * 30 + [2] * 4 + [3] * 6, np.uint8)
    weights = class_weights(regions, rarity)
    assert float((weights * torch.tensor([0.6, 0.3, 0.04, 0.06])).sum()) == pytest.approx(1, rel=1e-5)
    assert (weights.argsort().tolist() == [0, 1, 3, 2]) or rarity < 1e-6
    if rarity == 1:
        assert (weights * torch.tensor([0.6, 0.3, 0.04, 0.06])).tolist() == pytest.approx([0.25] * 4)


def test_trains_writes_and_measures(data: ParserData, tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    out, sheet = tmp_path / "net.safetensors", tmp_path / "sheet.png"
    metrics = train_parser(
        data, out, QUICK, architecture=TINY, licence="mine", command="by hand", sheet=sheet, report=rows.append
    )
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["progress"] == pytest.approx(0.75)
    tensors, card = read_weights(out, "parser")
    assert card["metrics"] == metrics
    assert card["class_names"] == list(PARSER_CLASSES)
    assert card["training"]["steps"] == 4
    assert card["training"]["command"] == "by hand"
    assert card["training"]["subjects"] == 4
    assert card["licence"] == "mine"
    assert metrics["faces"] == len(data.test)
    assert not out.with_suffix(".ckpt").exists()
    net = load_parser(out)
    assert net.config == TINY
    assert set(tensors) == set(net.state_dict())
    with Image.open(sheet) as picture:
        assert picture.size == ((SIZE_PX + 2) * len(data.test) - 2, 4 * (SIZE_PX + 2) - 2)


def test_stopped_and_started_again_ends_the_same(data: ParserData, tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole.safetensors", tmp_path / "halves.safetensors"
    train_parser(data, whole, QUICK, architecture=TINY)

    def stop(row: dict[str, float]) -> None:
        if row["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_parser(data, halves, QUICK, architecture=TINY, report=stop)
    rows: list[dict[str, float]] = []
    train_parser(data, halves, QUICK, architecture=TINY, report=rows.append)
    assert [row["step"] for row in rows] == [3, 4]
    assert whole.read_bytes() == halves.read_bytes()


def test_global_randomness_is_left_alone(data: ParserData, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    train_parser(data, tmp_path / "a.safetensors", replace(QUICK, steps=1), architecture=TINY)
    assert torch.equal(state, torch.random.get_rng_state())


def test_learns(data: ParserData, tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    config = replace(QUICK, steps=40, batch_size=6, learning_rate=0.02, ema=0.9, save_minutes=9)
    metrics = train_parser(
        data,
        tmp_path / "net.safetensors",
        config,
        architecture=replace(TINY, widths=(8, 12), expansions=(2, 2)),
        report=rows.append,
    )
    losses = [row["loss"] for row in rows]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])
    assert metrics["f_score"]["skin"] > 0.6


def test_checkpoints_of_others_are_refused(data: ParserData, tmp_path: Path) -> None:
    out = tmp_path / "net.safetensors"

    def stop(row: dict[str, float]) -> None:
        if row["step"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_parser(data, out, QUICK, architecture=TINY, report=stop)
    with pytest.raises(TrainingError, match="another config; remove it"):
        train_parser(data, out, replace(QUICK, seed=5), architecture=TINY)
    with pytest.raises(TrainingError, match="another architecture"):
        train_parser(data, out, QUICK, architecture=ParserConfig((4,), (1,), (2,)))
    other = replace(data, train=data.test)
    with pytest.raises(TrainingError, match="another faces"):
        train_parser(other, out, QUICK, architecture=TINY)
    out.with_suffix(".ckpt").write_bytes(out.with_suffix(".ckpt").read_bytes()[:500])
    with pytest.raises(TrainingError, match="ckpt"):
        train_parser(data, out, QUICK, architecture=TINY)
    assert not out.exists()


def test_an_exploding_run_stops(data: ParserData, tmp_path: Path) -> None:
    config = replace(QUICK, steps=60, learning_rate=1e30, save_minutes=9)
    with pytest.raises(TrainingError, match="smaller learning rate"):
        train_parser(data, tmp_path / "net.safetensors", config, architecture=TINY)


def test_faces_that_do_not_fit_are_refused(data: ParserData, tmp_path: Path) -> None:
    deep = ParserConfig((2,) * 7, (1,) * 7, (1,) * 7)
    with pytest.raises(DataError, match="multiple of 128 pixels for this network; they have 64"):
        train_parser(data, tmp_path / "net.safetensors", QUICK, architecture=deep)
    no_eyes = ParserFaces(data.train.images, np.where(data.train.regions == 2, 1, data.train.regions).astype(np.uint8))
    with pytest.raises(DataError, match="no pixel of the training faces shows eyes"):
        train_parser(replace(data, train=no_eyes), tmp_path / "net.safetensors", QUICK, architecture=TINY)
    with pytest.raises(DataError, match="nothing to evaluate"):
        evaluate_parser(ParserNet(TINY).fused(), ParserFaces(data.test.images[:0], data.test.regions[:0]))
    with pytest.raises(DataError, match="nothing to draw"):
        draw_parses(ParserNet(TINY).fused(), data.test, np.array([], int))


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 0},
        {"minutes": 0.0},
        {"batch_size": 1},
        {"learning_rate": -1.0},
        {"weight_decay": -0.1},
        {"save_minutes": 0.0},
        {"ema": 1.0},
        {"rarity": 1.5},
    ],
)
def test_bad_values_are_named(values: dict[str, float]) -> None:
    with pytest.raises(DataError, match=next(iter(values))):
        ParserTraining(**values)  # type: ignore[arg-type]


def test_scores_by_hand() -> None:
    confusion = np.array([[50, 10, 0, 0], [0, 30, 0, 0], [2, 2, 4, 0], [0, 0, 0, 0]])
    scores = region_scores(confusion)
    assert scores["pixel_accuracy"] == pytest.approx(84 / 98, abs=1e-4)
    assert scores["precision"]["skin"] == pytest.approx(30 / 42, abs=1e-4)
    assert scores["recall"]["skin"] == 1
    assert scores["f_score"]["skin"] == pytest.approx(60 / 72, abs=1e-4)
    assert scores["iou"]["eyes"] == 0.5
    assert scores["f_score"]["lips"] is None
    assert scores["mean_iou"] == pytest.approx((50 / 62 + 30 / 42 + 0.5) / 3, abs=1e-4)
    json.dumps(scores, allow_nan=False)


@given(st.lists(st.lists(st.integers(0, 1000), min_size=4, max_size=4), min_size=4, max_size=4))
def test_scores_agree_with_each_other(table: list[list[int]]) -> None:
    confusion = np.array(table)
    confusion[0, 0] += 1
    scores = region_scores(confusion)
    for name in PARSER_CLASSES:
        f, iou = scores["f_score"][name], scores["iou"][name]
        assert (f is None) == (iou is None)
        if f is not None:
            assert 0 <= iou <= f <= 1
            assert f == pytest.approx(2 * iou / (1 + iou), abs=2e-4)


def test_parsing_loss_is_eq_5() -> None:
    generator = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(2, 4, 5, 6, generator=generator) for _ in range(2))
    by_hand = -(real.softmax(1) * fake.log_softmax(1)).sum(1).mean()
    assert parsing_loss(real, fake).item() == pytest.approx(by_hand.item(), rel=1e-5)
    entropy = -(real.softmax(1) * real.log_softmax(1)).sum(1).mean()
    assert parsing_loss(real, real).item() == pytest.approx(entropy.item(), rel=1e-5)
    assert parsing_loss(real, fake) > parsing_loss(real, real)
    regions = torch.randint(0, 4, (2, 5, 6), generator=generator)
    sure = torch.nn.functional.one_hot(regions, 4).permute(0, 3, 1, 2) * 40.0
    assert parsing_loss(regions, fake).item() == pytest.approx(parsing_loss(sure, fake).item(), rel=1e-4)
    assert parsing_loss(regions.to(torch.uint8), torch.zeros(2, 4, 5, 6)).item() == pytest.approx(math.log(4))


def test_parsing_loss_pulls_the_generated_face_only() -> None:
    real, fake = torch.randn(1, 4, 3, 3, requires_grad=True), torch.zeros(1, 4, 3, 3, requires_grad=True)
    loss = parsing_loss(real, fake)
    assert loss.dtype == torch.float32
    loss.backward()
    assert real.grad is None
    assert fake.grad is not None
    assert fake.grad.abs().sum() > 0
    assert parsing_loss(real.half(), fake.half()).dtype == torch.float32


def test_command_trains_and_prints_the_scores(pack: Path, tmp_path: Path) -> None:
    out, sheet = tmp_path / "net.safetensors", tmp_path / "sheet.png"
    arguments = ["--pack", str(pack), "--out", str(out), "--steps", "1", "--batch-size", "2", "--sheet", str(sheet)]
    result = CliRunner().invoke(train_parser_command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [f"{out}:", *PARSER_CLASSES, str(sheet)]
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["training"]["command"] == (
        "lssl-augment train-parser --pack drawn.h5 --steps 1 --batch-size 2 --seed 0 --out net.safetensors"
    )
    assert str(tmp_path) not in json.dumps(card)
    assert [row["step"] for row in read_stats(tmp_path / "net.log" / "stats.jsonl")] == [1]


def test_command_wants_one_source_and_the_right_suffix(pack: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "net.safetensors")
    for sources in ([], ["--pack", str(pack), "--helen", str(tmp_path)]):
        result = CliRunner().invoke(train_parser_command, [*sources, "--out", out])
        assert result.exit_code == 2
        assert "either --helen or --pack" in result.stderr
    arguments = ["--pack", str(pack), "--out", str(tmp_path / "net.pt")]
    with pytest.raises(ValueError, match=r"\.safetensors"):
        CliRunner().invoke(train_parser_command, arguments, catch_exceptions=False)


def test_regions_are_found_as_large_as_they_are() -> None:
    """Whatever the answers lean to: offsets of the classes are found and taken away."""
    rng = np.random.default_rng(0)
    regions = np.repeat(rng.choice(4, (8, 16, 16), p=[0.6, 0.3, 0.04, 0.06]).astype(np.uint8), 2, 1).repeat(2, 2)
    tones = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]])
    images = (0.5 * tones[regions] + rng.uniform(0, 127, (*regions.shape, 3))).astype(np.uint8)
    faces = ParserFaces(images, regions)
    torch.manual_seed(0)
    net = ParserNet(TINY)
    optimiser = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(
            net(faces_to_tensor(images)), torch.from_numpy(regions).long(), weight=torch.tensor([1.0, 1, 9, 6])
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    net = net.fused()
    wanted = np.bincount(regions.ravel(), minlength=4)

    def found() -> np.ndarray:
        return np.bincount(parse_faces(net, faces_to_tensor(images)).numpy().ravel(), minlength=4) / wanted

    assert found()[2:].max() > 1.2  # as the weights of the loss ask
    match_shares(net, faces)
    np.testing.assert_allclose(found(), 1, atol=0.1)

