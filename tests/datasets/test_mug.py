"""``mug``: takes from neutral to neutral, their peaks in the middle, and what a copy lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from lssl_augment.attributes import BASIC7
from lssl_augment.datasets.folder import NOT_AN_IMAGE
from lssl_augment.datasets.mug import DATASET, NOT_IN_A_TAKE, mug_stand_in, read_mug
from lssl_augment.datasets.records import ReadOptions, Record, RecordTable
from lssl_augment.datasets.registry import find_dataset
from lssl_augment.datasets.sequences import NO_NUMBER, NOT_A_KEY_FRAME, SECOND_COPY
from lssl_augment.errors import DataError
from lssl_augment.faces.images import read_image

Zipped = Callable[..., Path]


def read(root: Path, **options: object) -> RecordTable:
    return read_mug(root, ReadOptions(**options))  # type: ignore[arg-type]


def touch(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def take(folder: str, count: int = 11, suffix: str = "jpg") -> list[str]:
    return [f"{folder}/img_{n:04d}.{suffix}" for n in range(count)]


def words(table: RecordTable) -> Counter[str]:
    return Counter(table.vocabulary.names[record.label] for record in table.records)


def shown(record: Record) -> tuple[object, ...]:
    return record.file, record.label, record.subject, record.split, record.intensity, record.sequence, record.frame


@pytest.fixture
def mug(tmp_path: Path, draw: Callable[..., None]) -> Path:
    """Two subjects with a take of eleven frames of every expression; the first has a second take of anger."""
    root = tmp_path / "mug"
    for subject in ("001", "002"):
        touch(root, *(file for name in BASIC7.names for file in take(f"{subject}/{name}/take000")))
    touch(root, *take("001/anger/take001", 6))
    draw(root / "001/anger/take000/img_0005.jpg", size_px=16)
    return root


def test_registered() -> None:
    assert find_dataset("mug") is DATASET
    assert DATASET.info.published == {"subjects": 52}


def test_peaks_are_in_the_middle(mug: Path) -> None:
    table = read(mug)
    assert (table.dataset, table.vocabulary) == ("mug", BASIC7)
    assert words(table) == {name: 6 for name in BASIC7.names} | {"anger": 8}
    assert {r.subject for r in table.records} == {"001", "002"}
    assert len({(r.subject, r.split) for r in table.records}) == 2
    assert {r.split for r in table.records} == {"train", "test"}
    first = [r for r in table.records if r.sequence == "001/anger/take000"]
    assert [(r.frame, r.intensity) for r in first] == [(4, 1.0), (5, 1.0), (6, 1.0)]
    neutral = BASIC7.index("neutral")
    assert all((r.intensity == 0) == (r.label == neutral) for r in table.records)
    assert {(r.light, r.yaw_deg) for r in table.records} == {("", None)}
    assert Counter(reason for _, reason in table.skipped) == {NOT_A_KEY_FRAME: 14 * 8 + 4}
    assert table.notes == ("52 subjects are published, this copy has 2",)
    assert read_image(table.tree.read(first[1].file)).shape == (16, 16, 3)


def test_all_frames(mug: Path) -> None:
    table = read(mug, frames="all")
    # Each take of an expression begins and ends with a neutral face.
    assert words(table) == {name: 18 for name in BASIC7.names} | {"anger": 22, "neutral": 22 + 13 * 2}
    assert table.skipped == ()
    second = [r for r in table.records if r.sequence == "001/anger/take001"]
    assert [r.intensity for r in second] == [0, 0.5, 1, 1, 0.5, 0]
    assert {shown(r) for r in read(mug).records} <= {shown(r) for r in table.records}


@pytest.mark.parametrize("inside", ["", "MUG"])
def test_zip_is_the_same(inside: str, mug: Path, zipped: Zipped) -> None:
    assert [shown(r) for r in read(zipped(mug, inside)).records] == [shown(r) for r in read(mug).records]


@pytest.mark.parametrize("place", ["001", "subjects3/001", "MUG/subjects3/001/session0", "a/1"])
def test_wherever_the_folders_are(place: str, tmp_path: Path, zipped: Zipped) -> None:
    root = touch(tmp_path / "copy", *take(f"{place}/Anger/Take000", suffix="JPG"))
    # In the archive the folder 001 may be the only one, and the tree enters it.
    for table in (read(root), read(zipped(root))):
        assert words(table) == {"anger": 3}
        assert {r.subject for r in table.records} == {"001"}


def test_sessions_stay_apart(tmp_path: Path) -> None:
    files = [file for i in (0, 1) for file in take(f"020/session{i}/fear/take000", 3)]
    table = read(touch(tmp_path / "copy", *files))
    assert [(r.subject, r.sequence) for r in table.records] == [
        ("020", "020/session0/fear/take000"),
        ("020", "020/session1/fear/take000"),
    ]


def test_left_out_with_a_reason(tmp_path: Path) -> None:
    odd = {
        "001/fear/take000/Thumbs.db": NOT_AN_IMAGE,
        "001/fear/take000/sheet.jpg": NO_NUMBER,
        "001/fear/take000/img_1.png": SECOND_COPY,
        "001/fear/img_0001.jpg": NOT_IN_A_TAKE,
        "someone/fear/take000/img_0001.jpg": NOT_IN_A_TAKE,
        "cover.jpg": NOT_IN_A_TAKE,
        "001/fear/take000/img_0000.jpg": NOT_A_KEY_FRAME,
        "001/fear/take000/img_0002.jpg": NOT_A_KEY_FRAME,
    }
    table = read(touch(tmp_path / "mug", *take("001/fear/take000", 3), *odd))
    assert dict(table.skipped) == odd
    assert words(table) == {"fear": 1}


def test_tiny_takes_are_told(tmp_path: Path) -> None:
    table = read(touch(tmp_path / "mug", *take("001/fear/take000", 2), *take("001/neutral/take000", 1)))
    assert [(r.intensity, r.frame) for r in table.records if r.label == BASIC7.index("fear")] == [(None, 0), (None, 1)]
    assert words(table) == {"fear": 2, "neutral": 1}
    assert "takes of fewer than 3 frames: 1; all their frames are taken for the peak" in table.notes


@pytest.mark.parametrize("files", [[], ["happy/001.jpg"], ["001/anger/take000/notes.txt"], ["001/anger/img_0001.jpg"]])
def test_another_tree(files: list[str], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError) as caught:
        read(touch(tmp_path / "mine", *files))
    message = str(caught.value)
    for part in ("is not mug: looked for folders 001/anger/take000/", "found ", "img_0000.jpg", "mug.ee.auth.gr"):
        assert part in message
    assert "--simulated" in message


def test_unknown_names_and_classes(mug: Path) -> None:
    assert words(read(mug, classes=("neutral", "happy"))) == {"neutral": 6, "happiness": 6}
    touch(mug, *take("001/mixed/take000"))
    with pytest.raises(DataError, match=r"folder 001/mixed/take000/: unknown expression 'mixed'.*--alias"):
        read(mug)
    assert words(read(mug, aliases={"mixed": "neutral"}))["neutral"] == 9


def test_stand_in_reads_back(tmp_path: Path) -> None:
    made = {file.file: file for file in mug_stand_in(3)}
    assert len(made) == 3 * 7 * 2 * 6
    table = read(touch(tmp_path, *made), frames="all")
    assert {r.file for r in table.records} == set(made)
    for record in table.records:
        face = made[record.file].face
        assert face is not None
        assert record.subject == f"{face.subject + 1:03d}"
        assert table.vocabulary.names[record.label] == face.expression
        assert record.intensity == face.intensity
        assert (record.light or "normal", record.yaw_deg or 0.0) == (face.light, face.yaw_deg)
    assert words(read(tmp_path)) == {name: 12 for name in BASIC7.names}
