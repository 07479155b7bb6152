"""``lssl-augment sheet``: what is drawn, from real small generators, a pack of drawn people and built-in people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_people import write_people
from PIL import Image
from small_weights import bare_weights, compact_weights
from tiny_faces import NAMES, SIZE_PX

from lssl_augment.attribute_vector import AttributeSpec
from lssl_augment.attributes import POSES_DEG, Vocabulary
from lssl_augment.cli.main import main
from lssl_augment.evaluation.edits import resize, scale_dense
from lssl_augment.evaluation.sheet_command import Sheet, SheetWish, draw_edits
from lssl_augment.evaluation.sheet_sources import WhichFaces
from lssl_augment.faces.pack import FacePack, PackWriter
from lssl_augment.models.bundle import load_model
from lssl_augment.models.engine import ExpressionEngine
from lssl_augment.synthesis.making import to_uint8

FULL = AttributeSpec(Vocabulary(NAMES), POSES_DEG[:3], ("normal", "dark"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack and three generators."""
    path = tmp_path_factory.mktemp("sheet")
    write_people(path / "drawn.h5")
    compact_weights(path / "compact.safetensors")
    bare_weights(path / "paper.safetensors", FULL, blocks=1, size_px=SIZE_PX)
    bare_weights(path / "stargan.safetensors", AttributeSpec(Vocabulary(NAMES)), "stargan")
    return path


def cells(sheet: Sheet, size_px: int = SIZE_PX, header_px: int = 22) -> np.ndarray:
    """Faces cut out of a picture with a gap after the source column, ``(rows, columns, S, S, 3)``."""
    pixels, step = np.asarray(sheet.picture), size_px + 4
    lefts = [4, *(4 + step * c + 12 for c in range(1, len(sheet.columns) + 1))]
    tops = [header_px + step * r for r in range(len(sheet.rows))]
    assert pixels.shape[:2] == (tops[-1] + step + 4, lefts[-1] + step)
    return np.stack([[pixels[y : y + size_px, x : x + size_px] for x in lefts] for y in tops])


def test_a_row_a_source_and_a_column_a_target(folder: Path) -> None:
    weights, pack_file = str(folder / "compact.safetensors"), folder / "drawn.h5"
    sheet = draw_edits(SheetWish(weights, pack_file, WhichFaces(count=3, seed=1), targets=NAMES))
    assert [c.caption for c in sheet.columns] == list(NAMES)
    assert len(sheet.rows) == 3
    with FacePack.open(folder / "drawn.h5") as pack:
        assert set(pack.split[list(sheet.rows)]) == {"test"}
        assert len(set(pack.subjects[list(sheet.rows)])) == 3
        photos = torch.from_numpy(np.stack([pack.images[r] for r in sheet.rows])).permute(0, 3, 1, 2)
        assert pack.landmarks_dense is not None
        dense = np.stack([pack.landmarks_dense[r] for r in sheet.rows])
        labels = torch.from_numpy(pack.labels[list(sheet.rows)])
    found = cells(sheet)
    small = resize(photos, SIZE_PX)
    assert np.array_equal(found[:, 0], small.permute(0, 2, 3, 1).numpy())  # the sources are untouched
    # What is drawn is what the engine makes of the pack's landmarks and labels; donors differ by the seed.
    engine = ExpressionEngine(load_model(folder / "compact.safetensors"))
    faces = engine.encode(small[:1].float() / 127.5 - 1, scale_dense(dense[:1], 0.5), labels[:1])
    seed = int(np.random.default_rng([1, sheet.rows[0], 2]).integers(0, 1 << 62))
    own = to_uint8(engine.edit(faces, torch.tensor([2]), torch.ones(1), torch.tensor([seed])))
    assert np.abs(own[0].astype(int) - found[0, 3]).max() <= 2
    assert np.abs(found[0, 3].astype(int) - found[0, 1]).mean() > 1


