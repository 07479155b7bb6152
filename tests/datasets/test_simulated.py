"""Stand-ins: complete, marked wherever they are taken, and the same at every run."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lssl_augment.attributes import BASIC8
from lssl_augment.cli.prepare import prepare_command
from lssl_augment.datasets.info import Dataset, StandInFace, StandInFile
from lssl_augment.datasets.prepare import PrepareConfig, prepare
from lssl_augment.datasets.prepare_journal import parts_folder
from lssl_augment.datasets.registry import find_dataset
from lssl_augment.datasets.simulated import LIGHT_GAINS, NEAREST, prepare_simulated, write_stand_in
from lssl_augment.datasets.stand_in import STAND_IN_MARK, mark_stand_in, stand_in_notes
from lssl_augment.errors import DataError
from lssl_augment.faces.light import light_names
from lssl_augment.faces.pack import FacePack
from lssl_augment.faces.pose import yaw_deg

SAID = "results on them say nothing about real faces"


@pytest.fixture(scope="module")
def lfw_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in of lfw-expressions with two people."""
    root = tmp_path_factory.mktemp("stand-ins") / "lfw"
    write_stand_in(find_dataset("lfw-expressions"), root, 2)
    return root


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def custom(*files: StandInFile) -> Dataset:
    return replace(find_dataset("lfw-expressions"), stand_in=lambda subjects: iter(files))


def test_it_has_the_layout_and_is_marked(lfw_copy: Path) -> None:
    declared = find_dataset("lfw-expressions").stand_in
    assert declared is not None
    files = {path.relative_to(lfw_copy).as_posix() for path in lfw_copy.rglob("*") if path.is_file()}
    assert files == {file.file for file in declared(2)} | {STAND_IN_MARK}
    photos = [opened(path).astype(int) for path in sorted(lfw_copy.rglob("*.jpg"))]
    assert {photo.shape for photo in photos} == {(250, 250, 3)}
    # A person with several expressions is one person, another person is another.
    same, other = np.abs(photos[0] - photos[1]).mean(), np.abs(photos[0] - photos[3]).mean()
    assert 0.5 < same < 0.6 * other
    notes = stand_in_notes(lfw_copy)
    assert notes is not None
    assert SAID in notes[0]
    assert not [entry for entry in lfw_copy.parent.iterdir() if entry.name.startswith(".")]


def test_packs_of_it_are_marked_wherever_it_is_taken(lfw_copy: Path, tmp_path: Path) -> None:
    archive = tmp_path / "copy.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(lfw_copy.rglob("*")):
            file.write(path, Path("lfw") / path.relative_to(lfw_copy))
    for root in (lfw_copy, archive):
        out = tmp_path / f"{root.suffix}x.h5"
        report = prepare("lfw-expressions", root, PrepareConfig(out))
        pack = FacePack.open(out)
        assert report.simulated
        assert pack.simulated
        assert pack.dataset == "lfw-expressions (simulated)"
        assert SAID in pack.notes[0]
        assert pack.landmarks_from == {"bundled": 6}
        assert pack.skipped == {}
    assert (tmp_path / "x.h5").read_bytes() == (tmp_path / ".zipx.h5").read_bytes()


def test_the_same_at_every_run(lfw_copy: Path, tmp_path: Path) -> None:
    write_stand_in(find_dataset("lfw-expressions"), tmp_path / "again", 2)
    for path in lfw_copy.rglob("*.*"):
        again = tmp_path / "again" / path.relative_to(lfw_copy)
        assert path.is_dir() or path.read_bytes() == again.read_bytes()
    # The first people are the same ones in a larger copy.
    write_stand_in(find_dataset("lfw-expressions"), tmp_path / "larger", 3)
    first = "images/Simulated_Person_001/Simulated_Person_001_0001.jpg"
    assert (tmp_path / "larger" / first).read_bytes() == (lfw_copy / first).read_bytes()


