"""``bu3dfe``: what its names say, the views asked for, odd copies, and its stand-in."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lssl_augment.attributes import BASIC7
from lssl_augment.datasets.bu3dfe import (
    BAD_LEVEL,
    DATASET,
    NOT_A_SCAN,
    VIEWS_DEG,
    bu3dfe_stand_in,
    read_bu3dfe,
)
from lssl_augment.datasets.cut import CutFace, FaceCutter
from lssl_augment.datasets.info import StandInFile
from lssl_augment.datasets.records import ReadOptions, RecordTable
from lssl_augment.datasets.registry import find_dataset
from lssl_augment.datasets.scan_view import ScanView
from lssl_augment.errors import DataError
from lssl_augment.faces.backends.bundled import BundledBackend
from lssl_augment.simulation.face_model import load_face_model
from lssl_augment.simulation.height_field import height_field
from lssl_augment.simulation.vrml import read_vrml
from tests.tiny_faces import mean_face

Zipped = Callable[..., Path]

CODES = {
    "AN": "anger",
    "DI": "disgust",
    "FE": "fear",
    "HA": "happiness",
    "SA": "sadness",
    "SU": "surprise",
}


def read(root: Path, **options: object) -> RecordTable:
    return read_bu3dfe(root, ReadOptions(**options))  # type: ignore[arg-type]


def touch(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def scans(subject: str, ethnicity: str = "WH") -> list[str]:
    """Names of a subject's 25 scans, without suffix."""
    names = [f"{code}{level:02d}" for code in CODES for level in range(1, 5)] + ["NE00"]
    return [f"{subject}/{subject}_{name}{ethnicity}_F3D" for name in names]


@pytest.fixture
def bu(tmp_path: Path) -> Path:
    """Five subjects with all that belongs to a scan."""
    root = tmp_path / "bu"
    for subject, ethnicity in (("F0001", "WH"), ("F0002", "AE"), ("F0003", "IN"), ("M0001", "BL"), ("M0044", "LA")):
        for name in scans(subject, ethnicity):
            touch(root, f"{name}.wrl", f"{name}.bmp", name.replace("F3D", "F2D") + ".bmp")
            touch(root, name.replace("F3D", "RAW") + ".wrl", name.replace("F3D", "RAW") + ".bmp", f"{name}.bnd")
    return root


def test_registered() -> None:
    assert find_dataset("bu3dfe") is DATASET
    assert DATASET.info.classes == BASIC7
    assert dict(DATASET.info.published) == {"scans": 2_500, "subjects": 100}
    assert DATASET.info.options == ("views_deg",)


def test_every_scan_in_every_view(bu: Path) -> None:
    table = read(bu)
    assert len(table.records) == 5 * 25 * len(VIEWS_DEG)
    assert not table.skipped
    assert Counter(r.yaw_deg for r in table.records) == dict.fromkeys(VIEWS_DEG, 125)
    words = Counter(table.vocabulary.names[r.label] for r in table.records)
    assert words == {**dict.fromkeys(CODES.values(), 5 * 4 * 7), "neutral": 5 * 7}
    intensities = Counter((table.vocabulary.names[r.label], r.intensity) for r in table.records)
    assert intensities["neutral", 0.0] == 35
    assert all(intensities[word, level] == 35 for word in CODES.values() for level in (0.25, 0.5, 0.75, 1.0))
    assert {r.subject for r in table.records} == {"F0001", "F0002", "F0003", "M0001", "M0044"}


def test_a_record_of_a_view(bu: Path) -> None:
    by_file = {record.file: record for record in read(bu).records}
    record = by_file["M0001/M0001_FE03BL_F3D.wrl@-30"]
    assert (record.subject, record.label, record.yaw_deg, record.intensity) == (
        "M0001",
        BASIC7.index("fear"),
        -30,
        0.75,
    )
    assert (record.light, record.sequence, record.image, record.points68) == ("", "", None, None)
    assert record.photo == ScanView("M0001/M0001_FE03BL_F3D.wrl", "M0001/M0001_FE03BL_F3D.bmp", -30.0)
    assert pickle.loads(pickle.dumps(record)).photo == record.photo
    assert "M0001/M0001_FE03BL_F3D.wrl@+0" in by_file
    assert "M0001/M0001_FE03BL_F3D.wrl@+45" in by_file


