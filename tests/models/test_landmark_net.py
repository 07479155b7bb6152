from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lssl_augment.errors import DataError, WeightsError
from lssl_augment.faces.align import face_transform, template68, transform_points
from lssl_augment.faces.dense_flip import DENSE_FLIP
from lssl_augment.faces.landmarks import DENSE_COUNT, SPARSE_FROM_DENSE, eye_distance_px
from lssl_augment.models.cost import network_cost
from lssl_augment.models.landmark_net import (
    FACE_SPREAD_LIMIT,
    LandmarkConfig,
    LandmarkNet,
    _alignment,
    _crops,
    _look_again,
    architecture_card,
    load_landmark_net,
    locate_face,
    predict_landmarks,
)
from lssl_augment.models.weights import find_weights, read_card, write_weights
from lssl_augment.simulation.face_model import load_face_model

TINY = LandmarkConfig(input_size_px=32, widths=(8, 8), blocks=(1, 1), neck=4, hidden=16, codes=6)
CARD: dict[str, Any] = {
    "kind": "landmarks",
    "class_names": None,
    "face_size_px": 128,
    "training": {"data": "none"},
    "metrics": {},
    "licence": "none",
    "intended_use": "tests",
}


def tiny_net(seed: int = 0) -> LandmarkNet:
    """Random weights, also where training begins with zeros, and the statistics of some batches."""
    generator = torch.Generator().manual_seed(seed)
    net = LandmarkNet(TINY)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
        for _ in range(3):
            net(torch.randn(8, 3, 32, 32, generator=generator))
    return net.eval()


def face_shape() -> np.ndarray:
    """Symmetric dense points whose 68 are those of the template, in pixels of a 128-pixel face."""
    dense = np.random.default_rng(0).uniform(20, 108, (DENSE_COUNT, 3))
    dense[SPARSE_FROM_DENSE, :2] = template68(128)
    mirrored = dense[DENSE_FLIP] * [-1, 1, 1] + [127, 0, 0]
    return np.asarray((dense + mirrored) / 2)


def constant_net(points: np.ndarray) -> LandmarkNet:
    """Answers the same points, given in pixels of a 128-pixel square, whatever it sees."""
    net = LandmarkNet(TINY).fused()
    with torch.no_grad():
        net.points.weight.zero_()
        unit = (points - [63.5, 63.5, 0]) / 64
        net.points.bias.copy_(torch.from_numpy(unit).float().flatten())
    return net