def test_the_same_wish_makes_the_same_picture_and_another_seed_another(folder: Path) -> None:
    weights, pack = str(folder / "compact.safetensors"), folder / "drawn.h5"
    wish = SheetWish(weights, pack, WhichFaces(rows=(40, 50)), targets=NAMES)
    first = draw_edits(wish)
    assert first.picture.tobytes() == draw_edits(wish).picture.tobytes()
    # A cell does not depend on what else is shown, nor on its place.
    turned = cells(draw_edits(SheetWish(weights, pack, WhichFaces(rows=(50, 40)), targets=NAMES)))
    assert np.array_equal(turned[::-1], cells(first))
    one = cells(draw_edits(SheetWish(weights, pack, WhichFaces(rows=(50,)), targets=("surprise",))))
    assert np.abs(one[0, 1].astype(int) - cells(first)[1, 3]).max() <= 2
    other = cells(draw_edits(SheetWish(weights, pack, WhichFaces(rows=(40, 50), seed=5), targets=NAMES)))
    assert np.array_equal(other[:, 0], cells(first)[:, 0])
    assert not np.array_equal(other[:, 3], cells(first)[:, 3])


def test_intensity_grows_and_may_go_beyond_a_donors(folder: Path) -> None:
    weights, pack, faces = str(folder / "compact.safetensors"), folder / "drawn.h5", WhichFaces(rows=(36,))
    sheet = draw_edits(SheetWish(weights, pack, faces, targets=("surprise",), intensity="0,0.5,1,1.25"))
    assert [c.caption for c in sheet.columns] == ["0", "0.5", "1", "1.25"]
    grown = cells(sheet, header_px=44)[0, 1:].astype(int)
    apart = [np.abs(grown[i] - grown[0]).mean() for i in range(4)]
    assert apart[0] < apart[1] < apart[2] < apart[3]
    whole = cells(draw_edits(SheetWish(weights, pack, faces, targets=("surprise",))))
    assert np.abs(grown[2] - whole[0, 1]).max() <= 2


def test_between_two_expressions(folder: Path) -> None:
    weights, pack, faces = str(folder / "compact.safetensors"), folder / "drawn.h5", WhichFaces(rows=(36,))
    sheet = draw_edits(SheetWish(weights, pack, faces, between=("happy", "surprise"), steps=4))
    assert [c.caption for c in sheet.columns] == ["happiness", "33 %", "67 %", "surprise"]
    way = cells(sheet, header_px=44)[0, 1:].astype(int)
    first = cells(draw_edits(SheetWish(weights, pack, faces, targets=("happiness",))))[0, 1]
    assert np.abs(way[0] - first).max() <= 2
    from_first = [np.abs(way[i] - way[0]).mean() for i in range(4)]
    from_last = [np.abs(way[i] - way[3]).mean() for i in range(4)]
    assert from_first == sorted(from_first)
    assert from_last == sorted(from_last, reverse=True)
    assert len(draw_edits(SheetWish(weights, pack, faces, between=("happy", "surprise"))).columns) == 5


def test_all_that_a_generator_can_make_is_shown(folder: Path) -> None:
    sheet = draw_edits(SheetWish(str(folder / "compact.safetensors"), folder / "drawn.h5", WhichFaces(rows=(36,))))
    assert [c.caption for c in sheet.columns] == [*NAMES, "light normal", "light weak", "light dark"]
    shown = np.asarray(sheet.picture)
    assert shown[44:, -SIZE_PX:].mean() < shown[44:, 4 : 4 + SIZE_PX].mean() / 2  # dark beside the source


def test_poses_and_lights_have_sections_of_their_own(folder: Path) -> None:
    weights, pack = str(folder / "paper.safetensors"), folder / "drawn.h5"
    sheet = draw_edits(SheetWish(weights, pack, WhichFaces(rows=(36,))))
    captions = [c.caption for c in sheet.columns]
    assert captions == [*NAMES, "pose 0", "pose 15", "pose 30", "light normal", "light dark"]
    assert [c.section for c in sheet.columns] == ["expression"] * 3 + ["pose"] * 3 + ["light"] * 2
    # Both lines of headings hold ink; between the sections there is paper, all the way down.
    ink = np.asarray(sheet.picture).min(2) < 128
    assert ink[:22].any()
    assert ink[22:44].any()
    empty = (np.asarray(sheet.picture)[44:] == 255).all((0, 2))
    runs = "".join("x" if e else "." for e in empty).replace(".", " ").split()
    assert [len(run) for run in runs].count(16) == 3
    only = draw_edits(SheetWish(weights, pack, WhichFaces(rows=(36,)), targets=("light dark", "pose 15")))
    assert [c.caption for c in only.columns] == ["pose 15", "light dark"]


