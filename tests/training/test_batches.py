from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import NAMES, write_pack

from lssl_augment.attributes import BASIC8, Vocabulary
from lssl_augment.errors import DataError, SchemaError
from lssl_augment.faces.landmarks import FLIP68
from lssl_augment.faces.pack import PackWriter
from lssl_augment.faces.side_image import side_image
from lssl_augment.training.batches import FaceBatch, FaceSampler, TrainingFaces, load_training_faces


def make_faces(count: int = 11, size_px: int = 8) -> TrainingFaces:
    rng = np.random.default_rng(1)
    return TrainingFaces(
        images=rng.integers(0, 256, (count, size_px, size_px, 3), dtype=np.uint8),
        labels=np.resize(np.array([0, 0, 0, 1, 0, 2]), count),
        points68=rng.uniform(0, size_px, (count, 68, 2)).astype(np.float32),
        dense=None,
        subjects=np.array([str(i) for i in range(count)]),
        vocabulary=Vocabulary(NAMES),
        dataset="made",
    )


def same(a: FaceBatch, b: FaceBatch) -> bool:
    return all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


@given(st.integers(1, 25), st.booleans(), st.integers(0, 30), st.integers(0, 5))
def test_a_sampler_goes_on_where_it_stood(batch: int, balanced: bool, before: int, seed: int) -> None:
    faces = make_faces()
    first = FaceSampler(faces, batch, seed, balanced=balanced)
    for _ in range(before):
        first.next()
    second = FaceSampler(faces, batch, seed, balanced=balanced)
    second.load_state_dict(first.state_dict())
    for _ in range(4):
        assert same(first.next(), second.next())


def test_an_epoch_holds_every_face_once_and_the_next_one_in_another_order() -> None:
    sampler = FaceSampler(make_faces(), 4, seed=3)
    rows = torch.cat([sampler.next().rows for _ in range(11)]).reshape(4, 11)
    for epoch in rows:
        assert sorted(epoch.tolist()) == list(range(11))
    assert rows[0].tolist() != rows[1].tolist()


def test_balanced_epochs_give_every_class_its_share() -> None:
    faces = make_faces(30)
    sampler = FaceSampler(faces, 30, seed=0, balanced=True)
    for _ in range(3):
        batch = sampler.next()
        assert torch.bincount(batch.labels).tolist() == [10, 10, 10]
        assert torch.equal(torch.from_numpy(faces.labels)[batch.rows], batch.labels)
    plain = FaceSampler(faces, 30, seed=0).next()
    assert torch.bincount(plain.labels).tolist() == [20, 5, 5]


def test_face_and_landmarks_are_flipped_together() -> None:
    faces = make_faces(size_px=16)
    sampler = FaceSampler(faces, 2, seed=0)
    batch = sampler.take(np.array([4, 4]), np.array([False, True]))
    assert torch.equal(batch.images[1], batch.images[0].flip(-1))
    expected = batch.points68[0][torch.from_numpy(FLIP68)] * torch.tensor([-1.0, 1.0])
    assert torch.equal(batch.points68[1], expected + torch.tensor([15.0, 0.0]))
    sides = side_image(batch.points68, 16, 16)
    torch.testing.assert_close(sides[1], sides[0].flip(-1), atol=1e-5, rtol=0)
    flips = torch.cat([sampler.next().flipped for _ in range(100)])
    assert 60 < int(flips.sum()) < 140
    assert not torch.cat([FaceSampler(faces, 11, 0, flip=False).next().flipped]).any()
    # The faces in memory stay as they were.
    assert np.array_equal(faces.images, make_faces(size_px=16).images)
    assert np.array_equal(faces.points68, make_faces(size_px=16).points68)


def test_ranges_and_types_of_a_batch() -> None:
    batch = FaceSampler(make_faces(), 5, seed=0).next().to("cpu")
    assert batch.images.shape == (5, 3, 8, 8)
    assert batch.images.dtype == torch.float32
    assert -1 <= float(batch.images.min()) < -0.9
    assert 0.9 < float(batch.images.max()) <= 1
    assert batch.labels.dtype == batch.rows.dtype == torch.int64
    assert batch.points68.dtype == torch.float32


