"""Learning a face model: repeatable, from training subjects only, at a distance, one clear line otherwise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from lssl_augment.cli.main import main
from lssl_augment.errors import DataError
from lssl_augment.faces.pack import FacePack
from lssl_augment.simulation.closeness import TrainingFaces, summary
from lssl_augment.simulation.face_model import load_face_model
from lssl_augment.simulation.learn import SpaceConfig, learn_space
from lssl_augment.simulation.people import PeopleConfig, learn_people
from lssl_augment.simulation.selection import Selection
from lssl_augment.simulation.train_sources import SourcesConfig, train_sources

ALL = Selection(yaw_deg=60, pitch_deg=(-60, 60), lips_apart=9, lids_apart=0, sharpness=0, rims=99, forehead=99, eyes=0)
TINY = SourcesConfig(
    selection=ALL,
    space=SpaceConfig(texture=24, silhouette=6, shape=10),
    people=PeopleConfig(prototypes=30, members=3, variations=8),
    rehearsal=40,
    margin=0.0,
    measured=40,
)


@pytest.fixture(scope="module")
def learned(pack_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("learned") / "tiny.safetensors"
    with FacePack.open(pack_path) as pack:
        train_sources(pack, out, TINY, command="a test")
    return out


def test_the_same_pack_and_seed_give_the_same_file(learned: Path, pack_path: Path, tmp_path: Path) -> None:
    again, other = tmp_path / "again.safetensors", tmp_path / "other.safetensors"
    with FacePack.open(pack_path) as pack:
        train_sources(pack, again, TINY, command="a test")
        train_sources(pack, other, replace(TINY, seed=1), command="a test")
    assert again.read_bytes() == learned.read_bytes()
    assert other.read_bytes() != learned.read_bytes()


def test_the_model_shows_people_like_those_it_was_learned_from(
    learned: Path, drawn: tuple[np.ndarray, np.ndarray]
) -> None:
    model = load_face_model(learned)
    images, dense = model.sample(np.arange(20))
    face = (slice(None), slice(40, 100), slice(40, 88))
    assert abs(images[face].mean() - drawn[0][:40][face].mean()) < 15
    assert np.abs(dense.mean(0) - drawn[1][:40].mean(0))[:, :2].mean() < 1.5
    card = model.card
    assert card["training"]["faces"] == 40  # the eight test faces are noise and were not looked at
    assert card["training"]["subjects"] == 20
    assert card["architecture"]["space"]["texture"] == 24


def test_only_some_faces_of_the_pack_may_fit(pack_path: Path, tmp_path: Path) -> None:
    strict = replace(TINY, selection=replace(ALL, yaw_deg=0.001))
    with FacePack.open(pack_path) as pack, pytest.raises(DataError, match="0 of 40 neutral training faces"):
        train_sources(pack, tmp_path / "none.safetensors", strict, command="a test")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [("dense", "no dense landmarks"), ("subjects", "unknown subjects"), ("names", "no class neutral")],
)
def test_packs_that_lack_something_are_refused(pack_path: Path, tmp_path: Path, change: str, says: str) -> None:
    copy = tmp_path / "copy.h5"
    copy.write_bytes(pack_path.read_bytes())
    with h5py.File(copy, "r+") as file:
        if change == "dense":
            del file["landmarks_dense"]
        elif change == "subjects":
            file["subjects"][3] = ""
        else:
            file.attrs["class_names"] = json.dumps(["anger", "happiness"])
    with FacePack.open(copy) as pack, pytest.raises(DataError, match=says):
        train_sources(pack, tmp_path / "out.safetensors", TINY, command="a test")


def test_prototypes_that_come_too_close_are_dropped(pack_path: Path, tmp_path: Path) -> None:
    with FacePack.open(pack_path) as pack:
        dropped = [
            train_sources(
                pack, tmp_path / "close.safetensors", replace(TINY, margin=margin, rehearsal=60), command="a test"
            )["prototypes_dropped"]
            for margin in (0.0, 0.8, 0.9)
        ]
    assert dropped[0] == 0
    assert dropped == sorted(dropped)
    assert 0 < dropped[-1] < 29
    with FacePack.open(pack_path) as pack, pytest.raises(DataError, match="too close"):
        train_sources(pack, tmp_path / "x.safetensors", replace(TINY, margin=1e6, rehearsal=400), command="a test")


def test_distances_are_zero_to_itself_and_leave_out_the_same_subject(
    drawn: tuple[np.ndarray, np.ndarray],
) -> None:
    images, dense = drawn[0][:12], drawn[1][:12]
    learned = learn_space(images, dense, TINY.space)
    training = TrainingFaces.of(learned.space, images, learned.coefficients, np.repeat(np.arange(6), 2))
    own = training.to_people(images, learned.coefficients)
    mirrored = training.to_people(images[:, :, ::-1], learned.coefficients * learned.space.signs)
    for name in ("look", "pixel"):
        assert own[name].max() < 1e-3
        assert mirrored[name].max() < 1e-3
    # The first two are the same picture of the same subject: they must not count as two people.
    twice = np.concatenate([images[:1], images[:1], images[2:]])
    vectors = torch.cat([learned.coefficients[:1], learned.coefficients[:1], learned.coefficients[2:]])
    apart = TrainingFaces.of(learned.space, twice, vectors, np.repeat(np.arange(6), 2)).to_each_other()
    assert min(summary(apart)[name]["min"] for name in apart) > 0.01


def test_too_few_faces_or_subjects_are_refused(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    images, dense = drawn
    with pytest.raises(DataError, match="at least 8 faces"):
        learn_space(images[:7], dense[:7], TINY.space)
    learned = learn_space(images[:8], dense[:8], TINY.space)
    with pytest.raises(DataError, match="more than 3 subjects"):
        learn_people(learned.space, learned.coefficients, np.repeat("one", 8), TINY.people, 0)


def test_the_command_says_what_is_wrong(pack_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train-sources", str(pack_path), "--out", str(tmp_path / "faces.pt")])
    assert stop.value.code == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "must end in .safetensors" in said[0]
