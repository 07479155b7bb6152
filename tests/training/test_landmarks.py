from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from lssl_augment.cli.train_landmarks import train_landmarks_command
from lssl_augment.datasets.splits import subject_split
from lssl_augment.errors import DataError, ImageError, TrainingError
from lssl_augment.faces.align import template68, transform_points
from lssl_augment.faces.dense_flip import DENSE_FLIP
from lssl_augment.faces.landmarks import DENSE_COUNT, SPARSE_FROM_DENSE
from lssl_augment.models.eight_bit import from_eight_bit
from lssl_augment.models.landmark_net import LandmarkConfig, load_landmark_net
from lssl_augment.models.weights import read_weights
from lssl_augment.training.landmark_crops import (
    Photos,
    aligned_matrix,
    augment_crop,
    cut,
    loose_matrix,
    read_photos,
)
from lssl_augment.training.landmark_evaluation import evaluate_landmarks
from lssl_augment.training.landmarks import (
    LandmarkTraining,
    draw_batch,
    landmark_loss,
    point_weights,
    sampling_chances,
    train_landmarks,
)
from lssl_augment.training.metrics_log import read_stats

TINY = LandmarkConfig(input_size_px=32, widths=(8,), blocks=(1,), neck=4, hidden=8, codes=6)
QUICK = LandmarkTraining(steps=4, batch_size=4, save_minutes=1e-9)


def shape() -> np.ndarray:
    """478 points around the face template, its 68 among them, in pixels of a 128-pixel square."""
    rng = np.random.default_rng(7)
    dense = np.concatenate([rng.uniform(30, 100, (DENSE_COUNT, 2)), rng.normal(0, 5, (DENSE_COUNT, 1))], 1)
    dense[SPARSE_FROM_DENSE, :2] = template68(128)
    return dense


def faces(count: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.stack([shape() + [*rng.uniform(-6, 6, 2), 0] for _ in range(count)]).astype(np.float32)


def write_tree(root: Path, people: int = 10) -> Path:
    """``lfw-expressions`` in small, one photo a person: bright dots where the 68 points are."""
    rng = np.random.default_rng(0)
    rows, points = [], faces(people)
    for i in range(people):
        name = f"images/p{i}/p{i}_0001.jpg"
        (root / name).parent.mkdir(parents=True)
        photo = rng.integers(0, 90, (128, 128, 3), dtype=np.uint8)
        for x, y in points[i, SPARSE_FROM_DENSE, :2]:
            cv2.circle(photo, (round(float(x)), round(float(y))), 4, (255, 255, 255), -1)
        cv2.imwrite(str(root / name), photo)
        rows.append({"file": name, "subject": f"p{i}", "expression": ("neutral", "happiness")[i % 2]})
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "subject", "expression"])
        writer.writeheader()
        writer.writerows(rows)
    files = np.array([row["file"] for row in rows])
    np.savez(root / "landmarks.npz", files=files, points478=points.astype(np.float16))
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("lfw"))


def coded_photos() -> Photos:
    """A photo whose red and green are x and y, so that a crop's colours tell where it was cut."""
    ys, xs = np.mgrid[0:200, 0:200]
    image = np.stack([xs, ys, np.zeros_like(xs)], axis=-1).astype(np.uint8)[None]
    halves = np.stack([cv2.resize(image[0], (100, 100), interpolation=cv2.INTER_AREA)])
    dense = (shape() + [36, 36, 0]).astype(np.float32)[None]
    return Photos(image, halves, dense, np.array(["neutral"]), np.array(["p"]))


@pytest.mark.parametrize("size_px", [48, 96])
@pytest.mark.parametrize("loose", [False, True])
def test_points_follow_the_pixels(size_px: int, loose: bool) -> None:
    photos = coded_photos()
    compared = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        matrix = (loose_matrix if loose else aligned_matrix)(photos.dense[0], size_px, rng)
        crop, points = cut(photos, 0, matrix, size_px, rng)
        straight = transform_points(matrix, photos.dense[0])
        flipped = not np.allclose(points, straight, atol=1e-3)
        truth = photos.dense[0][DENSE_FLIP] if flipped else photos.dense[0]
        inside = ((points[:, :2] > 1) & (points[:, :2] < size_px - 2)).all(1)
        seen = cv2.remap(crop.astype(np.float32), points[None, :, :2], None, cv2.INTER_LINEAR)[0]
        far = np.abs(seen[inside, :2] - truth[inside, :2]).max()
        assert far < 2.5  # pixels of the photo, one grey level each
        compared += int(inside.sum())
    assert compared > 6 * 200