def test_a_face_pack_gives_its_labelled_training_faces(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 128, 128, 3), dtype=np.uint8)
    dense = rng.uniform(0, 128, (6, 478, 3)).astype(np.float32)
    points = rng.uniform(0, 128, (6, 68, 2)).astype(np.float32)
    split = ["train", "test", "train", "train", "test", "train"]
    with PackWriter(tmp_path / "p.h5", Vocabulary(NAMES), dataset="made") as writer:
        writer.append(
            images, np.array([0, 0, -1, 1, 1, 2]), list("abcdef"), list("ABCDEF"), points, split, dense
        )
    faces = load_training_faces(tmp_path / "p.h5", 128)
    assert faces.subjects.tolist() == ["a", "d", "f"]
    assert np.array_equal(faces.images, images[[0, 3, 5]])
    assert np.array_equal(faces.points68, points[[0, 3, 5]])
    assert faces.labels.tolist() == [0, 1, 2]
    assert faces.dataset == "made"
    half = load_training_faces(tmp_path / "p.h5", 64)
    assert half.face_size_px == 64
    np.testing.assert_allclose(half.points68, (points[[0, 3, 5]] + 0.5) / 2 - 0.5, atol=1e-4)
    assert half.dense is not None
    np.testing.assert_allclose(half.dense[..., :2], (dense[[0, 3, 5], :, :2] + 0.5) / 2 - 0.5, atol=1e-4)
    np.testing.assert_allclose(half.dense[..., 2], dense[[0, 3, 5], :, 2] / 2, atol=1e-4)
    # The mean of four pixels, to within rounding.
    four = images[0, :2, :2].astype(float).mean((0, 1))
    np.testing.assert_allclose(half.images[0, 0, 0], four, atol=1)


def test_classes_become_the_vocabulary(tmp_path: Path) -> None:
    pack = write_pack(tmp_path / "tiny.npz")
    faces = load_training_faces(pack, 32, ("anger", "neutral"))
    assert faces.vocabulary.names == ("anger", "neutral")
    assert faces.counts() == {"anger": 5, "neutral": 15}
    everything = load_training_faces(pack, 32)
    assert everything.counts() == {"neutral": 15, "happiness": 10, "anger": 5}
    assert everything.fingerprint() != faces.fingerprint()
    assert everything.fingerprint() == load_training_faces(pack, 32).fingerprint()


def test_the_fingerprint_knows_pose_and_light() -> None:
    plain = make_faces()
    n = len(plain)
    yaw, lights = np.linspace(-40, 40, n).astype(np.float32), np.array(["normal", "dark", ""])[np.arange(n) % 3]
    told = replace(plain, yaw_deg=yaw, lights=lights)
    prints = {
        "plain": plain,
        "told": told,
        "yaw alone": replace(plain, yaw_deg=yaw),
        "light alone": replace(plain, lights=lights),
        "other side": replace(told, yaw_deg=-yaw),
        "one unknown": replace(told, yaw_deg=np.where(np.arange(n) == 4, np.float32(np.nan), yaw)),
        "other light": replace(told, lights=np.where(np.arange(n) == 4, "weak", lights)),
        "moved light": replace(told, lights=np.roll(lights, 1)),
    }
    found = {name: faces.fingerprint() for name, faces in prints.items()}
    assert len(set(found.values())) == len(found), found
    # Nothing known is nothing told, whoever wrote the NaN and however wide the text is stored.
    nothing = replace(plain, yaw_deg=np.full(n, np.nan, np.float32), lights=np.full(n, ""))
    assert nothing.fingerprint() == found["plain"]
    odd = np.where(np.isnan(prints["one unknown"].yaw_deg), -np.float32(np.nan), prints["one unknown"].yaw_deg)
    assert replace(told, yaw_deg=odd).fingerprint() == found["one unknown"]
    assert replace(told, lights=lights.astype("U20")).fingerprint() == found["told"]


def test_bad_packs_are_named(tmp_path: Path) -> None:
    pack = write_pack(tmp_path / "tiny.npz")
    with pytest.raises(DataError, match="no such face pack"):
        load_training_faces(tmp_path / "none.h5", 32)
    with pytest.raises(DataError, match="unknown expression 'disgust'"):
        load_training_faces(pack, 32, ("disgust",))
    (tmp_path / "bad.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match="cannot be used"):
        load_training_faces(tmp_path / "bad.npz", 32)
    (tmp_path / "bad.h5").write_bytes(b"nothing")
    with pytest.raises(SchemaError):
        load_training_faces(tmp_path / "bad.h5", 32)
    with np.load(pack) as file:
        arrays = {**file, "class_names": np.array(BASIC8.names)}
    np.savez(tmp_path / "eight.npz", **arrays)
    with pytest.raises(
        DataError, match=r"no training faces of anger, .* --set classes=neutral,happiness,surprise"
    ):
        load_training_faces(tmp_path / "eight.npz", 32)
    with pytest.raises(DataError, match="batch of at least 1"):
        FaceSampler(make_faces(), 0, seed=0)