def test_points_have_gradients_everywhere_and_are_float32() -> None:
    net = tiny_net().train()
    with torch.autocast("cpu", torch.bfloat16):
        points = net(torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert points.shape == (4, DENSE_COUNT, 3)
    assert points.dtype == torch.float32
    points.square().sum().backward()
    # A batch norm takes off whatever the bias of the convolution before it adds.
    silent = {name for name, module in net.named_modules() if isinstance(module, nn.Conv2d)}
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        assert name.removesuffix(".bias") in silent or parameter.grad.abs().sum() > 0, name


def test_folding_the_norms_changes_nothing() -> None:
    net = tiny_net()
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    fused = net.fused()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert torch.allclose(fused(images), net(images), atol=1e-4)
    assert any(isinstance(module, nn.BatchNorm2d) for module in net.modules())


@pytest.mark.parametrize(("height", "width"), [(128, 128), (40, 40), (60, 100), (100, 61), (1, 3)])
def test_answers_are_pixels_of_the_image(height: int, width: int) -> None:
    points = face_shape()
    found = constant_net(points).aligned(torch.zeros(2, 3, height, width)).numpy()
    side = max(height, width)
    # The image lies in the middle of the square; pixel p of it covers p ± 0.5.
    expected = (points + [0.5, 0.5, 0]) * (side / 128) - [0.5, 0.5, 0]
    expected -= [(side - width) // 2, (side - height) // 2, 0]
    assert np.allclose(found, expected, atol=1e-3)


@given(st.integers(1, 5), st.integers(20, 70), st.integers(20, 70))
def test_faces_do_not_depend_on_their_batch(count: int, height: int, width: int) -> None:
    net = tiny_net()
    images = torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(count)) * 2 - 1
    for predict in (net.aligned, lambda x: predict_landmarks(net, x)):
        together = predict(images)
        assert together.shape == (count, DENSE_COUNT, 3)
        assert together.dtype == torch.float32
        alone = torch.cat([predict(image[None]) for image in images])
        assert torch.allclose(together, alone, atol=1e-2, rtol=1e-3)


def test_no_images_no_points() -> None:
    empty = torch.zeros(0, 3, 50, 50)
    assert predict_landmarks(tiny_net(), empty).shape == (0, DENSE_COUNT, 3)
    assert tiny_net().aligned(empty).shape == (0, DENSE_COUNT, 3)


def placed(angle_deg: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    """The 68 template points turned, scaled and shifted."""
    turn = np.exp(1j * np.deg2rad(angle_deg)) * scale
    place = (template68(128) @ np.array([1, 1j])) * turn + complex(*shift)
    return np.stack([place.real, place.imag], axis=-1)


def test_alignment_is_that_of_faces_align() -> None:
    points = placed(25, 0.7, (40, 10)) + np.random.default_rng(0).normal(0, 2, (68, 2))
    scale, shift = _alignment(torch.from_numpy(points)[None], 96)
    matrix = face_transform(points, 96)
    assert scale.item() == pytest.approx(complex(matrix[0, 0], matrix[1, 0]))
    assert shift.item() == pytest.approx(complex(*matrix[:, 2]))


def test_crops_show_the_place_they_are_cut_from() -> None:
    ys, xs = torch.meshgrid(torch.arange(150.0), torch.arange(200.0), indexing="ij")
    image = torch.stack([xs, ys, torch.zeros_like(xs)])[None]
    scale, shift = (
        torch.tensor([0.4 + 0.2j]).to(torch.complex128),
        torch.tensor([2.0 - 5j]).to(torch.complex128),
    )
    crop = _crops(image, scale, shift, 32)[0]
    q = torch.complex(*reversed(torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")))
    place = (q - shift) / scale
    inside = (place.real > 2) & (place.real < 197) & (place.imag > 2) & (place.imag < 147)
    assert inside.sum() > 300
    assert torch.allclose(crop[0][inside].double(), place.real[inside].double(), atol=1e-2)
    assert torch.allclose(crop[1][inside].double(), place.imag[inside].double(), atol=1e-2)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_second_look_is_undone_on_the_points(mirrored: bool) -> None:
    dense = face_shape()
    guess = placed(20, 0.5, (70, 20))
    points = torch.zeros(1, DENSE_COUNT, 3)
    points[0, SPARSE_FROM_DENSE, :2] = torch.from_numpy(guess).float()
    found = _look_again(constant_net(dense), torch.zeros(1, 3, 120, 160), points, mirrored)
    # The answer is symmetric and the same in every crop: it must lie where the crop was cut.
    expected = transform_points(np.linalg.inv(np.vstack([face_transform(guess), [0, 0, 1]]))[:2], dense)
    assert np.allclose(found[0].numpy(), expected, atol=2e-2)


def test_a_lopsided_answer_to_everything_is_no_face() -> None:
    image = np.full((90, 120, 3), 128, np.uint8)
    shifted = face_shape() + [6, 0, 0]
    dense, spread = locate_face(constant_net(shifted), image)
    assert dense.shape == (DENSE_COUNT, 3)
    assert dense.dtype == np.float32
    # The crop follows the answer; in its mirror image the answer lies six pixels to the other side.
    eyes = eye_distance_px(template68(128))
    assert spread == pytest.approx(6 / eyes, rel=1e-3)


def test_a_photo_of_any_size_is_located_in_its_own_pixels() -> None:
    """The same picture in 200 and in 1,600 pixels: the points scale with it."""
    net = tiny_net()
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (10, 20, 3), dtype=np.uint8)
    small, large = (coarse.repeat(n, 0).repeat(n, 1) for n in (10, 80))
    a, spread_a = locate_face(net, small)
    b, spread_b = locate_face(net, large)
    assert np.abs((a[:, :2] + 0.5) * 8 - 0.5 - b[:, :2]).max() < 0.05 * 1600
    assert spread_a == pytest.approx(spread_b, rel=0.3)


@pytest.mark.parametrize(
    ("images", "error"),
    [
        ("face.jpg", TypeError),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), TypeError),
        (torch.zeros(3, 8, 8), DataError),
        (torch.zeros(1, 1, 8, 8), DataError),
        (torch.zeros(1, 3, 0, 8), DataError),
    ],
)
def test_other_images_are_refused(images: Tensor, error: type[Exception]) -> None:
    net = tiny_net()
    with pytest.raises(error, match="images must"):
        predict_landmarks(net, images)
    with pytest.raises(error, match="images must"):
        net.aligned(images)


def test_other_photos_and_rounds_are_refused() -> None:
    net = tiny_net()
    with pytest.raises(DataError, match=r"\(1, 3, 32, 32\)|shape \(B, 3, 32, 32\)"):
        net(torch.zeros(1, 3, 40, 32))
    for photo in (np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8)):
        with pytest.raises(DataError, match=r"\(H, W, 3\)"):
            locate_face(net, photo)
    with pytest.raises(TypeError, match="numpy"):
        locate_face(net, [[0]])  # type: ignore[arg-type]
    photo = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(DataError, match="at least 2; got 1"):
        locate_face(net, photo, rounds=1)
    with pytest.raises(TypeError, match="float"):
        locate_face(net, photo, rounds=2.5)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="at least 1; got 0"):
        predict_landmarks(net, torch.zeros(1, 3, 8, 8), rounds=0)