@pytest.mark.parametrize("known", [True, False])
def test_a_pose_column_keeps_the_expression(folder: Path, tmp_path: Path, known: bool) -> None:
    weights = folder / "paper.safetensors"
    with FacePack.open(folder / "drawn.h5") as pack:
        assert pack.landmarks_dense is not None
        image, dense, points = pack.images[37:38], pack.landmarks_dense[37:38], pack.landmarks[37:38]
        label = int(pack.labels[37]) if known else -1
        with PackWriter(tmp_path / "p.h5", pack.vocabulary, dataset="one") as writer:
            writer.append(image, np.array([label]), ["a"], ["a.png"], points, ["test"], dense)
    sheet = draw_edits(SheetWish(str(weights), tmp_path / "p.h5", WhichFaces(rows=(0,)), targets=("pose 30",)))
    engine = ExpressionEngine(load_model(weights))
    photo = resize(torch.from_numpy(image).permute(0, 3, 1, 2), SIZE_PX)
    faces = engine.encode(photo.float() / 127.5 - 1, scale_dense(dense, 0.5), torch.tensor([label]))
    # Of a face without a label the vector holds no expression at all.
    amount, zero = torch.tensor([1.0 if known else 0.0]), torch.zeros(1, dtype=torch.int64)
    made = engine.edit(faces, torch.tensor([max(label, 0)]), amount, zero, pose=torch.tensor([2]))
    assert np.abs(cells(sheet)[0, 1].astype(int) - to_uint8(made)[0]).max() <= 2


def test_the_file_is_marked_and_the_command_tells_the_rows(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "sheet.png"
    with FacePack.open(folder / "drawn.h5") as pack:
        people = [str(pack.subjects[r]) for r in (57, 36)]
    status, said, error = run(
        capsys, folder / "compact.safetensors", folder / "drawn.h5", "--out", out, "--subjects", ",".join(people),
        "--source-classes", "neutral", "--targets", "happy",
    )  # fmt: skip
    assert (status, error) == (0, "")
    assert said == f"{out}: 2 faces × 1 edits\nrows  57,36\n"
    assert [p.name for p in out.parent.iterdir()] == ["sheet.png"]
    with Image.open(out) as picture:
        assert picture.text["ai_generated"] == "true"  # type: ignore[attr-defined]
        assert "compositeWithTrainedAlgorithmicMedia" in picture.text["XML:com.adobe.xmp"]  # type: ignore[attr-defined]
    before = out.read_bytes()
    again = [folder / "compact.safetensors", folder / "drawn.h5", "--out", out, "--rows", "57,36", "--targets", "happy"]
    assert run(capsys, *again)[0] == 0
    assert out.read_bytes() == before


@pytest.mark.parametrize("pack", [(), ("builtin",)])
def test_built_in_people_and_released_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pack: tuple[str, ...]
) -> None:
    out = tmp_path / "sheet.png"
    status, said, _ = run(capsys, "lfw-128", *pack, "--out", out, "--count", "1", "--targets", "surprise")
    assert status == 0
    assert "1 faces × 1 edits" in said
    with Image.open(out) as picture:
        assert "/trainedAlgorithmicMedia" in picture.text["digital_source_type"]  # type: ignore[attr-defined]
        assert picture.size == (2 * 132 + 4 + 12, 132 + 22 + 4)


