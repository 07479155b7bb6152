"""Split files: what is written is read, it fits its pack and no other, and nobody gets onto both sides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from lssl_augment.attributes import BASIC5
from lssl_augment.cli.split import split_command
from lssl_augment.datasets.protocols import find_protocol
from lssl_augment.datasets.split_file import SplitFile, make_splits, open_fold, pack_fingerprint, read_splits, rows_of
from lssl_augment.errors import DataError, LeakageError, SchemaError
from lssl_augment.faces.pack import FacePack
from lssl_augment.synthesis.sources import PackSource
from tests.datasets.toy_packs import toy_pack

WORDS = ["neutral", "happiness", "anger", ""]
PEOPLE = [f"P{i}" for i in range(12) for _ in WORDS]


@pytest.fixture
def pack(tmp_path: Path) -> FacePack:
    """Twelve people with three expressions and an unlabelled face each."""
    split = ["test" if person in ("P1", "P2") else "train" for person in PEOPLE]
    return toy_pack(tmp_path / "toy.h5", PEOPLE, WORDS * 12, split)


@pytest.fixture
def splits(pack: FacePack) -> SplitFile:
    return make_splits(pack, find_protocol("kfold:4"), seed=3)


def test_round_trip(pack: FacePack, splits: SplitFile, tmp_path: Path) -> None:
    out = tmp_path / "new" / "a.splits.json"
    splits.write(out)
    assert read_splits(out) == splits
    assert list(out.parent.iterdir()) == [out]
    again = tmp_path / "b.splits.json"
    make_splits(pack, find_protocol("kfold:4"), seed=3).write(again)
    assert again.read_bytes() == out.read_bytes()
    assert make_splits(pack, find_protocol("kfold:4"), seed=4).part_of != splits.part_of
    with pytest.raises(DataError, match="exists; choose another --out"):
        splits.write(out)
    splits.write(out, overwrite=True)


def test_rows_of_every_fold(pack: FacePack, splits: SplitFile) -> None:
    everything = np.arange(len(pack))
    tested = []
    for fold in range(4):
        train, test = splits.train_rows(pack, fold), splits.test_rows(pack, fold)
        assert train.dtype == test.dtype == np.int64
        assert not set(pack.subjects[train]) & set(pack.subjects[test])
        assert np.array_equal(np.sort(np.concatenate([train, test])), everything)
        assert set(pack.labels[test]) == set(pack.labels)
        assert splits.subjects(fold, "test") == set(pack.subjects[test])
        assert len(splits.validation_rows(pack, fold)) == 0
        tested.append(test)
    assert np.array_equal(np.sort(np.concatenate(tested)), everything)
    counts = {word: sum(row[word] for row in splits.counts.values()) for word in WORDS[:3]}
    assert counts == dict.fromkeys(WORDS[:3], 12)
    with pytest.raises(DataError, match=r"fold must be 0 to 3 \(kfold:4\); got 4"):
        splits.train_rows(pack, 4)
    with pytest.raises(DataError, match="asked for train, test, validation; got 'tests'"):
        splits.rows(pack, 0, "tests")


def test_the_order_of_faces_changes_nothing(pack: FacePack, splits: SplitFile, tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(len(pack))
    words = [(WORDS * 12)[i] for i in order]
    other = toy_pack(tmp_path / "other.h5", pack.subjects[order], words, files=pack.files[order])
    assert pack_fingerprint(other) == pack_fingerprint(pack)
    assert set(other.files[splits.test_rows(other, 1)]) == set(pack.files[splits.test_rows(pack, 1)])
    assert make_splits(other, find_protocol("kfold:4"), seed=3) == splits


def test_another_pack_is_refused(pack: FacePack, splits: SplitFile, tmp_path: Path) -> None:
    fewer = toy_pack(tmp_path / "fewer.h5", PEOPLE[8:], (WORDS * 12)[8:], files=pack.files[8:])
    with pytest.raises(DataError, match=r"other faces or labels \(40 faces, 48 .*2 subjects are gone, such as 'P0'"):
        splits.train_rows(fewer, 0)
    rows = splits.train_rows(fewer, 0, same_faces=False)
    assert set(fewer.subjects[rows]) == splits.subjects(0) - {"P0", "P1"}
    relabelled = toy_pack(tmp_path / "r.h5", PEOPLE, ["anger", *(WORDS * 12)[1:]], files=pack.files)
    with pytest.raises(DataError, match=r"do not fit r.h5: other faces or labels \(48 faces, 48 when"):
        splits.check(relabelled)
    strange = toy_pack(tmp_path / "s.h5", ["Q", *PEOPLE], ["anger", *WORDS * 12])
    for same_faces in (True, False):
        with pytest.raises(DataError, match=r"1 of its 13 subjects are not in them, such as 'Q'"):
            splits.check(strange, same_faces=same_faces)


def test_rows_for_the_steps_that_follow(pack: FacePack, splits: SplitFile) -> None:
    assert np.array_equal(rows_of(pack, "test"), pack.select(split="test"))
    assert len(rows_of(pack, None)) == len(pack)
    assert np.array_equal(rows_of(pack, "train", splits, 2), splits.train_rows(pack, 2))
    with pytest.raises(DataError, match="has 4 folds; choose one with --fold"):
        rows_of(pack, "train", splits)
    with pytest.raises(DataError, match="fold 1 of what"):
        rows_of(pack, "train", None, 1)
    with pytest.raises(DataError, match="say which faces"):
        rows_of(pack, None, splits, 1)
    one = make_splits(pack, find_protocol("official"))
    assert np.array_equal(rows_of(pack, "test", one), pack.select(split="test"))


def test_a_pack_as_a_fold_sees_it(pack: FacePack, splits: SplitFile, tmp_path: Path) -> None:
    splits.write(tmp_path / "x.splits.json")
    for fold in range(4):
        for given in (splits, tmp_path / "x.splits.json"):
            with open_fold(pack.path, given, fold) as seen:
                assert np.array_equal(seen.select(split="train"), splits.train_rows(pack, fold))
                assert np.array_equal(seen.select(split="test"), splits.test_rows(pack, fold))
                assert seen.counts["test"] == splits.counts[f"fold{fold}"] | {"surprise": 0, "sadness": 0}
                assert sum(map(sum, (row.values() for row in seen.counts.values()))) == 36
                assert np.array_equal(seen.images[3], pack.images[3])
    with open_fold(pack.path) as plain:
        assert plain.split.tolist() == pack.split.tolist()
    with pytest.raises(DataError, match="choose one with --fold"):
        open_fold(pack.path, splits)
    with pytest.raises(DataError, match="fold 0 of what"):
        open_fold(pack.path, None, 0)


def test_synthesis_reads_the_training_part_of_a_fold(pack: FacePack, splits: SplitFile) -> None:
    with open_fold(pack.path, splits, 1) as seen:
        source = PackSource(seen, BASIC5)
        assert set(source.table.subjects) == splits.subjects(1, "train")
        assert source.held_out_subjects == splits.subjects(1, "test")
        assert source.describe()["fingerprint"] != PackSource(pack, BASIC5).describe()["fingerprint"]


def damaged(path: Path, splits: SplitFile, **changes: Any) -> Path:
    splits.write(path, overwrite=True)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path


def test_files_that_leak_are_refused(splits: SplitFile, tmp_path: Path) -> None:
    path = tmp_path / "x.splits.json"
    both = [{"train": ["fold0", "fold1"], "test": ["fold1"], "validation": []}]
    with pytest.raises(LeakageError, match=r"x.splits.json: part fold1 of a fold is used for two things"):
        read_splits(damaged(path, splits, folds=both))
    text = json.dumps({**json.loads(path.read_text()), "subjects": {"P0": "fold1"}})
    path.write_text(text.replace('{"P0": "fold1"}', '{"P0": "fold1", "P1": "fold2", "P0": "fold2"}'))
    with pytest.raises(LeakageError, match=r"x.splits.json: 'P0' is listed twice, as 'fold1' and as 'fold2'"):
        read_splits(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": "lssl-augment/face-pack"}, "its format is 'lssl-augment/face-pack'"),
        ({"schema_version": 2}, "schema version 2; this package reads version 1"),
        ({"folds": []}, "no fold"),
        ({"folds": [{"train": ["fold0"], "test": [1]}]}, "expected a text, found 1"),
        ({"folds": [{"train": ["fold0"], "tests": ["fold1"]}]}, "tests"),
        ({"folds": [{"train": ["fold0"], "test": []}]}, "one to test on"),
        ({"subjects": {"P0": "fold9"}}, "no fold uses the parts fold9"),
        ({"subjects": ["P0"]}, "AttributeError"),
        ({"pack": {}}, "class_names"),
    ],
)
def test_damaged_files_are_refused(changes: dict[str, Any], said: str, splits: SplitFile, tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=said):
        read_splits(damaged(tmp_path / "x.json", splits, **changes))


def test_what_is_no_split_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="lssl-augment split"):
        read_splits(tmp_path / "none.json")
    for text in ("", "[1, 2]", '"a"', "{", "\ud83d"):
        (tmp_path / "x.json").write_bytes(text.encode("utf-8", "surrogatepass"))
        with pytest.raises(SchemaError, match=r"x.json is no split file"):
            read_splits(tmp_path / "x.json")


def test_command(tmp_path: Path) -> None:
    words = ["neutral", "anger"] * 10
    toy_pack(tmp_path / "lab.h5", [f"P{i // 2}" for i in range(20)], words, dataset="oulu").close()
    result = CliRunner().invoke(split_command, [str(tmp_path / "lab.h5"), "--seed", "1"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("oulu, protocol oulu (kfold: subject-independent 10-fold")
    assert lines[1].split() == ["neutral", "happiness", "surprise", "anger", "sadness", "labelled", "subjects"]
    assert lines[2].split() == ["fold0", "1", "0", "0", "1", "0", "2", "1"]
    assert lines[-1] == str(tmp_path / "lab.splits.json")
    assert read_splits(lines[-1]).seed == 1
    again = CliRunner().invoke(split_command, [str(tmp_path / "lab.h5")])
    assert isinstance(again.exception, DataError)
    options = ["--protocol", "kfold:3", "--out", str(tmp_path / "k.json")]
    result = CliRunner().invoke(split_command, [str(tmp_path / "lab.h5"), *options])
    assert len(read_splits(tmp_path / "k.json").folds) == 3
    assert "fold K is tested on part foldK and trained on the other 2" in result.output
