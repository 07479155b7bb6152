"""Synthetic people: by seed alone, different from one another, with landmarks that fit; and projections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lssl_augment.errors import DataError, WeightsError
from lssl_augment.faces.align import template68
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE, eye_distance_px
from lssl_augment.models.weights import find_weights, read_weights, write_weights
from lssl_augment.simulation.face_model import FaceModel, load_face_model

Drawn = tuple[np.ndarray, np.ndarray]


def test_people_come_as_documented(model: FaceModel, drawn: Drawn) -> None:
    images, dense = drawn
    assert images.shape == (48, 128, 128, 3)
    assert images.dtype == np.uint8
    assert dense.shape == (48, 478, 3)
    assert dense.dtype == np.float32
    assert model.face_size_px == 128


@settings(max_examples=8)
@given(st.permutations(range(48)), st.integers(1, 48))
def test_a_person_depends_on_the_seed_alone(model: FaceModel, drawn: Drawn, order: list[int], count: int) -> None:
    rows = np.array(order[:count])
    images, dense = model.sample(rows)
    assert np.array_equal(images, drawn[0][rows])
    assert np.array_equal(dense, drawn[1][rows])


@settings(max_examples=8)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=2))
def test_any_int64_is_a_seed(model: FaceModel, seeds: list[int]) -> None:
    images, dense = model.sample(np.array(seeds, np.int64))
    assert len(images) == len(dense) == len(seeds)
    assert np.isfinite(dense).all()


def test_people_differ(drawn: Drawn) -> None:
    faces = torch.from_numpy(drawn[0][:, 20:116, 24:104].astype(np.float32)).flatten(1) / 255
    apart = torch.cdist(faces, faces) / faces.shape[1] ** 0.5
    apart.fill_diagonal_(torch.inf)
    assert apart.min() > 0.05  # root mean square of all colour values


def test_landmarks_are_those_of_an_aligned_nearly_neutral_face(drawn: Drawn) -> None:
    points = drawn[1][:, SPARSE_FROM_DENSE, :2]
    eyes = eye_distance_px(points)
    corners = np.linalg.norm(points[:, [36, 39, 42, 45]] - template68()[[36, 39, 42, 45]], axis=-1)
    assert corners.mean() < 0.1 * eyes.mean()
    lips_apart = np.linalg.norm(points[:, 62] - points[:, 66], axis=-1) / eyes
    assert np.median(lips_apart) < 0.1
    assert lips_apart.max() < 0.35


def test_landmarks_lie_on_the_features_of_the_picture(drawn: Drawn) -> None:
    """Irises are darker than the cheeks below them: points and pixels were moved by the same warp."""
    images, dense = drawn
    for iris, cheek in ((468, 50), (473, 280)):
        where = dense[:, [iris, cheek], :2].round().astype(int)
        values = images[np.arange(48)[:, None], where[..., 1], where[..., 0]].mean(-1)
        assert (values[:, 0] < values[:, 1] - 15).mean() > 0.9


@pytest.mark.parametrize("seeds", [np.zeros((2, 2), np.int64), np.array([0.5]), np.array(3)])
def test_wrong_seeds_are_refused(model: FaceModel, seeds: np.ndarray) -> None:
    with pytest.raises(DataError, match="1-D array of integers"):
        model.sample(seeds)


def test_projections_are_softer_with_fewer_components(model: FaceModel, drawn: Drawn) -> None:
    # Fine noise is what a model of faces cannot show.
    rng = np.random.default_rng(0)
    noisy = np.clip(drawn[0][:4] + rng.normal(0, 20, drawn[0][:4].shape), 0, 255).astype(np.uint8)
    face = (slice(None), slice(40, 100), slice(40, 88))

    def detail(images: np.ndarray) -> float:
        return float(np.abs(np.diff(images[face].astype(np.float32), axis=1)).mean())

    shown = [model.project(noisy, drawn[1][:4], k) for k in (None, 150, 30, 5)]
    assert detail(noisy) > 2 * detail(shown[0])
    assert detail(shown[0]) > 1.1 * detail(shown[3])
    away = [np.abs(s[face].astype(int) - drawn[0][:4][face]).mean() for s in shown[1:]]
    assert away == sorted(away)


def test_projections_keep_the_person_the_shape_and_the_surroundings(model: FaceModel, drawn: Drawn) -> None:
    images, dense = drawn[0][:6], drawn[1][:6]
    seen = model.project(images, dense)
    difference = np.abs(seen.astype(int) - images.astype(int))
    assert difference[:, 40:100, 40:88].mean() < 8
    assert np.array_equal(seen[:, :4, :2], images[:, :4, :2])  # a corner no head reaches
    assert np.array_equal(model.project(images[2:3], dense[2:3])[0], seen[2])


def test_projections_refuse_what_does_not_fit(model: FaceModel, drawn: Drawn) -> None:
    images, dense = drawn[0][:2], drawn[1][:2]
    with pytest.raises(DataError, match=r"images must be \(B, 128, 128, 3\) uint8"):
        model.project(images.astype(np.float32), dense)
    with pytest.raises(DataError, match=r"dense must be \(2, 478, 3\)"):
        model.project(images, dense[:1])
    with pytest.raises(DataError, match="components must be 1 to"):
        model.project(images, dense, 0)


def test_the_model_that_ships_is_small_and_keeps_its_distance() -> None:
    path = find_weights("faces", "faces")
    assert path.stat().st_size + path.with_suffix(".json").stat().st_size <= 10 * 1024**2
    _, card = read_weights(path, "faces")
    nearest = card["metrics"]["nearest_training_face"]
    for name in ("look", "pixel"):
        real = nearest["of_training_faces_of_other_subjects"][name]
        made = nearest["of_synthetic_people"][name]
        assert made["min"] >= real["min"]
    assert set(nearest["people_closer_than_any_two_training_faces"].values()) == {0}


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    tensors, card = read_weights("faces", "faces")
    kept = {key: card[key] for key in card if key not in ("schema_version", "bytes", "sha256")}
    for name in ("people.prototypes", "silhouette_map", "shape.mean", "texture.even"):
        broken = {key: value for key, value in tensors.items() if key != name}
        write_weights(tmp_path / "lacks.safetensors", broken, kept)
        with pytest.raises(WeightsError, match=r"lacks|missing"):
            load_face_model(tmp_path / "lacks.safetensors")
        broken[name] = tensors[name][..., :3].contiguous()
        write_weights(tmp_path / "short.safetensors", broken, kept)
        with pytest.raises(WeightsError, match=r"shape|fit"):
            load_face_model(tmp_path / "short.safetensors")
    write_weights(tmp_path / "odd.safetensors", tensors, {**kept, "face_size_px": 127})
    with pytest.raises(WeightsError, match="even integer"):
        load_face_model(tmp_path / "odd.safetensors")
