"""Training and generation on one fold of a split file: nobody of its test part is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from lssl_augment.datasets.protocols import find_protocol
from lssl_augment.datasets.split_file import make_splits
from lssl_augment.errors import DataError
from lssl_augment.synthesis.config import GenerateConfig
from lssl_augment.training.batches import load_training_faces
from lssl_augment.training.config import make_config
from tests.datasets.toy_packs import toy_pack

WORDS = ["neutral", "happiness", "surprise", "anger", "sadness"]


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    subjects = [f"p{i:02d}" for i in range(20) for _ in WORDS]
    pack = toy_pack(tmp_path / "toy.h5", subjects, WORDS * 20)
    make_splits(pack, find_protocol("kfold:5"), seed=3).write(tmp_path / "toy.splits.json")
    return tmp_path / "toy.h5", tmp_path / "toy.splits.json"


def test_training_reads_the_people_of_a_fold(paths: tuple[Path, Path]) -> None:
    pack, splits = paths
    everyone = set(load_training_faces(pack, 32).subjects)
    left_out = []
    for fold in range(5):
        read = load_training_faces(pack, 32, splits=splits, fold=fold)
        assert len(read) == 80
        left_out.append(everyone - set(read.subjects))
    assert set().union(*left_out) == everyone
    assert sum(map(len, left_out)) == len(everyone)


def test_what_does_not_go_together(paths: tuple[Path, Path], tmp_path: Path) -> None:
    pack, splits = paths
    with pytest.raises(DataError, match="fold"):
        load_training_faces(pack, 32, splits=splits, fold=5)
    with pytest.raises(DataError, match="fold"):
        load_training_faces(pack, 32, splits=splits)
    with pytest.raises(DataError, match="needs splits"):
        make_config("paper", {"pack": str(pack), "fold": 1})
    with pytest.raises(DataError, match="needs splits"):
        GenerateConfig(source=pack, fold=1)
    with pytest.raises(DataError, match="built-in people have none"):
        GenerateConfig(splits=splits, fold=1)
    assert make_config("paper", {"pack": str(pack), "splits": str(splits), "fold": 1}).fold == 1