def test_light_turn_size_and_encoding(tmp_path: Path) -> None:
    seen: list[float] = []

    def encode(picture: np.ndarray, dense: np.ndarray) -> bytes:
        assert picture.shape == (128, 128, 3)
        assert dense.shape == (478, 3)
        seen.append(float(yaw_deg(dense)))
        return b"points"

    def face(**values: object) -> StandInFace:
        return StandInFace(0, "neutral", **values)  # type: ignore[arg-type]

    files = [StandInFile(f"{light}.png", face(light=light), size_px=128) for light in LIGHT_GAINS]
    files += [StandInFile(f"{yaw}.txt", face(yaw_deg=yaw), encode, 128) for yaw in (-15.0, 15.0, 45.0)]
    files += [StandInFile("small.jpg", face(), size_px=48), StandInFile("list.txt", content=b"words")]
    notes = write_stand_in(custom(*files), tmp_path / "x", 1)
    lit = {light: opened(tmp_path / "x" / f"{light}.png") for light in LIGHT_GAINS}
    assert list(lit) == light_names(np.stack(list(lit.values()))).tolist()
    # Towards what is stated, as far as a picture can be warped.
    assert seen[0] == pytest.approx(-15, abs=10)
    assert seen[1] == pytest.approx(15, abs=10)
    assert seen[0] < 0 < seen[1] <= seen[2] <= 20.1
    assert opened(tmp_path / "x" / "small.jpg").shape == (48, 48, 3)
    assert (tmp_path / "x" / "list.txt").read_bytes() == b"words"
    assert (tmp_path / "x" / "15.0.txt").read_bytes() == b"points"
    assert any("turned by about 20 degrees where up to 45 are stated" in note for note in notes)


def test_expressions_the_generator_does_not_know(tmp_path: Path) -> None:
    files = [
        StandInFile(f"{word}.png", StandInFace(0, word, intensity=intensity), size_px=128)
        for word, intensity in [(word, 1.0) for word in BASIC8.names]
    ]
    files.append(StandInFile("rest.png", StandInFace(0, "surprise", intensity=0.0), size_px=128))
    notes = write_stand_in(custom(*files), tmp_path / "x", 1)
    for word, (other, _) in NEAREST.items():
        assert any(f"does not know {word}; shown as {other}" in note for note in notes)
    pictures = {p.stem: opened(p).astype(int) for p in (tmp_path / "x").glob("*.png")}
    assert np.array_equal(pictures["rest"], pictures["neutral"])
    for i, word in enumerate(BASIC8.names):
        for other in BASIC8.names[i + 1 :]:
            assert np.abs(pictures[word] - pictures[other]).mean() > 0.3, (word, other)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (StandInFile("a.txt"), "a.txt has neither a face nor content"),
        (StandInFile("a.txt", StandInFace(0, "neutral")), "a.txt has a picture, but no suffix of one"),
    ],
)
def test_files_that_cannot_be_written(file: StandInFile, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        write_stand_in(custom(file), tmp_path / "x", 1)
    assert not list(tmp_path.iterdir())


def test_wishes_that_cannot_be_met(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="folder has no stand-in, as its files are your own; those that have one: oulu"):
        prepare_simulated("folder", None, PrepareConfig(tmp_path / "x.h5"))
    with pytest.raises(DataError, match="subjects must be at least 1; got 0"):
        write_stand_in(find_dataset("mug"), tmp_path / "x", 0)
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match="exists; with --simulated, --root is a folder to be written"):
        prepare_simulated("mug", tmp_path / "photos", PrepareConfig(tmp_path / "x.h5"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["photos"]


def test_the_command(tmp_path: Path) -> None:
    out = tmp_path / "fer.h5"
    result = CliRunner().invoke(
        prepare_command, ["fer2013", "--simulated", "--subjects", "3", "--out", str(out), "--workers", "1"]
    )
    assert result.exit_code == 0, result.output
    assert "SIMULATED: these are synthetic people; results on them say nothing about real faces" in result.stdout
    pack = FacePack.open(out)
    assert (pack.simulated, pack.dataset) == (True, "fer2013 (simulated)")
    assert set(pack.split) == {"train", "public_test", "private_test"}
    assert len(pack) + sum(pack.skipped.values()) == 21
    assert [entry.name for entry in tmp_path.iterdir()] == ["fer.h5"]


def test_nothing_is_left_of_a_stand_in_that_was_not_to_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))

    def progress(done: int, total: int) -> None:
        raise KeyboardInterrupt

    config = PrepareConfig(tmp_path / "x.h5")
    with pytest.raises(KeyboardInterrupt):
        prepare_simulated("lfw-expressions", None, config, subjects=1, progress=progress)
    assert not list(temporary.iterdir())
    assert not parts_folder(config.out).exists()
    assert not config.out.exists()


@given(st.lists(st.text(max_size=30), max_size=4))
def test_marks_come_back(notes: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        assert stand_in_notes(Path(folder)) is None
        mark_stand_in(Path(folder), notes)
        assert stand_in_notes(Path(folder)) == tuple(notes)
        assert stand_in_notes(Path(folder) / "list.csv") == tuple(notes)
        (Path(folder) / STAND_IN_MARK).write_text("{")
        with pytest.raises(DataError, match="is damaged; make the simulated copy again"):
            stand_in_notes(Path(folder))


@pytest.fixture(scope="module", autouse=True)
def _tidy(lfw_copy: Path) -> Iterator[None]:
    yield
    shutil.rmtree(lfw_copy, ignore_errors=True)
