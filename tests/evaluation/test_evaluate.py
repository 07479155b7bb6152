"""A whole evaluation on drawn faces, with tiny judges and a tiny recogniser."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_people import write_people
from tiny_faces import NAMES, compact_bundle, drawn_faces, mean_face, posed_bundle

from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import DataError, LeakageError, WeightsError
from lssl_augment.evaluation.classifiers import ClassifierConfig
from lssl_augment.evaluation.edits import choose_sources, edit_sources
from lssl_augment.evaluation.evaluate import EvaluateConfig, evaluate, sharpness
from lssl_augment.evaluation.identity import OwnEmbedder
from lssl_augment.evaluation.judges import Judge, load_judge, pack_fingerprint, train_judges
from lssl_augment.evaluation.report_text import report_text
from lssl_augment.faces.pack import FacePack
from lssl_augment.models.engine import ExpressionEngine
from lssl_augment.models.landmark_net import LandmarkNet
from lssl_augment.models.recogniser_net import RecogniserConfig, build_recogniser

TINY = ClassifierConfig(name="tiny", steps=3, seed=1)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> FacePack:
    return write_people(tmp_path_factory.mktemp("people") / "drawn.h5")


@pytest.fixture(scope="module")
def engine() -> ExpressionEngine:
    return ExpressionEngine(compact_bundle(), precision="fp32")


class MeanFace(LandmarkNet):
    """Answers with the mean face, scaled to the image and stretched by how bright it is."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def aligned(self, images: torch.Tensor) -> torch.Tensor:
        face = torch.tensor(mean_face(), dtype=torch.float32) * images.shape[-1] / 128
        return face * (1 + 0.01 * images.mean((1, 2, 3)))[:, None, None]


@pytest.fixture(scope="module")
def judges(pack: FacePack, tmp_path_factory: pytest.TempPathFactory) -> list[Judge]:
    return train_judges(pack, Vocabulary(NAMES), [TINY, replace(TINY, seed=2)], cache=None)


def report_of(engine: ExpressionEngine, pack: FacePack, judges: list[Judge], **values: Any) -> dict[str, Any]:
    config = EvaluateConfig(**{"sources": 6, "kid_size": 4, "kid_subsets": 3, **values})
    net = build_recogniser(RecogniserConfig((4, 4, 4, 4), (1, 1, 1), 8, 16), 0).eval()
    return evaluate(engine, pack, judges, OwnEmbedder(net), MeanFace(), config, without={"nothing else": engine})


def test_report_is_whole_and_repeats(engine: ExpressionEngine, pack: FacePack, judges: list[Judge]) -> None:
    report = report_of(engine, pack, judges)
    assert report["sources"] == 6
    assert sum(report["sources_by_class"].values()) == 6
    fidelity = report["label_fidelity"]
    assert set(fidelity["edits"]) == {*NAMES, "balanced"} == set(fidelity["real"])
    assert fidelity["real"]["balanced"]["mean"] == pytest.approx(
        np.mean([fidelity["real"][n]["mean"] for n in NAMES]), abs=1e-3
    )
    # The same engine stands in for one without a part.
    same = report["without"]["nothing else"]
    assert same["label_fidelity"] == fidelity["edits"]
    assert same["identity"] == report["identity"]["above_threshold"]
    assert same["sharpness_ratio"] == report["sharpness_ratio"]
    assert same["kid"] == report["kid"]
    assert report["identity"]["substitute"] is True
    assert report["identity"]["another_photo"]["results"] == 12
    assert set(report["kid"]) == {"features", *NAMES}
    assert set(report["displacement"]) == {"happiness", "surprise"}
    tones = report["skin_tone"]
    groups = [row for name, row in tones.items() if name != "measure"]
    assert sum(row["sources"] for row in groups) == 6
    edited = [row["by_class"][n]["edited"] for row in groups for n in row["by_class"]]
    assert sum(edited) == 6 * (len(NAMES) - 1)
    assert json.loads(json.dumps(report)) == report_of(engine, pack, judges)
    assert report != report_of(engine, pack, judges, seed=1)
    text = report_text(report)
    for told in ("named as the target", "substitute", "KID", "right way", "skin tone", "not measured"):
        assert told in text


