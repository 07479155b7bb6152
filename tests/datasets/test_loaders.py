"""The loaders: every layout they promise, and one clear message for every other."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lssl_augment.attributes import BASIC7, BASIC8
from lssl_augment.datasets.records import ReadOptions, RecordTable
from lssl_augment.datasets.registry import find_dataset
from lssl_augment.errors import DataError, LeakageError
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE
from tests.datasets.stand_ins import blank_tree, shown

Draw = Callable[..., None]

#: The loaders that this file tests; each other one has a file of its own.
NAMES = ("lfw-expressions", "fer2013", "folder", "csv")


def read(name: str, root: Path, **options: object) -> RecordTable:
    return find_dataset(name).read(root, ReadOptions(**options))  # type: ignore[arg-type]


def words(table: RecordTable) -> Counter[str]:
    return Counter(table.vocabulary.names[r.label] if r.label >= 0 else "" for r in table.records)


# --- lfw-expressions ---------------------------------------------------------------------------------------------


def test_lfw(lfw: Path) -> None:
    table = read("lfw-expressions", lfw)
    assert table.vocabulary == BASIC8
    assert words(table) == {"neutral": 3, "happiness": 2, "surprise": 1, "anger": 1}
    assert (table.landmark_file, table.skipped) == ("dense", ())
    by_subject: dict[str, set[str]] = {}
    for record in table.records:
        by_subject.setdefault(record.subject, set()).add(record.split)
        assert record.points68 is not None
        assert record.dense is not None
        # The 68 are always those of the dense points.
        assert np.array_equal(record.points68, record.dense[SPARSE_FROM_DENSE, :2])
    assert set(by_subject) == {"Ann_A", "Bob_B", "Cyd_C", "Dan_D", "Eve_E"}
    assert all(len(splits) == 1 for splits in by_subject.values())
    assert {record.split for record in table.records} == {"train", "test"}


@pytest.mark.parametrize("inside", ["", "lfw-expressions"])
def test_lfw_zip_is_the_same(inside: str, lfw: Path, zipped: Callable[..., Path]) -> None:
    folder, archive = read("lfw-expressions", lfw), read("lfw-expressions", zipped(lfw, inside))
    assert [(r.file, r.label, r.subject, r.split) for r in folder.records] == [
        (r.file, r.label, r.subject, r.split) for r in archive.records
    ]
    assert all(archive.tree.read(r.file) == folder.tree.read(r.file) for r in folder.records)


def test_fewer_classes_move_nobody(lfw: Path) -> None:
    everyone = {r.file: r.split for r in read("lfw-expressions", lfw).records}
    few = read("lfw-expressions", lfw, classes=("happy", "neutral"))
    assert few.vocabulary.names == ("happiness", "neutral")
    assert words(few) == {"neutral": 3, "happiness": 2}
    assert all(everyone[r.file] == r.split for r in few.records)
    assert [reason for _, reason in few.skipped] == ["expression not in --classes"] * 2


def test_unlisted_landmarks(lfw: Path, landmarks: Callable[..., None]) -> None:
    landmarks(lfw, ["images/Ann_A/Ann_A_0001.png"], kind="sparse")
    table = read("lfw-expressions", lfw)
    assert table.landmark_file == "sparse"
    assert [r.file for r in table.records if r.points68 is not None] == ["images/Ann_A/Ann_A_0001.png"]
    assert all(r.dense is None for r in table.records)
    (lfw / "landmarks.npz").unlink()
    table = read("lfw-expressions", lfw)
    assert table.landmark_file is None
    assert all(r.points68 is None for r in table.records)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"points68": np.zeros((1, 68, 2))}, "must hold files and points478 or points68; it holds points68"),
        ({"files": np.array(["a"])}, "must hold files and points478 or points68; it holds files"),
        (
            {"files": np.array(["a"]), "points68": np.zeros((1, 5, 2))},
            r"points68 must be \(1, 68, 2\) floats; got \(1, 5, 2\)",
        ),
        ({"files": np.array(["a"]), "points478": np.zeros((1, 478, 3), int)}, "points478 must be .* floats"),
        ({"files": np.array([{}]), "points68": np.zeros((1, 68, 2))}, "cannot be read: Object arrays"),
    ],
)
def test_bad_landmark_files(arrays: dict[str, np.ndarray], message: str, lfw: Path) -> None:
    np.savez(lfw / "landmarks.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=message):
        read("lfw-expressions", lfw)


def test_truncated_landmark_file(lfw: Path) -> None:
    data = (lfw / "landmarks.npz").read_bytes()
    (lfw / "landmarks.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"landmarks\.npz of lfw cannot be read"):
        read("lfw-expressions", lfw)


# --- folder ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path, draw: Draw) -> Path:
    root = tmp_path / "mine"
    for i, name in enumerate(["happy/p1_a.jpg", "happy/p2_a.jpg", "Sad/deep/p1_b.png", "neutral/p3_a.jpg"]):
        draw(root / name, seed=i)
    (root / "happy" / "notes.txt").write_text("not a face")
    (root / "README.md").write_text("about")
    (root / ".hidden").mkdir()
    draw(root / ".hidden" / "x.jpg")
    draw(root / "loose.jpg")
    return root


def test_class_folders(folders: Path) -> None:
    table = read("folder", folders)
    assert table.vocabulary == BASIC8
    assert words(table) == {"happiness": 2, "sadness": 1, "neutral": 1}
    assert [r.subject for r in table.records] == [r.file for r in table.records]
    assert sorted(table.skipped) == [
        ("happy/notes.txt", "not an image file"),
        ("loose.jpg", "not in a class folder"),
    ]


@pytest.mark.parametrize("pattern", [r"(p\d)_", r"p\d", r"(?P<subject>p\d)_(a|b)", r"/(p\d)[^/]*$"])
def test_subjects_by_pattern(pattern: str, folders: Path) -> None:
    table = read("folder", folders, subject_pattern=pattern)
    assert [r.subject for r in table.records] == ["p1", "p1", "p2", "p3"]
    assert table.records[0].split == table.records[1].split


def test_patterns_that_fit_not(folders: Path) -> None:
    with pytest.raises(DataError, match=r"finds no subject in 'Sad/deep/p1_b.png'"):
        read("folder", folders, subject_pattern=r"(p\d)_a")
    with pytest.raises(DataError, match=r"finds no subject in"):
        read("folder", folders, subject_pattern=r"(x?)p")
    with pytest.raises(DataError, match=r"'\(p' is no regular expression"):
        read("folder", folders, subject_pattern="(p")


def test_split_folders(folders: Path) -> None:
    (folders / "loose.jpg").unlink()
    parts = folders.parent / "parts"
    for split in ("Training", "validation", "test"):
        shutil.copytree(folders, parts / split, ignore=shutil.ignore_patterns("README.md", ".hidden"))
    table = read("folder", parts)
    assert Counter(r.split for r in table.records) == {"train": 4, "val": 4, "test": 4}
    with pytest.raises(LeakageError, match=r"subject 'p1' is in .* take the split away"):
        read("folder", parts, subject_pattern=r"(p\d)_")


def test_unknown_class_folder(folders: Path, draw: Draw) -> None:
    draw(folders / "grin" / "p4.jpg")
    with pytest.raises(DataError, match=r"folder grin/: unknown expression 'grin'; allowed: neutral, .*--alias grin="):
        read("folder", folders)
    table = read("folder", folders, aliases={"Grin": "happy"})
    assert words(table)["happiness"] == 3
    table = read("folder", folders, classes=("neutral", "grin"))
    assert words(table) == {"neutral": 1, "grin": 1}
    assert table.vocabulary.names == ("neutral", "grin")
    with pytest.raises(DataError, match="alias grin=glee: 'glee' is no expression here"):
        read("folder", folders, aliases={"grin": "glee"})
    with pytest.raises(DataError, match="must be distinct"):
        read("folder", folders, classes=("happy", "joy"))


def test_landmarks_beside_folders(folders: Path, landmarks: Callable[..., None]) -> None:
    landmarks(folders, ["happy/p1_a.jpg"])
    table = read("folder", folders)
    assert table.landmark_file == "dense"
    assert [r.file for r in table.records if r.points68 is not None] == ["happy/p1_a.jpg"]


def test_links_do_not_go_in_circles(folders: Path) -> None:
    try:
        (folders / "happy" / "again").symlink_to(folders / "happy", target_is_directory=True)
    except OSError:
        pytest.skip("no symbolic links here")
    assert len(read("folder", folders).records) == 4


# --- csv ---------------------------------------------------------------------------------------------------------


def write_list(root: Path, text: str, name: str = "list.csv", encoding: str = "utf-8") -> Path:
    root.mkdir(exist_ok=True)
    (root / name).write_text(text, encoding=encoding)
    return root


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_lists(separator: str, encoding: str, tmp_path: Path) -> None:
    text = " File,Expression ,Subject\na.jpg, Happy ,Zoë\n\nb\\c.jpg,,Bo\na.jpg,joy,Zoë\nd.jpg,sad,\n"
    root = write_list(tmp_path / "l", text.replace(",", separator), encoding=encoding)
    for given in (root, root / "list.csv"):
        table = read("csv", given)
        assert [(r.file, r.subject) for r in table.records] == [("a.jpg", "Zoë"), ("b/c.jpg", "Bo"), ("d.jpg", "d.jpg")]
        assert words(table) == {"happiness": 1, "": 1, "sadness": 1}
        assert table.skipped == (("a.jpg", "listed twice"),)


def test_lists_with_splits(tmp_path: Path) -> None:
    rows = "file,expression,subject,split\na.jpg,sad,A,train\nb.jpg,sad,B,fold-2\n"
    table = read("csv", write_list(tmp_path / "l", rows))
    assert [r.split for r in table.records] == ["train", "fold-2"]
    with pytest.raises(DataError, match=r"list\.csv line 4: the split is empty"):
        read("csv", write_list(tmp_path / "l", rows + "c.jpg,sad,C,\n"))
    with pytest.raises(LeakageError, match=r"list\.csv line 4: subject 'A' is in train and in test"):
        read("csv", write_list(tmp_path / "l", rows + "c.jpg,sad,A,test\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"list\.csv is empty"),
        ("file,label\na.jpg,sad\n", "column expression is missing; it has file, label"),
        ("a.jpg,sad\n", "column file, expression is missing"),
        ("file,file,expression\n", "a column name comes twice"),
        ("file,expression\na.jpg\n", "line 2: 1 cells under 2 columns"),
        ("file,expression\na.jpg,sad\nb.jpg,meh\n", "line 3: unknown expression 'meh'; allowed: neutral"),
        ("file,expression\n,sad\n", "line 2: the file is empty"),
        (
            "file,expression\na.jpg,sad\na.jpg,happy\n",
            r"line 3: a\.jpg is listed as happiness, but at list\.csv line 2",
        ),
    ],
)
def test_bad_lists(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read("csv", write_list(tmp_path / "l", text))


def test_lists_of_another_encoding(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"list\.csv is not UTF-8 text"):
        read("csv", write_list(tmp_path / "l", "file,expression\nZoë.jpg,sad\n", encoding="latin-1"))


def test_several_lists(tmp_path: Path) -> None:
    root = write_list(tmp_path / "l", "file,expression\na.jpg,sad\n")
    write_list(root, "file,expression\nb.jpg,sad\n", "other.csv")
    with pytest.raises(DataError, match="looked for one CSV file, found 2"):
        read("csv", root)
    assert [r.file for r in read("csv", root / "other.csv").records] == ["b.jpg"]
    (root / "other.csv").rename(root / "landmarks.csv")  # is not a list of photographs
    (root / "landmarks.csv").write_text("file," + ",".join(f"x_{i},y_{i}" for i in range(68)) + "\n")
    assert [r.file for r in read("csv", root).records] == ["a.jpg"]


# --- fer2013 -----------------------------------------------------------------------------------------------------


def fer_line(emotion: object, usage: str, values: np.ndarray | str) -> str:
    text = values if isinstance(values, str) else " ".join(map(str, values.ravel().tolist()))
    return f"{emotion},{usage},{text}"


def fer_pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 48), dtype=np.uint8)


@pytest.mark.parametrize("header", ["emotion,Usage,pixels", "emotion, Usage, pixels"])
def test_fer_csv(header: str, tmp_path: Path, zipped: Callable[..., Path]) -> None:
    usages = ["Training", "PublicTest", "PrivateTest"]
    lines = [header] + [fer_line(i % 7, usages[i % 3], fer_pixels(i)) for i in range(9)]
    lines += [fer_line(3, "Training", "1 2 3"), fer_line(3, "Training", fer_pixels(0).astype(int) + 1)]
    root = write_list(tmp_path / "fer", "\n".join(lines), "fer2013.csv")
    for given in (root, root / "fer2013.csv", zipped(root)):
        table = read("fer2013", given)
        assert table.vocabulary == BASIC7
        assert [r.label for r in table.records] == [i % 7 for i in range(9)]
        assert [r.split for r in table.records] == ["train", "public_test", "private_test"] * 3
        assert [r.file for r in table.records[:2]] == ["fer2013.csv#00002", "fer2013.csv#00003"]
        assert table.skipped == tuple(
            (f"fer2013.csv#{n}", "pixels are not 48×48 numbers in 0–255") for n in ("00011", "00012")
        )
        for i, record in enumerate(table.records):
            assert record.image is not None
            assert np.array_equal(record.image, fer_pixels(i))


def test_fer_csv_in_its_original_order_of_columns(tmp_path: Path) -> None:
    pixels = " ".join(["7"] * 2304)
    root = write_list(tmp_path / "fer", f"emotion,pixels,Usage\n6,{pixels},PublicTest\n", "any name.csv")
    (record,) = read("fer2013", root).records
    assert (record.label, record.split) == (BASIC7.index("neutral"), "public_test")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (fer_line(7, "Training", "0"), "line 2: emotion must be 0 to 6; got '7'"),
        (fer_line("happy", "Training", "0"), "got 'happy'"),
        (fer_line(0, "Test", "0"), "Usage must be Training, PublicTest or PrivateTest; got 'Test'"),
    ],
)
def test_bad_fer_csv(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read("fer2013", write_list(tmp_path / "fer", f"emotion,Usage,pixels\n{line}\n"))


def test_fer_folders(tmp_path: Path, draw: Draw, zipped: Callable[..., Path]) -> None:
    root = tmp_path / "fer"
    for split in ("train", "public_test", "private_test"):
        for name in ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"):
            draw(root / split / name / f"{split}_1.png", size_px=48)
    (root / "train" / "angry" / "Thumbs.db").write_bytes(b"no face")
    for given in (root, zipped(root)):
        table = read("fer2013", given)
        assert Counter(r.split for r in table.records) == {"train": 7, "public_test": 7, "private_test": 7}
        assert words(table) == dict.fromkeys(BASIC7.names, 3)
        assert table.skipped == (("train/angry/Thumbs.db", "not an image file"),)
        # A copy that is not whole is read, and told of.
        assert table.notes == (
            "28709 training images are published, this copy has 7",
            "3589 public test images are published, this copy has 7",
            "3589 private test images are published, this copy has 7",
        )
    # Subjects are unknown: nobody may count as the same person twice.
    assert len({r.subject for r in table.records}) == 21


def test_kaggles_mixed_test_folder_is_not_called_private(tmp_path: Path, draw: Draw) -> None:
    draw(tmp_path / "train" / "angry" / "a.png")
    draw(tmp_path / "test" / "angry" / "b.png")
    table = read("fer2013", tmp_path)
    assert {r.split for r in table.records} == {"train", "test"}
    assert "mixes FER2013's public and private test faces" in table.notes[0]
    assert table.notes[1:] == (
        "28709 training images are published, this copy has 1",
        "7178 public and private test images are published, this copy has 1",
    )


# --- wrong layouts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_wrong_layout_says_what_was_looked_for_and_found(name: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    with pytest.raises(DataError, match=r"there is no folder or zip archive .*root"):
        read(name, root)
    root.mkdir()
    with pytest.raises(DataError, match=r"looked for .*, found .*nothing.*expected"):
        read(name, root)
    for i in range(9):
        (root / f"thing{i}.txt").write_text("")
    with pytest.raises(DataError, match=r"looked for .*thing0.txt, thing1.txt.* and 3 more.*expected") as caught:
        read(name, root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_damaged_archives(name: str, tmp_path: Path) -> None:
    archive = tmp_path / "data.zip"
    for data in (b"", b"PK\x03\x04 and no more", b"something else"):
        archive.write_bytes(data)
        with pytest.raises(DataError, match="neither a folder nor a zip archive, or a damaged one"):
            read(name, archive)


# --- what is known before a copy is seen -------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_data_set_says_what_it_is(name: str) -> None:
    info = find_dataset(name).info
    assert info.name == name
    for text in (info.title, info.layout, info.ask, info.licence, info.citation, info.protocol):
        assert len(text) > 15
    known = {field.name for field in fields(ReadOptions)}
    assert set(info.options) <= known - {"seed", "classes", "aliases"}


@pytest.mark.parametrize("name", ["folder", "csv"])
def test_own_photographs_have_no_stand_in(name: str) -> None:
    assert find_dataset(name).stand_in is None


def test_lfw_stand_in_is_read_back(tmp_path: Path) -> None:
    declared = blank_tree("lfw-expressions", 7, tmp_path)
    table = read("lfw-expressions", tmp_path)
    assert shown(table) == {file: face.expression for file, face in declared.items()}
    assert len({r.subject for r in table.records}) == 7
    assert {face.expression for face in declared.values()} == set(BASIC8.names)
    assert not table.skipped


def test_fer_stand_in_is_read_back(tmp_path: Path) -> None:
    declared = blank_tree("fer2013", 5, tmp_path)
    table = read("fer2013", tmp_path)
    assert shown(table) == {file: face.expression for file, face in declared.items()}
    home: dict[int, set[str]] = {}
    for record in table.records:
        home.setdefault(declared[record.file].subject, set()).add(record.split)
    assert len(home) == 5
    assert all(len(splits) == 1 for splits in home.values())
    assert {r.split for r in table.records} == {"train", "public_test", "private_test"}


def test_fer_stand_in_is_grey() -> None:
    dataset = find_dataset("fer2013")
    assert dataset.stand_in is not None
    file = next(iter(dataset.stand_in(1)))
    assert (file.encode is not None, file.size_px) == (True, 48)
    assert file.encode is not None
    picture = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(file.encode(picture, np.zeros((478, 3))))) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "L", (48, 48))