@given(st.integers(0, 2**32 - 1))
def test_loose_crops_hold_what_they_promise(seed: int) -> None:
    dense = shape()
    matrix = loose_matrix(dense, 96, np.random.default_rng(seed))
    extent = max(np.ptp(dense[:, :2], axis=0))
    fraction = np.hypot(matrix[0, 0], matrix[1, 0]) * extent / 96
    assert 0.359 < fraction < 1.051
    assert abs(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))) <= 33
    centre = (dense[:, :2].min(0) + dense[:, :2].max(0)) / 2
    middle = transform_points(matrix, centre[None])[0]
    assert (np.abs(middle - 47.5) <= 96 * (max(0, 1 - fraction) / 2 + 0.06) + 1e-6).all()


@given(st.integers(0, 2**32 - 1))
def test_augmented_crops_stay_images_and_repeat(seed: int) -> None:
    crop = np.random.default_rng(1).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    before = crop.copy()
    first = augment_crop(crop, np.random.default_rng(seed))
    assert first.shape == crop.shape
    assert first.dtype == np.uint8
    assert np.array_equal(crop, before)
    assert np.array_equal(first, augment_crop(crop, np.random.default_rng(seed)))


def test_loss_is_a_fraction_of_the_eye_distance() -> None:
    target = torch.from_numpy(faces(3))
    weights = point_weights()
    assert weights.mean().item() == pytest.approx(1)
    assert landmark_loss(target, target, weights).tolist() == [0, 0, 0]
    off = target + torch.tensor([3.0, 0.0, 0.0])
    eyes = np.linalg.norm(shape()[SPARSE_FROM_DENSE[36:42]].mean(0) - shape()[SPARSE_FROM_DENSE[42:48]].mean(0))
    assert landmark_loss(off, target, weights).tolist() == pytest.approx([1 / eyes] * 3, rel=1e-4)
    assert torch.allclose(landmark_loss(7 * off, 7 * target, weights), landmark_loss(off, target, weights))


def test_batches_depend_on_seed_and_step_alone(tree: Path) -> None:
    photos = read_photos(tree)
    rows = np.arange(6)
    chances = sampling_chances(photos, rows)
    assert chances.sum() == pytest.approx(1)

    def draw(seed: int, step: int) -> tuple[torch.Tensor, ...]:
        return draw_batch(photos, rows, chances, replace(QUICK, seed=seed), 32, step)

    one, again = draw(0, 5), draw(0, 5)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert [tuple(part.shape) for part in one] == [(4, 3, 32, 32), (4, DENSE_COUNT, 3), (4,)]
    assert one[0].abs().max() <= 1
    for other in (draw(0, 6), draw(1, 5)):
        assert not torch.equal(one[0], other[0])


