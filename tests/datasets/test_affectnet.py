"""AffectNet: the lists, the newer form, and what each leaves out."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lssl_augment.attributes import BASIC8
from lssl_augment.datasets.affectnet import NO_LABEL_FILE, NOT_LISTED, UNUSED, read_affectnet
from lssl_augment.datasets.affectnet_lists import COLUMNS
from lssl_augment.datasets.records import ReadOptions
from lssl_augment.errors import DataError
from tests.datasets.stand_ins import blank_tree, shown

WORDS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
POINTS = np.arange(136, dtype=np.float32).reshape(68, 2) / 4
TEXT = ";".join(f"{value:.2f}" for value in POINTS.ravel())


def line(file: str, code: object, points: str = TEXT) -> str:
    return f"{file},1,2,30,40,{points},{code},0.5,-0.25"


def write_list(path: Path, lines: list[str], header: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([",".join(COLUMNS)] * header + lines) + "\n")


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


@pytest.fixture
def affectnet(tmp_path: Path) -> Path:
    """Lists of eleven photographs to train on and eleven to validate on."""
    root = tmp_path / "affectnet"
    for name in ("training", "validation"):
        files = [f"{code}/{name}{code}.jpg" for code in range(11)]
        lists = root / "AffectNet" / "Manually_Annotated_file_lists"
        write_list(lists / f"{name}.csv", [line(file, code) for code, file in enumerate(files)])
        for file in files:
            touch(root / "AffectNet" / "Manually_Annotated_Images" / file)
    return root


def test_lists(affectnet: Path, zipped: Callable[..., Path]) -> None:
    for given in (affectnet, affectnet / "AffectNet", zipped(affectnet), zipped(affectnet, inside="more")):
        table = read_affectnet(given, ReadOptions())
        assert table.vocabulary == BASIC8
        assert Counter(r.split for r in table.records) == {"train": 8, "val": 8}
        assert len({r.subject for r in table.records}) == 16
        for record in table.records:
            assert record.file in table.tree
            assert table.vocabulary.names[record.label] == WORDS[int(record.file[-5])]
            assert np.array_equal(record.points68, POINTS)
        assert Counter(reason for _, reason in table.skipped) == dict.fromkeys(UNUSED.values(), 2)
        assert table.notes == (
            "414799 listed training images are published, this copy has 11",
            "5500 listed validation images are published, this copy has 11",
        )


@pytest.mark.parametrize("header", [True, False])
def test_lists_beside_the_photographs(header: bool, tmp_path: Path) -> None:
    write_list(
        tmp_path / "Validation.CSV", [line("1/A.JPG", 1), "", line("1\\b.png", 7), line("2/gone.jpg", 0)], header
    )
    for file in ("1/a.jpg", "1/b.png", "1/new.jpg", "1/Thumbs.db"):
        touch(tmp_path / "manually_annotated_images" / file)
    table = read_affectnet(tmp_path, ReadOptions())
    assert shown(table) == {
        "manually_annotated_images/1/a.jpg": "happiness",  # whatever the case
        "manually_annotated_images/1/b.png": "contempt",
        "manually_annotated_images/2/gone.jpg": "neutral",  # found to be missing, and counted, when it is read
    }
    assert {r.split for r in table.records} == {"val"}
    assert table.skipped == (
        ("manually_annotated_images/1/Thumbs.db", "not an image file"),
        ("manually_annotated_images/1/new.jpg", NOT_LISTED),
    )
    assert table.notes[0] == "414799 listed training images are published, this copy has 0"


def test_renamed_folder_of_photographs(tmp_path: Path) -> None:
    write_list(tmp_path / "training.csv", [line("9/gone.jpg", 3), line("1/a.jpg", 1)])
    touch(tmp_path / "pictures" / "1" / "a.jpg")
    assert shown(read_affectnet(tmp_path, ReadOptions())) == {
        "pictures/1/a.jpg": "happiness",
        "pictures/9/gone.jpg": "surprise",
    }


@pytest.mark.parametrize("points", ["", "1;2;3", "a;b", ";".join(["nan"] * 136), TEXT + ";1;2"])
def test_landmarks_that_are_none(points: str, affectnet: Path) -> None:
    name = affectnet / "AffectNet" / "Manually_Annotated_file_lists" / "training.csv"
    write_list(name, [line("0/training0.jpg", 0, points), line("1/training1.jpg", 1)])
    table = read_affectnet(affectnet, ReadOptions())
    train = [r for r in table.records if r.split == "train"]
    assert [r.points68 is None for r in train] == [True, False]
    assert table.notes[-1].startswith("1 lines hold no 68 landmarks that can be read")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (line("a.jpg", 11), r"training\.csv line 1: expression must be a number from 0 to 10; got '11'"),
        (line("a.jpg", -1), "it begins with 'a.jpg, 1, 2, 30, 40"),  # neither a header nor a first line
        (line("a.jpg", 1) + ",9", "is not a list of AffectNet: it begins with 'a.jpg"),
        (f"{line('a.jpg', 1)}\n{line('b.jpg', 1)},9", r"training\.csv line 2: 10 cells under 9 columns"),
        (line("", 1), "line 1: the file is empty"),
        (
            f"{line('a.jpg', 1)}\n{line('a.jpg', 2)}",
            r"a\.jpg is listed as sadness, but at training\.csv line 1 as happ",
        ),
        ("file,expression\na.jpg,1\n", "expected the columns subDirectory_filePath, face_x"),
        ("Zoë,1\n", "is not UTF-8 text"),
        (line("a.jpg", 1, "x" * 200_000), "training.csv line 1: field larger than field limit"),
    ],
)
def test_bad_lists(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "training.csv").write_text(text, encoding="latin-1")
    touch(tmp_path / "Manually_Annotated_Images" / "a.jpg")
    with pytest.raises(DataError, match=message):
        read_affectnet(tmp_path, ReadOptions())


def test_lists_without_photographs_and_twice(affectnet: Path) -> None:
    lists = affectnet / "AffectNet" / "Manually_Annotated_file_lists"
    with pytest.raises(
        DataError, match=r"looked for Manually_Annotated_Images/ with the photographs, found training\.c"
    ):
        read_affectnet(lists, ReadOptions())
    write_list(affectnet / "training.csv", [line("1/a.jpg", 1)])
    with pytest.raises(DataError, match="one list of training images and one of validation images; found"):
        read_affectnet(affectnet, ReadOptions())


def test_damaged_archive(affectnet: Path, zipped: Callable[..., Path]) -> None:
    archive = zipped(affectnet)  # stored as it is, not compressed
    data = archive.read_bytes()
    archive.write_bytes(data.replace(b";1.00;", b";1.01;", 1))
    with pytest.raises(DataError, match=r"training\.csv: cannot be read from affectnet\.zip \(Bad CRC"):
        read_affectnet(archive, ReadOptions())


# --- the newer form ----------------------------------------------------------------------------------------------


def write_array(path: Path, values: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.asarray(values))


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    root = tmp_path / "sets"
    for part in ("train_set", "val_set"):
        for code in range(9):
            touch(root / part / "images" / f"{code}.jpg")
            # Text, integers and floats are about.
            kinds: list[object] = [str(code), code, float(code)]
            write_array(root / part / "annotations" / f"{code}_exp.npy", kinds[code % 3])
            if code != 1:
                write_array(root / part / "annotations" / f"{code}_lnd.npy", POINTS.ravel().astype(np.float64))
    return root


def test_sets(sets: Path, zipped: Callable[..., Path]) -> None:
    for given in (sets, zipped(sets), zipped(sets, inside="AffectNet")):
        table = read_affectnet(given, ReadOptions())
        assert Counter(r.split for r in table.records) == {"train": 8, "val": 8}
        for record in table.records:
            code = int(Path(record.file).stem)
            assert table.vocabulary.names[record.label] == WORDS[code]
            if code == 1:
                assert record.points68 is None
            else:
                assert np.array_equal(record.points68, POINTS)
        assert sorted(table.skipped) == [(f"{part}_set/images/8.jpg", "AffectNet: none") for part in ("train", "val")]
        assert table.notes == ("287651 cropped training images are published, this copy has 9",)


def test_sets_with_other_files(sets: Path) -> None:
    touch(sets / "train_set" / "images" / "99.jpg")
    touch(sets / "train_set" / "images" / "Thumbs.db")
    table = read_affectnet(sets, ReadOptions())
    assert ("train_set/images/99.jpg", NO_LABEL_FILE) in table.skipped
    assert ("train_set/images/Thumbs.db", "not an image file") in table.skipped


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("0_exp.npy", 11, r"0_exp\.npy: expression must be a number from 0 to 10; got '11'"),
        ("0_exp.npy", 0.5, "expected one number; got"),
        ("0_exp.npy", "happy", r"expected one number; got \['happy'\]"),
        ("0_exp.npy", np.inf, "expected one number"),
        ("0_exp.npy", [1, 2], "expected one number"),
        ("0_exp.npy", [{}], "cannot be read: Object arrays"),
        ("0_lnd.npy", [1.0, 2.0], r"0_lnd\.npy: expected 136 numbers; got float64 \(2,\)"),
        ("0_lnd.npy", ["a"] * 136, "expected 136 numbers"),
    ],
)
def test_bad_label_files(name: str, values: object, message: str, sets: Path) -> None:
    write_array(sets / "train_set" / "annotations" / name, values)
    with pytest.raises(DataError, match=message):
        read_affectnet(sets, ReadOptions())


def test_truncated_label_file(sets: Path) -> None:
    file = io.BytesIO()
    np.save(file, POINTS)
    (sets / "train_set" / "annotations" / "0_lnd.npy").write_bytes(file.getvalue()[:-9])
    with pytest.raises(DataError, match=r"0_lnd\.npy cannot be read"):
        read_affectnet(sets, ReadOptions())


def test_wrong_tree(tmp_path: Path) -> None:
    touch(tmp_path / "thing.jpg")
    with pytest.raises(
        DataError, match=r"not affectnet: looked for .*, found thing\.jpg; expected .*Mahoor.*--simulated"
    ):
        read_affectnet(tmp_path, ReadOptions())


def test_stand_in_is_read_back(tmp_path: Path) -> None:
    declared = blank_tree("affectnet", 5, tmp_path)
    table = read_affectnet(tmp_path, ReadOptions())
    assert shown(table) == {file: face.expression for file, face in declared.items()}
    trained, tested = ({declared[r.file].subject for r in table.records if r.split == s} for s in ("train", "val"))
    assert (len(trained), len(tested), trained & tested) == (4, 1, set())
    assert not table.skipped