def test_poses_are_told_of_a_generator_of_poses(pack: FacePack, judges: list[Judge], engine: ExpressionEngine) -> None:
    turning = ExpressionEngine(posed_bundle(-15, 0, 15), precision="fp32")
    report = report_of(turning, pack, judges)
    assert list(report["pose"]) == ["sources", "-15", "0", "15"]
    for pose in ("-15", "0", "15"):
        row = report["pose"][pose]
        assert 0 <= row["same_person"] <= 1
        assert 0 <= row["named_as_labelled"] <= 1
        assert row["sharpness_ratio"] > 0
    assert "heads turned to" in report_text(report)
    # Nothing else depends on it.
    plain = report_of(engine, pack, judges)
    assert "pose" not in plain
    assert "heads turned to" not in report_text(plain)
    assert {k: v for k, v in report.items() if k != "pose"} == plain


def test_sources_and_seeds_do_not_depend_on_one_another(engine: ExpressionEngine, pack: FacePack) -> None:
    rows = choose_sources(pack, engine.vocabulary, split="test", count=5, seed=4)
    edits = edit_sources(engine, pack, rows)
    assert (edits.targets != edits.labels[edits.origin]).all()
    assert len(edits.images) == 5 * (len(NAMES) - 1)
    alone = edit_sources(engine, pack, rows[2:3])
    torch.testing.assert_close(
        alone.images.float(), edits.images[edits.origin == 2].float(), rtol=0, atol=1.0
    )


def test_a_person_gives_only_so_many_sources(pack: FacePack, engine: ExpressionEngine) -> None:
    rows = choose_sources(pack, engine.vocabulary, split="test", count=100, per_subject=1)
    assert len(rows) == len(set(pack.subjects[rows].tolist())) == 8
    happy = choose_sources(pack, engine.vocabulary, split="test", count=100, classes=("happiness",))
    assert {NAMES[int(label)] for label in pack.labels[happy]} == {"happiness"}
    with pytest.raises(DataError, match="does not know anger"):
        choose_sources(pack, engine.vocabulary, split="test", count=3, classes=("anger",))


def test_judges_are_kept_and_found_again(pack: FacePack, tmp_path: Path) -> None:
    told: list[int] = []
    wish: dict[str, Any] = {"cache": tmp_path, "on_step": lambda number, step, loss: told.append(step)}
    first = train_judges(pack, Vocabulary(NAMES), [TINY], **wish)
    again = train_judges(pack, Vocabulary(NAMES), [TINY], **wish)
    assert told == [1, 2, 3]
    faces = torch.from_numpy(drawn_faces(20, 128, 3).images[:9]).permute(0, 3, 1, 2)
    for name, tensor in first[0].network.state_dict().items():
        assert torch.equal(tensor, again[0].network.state_dict()[name])
    assert torch.equal(first[0].says(faces), again[0].says(faces))
    train_judges(pack, Vocabulary(NAMES), [replace(TINY, steps=2)], **wish)
    assert told == [1, 2, 3, 1, 2]


def test_a_gate_is_no_judge() -> None:
    with pytest.raises(WeightsError, match="'gate', but 'judge' is needed"):
        load_judge(Path(__file__).parents[2] / "lssl_augment" / "weights" / "gate.safetensors")


def test_fingerprint_tells_packs_apart(pack: FacePack, tmp_path: Path) -> None:
    assert pack_fingerprint(pack) == pack_fingerprint(FacePack.open(pack.path))
    other = write_people(tmp_path / "other.h5", overlap=True)
    assert pack_fingerprint(pack) != pack_fingerprint(other)


def test_people_on_both_sides_are_refused(engine: ExpressionEngine, judges: list[Judge], tmp_path: Path) -> None:
    with pytest.raises(LeakageError, match="in the training split"):
        report_of(engine, write_people(tmp_path / "leak.h5", overlap=True), judges)


def test_a_judge_of_other_classes_is_refused(engine: ExpressionEngine, pack: FacePack, judges: list[Judge]) -> None:
    with pytest.raises(DataError, match="a judge knows"):
        report_of(engine, pack, [replace(judges[0], vocabulary=Vocabulary(("neutral", "anger")))])


def test_blur_lowers_sharpness() -> None:
    faces = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    soft = torch.nn.functional.avg_pool2d(faces.float(), 5, 1, 2).to(torch.uint8)
    assert (sharpness(soft) < 0.2 * sharpness(faces)).all()


def test_identity_is_left_out_where_nobody_has_two_photos(
    engine: ExpressionEngine, pack: FacePack, judges: list[Judge]
) -> None:
    strangers = FacePack.open(pack.path)
    strangers.subjects = np.array([f"face {i}" for i in range(len(strangers))])
    report = report_of(engine, strangers, judges, sources=2)
    assert "identity" not in report
    assert "Identity: not measured" in report_text(report)
