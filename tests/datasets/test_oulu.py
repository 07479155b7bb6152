"""``oulu``: every place its folders are seen in, the choice of camera, light and frames, and what a copy lacks."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lssl_augment.attributes import BASIC7
from lssl_augment.datasets.folder import NOT_AN_IMAGE
from lssl_augment.datasets.oulu import (
    DATASET,
    LIGHTS,
    NOT_IN_A_SEQUENCE,
    OTHER_CAMERA,
    OTHER_COPY,
    OTHER_LIGHT,
    oulu_stand_in,
    read_oulu,
)
from lssl_augment.datasets.records import ReadOptions, Record, RecordTable
from lssl_augment.datasets.registry import find_dataset
from lssl_augment.datasets.sequences import LONE_FRAME, NO_NUMBER, NOT_A_KEY_FRAME, SECOND_COPY
from lssl_augment.errors import DataError
from lssl_augment.faces.images import read_image

Zipped = Callable[..., Path]

EXPRESSIONS = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")


def read(root: Path, **options: object) -> RecordTable:
    return read_oulu(root, ReadOptions(**options))  # type: ignore[arg-type]


def touch(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def frames(folder: str, count: int = 5, first: int = 0, suffix: str = "jpeg") -> list[str]:
    return [f"{folder}/{n:03d}.{suffix}" for n in range(first, first + count)]


def words(table: RecordTable) -> Counter[str]:
    return Counter(table.vocabulary.names[record.label] for record in table.records)


def shown(record: Record) -> tuple[object, ...]:
    return record.file, record.label, record.subject, record.split, record.light, record.intensity, record.sequence


@pytest.fixture
def oulu(tmp_path: Path, draw: Callable[..., None]) -> Path:
    """Two subjects, six expressions, four frames in VL/Strong; one sequence in each of the other lights and NI."""
    root = tmp_path / "oulu"
    for subject in ("P001", "P002"):
        for expression in EXPRESSIONS:
            touch(root, *frames(f"VL/Strong/{subject}/{expression}", 4))
    touch(root, *frames("VL/Weak/P001/Fear", 4), *frames("VL/Dark/P001/Fear", 4), *frames("NI/Strong/P001/Fear", 4))
    draw(root / "VL/Strong/P001/Anger/003.jpeg", seed=3, size_px=16)
    return root


def test_registered() -> None:
    assert find_dataset("oulu") is DATASET
    assert DATASET.info.classes == BASIC7
    assert DATASET.info.published["VL/Strong sequences"] == 480


def test_default_is_visible_light_strong_peaks(oulu: Path) -> None:
    table = read(oulu)
    assert (table.dataset, table.vocabulary) == ("oulu", BASIC7)
    assert words(table) == {"neutral": 12} | {expression.lower(): 6 for expression in EXPRESSIONS}
    assert {record.subject for record in table.records} == {"P001", "P002"}
    assert {(record.light, record.yaw_deg, record.points68 is None) for record in table.records} == {
        ("normal", None, True)
    }
    homes = {(record.subject, record.split) for record in table.records}
    assert {split for _, split in homes} == {"train", "test"}
    assert len(homes) == 2  # nobody on both sides
    happy = [record for record in table.records if record.sequence == "VL/Strong/P002/Happiness"]
    assert [(r.frame, r.intensity) for r in happy] == [(0, 0.0), (1, 1 / 3), (2, 2 / 3), (3, 1.0)]
    assert Counter(reason for _, reason in table.skipped) == {OTHER_LIGHT: 8, OTHER_CAMERA: 4}
    assert table.notes == (
        "80 subjects are published, this copy has 2",
        "480 VL/Strong sequences are published, this copy has 12",
    )
    drawn = next(r.file for r in table.records if r.file.endswith("P001/Anger/003.jpeg"))
    assert read_image(table.tree.read(drawn)).shape == (16, 16, 3)


@pytest.mark.parametrize("inside", ["", "Oulu_CASIA_NIR_VIS"])
def test_zip_is_the_same(inside: str, oulu: Path, zipped: Zipped) -> None:
    assert [shown(r) for r in read(zipped(oulu, inside)).records] == [shown(r) for r in read(oulu).records]


@pytest.mark.parametrize(
    "place",
    [
        "OriginalImg/VL/Strong",
        "Oulu/B_OriginalImg/VL/Strong",
        "PreProcess Img/VL_Acropped/Strong",
        "VIS/strong",
        "Strong/VL",
    ],
)
def test_wherever_the_folders_are(place: str, tmp_path: Path, zipped: Zipped) -> None:
    root = touch(tmp_path / "copy", *frames(f"{place}/p007/ANGER", suffix="JPG"), "readme.txt")
    for table in (read(root), read(zipped(root))):
        assert words(table) == {"neutral": 1, "anger": 3}
        assert {(r.subject, r.sequence) for r in table.records} == {("P007", "VL/Strong/P007/Anger")}
        assert not any("no folder" in note for note in table.notes)
        assert ("readme.txt", NOT_AN_IMAGE) in table.skipped


def test_the_root_may_be_the_camera(tmp_path: Path, zipped: Zipped) -> None:
    touch(tmp_path / "NI", *frames("Dark/P001/Fear"))
    # In the second archive NI/ is the only folder, and the tree enters it.
    archive = zipped(tmp_path / "NI", "NI").rename(tmp_path / "some.zip")
    for root in (tmp_path / "NI", archive):
        assert words(read(root, modality="ni", lights=("dark",))) == {"neutral": 1, "fear": 3}
        with pytest.raises(DataError, match="has no VL sequences in normal light; it has NI/Dark"):
            read(root)


def test_unnamed_camera_and_light_are_told(tmp_path: Path) -> None:
    table = read(touch(tmp_path / "mine", *frames("P001/Fear"), *frames("P002/Fear")))
    assert words(table) == {"neutral": 2, "fear": 6}
    assert table.notes[:2] == (
        "no folder VL or NI above some or all subjects: their frames are taken for VL",
        "no folder Strong, Weak or Dark above some or all subjects: their frames are taken for Strong",
    )


def test_all_frames(tmp_path: Path) -> None:
    root = touch(tmp_path / "oulu", *frames("VL/Strong/P001/Sadness", 11, first=1))
    table = read(root, frames="all")
    assert words(table) == {"neutral": 1, "sadness": 10}
    assert [r.intensity for r in table.records] == [i / 10 for i in range(11)]
    assert table.skipped == ()
    peaks = {shown(r) for r in read(root).records}
    assert peaks == {shown(r) for r in table.records if r.frame in (0, 8, 9, 10)}
    assert Counter(reason for _, reason in read(root).skipped) == {NOT_A_KEY_FRAME: 7}


def test_lights_and_cameras(oulu: Path) -> None:
    table = read(oulu, lights=("Dark", "normal", "weak"))
    assert Counter(r.light for r in table.records) == {"normal": 48, "weak": 4, "dark": 4}
    assert {r.sequence for r in table.records if r.light == "dark"} == {"VL/Dark/P001/Fear"}
    assert {reason for _, reason in table.skipped} == {OTHER_CAMERA}
    assert "480 VL/Dark sequences are published, this copy has 1" in table.notes
    infrared = read(oulu, modality="NI", lights=("normal", "weak"))
    assert {r.sequence for r in infrared.records} == {"NI/Strong/P001/Fear"}
    assert "weak light was asked for, but this copy has none" in infrared.notes


def test_original_frames_go_before_cut_out_ones(tmp_path: Path) -> None:
    cut_out = [*frames("A/VL_Acropped/Strong/P001/Fear"), *frames("A/VL_Acropped/Strong/P001/Anger")]
    root = touch(tmp_path / "oulu", *cut_out, *frames("B_OriginalImg/VL/Strong/P001/Fear"))
    table = read(root)
    assert words(table) == {"neutral": 2, "fear": 3, "anger": 3}
    assert all("Acropped" in r.file or "/Fear/" in r.file for r in table.records)
    assert {file for file, reason in table.skipped if reason == OTHER_COPY} == set(cut_out[:5])


def test_left_out_with_a_reason(tmp_path: Path) -> None:
    sequence = "VL/Strong/P001/Fear"
    odd = {
        f"{sequence}/Thumbs.db": NOT_AN_IMAGE,
        f"{sequence}/montage.jpeg": NO_NUMBER,
        f"{sequence}/3.jpeg": SECOND_COPY,  # 003.jpeg comes first
        "VL/Strong/P001/Anger/000.jpeg": LONE_FRAME,
        "VL/Strong/P001/loose1.jpeg": NOT_IN_A_SEQUENCE,
        "cover.png": NOT_IN_A_SEQUENCE,
        f"{sequence}/001.jpeg": NOT_A_KEY_FRAME,
    }
    table = read(touch(tmp_path / "oulu", *frames(sequence, 5), *odd))
    assert dict(table.skipped) == odd
    assert words(table) == {"neutral": 1, "fear": 3}


def test_peaks_without_their_beginning(tmp_path: Path) -> None:
    table = read(touch(tmp_path / "oulu", *frames("VL/Strong/P001/Fear", 3, first=18)))
    assert words(table) == {"fear": 3}
    assert [r.intensity for r in table.records] == [18 / 20, 19 / 20, 1.0]
    assert "sequences without their first frame, which give no neutral face: 1" in table.notes


@pytest.mark.parametrize("files", [[], ["happy/001.jpg"], ["VL/Strong/P001/Anger/readme.txt"], ["P001/001.jpg"]])
def test_another_tree(files: list[str], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError) as caught:
        read(touch(tmp_path / "mine", *files))
    message = str(caught.value)
    for part in ("is not oulu: looked for folders P001/Anger/", "found ", "{VL,NI}/{Strong", "University of Oulu"):
        assert part in message
    assert "--simulated" in message


def test_unknown_names(oulu: Path, tmp_path: Path) -> None:
    root = touch(tmp_path / "mine", *frames("VL/Strong/P001/Wut"))
    with pytest.raises(DataError, match=r"folder VL/Strong/P001/Wut/: unknown expression 'Wut'.*--alias"):
        read(root)
    assert words(read(root, aliases={"wut": "anger"})) == {"neutral": 1, "anger": 3}
    assert words(read(root, aliases={"wut": "neutral"})) == {"neutral": 1}  # a still face: only its middle frame
    with pytest.raises(DataError, match="lights must be among normal, weak, dark for oulu; got dim"):
        read(oulu, lights=("dim",))
    with pytest.raises(DataError, match=r"lights must be among .*; got none"):
        read(oulu, lights=())
    with pytest.raises(DataError, match=r"modality must be VL .* or NI .*; got 'RGB'"):
        read(oulu, modality="RGB")
    with pytest.raises(DataError, match=r"no NI sequences in weak or dark light; it has NI/Strong, VL/Dark"):
        read(oulu, modality="NI", lights=("weak", "dark"))


def test_classes(oulu: Path) -> None:
    table = read(oulu, classes=("happy", "fear"))
    assert words(table) == {"happiness": 6, "fear": 6}
    assert table.vocabulary.names == ("happiness", "fear")


def test_stand_in_reads_back(tmp_path: Path) -> None:
    made = {file.file: file for file in oulu_stand_in(2)}
    assert len(made) == 2 * 2 * 3 * 6 * 6
    touch(tmp_path, *made)
    seen = set()
    for camera in ("VL", "NI"):
        table = read(tmp_path, modality=camera, lights=tuple(LIGHTS), frames="all")
        for record in table.records:
            face = made[record.file].face
            assert face is not None
            assert record.subject == f"P{face.subject + 1:03d}"
            assert table.vocabulary.names[record.label] == face.expression
            assert (record.light, record.yaw_deg or 0.0) == (face.light, face.yaw_deg)
            assert record.intensity == face.intensity
            seen.add(record.file)
        assert not any("no folder" in note for note in table.notes)
    assert seen == set(made)
    assert words(read(tmp_path)) == {"neutral": 12} | {expression.lower(): 6 for expression in EXPRESSIONS}


def test_infrared_stand_in_is_grey() -> None:
    file = next(file for file in oulu_stand_in(1) if file.file.startswith("NI/"))
    assert file.encode is not None
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(file.encode(picture, np.zeros((478, 3))))) as image:
        assert (image.mode, image.size, image.format) == ("L", (16, 16), "JPEG")
