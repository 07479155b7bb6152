"""``ckplus``: frames known by their names, label and landmark files, and what a copy lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lssl_augment.attributes import BASIC8
from lssl_augment.datasets.ckplus import (
    CODES,
    DATASET,
    NAMED_OTHERWISE,
    NO_LABEL,
    NO_PEAK,
    ckplus_stand_in,
    read_ckplus,
)
from lssl_augment.datasets.folder import NOT_AN_IMAGE
from lssl_augment.datasets.records import ReadOptions, Record, RecordTable
from lssl_augment.datasets.registry import find_dataset
from lssl_augment.datasets.sequences import NOT_A_KEY_FRAME, SECOND_COPY
from lssl_augment.errors import DataError
from lssl_augment.faces.images import read_image
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE

Zipped = Callable[..., Path]


def read(root: Path, **options: object) -> RecordTable:
    return read_ckplus(root, ReadOptions(**options))  # type: ignore[arg-type]


def touch(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def frames(subject: str, take: str, count: int = 6, images: str = "cohn-kanade-images") -> list[str]:
    return [f"{images}/{subject}/{take}/{subject}_{take}_{n:08d}.png" for n in range(1, count + 1)]


def label(root: Path, subject: str, take: str, content: str, peak: int = 6, labels: str = "Emotion") -> Path:
    path = root / f"{labels}/{subject}/{take}/{subject}_{take}_{peak:08d}_emotion.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def landmarks(root: Path, subject: str, take: str, frame: int, text: str) -> None:
    path = root / f"Landmarks/{subject}/{take}/{subject}_{take}_{frame:08d}_landmarks.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def words(table: RecordTable) -> Counter[str]:
    return Counter(table.vocabulary.names[record.label] for record in table.records)


def shown(record: Record) -> tuple[object, ...]:
    return record.file, record.label, record.subject, record.split, record.intensity, record.sequence, record.frame


@pytest.fixture
def ckplus(tmp_path: Path, draw: Callable[..., None]) -> Path:
    """Two subjects with all seven expressions in six frames each, a sequence without a label, and FACS labels."""
    root = tmp_path / "ck+"
    for subject in ("S005", "S999"):
        for code in range(1, 8):
            touch(root, *frames(subject, f"{code:03d}"))
            label(root, subject, f"{code:03d}", f"   {code:.7e}\n")
    touch(root, *frames("S011", "002"), "FACS/S011/002/S011_002_00000006_facs.txt")
    draw(root / frames("S005", "001")[-1], size_px=16)
    return root


def test_registered() -> None:
    assert find_dataset("ckplus") is DATASET
    published = DATASET.info.published
    assert sum(published[f"{word} sequences"] for word in CODES[1:]) == published["labelled sequences"] == 327


def test_peaks_and_neutral(ckplus: Path) -> None:
    table = read(ckplus)
    assert (table.dataset, table.vocabulary) == ("ckplus", BASIC8)
    assert words(table) == {"neutral": 14} | {word: 6 for word in CODES[1:]}
    assert {r.subject for r in table.records} == {"S005", "S999"}
    assert len({(r.subject, r.split) for r in table.records}) == 2
    assert {r.split for r in table.records} == {"train", "test"}
    fear = [r for r in table.records if r.sequence == "S999_004"]
    assert [(r.frame, r.intensity) for r in fear] == [(0, 0.0), (3, 0.6), (4, 0.8), (5, 1.0)]
    assert {(r.light, r.yaw_deg, r.points68 is None) for r in table.records} == {("", None, True)}
    assert Counter(reason for _, reason in table.skipped) == {NOT_A_KEY_FRAME: 28, NO_LABEL: 6}
    assert table.notes[:4] == (
        "123 subjects are published, this copy has 3",
        "593 sequences are published, this copy has 15",
        "327 labelled sequences are published, this copy has 14",
        "45 anger sequences are published, this copy has 2",
    )
    drawn = next(r.file for r in table.records if r.sequence == "S005_001" and r.intensity == 1)
    assert read_image(table.tree.read(drawn)).shape == (16, 16, 3)


def test_all_frames(ckplus: Path) -> None:
    table = read(ckplus, frames="all")
    assert words(table) == {"neutral": 14} | {word: 10 for word in CODES[1:]}
    assert {reason for _, reason in table.skipped} == {NO_LABEL}
    assert {shown(r) for r in read(ckplus).records} <= {shown(r) for r in table.records}


@pytest.mark.parametrize("inside", ["", "CK+"])
def test_zip_is_the_same(inside: str, ckplus: Path, zipped: Zipped) -> None:
    assert [shown(r) for r in read(zipped(ckplus, inside)).records] == [shown(r) for r in read(ckplus).records]


def test_wherever_the_folders_are(tmp_path: Path) -> None:
    images = frames("S010", "004", images="extended-cohn-kanade-images/cohn-kanade-images")
    root = touch(tmp_path / "ck", *(file.replace(".png", ".PNG") for file in images))
    label(root, "S010", "004", "4", labels="Emotion_labels/Emotion")
    table = read(root)
    assert words(table) == {"neutral": 1, "fear": 3}
    assert {(r.subject, r.sequence) for r in table.records} == {("S010", "S010_004")}


def test_landmark_files(ckplus: Path) -> None:
    points = np.random.default_rng(0).uniform(0, 490, (68, 2))
    text = "\n".join(f"   {x:.7e}   {y:.7e}" for x, y in points) + "\n"
    landmarks(ckplus, "S005", "001", 6, text)
    landmarks(ckplus, "S005", "001", 2, "not read, since its frame is not taken")
    table = read(ckplus)
    assert not any("landmark" in note for note in table.notes)
    known = [r for r in table.records if r.points68 is not None]
    assert [r.file for r in known] == [frames("S005", "001")[5]]
    np.testing.assert_allclose(known[0].points68, points, rtol=1e-6)
    assert all(r.dense is None for r in table.records)

    for frame, damaged in ((1, "1 2\n3 4\n"), (4, "x y\n" * 68), (5, "1 2 3"), (6, "nan 1\n" * 68)):
        landmarks(ckplus, "S999", "003", frame, damaged)
    table = read(ckplus)
    (note,) = [note for note in table.notes if "landmark" in note]
    assert note.startswith("landmark files that do not hold 68 lines of x and y: 4, the first Landmarks/S999/003/")
    assert [r.file for r in table.records if r.points68 is not None] == [known[0].file]


@pytest.mark.parametrize("content", ["", "happy", "8", "-1", "2.5", "nan", "1 2", "\x00"])
def test_damaged_labels(content: str, ckplus: Path) -> None:
    label(ckplus, "S005", "003", content)
    with pytest.raises(DataError, match=r"S005_003_00000006_emotion\.txt must hold one number of 0 neutral, 1 anger"):
        read(ckplus)


def test_two_labels(ckplus: Path) -> None:
    label(ckplus, "S005", "003", "3.0", labels="more/Emotion")
    assert words(read(ckplus))["disgust"] == 6
    label(ckplus, "S005", "003", "5.0", labels="more/Emotion")
    with pytest.raises(DataError, match=r"more/.*_emotion\.txt says happiness, but Emotion/.* says disgust; keep one"):
        read(ckplus)


def test_neutral_sequence(tmp_path: Path) -> None:
    root = touch(tmp_path / "ck", *frames("S005", "001"))
    label(root, "S005", "001", "0")
    assert words(read(root)) == {"neutral": 2}
    assert {r.intensity for r in read(root, frames="all").records} == {0.0}


def test_left_out_with_a_reason(ckplus: Path) -> None:
    before = dict(read(ckplus).skipped)
    odd = {
        "cohn-kanade-images/S005/001/montage.png": NAMED_OTHERWISE,
        "more/S005/001/S005_001_00000006.jpg": SECOND_COPY,
        "ReadMeFirst.txt": NOT_AN_IMAGE,
    }
    touch(ckplus, *odd)
    # The peak was given to frame 6: of a sequence that ends before, nobody knows what its last frames show.
    for file in frames("S999", "007")[3:]:
        (ckplus / file).unlink()
    table = read(ckplus)
    cut_short = dict.fromkeys(frames("S999", "007")[:3], NO_PEAK)
    assert dict(table.skipped) == before | odd | cut_short
    assert words(table)["surprise"] == 3


def test_peak_frames_in_class_folders(tmp_path: Path, zipped: Zipped) -> None:
    files = [f"{word}/S010_00{i}_{n:08d}.png" for i, word in enumerate(("anger", "happy"), 1) for n in (15, 16, 17)]
    root = touch(tmp_path / "CK+48", *files, "neutral/S010_002_00000001.png")
    for table in (read(root), read(zipped(root, "CK+48"))):
        assert words(table) == {"anger": 3, "happiness": 3, "neutral": 1}
        assert {r.subject for r in table.records} == {"S010"}
        assert [r.intensity for r in table.records if r.sequence == "S010_001"] == [14 / 16, 15 / 16, 1]
        assert "sequences without their first frame, which give no neutral face: 1" in table.notes


def test_original_frames_go_before_cut_out_ones(ckplus: Path) -> None:
    before = [shown(r) for r in read(ckplus).records]
    cut_out = [f"CK+48/{CODES[1]}/S005_001_{n:08d}.png" for n in (4, 5, 6)]
    table = read(touch(ckplus, *cut_out))
    assert [shown(r) for r in table.records] == before
    assert {file for file, reason in table.skipped if reason == SECOND_COPY} == set(cut_out)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], r"looked for images S005_001_00000001\.png, found nothing"),
        (["happy/001.png", "sad/002.png"], r"looked for images S005_001_00000001\.png, found happy/, sad/"),
        (frames("S005", "001"), r"looked for labels .*_emotion\.txt .*, found sequences without a label: 1 \(cohn-"),
    ],
)
def test_another_tree(files: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match=message) as caught:
        read(touch(tmp_path / "mine", *files))
    for part in ("is not ckplus", "expected cohn-kanade-images/", "University of Pittsburgh", "--simulated"):
        assert part in str(caught.value)


def test_classes_and_aliases(ckplus: Path, tmp_path: Path) -> None:
    assert words(read(ckplus, classes=("neutral", "angry"))) == {"neutral": 14, "anger": 6}
    root = touch(tmp_path / "mine", *(f"wut/S010_001_{n:08d}.png" for n in (15, 16, 17)))
    assert words(read(root, aliases={"wut": "anger"})) == {"anger": 3}


def test_stand_in_reads_back(tmp_path: Path) -> None:
    made = {file.file: file for file in ckplus_stand_in(2)}
    dense = np.random.default_rng(1).uniform(0, 256, (478, 3))
    for name, file in made.items():
        content = file.content or b""
        if file.encode is not None:
            content = file.encode(np.zeros((4, 4, 3), np.uint8), dense)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    table = read(tmp_path, frames="all")
    images = {name for name in made if name.endswith(".png")}
    assert len(images) == 2 * 7 * 6 + 6
    assert {r.file for r in table.records} | {file for file, _ in table.skipped} == images
    assert Counter(reason for _, reason in table.skipped) == {NO_LABEL: 6}
    for record in table.records:
        face = made[record.file].face
        assert face is not None
        assert record.subject == f"S{face.subject + 1:03d}"
        assert table.vocabulary.names[record.label] == face.expression
        assert record.intensity == face.intensity
        assert (record.light or "normal", record.yaw_deg or 0.0) == (face.light, face.yaw_deg)
        assert record.points68 is not None
        np.testing.assert_allclose(record.points68, dense[SPARSE_FROM_DENSE, :2], rtol=1e-6)
    assert words(read(tmp_path)) == {"neutral": 14} | {word: 6 for word in CODES[1:]}