ERRORS = {
    "targets --between": (["--between", "happy,neutral", "--targets", "neutral"], "leave --targets away"),
    "intensity --between": (["--between", "happy,neutral", "--intensity", "0,1"], "leave --intensity away"),
    "steps alone": (["--steps", "3"], "--steps 3 counts the columns of --between A,B: add it"),
    "one end": (["--between", "happy"], "--between takes two expressions, A,B; got happy"),
    "the same ends": (["--between", "happy,happiness"], "two different expressions; got happy and happiness"),
    "unknown end": (["--between", "happy,fear"], "cannot make 'fear'; they can make: neutral, happiness, surprise"),
    "unknown target": (["--targets", "bored"], "cannot make 'bored'; they can make: neutral, happiness, surprise"),
    "no poses": (["--targets", "pose 15"], "a generator that can is trained with --set attributes=expression,pose"),
    "target twice": (["--targets", "happy,happiness"], "--targets: each once; got happy, happiness"),
    "intensity of all": (["--intensity", "0,1"], "--intensity draws one target, named with --targets (for example"),
    "intensity of two": (["--intensity", "0,1", "--targets", "happy,neutral"], "got happy, neutral"),
    "no numbers": (["--intensity", "0,…,1", "--targets", "happy"], "numbers separated by commas, such as 0,0.5,1; got"),
    "too intense": (["--intensity", "0,1.6", "--targets", "happy"], "from 0 to 1.5 with these weights; got 0, 1.6"),
    "negative": (["--intensity", "-0.1", "--targets", "happy"], "from 0 to 1.5"),
    "not a number": (["--intensity", "nan", "--targets", "happy"], "from 0 to 1.5"),
    "twice as intense": (["--intensity", "1,1", "--targets", "happy"], "different numbers"),
    "rows and count": (["--rows", "1", "--count", "2"], "--rows names the faces itself: leave --count away"),
    "rows and split": (["--rows", "1", "--split", "test", "--subjects", "a"], "leave --split and --subjects away"),
    "rows and classes": (["--rows", "1", "--source-classes", "happy"], "leave --source-classes away"),
    "subjects and count": (["--subjects", "person 12", "--count", "1"], "leave --count away"),
    "row twice": (["--rows", "1,1"], "--rows: each once; got 1, 1"),
    "row too far": (["--rows", "60"], "drawn.h5 has rows 0 to 59; got 60"),
    "row before the first": (["--rows", "-1"], "got -1"),
    "row in words": (["--rows", "first"], "whole numbers separated by commas, such as 3,14; got 'first'"),
    "person of training": (["--subjects", "person 3"], "no face of person 3 in split 'test'"),
    "nobody": (["--subjects", "person 99"], "no face of person 99 in split 'test' that shows neutral, happiness"),
    "unknown class": (["--source-classes", "fear"], "the generator does not know fear; it knows neutral"),
    "unknown split": (["--split", "dev"], "has no face of split 'dev'; its splits: test, train"),
    "unknown device": (["--device", "abacus"], "unknown device 'abacus'"),
}


@pytest.mark.parametrize("what", ERRORS)
def test_wishes_that_cannot_be_met(what: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, message = ERRORS[what]
    out = tmp_path / "sheet.png"
    status, said, error = run(capsys, folder / "compact.safetensors", folder / "drawn.h5", "--out", out, *arguments)
    assert (status, said) == (1, "")
    assert error.count("\n") == 1
    assert message in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("weights", "arguments", "message"),
    [
        ("paper", ["--intensity", "0,1", "--targets", "pose 15"], "--intensity takes expressions (neutral, happiness"),
        ("paper", ["--between", "happy,light dark"], "--between takes expressions (neutral, happiness, surprise); got"),
        ("stargan", ["--intensity", "0,1.25", "--targets", "happy"], "from 0 to 1 with these weights; got 0, 1.25"),
        ("nothing", [], "nothing.safetensors"),
    ],
)
def test_what_other_weights_cannot_do(
    weights: str,
    arguments: list[str],
    message: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "sheet.png"
    files = [folder / f"{weights}.safetensors", folder / "drawn.h5"]
    status, _, error = run(capsys, *files, "--out", out, *arguments)
    assert status == 1
    assert message in error
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "test"], "built-in people have no split, no names and neutral faces; --count, --rows and --seed"),
        (["--subjects", "a", "--source-classes", "happy"], "leave --subjects and --source-classes away"),
        (["--rows", "-2"], "built-in people are counted from 0; got -2"),
    ],
)
def test_what_built_in_people_lack(
    arguments: list[str], message: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, error = run(capsys, folder / "compact.safetensors", "--out", tmp_path / "a.png", *arguments)
    assert status == 1
    assert message in error


def test_only_png(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, error = run(capsys, folder / "compact.safetensors", "--out", tmp_path / "a.jpg")
    assert status == 1
    assert "--out must end in .png; got 'a.jpg'" in error
    assert run(capsys, folder / "compact.safetensors")[0] == 2
    assert run(capsys, "x", "--out", "a.png", "--steps", "1")[0] == 2


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["sheet", *(str(a) for a in arguments)])
    said = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, said.out, said.err
