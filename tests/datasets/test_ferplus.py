"""FER+: the majority, and which face it belongs to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lssl_augment.attributes import BASIC8
from lssl_augment.datasets.fer2013 import BAD_PIXELS, read_fer2013
from lssl_augment.datasets.ferplus import (
    NO_FACE_VOTED,
    NO_MAJORITY,
    UNKNOWN_VOTED,
    FerPlusLabel,
    match_ferplus,
    read_ferplus,
)
from lssl_augment.datasets.records import ReadOptions
from lssl_augment.errors import DataError

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
COLUMNS = HEADER.lower().split(",")[2:]


def write_votes(path: Path, rows: list[tuple[str, list[int]]]) -> Path:
    lines = [f"{usage},fer{i:07d}.png,{','.join(map(str, votes))}" for i, (usage, votes) in enumerate(rows)]
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


def votes(**given: int) -> list[int]:
    return [given.get(column, 0) for column in COLUMNS]


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ({"happiness": 10}, FerPlusLabel("happiness")),
        ({"contempt": 6, "anger": 4}, FerPlusLabel("contempt")),
        # Single votes are taken away: 4 of 7 is a majority, though 4 of 10 is not …
        ({"fear": 4, "surprise": 3, "anger": 1, "sadness": 1, "unknown": 1}, FerPlusLabel("fear")),
        # … and half is none.
        ({"fear": 5, "surprise": 5}, FerPlusLabel("", NO_MAJORITY)),
        ({"fear": 4, "surprise": 2, "anger": 2, "disgust": 2}, FerPlusLabel("", NO_MAJORITY)),
        (dict.fromkeys(COLUMNS, 1), FerPlusLabel("", NO_MAJORITY)),
        ({}, FerPlusLabel("", NO_MAJORITY)),
        ({"unknown": 7, "neutral": 3}, FerPlusLabel("", UNKNOWN_VOTED)),
        ({"nf": 10}, FerPlusLabel("", NO_FACE_VOTED)),
    ],
)
def test_majority(given: dict[str, int], label: FerPlusLabel, tmp_path: Path) -> None:
    path = write_votes(tmp_path / "fer2013new.csv", [("PublicTest", votes(**given))])
    assert read_ferplus(path) == {"public_test": [label]}


def test_rows_stay_in_order(tmp_path: Path) -> None:
    words = ["anger", "fear", "contempt", "neutral"]
    rows = [("Training", votes(**{word: 10})) for word in words] + [("PrivateTest", votes(disgust=9))]
    labels = read_ferplus(write_votes(tmp_path / "new.csv", rows))
    assert [label.word for label in labels["train"]] == words
    assert [label.word for label in labels["private_test"]] == ["disgust"]


@given(st.lists(st.sampled_from(["train", "public_test", "private_test"])))
def test_matching_gives_each_row_its_own_label(splits: list[str]) -> None:
    labels = {
        split: [FerPlusLabel(f"{split} {i}") for i in range(splits.count(split))]
        for split in ("train", "public_test", "private_test")
    }
    matched = match_ferplus(labels, splits, "list")
    for split in labels:
        assert [label for label, own in zip(matched, splits, strict=True) if own == split] == labels[split]


def test_matching_needs_whole_lists() -> None:
    one = [FerPlusLabel("fear")]
    # A part that is missing altogether does no harm.
    assert match_ferplus({"train": one, "public_test": one}, ["train"], "list") == one
    for splits in (["train", "train"], ["private_test"]):
        with pytest.raises(
            DataError, match=r"list has \d rows of .*, the FER\+ labels \d: they are matched by the ord"
        ):
            match_ferplus({"train": one}, splits, "list")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "column usage, neutral, .* is missing"),
        (f"{HEADER}\nTest,x.png,1,1,1,1,1,1,1,1,1,1\n", "line 2: Usage must be Training, PublicTest or PrivateTest"),
        (f"{HEADER}\nTraining,x.png,1,1,-1,1,1,1,1,1,1,1\n", "line 2: surprise must be a number of votes; got '-1'"),
        (f"{HEADER}\nTraining,x.png,1,1,{'9' * 5000},1,1,1,1,1,1,1\n", "surprise must be a number of votes"),
    ],
)
def test_bad_lists(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_ferplus(tmp_path / "new.csv")


def test_no_list(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no label file .*new\.csv; expected fer2013new\.csv of FER\+"):
        read_ferplus(tmp_path / "new.csv")


# --- with the faces ----------------------------------------------------------------------------------------------


def write_faces(path: Path, usages: list[str], bad: int) -> Path:
    rng = np.random.default_rng(0)
    lines = ["emotion,pixels,Usage"]
    for i, usage in enumerate(usages):
        pixels = "1 2" if i == bad else " ".join(map(str, rng.integers(0, 256, 2304)))
        lines.append(f"0,{pixels},{usage}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_new_labels_of_fer2013(tmp_path: Path) -> None:
    usages = ["Training", "Training", "Training", "PublicTest", "PrivateTest", "PrivateTest"]
    faces = write_faces(tmp_path / "fer2013.csv", usages, bad=1)
    given = [votes(contempt=9), votes(fear=9), votes(nf=9), votes(happiness=6), votes(unknown=6), votes(anger=10)]
    new = write_votes(tmp_path / "fer2013new.csv", list(zip(usages, given, strict=True)))
    for root in (faces, tmp_path):  # the folder holds two lists: only one is FER2013's
        table = read_fer2013(root, ReadOptions(label_file=new))
        assert table.vocabulary == BASIC8
        assert [(r.file[-5:], BASIC8.names[r.label], r.split) for r in table.records] == [
            ("00002", "contempt", "train"),
            ("00005", "happiness", "public_test"),
            ("00007", "anger", "private_test"),
        ]
        assert sorted(table.skipped) == [
            ("fer2013.csv#00003", BAD_PIXELS),  # its label is not given to the next row
            ("fer2013.csv#00004", NO_FACE_VOTED),
            ("fer2013.csv#00006", UNKNOWN_VOTED),
        ]
        assert table.notes[0] == "the labels are those of FER+ (fer2013new.csv), by majority of its votes"
    # Without the option the old labels stay.
    assert {r.label for r in read_fer2013(faces, ReadOptions()).records} == {0}


def test_what_cannot_be_matched(tmp_path: Path) -> None:
    new = write_votes(tmp_path / "new.csv", [("Training", votes(fear=9))] * 2)
    faces = write_faces(tmp_path / "fer2013.csv", ["Training"], bad=9)
    with pytest.raises(DataError, match=r"fer2013\.csv has 1 rows of train, the FER\+ labels 2"):
        read_fer2013(faces, ReadOptions(label_file=new))
    folder = tmp_path / "folders"
    (folder / "train" / "angry").mkdir(parents=True)
    (folder / "train" / "angry" / "x.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"as class folders, whose files bear no row numbers; .*Give --root that file"):
        read_fer2013(folder, ReadOptions(label_file=new))