def test_trains_writes_and_measures(tree: Path, tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    out = tmp_path / "net.safetensors"
    metrics = train_landmarks(tree, out, QUICK, architecture=TINY, command="by hand", report=rows.append)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    tensors, card = read_weights(out, "landmarks")
    assert card["metrics"] == metrics
    assert card["training"]["steps"] == 4
    assert card["training"]["command"] == "by hand"
    assert not out.with_suffix(".ckpt").exists()
    net = load_landmark_net(out)
    assert net.config == TINY
    assert set(from_eight_bit(tensors)) == set(net.state_dict())
    for name in ("aligned", "loose"):
        assert metrics[name]["n"] + card["training"]["photos"] == 10
        assert metrics[name]["median_68"] <= metrics[name]["p90_68"]
        bins = [v for k, v in metrics[name].items() if "yaw" in k]
        assert sum(entry["n"] for entry in bins) == metrics[name]["n"]


def test_stopped_and_started_again_ends_the_same(tree: Path, tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole.safetensors", tmp_path / "halves.safetensors"
    train_landmarks(tree, whole, QUICK, architecture=TINY)

    def stop(row: dict[str, float]) -> None:
        if row["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_landmarks(tree, halves, QUICK, architecture=TINY, report=stop)
    rows: list[dict[str, float]] = []
    train_landmarks(tree, halves, QUICK, architecture=TINY, report=rows.append)
    assert [row["step"] for row in rows] == [3, 4]
    assert whole.read_bytes() == halves.read_bytes()


def test_test_subjects_leave_no_trace_in_the_weights(tree: Path, tmp_path: Path) -> None:
    other = write_tree(tmp_path / "other")
    names = [f"p{i}" for i in range(10)]
    split = subject_split(names, ["neutral", "happiness"] * 5)
    unseen = [i for i, part in enumerate(split) if part == "test"]
    assert unseen
    points = faces(10)
    for i in unseen:
        path = other / f"images/p{i}/p{i}_0001.jpg"
        cv2.imwrite(str(path), np.zeros((128, 128, 3), np.uint8))
        points[i] += 9
    files = np.array([f"images/p{i}/p{i}_0001.jpg" for i in range(10)])
    np.savez(other / "landmarks.npz", files=files, points478=points.astype(np.float16))
    one = train_landmarks(tree, tmp_path / "a.safetensors", QUICK, architecture=TINY)
    two = train_landmarks(other, tmp_path / "b.safetensors", QUICK, architecture=TINY)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert one["aligned"] != two["aligned"]


def test_learns(tree: Path, tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    config = replace(
        QUICK,
        steps=300,
        batch_size=8,
        learning_rate=0.02,
        loose_fraction=1.0,
        loose_weight=1.0,
        save_minutes=9,
    )
    train_landmarks(tree, tmp_path / "net.safetensors", config, architecture=TINY, report=rows.append)
    losses = [row["loss"] for row in rows]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


def test_checkpoints_of_others_are_refused(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.safetensors"

    def stop(row: dict[str, float]) -> None:
        if row["step"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_landmarks(tree, out, QUICK, architecture=TINY, report=stop)
    with pytest.raises(TrainingError, match="another config"):
        train_landmarks(tree, out, replace(QUICK, seed=5), architecture=TINY)
    out.with_suffix(".ckpt").write_bytes(out.with_suffix(".ckpt").read_bytes()[:500])
    with pytest.raises(TrainingError, match="damaged"):
        train_landmarks(tree, out, QUICK, architecture=TINY)
    assert not out.exists()


def test_an_exploding_run_stops(tree: Path, tmp_path: Path) -> None:
    config = replace(QUICK, steps=400, learning_rate=1e30, save_minutes=9)
    with pytest.raises(TrainingError, match="smaller learning rate"):
        train_landmarks(tree, tmp_path / "net.safetensors", config, architecture=TINY)


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 0},
        {"minutes": 0.0},
        {"batch_size": 1},
        {"learning_rate": -1.0},
        {"save_minutes": 0.0},
        {"ema": 1.0},
        {"loose_fraction": 1.5},
        {"loose_weight": -0.1},
    ],
)
def test_bad_values_are_named(values: dict[str, float]) -> None:
    with pytest.raises(DataError, match=next(iter(values))):
        LandmarkTraining(**values)  # type: ignore[arg-type]


def test_unusable_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.csv"):
        read_photos(tmp_path)
    root = write_tree(tmp_path / "tree", 4)
    photo = root / "images/p2/p2_0001.jpg"
    photo.write_bytes(b"no photo")
    with pytest.raises(ImageError, match="p2_0001"):
        read_photos(root)
    np.savez(root / "landmarks.npz", files=np.array(["a"]), points478=np.zeros((1, 68, 3)))
    with pytest.raises(DataError, match=r"\(1, 478, 3\)"):
        read_photos(root)
    np.savez(root / "landmarks.npz", files=np.array(["a"]), points478=np.zeros((1, 478, 3)))
    with pytest.raises(DataError, match="no photo"):
        read_photos(root)
    np.savez(root / "landmarks.npz", files=np.array(["a"]))
    with pytest.raises(DataError, match="points478"):
        read_photos(root)


def test_nothing_to_evaluate_on(tree: Path) -> None:
    from lssl_augment.models.landmark_net import LandmarkNet

    with pytest.raises(DataError, match="test subject"):
        evaluate_landmarks(LandmarkNet(TINY).fused(), read_photos(tree), np.array([], int))


def test_command_trains_and_prints_the_errors(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.safetensors"
    arguments = ["--root", str(tree), "--out", str(out), "--steps", "1", "--batch-size", "2"]
    result = CliRunner().invoke(train_landmarks_command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["aligned", "loose", str(out)]
    card = json.loads(out.with_suffix(".json").read_text())
    assert "--steps 1 --batch-size 2 --seed 0 --out net.safetensors" in card["training"]["command"]
    log = tmp_path / "net.log"
    assert (log / "command.txt").read_text().strip() == card["training"]["command"]
    assert [row["step"] for row in read_stats(log / "stats.jsonl")] == [1]
    assert str(tmp_path) not in json.dumps(card)


def test_command_refuses_another_suffix_before_the_work(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.safetensors"):
        CliRunner().invoke(
            train_landmarks_command,
            ["--root", str(tree), "--out", str(tmp_path / "net.pt")],
            catch_exceptions=False,
        )