def test_subjects_are_on_one_side_and_views_move_nobody(bu: Path) -> None:
    sides = {(record.subject, record.split) for record in read(bu).records}
    assert len(sides) == 5
    assert {split for _, split in sides} == {"train", "test"}
    assert {(record.subject, record.split) for record in read(bu, views_deg=(0.0,)).records} == sides


def test_notes_compare_with_what_is_published_and_name_what_is_not_used(bu: Path) -> None:
    notes = read(bu).notes
    assert notes[:2] == (
        "2500 scans are published, this copy has 125",
        "100 subjects are published, this copy has 5",
    )
    assert notes[2] == (
        "not used: 125 …_F2D.bmp, 125 …_F3D.bnd, 125 …_RAW.bmp, 125 …_RAW.wrl; all photographs are rendered from "
        "the scans …_F3D.wrl"
    )
    assert len(notes) == 3


def test_a_whole_copy_needs_no_notes(tmp_path: Path) -> None:
    for i in range(100):
        touch(tmp_path, *[f"{name}.wrl" for name in scans(f"{'FM'[i >= 56]}{i % 56 + 1:04d}")])
    assert read(tmp_path, views_deg=(0.0,)).notes == ()


@pytest.mark.parametrize("inside", ["", "BU_3DFE", "a/b"])
def test_archives_and_folders_around(bu: Path, zipped: Zipped, inside: str) -> None:
    expected = [(r.file, r.label, r.subject, r.split) for r in read(bu).records]
    found = read(zipped(bu, inside)).records
    lead = "b/" if inside == "a/b" else ""  # one level is entered by the archive itself
    assert [(r.file.removeprefix(lead), r.label, r.subject, r.split) for r in found] == expected


def test_spellings(tmp_path: Path) -> None:
    touch(tmp_path, "x/f0001/f0001_an02wh_f3d.WRL", "x/f0001/F0001_AN02WH_F3D.BMP", "x/M0002_NE00AE_F3D.wrl")
    first, second = read(tmp_path, views_deg=(15.0,)).records
    assert (first.subject, first.label, first.intensity) == ("M0002", BASIC7.index("neutral"), 0)
    assert first.photo == ScanView("x/M0002_NE00AE_F3D.wrl", None, 15.0)
    assert (second.file, second.subject) == ("x/f0001/f0001_an02wh_f3d.WRL@+15", "F0001")
    assert second.photo == ScanView("x/f0001/f0001_an02wh_f3d.WRL", "x/f0001/F0001_AN02WH_F3D.BMP", 15.0)


def test_odd_files_are_counted(bu: Path) -> None:
    odd = {
        "readme.txt": NOT_A_SCAN,
        "F0001/Thumbs.db": NOT_A_SCAN,
        "F0001/F0001_HA_F3D.wrl": NOT_A_SCAN,
        "F0001/F0001_HA05WH_F3D.wrl": BAD_LEVEL,
        "F0001/F0001_HA00WH_F3D.wrl": BAD_LEVEL,
        "F0001/F0001_NE01WH_F3D.wrl": BAD_LEVEL,
    }
    table = read(touch(bu, *odd))
    assert dict(table.skipped) == odd
    assert len(table.records) == 5 * 25 * 7


def test_views_asked_for(bu: Path) -> None:
    table = read(bu, views_deg=(-0.0, 22.5, -90.0))
    assert {record.yaw_deg for record in table.records} == {0.0, 22.5, -90.0}
    assert {record.file.partition("@")[2] for record in table.records} == {"+0", "+22.5", "-90"}


@pytest.mark.parametrize(
    ("views", "says"),
    [
        ((), "views_deg is empty"),
        ((0.0, 91.0), "views_deg must be angles from -90 to 90; got 91"),
        ((float("nan"),), "views_deg must be angles from -90 to 90; got nan"),
        ((15.0, 0.0, 15.0), "views_deg must be different angles; got 15, 0, 15"),
        ((0.0, -0.0), "views_deg must be different angles"),
    ],
)
def test_views_that_cannot_be_rendered(bu: Path, views: tuple[float, ...], says: str) -> None:
    with pytest.raises(DataError, match=says):
        read(bu, views_deg=views)


def test_classes_and_unknown_expressions(bu: Path) -> None:
    table = read(bu, classes=("happiness", "neutral"), views_deg=(0.0,))
    assert Counter(record.label for record in table.records) == {0: 20, 1: 5}
    assert len(table.skipped) == 100
    touch(bu, "F0001/F0001_CO01WH_F3D.wrl")
    with pytest.raises(DataError, match=r"F0001/F0001_CO01WH_F3D.wrl: unknown expression 'CO'.*--alias CO=EXPRESSION"):
        read(bu)
    assert len(read(bu, aliases={"CO": "anger"}, views_deg=(0.0,)).records) == 126


