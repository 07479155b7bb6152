"""RAF-DB: as published, and as Kaggle's copies have it."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from lssl_augment.attributes import BASIC7
from lssl_augment.datasets.rafdb import NOT_LISTED, read_rafdb
from lssl_augment.datasets.records import ReadOptions
from lssl_augment.errors import DataError
from tests.datasets.stand_ins import blank_tree, shown

Draw = Callable[..., None]

WORDS = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
NOTES = ("12271 training images are published, this copy has 7", "3068 test images are published, this copy has 7")


@pytest.fixture
def rafdb(tmp_path: Path, draw: Draw) -> Path:
    root = tmp_path / "rafdb"
    lines = []
    for number in range(1, 8):
        for name in (f"train_{number:05d}", f"test_{number:04d}"):
            lines.append(f"{name}.jpg {number}")
            draw(root / "basic" / "Image" / "aligned" / f"{name}_aligned.jpg", size_px=24)
    labels = root / "basic" / "EmoLabel" / "list_patition_label.txt"
    labels.parent.mkdir()
    labels.write_text("\n".join(lines) + "\n\n")
    # What else the archive holds is no face.
    notes = root / "basic" / "Annotation" / "auto" / "train_00001_auto_attri.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("1 2")
    return root


def list_of(root: Path) -> Path:
    return root / "basic" / "EmoLabel" / "list_patition_label.txt"


def test_published_form(rafdb: Path, zipped: Callable[..., Path]) -> None:
    for given in (rafdb, rafdb / "basic", zipped(rafdb)):
        table = read_rafdb(given, ReadOptions())
        assert table.vocabulary == BASIC7
        assert len(table.records) == 14
        for record in table.records:
            number = int(Path(record.file).stem.split("_")[1])
            assert table.vocabulary.names[record.label] == WORDS[number - 1]
            assert Path(record.file).name.startswith(f"{record.split}_")
            assert table.tree.read(record.file)
        assert Counter(r.split for r in table.records) == {"train": 7, "test": 7}
        assert len({r.subject for r in table.records}) == 14
        assert (table.skipped, table.notes) == ((), NOTES)


def test_aligned_images_go_before_original_ones(rafdb: Path, draw: Draw) -> None:
    image = rafdb / "basic" / "Image"
    for path in list((image / "aligned").iterdir()):
        draw(image / "ORIGINAL" / path.name.replace("_aligned.jpg", ".JPG"), size_px=16)
    assert all("aligned/" in r.file for r in read_rafdb(rafdb, ReadOptions()).records)
    shutil.rmtree(image / "aligned")
    table = read_rafdb(rafdb, ReadOptions())
    assert all("ORIGINAL/" in r.file and table.tree.read(r.file) for r in table.records)
    assert len(table.records) == 14
    assert "original photographs" in table.notes[-1]


def test_other_spelling_of_the_list(rafdb: Path) -> None:
    list_of(rafdb).rename(list_of(rafdb).with_name("list_partition_label.txt"))
    assert len(read_rafdb(rafdb, ReadOptions()).records) == 14


def test_more_and_fewer_files_than_lines(rafdb: Path) -> None:
    aligned = rafdb / "basic" / "Image" / "aligned"
    (aligned / "train_00001_aligned.jpg").rename(aligned / "train_99999_aligned.jpg")
    (aligned / "Thumbs.db").write_bytes(b"")
    table = read_rafdb(rafdb, ReadOptions())
    # The one that is missing stays: that its file is missing is found, and counted, when it is read.
    assert [r.file for r in table.records if r.file not in table.tree] == ["train_00001.jpg"]
    assert sorted(table.skipped) == [
        ("basic/Image/aligned/Thumbs.db", "not an image file"),
        ("basic/Image/aligned/train_99999_aligned.jpg", NOT_LISTED),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train_00008.jpg 8", "line 16: an expression must be a number from 1 to 7; got '8'"),
        ("train_00008.jpg happy", "got 'happy'"),
        ("train_00008.jpg", "line 16: a line must be a file and a number"),
        ("val_00008.jpg 1", r"must be called train_… or test_…; got 'val_00008\.jpg'"),
        ("train_00001.jpg 2", r"train_00001_aligned\.jpg is listed as fear, but at .* line 1 as surprise"),
    ],
)
def test_bad_lines(line: str, message: str, rafdb: Path) -> None:
    with list_of(rafdb).open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(DataError, match=message):
        read_rafdb(rafdb, ReadOptions())


def test_listed_twice_alike_is_taken_once(rafdb: Path) -> None:
    with list_of(rafdb).open("a") as file:
        file.write("train_00001.jpg 1\n")
    table = read_rafdb(rafdb, ReadOptions())
    assert len(table.records) == 14
    assert table.skipped == (("basic/Image/aligned/train_00001_aligned.jpg", "listed twice"),)


def test_lists_that_are_not_text_or_not_alone(rafdb: Path) -> None:
    shutil.copytree(rafdb / "basic", rafdb / "copy")
    with pytest.raises(DataError, match=r"looked for one list of labels, found basic/.*, copy/"):
        read_rafdb(rafdb, ReadOptions())
    shutil.rmtree(rafdb / "copy")
    list_of(rafdb).write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"list_patition_label\.txt is not UTF-8 text"):
        read_rafdb(rafdb, ReadOptions())


def test_archives_still_packed(rafdb: Path) -> None:
    image = rafdb / "basic" / "Image"
    shutil.rmtree(image / "aligned")
    (image / "aligned.zip").write_bytes(b"")
    with pytest.raises(DataError, match=r"found basic/Image/aligned\.zip, still to be unpacked; expected"):
        read_rafdb(rafdb, ReadOptions())


@pytest.fixture
def kaggle(tmp_path: Path, draw: Draw) -> Path:
    root = tmp_path / "kaggle"
    for split, digits in (("train", 5), ("test", 4)):
        lines = ["image,label"]
        for number in range(1, 8):
            name = f"{split}_{number:0{digits}d}_aligned.jpg"
            draw(root / "DATASET" / split / str(number) / name, size_px=24)
            lines.append(f"{name},{number}")
        (root / f"{split}_labels.csv").write_text("\n".join(lines))
    return root


def test_kaggles_form(kaggle: Path, zipped: Callable[..., Path]) -> None:
    for given in (kaggle, kaggle / "DATASET", zipped(kaggle)):
        table = read_rafdb(given, ReadOptions())
        assert Counter((r.split, table.vocabulary.names[r.label]) for r in table.records) == {
            (split, word): 1 for split in ("train", "test") for word in WORDS
        }
        assert (table.skipped, table.notes) == ((), NOTES)


def test_kaggles_form_against_itself(kaggle: Path, draw: Draw) -> None:
    train = kaggle / "DATASET" / "train"
    (train / "1" / "train_00001_aligned.jpg").rename(train / "2" / "train_00001_aligned.jpg")
    with pytest.raises(DataError, match=r"train_00001_aligned\.jpg is fear by its folder, but surprise by train_lab"):
        read_rafdb(kaggle, ReadOptions())
    (kaggle / "train_labels.csv").unlink()
    (train / "1" / "notes.txt").write_text("")
    table = read_rafdb(kaggle, ReadOptions())
    assert shown(table)["DATASET/train/2/train_00001_aligned.jpg"] == "fear"
    assert table.skipped == (("DATASET/train/1/notes.txt", "not an image file"),)
    draw(train / "9" / "x.jpg", size_px=16)
    with pytest.raises(
        DataError, match=r"folder DATASET/train/9/: an expression must be a number from 1 to 7; got '9'"
    ):
        read_rafdb(kaggle, ReadOptions())


def test_wrong_tree(tmp_path: Path) -> None:
    (tmp_path / "thing.txt").write_text("")
    with pytest.raises(DataError, match=r"not rafdb: looked for .*, found thing\.txt; expected .*whdeng.*--simulated"):
        read_rafdb(tmp_path, ReadOptions())


def test_stand_in_is_read_back(tmp_path: Path) -> None:
    declared = blank_tree("rafdb", 6, tmp_path)
    table = read_rafdb(tmp_path, ReadOptions())
    assert shown(table) == {file: face.expression for file, face in declared.items()}
    assert {face.expression for face in declared.values()} == set(BASIC7.names)
    trained, tested = ({declared[r.file].subject for r in table.records if r.split == s} for s in ("train", "test"))
    assert trained
    assert tested
    assert not trained & tested
    assert len(trained | tested) == 6
    assert not table.skipped