@pytest.mark.parametrize(
    "values",
    [
        {"input_size_px": 30},
        {"input_size_px": 0},
        {"widths": (8,)},
        {"blocks": (1, 0)},
        {"neck": 0},
        {"codes": -1},
        {"widths": (), "blocks": ()},
    ],
)
def test_impossible_architectures_are_refused(values: dict[str, Any]) -> None:
    base = {"input_size_px": 32, "widths": (8, 8), "blocks": (1, 1), "neck": 4, "hidden": 16, "codes": 6}
    with pytest.raises(DataError):
        LandmarkConfig(**{**base, **values})


def test_written_weights_answer_the_same(tmp_path: Path) -> None:
    net = tiny_net().fused()
    path = tmp_path / "net.safetensors"
    write_weights(path, net.state_dict(), CARD | {"architecture": architecture_card(TINY)})
    loaded = load_landmark_net(path)
    assert loaded.config == TINY
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.allclose(loaded(images), net(images), atol=0.02)
    assert not any(p.requires_grad for p in loaded.parameters())
    assert not loaded.training


@pytest.mark.parametrize("change", [{"codes": 7}, {"neck": 0}, {"extra": 1}, {"hidden": None}, {"widths": [8, 9]}])
def test_cards_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    architecture = architecture_card(TINY) | change
    path = tmp_path / "net.safetensors"
    write_weights(path, tiny_net().fused().state_dict(), CARD | {"architecture": architecture})
    with pytest.raises(WeightsError, match=r"net\.safetensors"):
        load_landmark_net(path)


@pytest.fixture(scope="module")
def released() -> LandmarkNet:
    return load_landmark_net()


def test_released_weights_are_small_and_as_documented(released: LandmarkNet) -> None:
    path = find_weights("landmarks", "landmarks")
    assert path.stat().st_size <= 4_000_000
    text = (Path(__file__).parents[2] / "docs" / "landmarks.md").read_text(encoding="utf-8")
    cost = network_cost(released, torch.zeros(1, 3, 96, 96))
    assert f"{cost.parameters:,} parameters" in text
    assert f"{cost.macs / 1e6:.0f} M multiply-accumulates" in text
    assert f"`FACE_SPREAD_LIMIT` = {FACE_SPREAD_LIMIT:.2f}" in text
    metrics = read_card(path)["metrics"]
    for name in ("aligned", "loose"):
        row = metrics[name]
        numbers = [row["mean_68"], row["median_68"], row["p90_68"], row["mean_478"]]
        numbers += [row[f"mean_68_yaw_{bin_}_deg"]["mean"] for bin_ in ("0_15", "15_30", "30_90")]
        assert f"| {name} | " + " | ".join(f"{100 * x:.2f}" for x in numbers) + " |" in text


def test_released_weights_see_no_face_where_there_is_none(released: LandmarkNet) -> None:
    rng = np.random.default_rng(0)
    ys, xs = np.mgrid[0:100, 0:100]
    stripes = (128 + 100 * np.sin(0.3 * xs + 0.1 * ys))[..., None].repeat(3, 2).astype(np.uint8)
    pictures = {
        "black": np.zeros((80, 80, 3), np.uint8),
        "grey": np.full((120, 90, 3), 130, np.uint8),
        "noise": rng.integers(0, 256, (100, 100, 3), dtype=np.uint8),
        "stripes": stripes,
    }
    for name, picture in pictures.items():
        assert locate_face(released, picture)[1] > FACE_SPREAD_LIMIT, name


def test_released_weights_find_the_faces_of_built_in_people(released: LandmarkNet) -> None:
    """Drawn from the package's own face model, with the points they were drawn by; aligned and then not."""
    faces, points = load_face_model().sample(np.arange(4))
    images = torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 127.5 - 1
    truth = points[:, SPARSE_FROM_DENSE, :2]
    eyes = eye_distance_px(truth)

    def off(found: np.ndarray, wanted: np.ndarray) -> float:
        distance = np.linalg.norm(found[:, SPARSE_FROM_DENSE, :2] - wanted, axis=-1).mean(1)
        return float((distance / eyes).max())

    assert off(released.aligned(images).numpy(), truth) < 0.12
    matrix = np.array([[0.8, -0.3, 34], [0.3, 0.8, 4]])
    scale = np.hypot(0.8, 0.3)
    for face, own in zip(faces, points, strict=True):
        photo = cv2.warpAffine(face, matrix, (150, 150), borderMode=cv2.BORDER_REPLICATE)
        found, spread = locate_face(released, photo)
        assert spread < FACE_SPREAD_LIMIT
        wanted = transform_points(matrix, own[SPARSE_FROM_DENSE, :2])
        distance = np.linalg.norm(found[SPARSE_FROM_DENSE, :2] - wanted, axis=-1).mean()
        assert distance / (scale * eyes.mean()) < 0.15