def test_scans_of_somebody_else_are_refused(bu: Path) -> None:
    touch(bu, "F0002/F0001_HA01WH_F3D.wrl")
    with pytest.raises(DataError, match="named for subject F0001, its folder for F0002"):
        read(bu)


@pytest.mark.parametrize("files", [(), ("a.jpg",), ("F0001/F0001_AN01WH_F2D.bmp", "F0001/F0001_AN01WH_RAW.wrl")])
def test_another_layout_says_what_was_looked_for(tmp_path: Path, files: tuple[str, ...]) -> None:
    touch(tmp_path, *files)
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    text = str(caught.value)
    found = "nothing" if not files else files[0].partition("/")[0]
    for part in ("F0001_AN01WH_F3D.wrl", f"found {found}", "SUBJECT/SUBJECT_", "Lijun Yin", "--simulated"):
        assert part in text
    assert "\n" not in text


def test_the_stand_in_reads_back_as_it_was_declared(tmp_path: Path) -> None:
    files = list(bu3dfe_stand_in(3))
    assert len(files) == len({file.file for file in files}) == 3 * 25 * 2
    touch(tmp_path, *[file.file for file in files])
    table = read(tmp_path, views_deg=(0.0,))
    assert not table.skipped
    declared = {f.file: f.face for f in files if f.file.endswith(".wrl")}
    subjects: dict[int, set[str]] = {}
    for record in table.records:
        face = declared.pop(record.file.removesuffix("@+0"))
        assert face is not None
        assert (face.expression, face.intensity) == (table.vocabulary.names[record.label], record.intensity)
        assert (face.light, face.yaw_deg) == ("normal", 0.0)
        subjects.setdefault(face.subject, set()).add(record.subject)
        assert isinstance(record.photo, ScanView)
        assert record.photo.texture == record.photo.scan.replace(".wrl", ".bmp")
    assert not declared
    assert subjects == {0: {"F0001"}, 1: {"M0001"}, 2: {"F0002"}}


def test_scans_of_the_stand_in_are_height_fields_of_their_face() -> None:
    scan, texture = list(bu3dfe_stand_in(1))[:2]
    assert (scan.face, texture.encode) == (texture.face, None)
    assert scan.encode is not None
    assert pickle.loads(pickle.dumps(scan)) == scan
    (shape,) = read_vrml(scan.encode(np.zeros((128, 128, 3), np.uint8), mean_face()))
    assert f"F0001/{shape.texture}" == texture.file
    expected = height_field(mean_face(), 128)
    np.testing.assert_array_equal(shape.mesh.vertices, expected.vertices)
    np.testing.assert_array_equal(shape.mesh.uv, expected.uv)


def _write(root: Path, file: StandInFile, picture: np.ndarray, dense: np.ndarray) -> None:
    path = root / file.file
    path.parent.mkdir(parents=True, exist_ok=True)
    if file.encode is None:
        Image.fromarray(picture).save(path)
    else:
        path.write_bytes(file.encode(picture, dense))


def test_views_become_aligned_faces(tmp_path: Path) -> None:
    """From the names to cut faces, with the package's landmark network: a synthetic person, seen from three sides."""
    faces, points = load_face_model().sample(np.array([3]))
    picture = np.asarray(Image.fromarray(faces[0]).resize((256, 256), Image.Resampling.BICUBIC))
    dense = (points[0].astype(np.float64) + (0.5, 0.5, 0)) * 2 - (0.5, 0.5, 0)
    for file in list(bu3dfe_stand_in(1))[:2]:
        _write(tmp_path, file, picture, dense)
    table = read(tmp_path, views_deg=(-45.0, 0.0, 45.0))
    cutter = FaceCutter(table.tree, True, BundledBackend(), keep_dense=True)
    cut = [cutter(record) for record in table.records]
    sides = []
    for face in cut:
        assert isinstance(face, CutFace)
        assert face.image.shape == (128, 128, 3)
        assert face.dense is not None
        sides.append(face.dense[4, 0] - face.dense[[234, 454], 0].mean())
    left, middle, right = sides
    assert left < -10 < middle < 10 < right
