"""``lssl-augment evaluate`` from stored weights to text and JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from drawn_people import write_people
from small_weights import compact_weights

from lssl_augment.cli.evaluate import evaluate_command
from lssl_augment.errors import WeightsError
from lssl_augment.evaluation.identity import choose_embedder
from lssl_augment.models.weights import read_card


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of drawn faces and a compact generator with shaken weights."""
    path = tmp_path_factory.mktemp("evaluate")
    write_people(path / "drawn.h5")
    compact_weights(path / "own.safetensors")
    return path


def evaluated(folder: Path, *options: str) -> Result:
    quick = ["--sources", "4", "--judges", "1", "--judge-steps", "2", "--judge-network", "tiny"]
    cache = ["--judge-cache", str(folder / "judges")]
    files = [str(folder / "own.safetensors"), str(folder / "drawn.h5")]
    return CliRunner().invoke(evaluate_command, [*files, *quick, *cache, *options])


def test_text_and_json_tell_the_same(folder: Path) -> None:
    out = folder / "reports" / "report.json"
    result = evaluated(folder, "--ablate", "network", "--ablate", "shading+mouth", "--out", str(out))
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text(encoding="utf-8"))
    assert "substitute" in result.stdout
    assert f"{100 * report['identity']['above_threshold']:.1f} %" in result.stdout
    assert report["weights_sha256"] == read_card(folder / "own.safetensors")["sha256"]
    assert report["sources"] == 4
    assert report["judge_training"][0]["seed"] == 11
    assert {"label_fidelity", "without", "identity", "kid", "displacement", "skin_tone"} <= set(report)
    assert list(report["without"]) == ["network", "shading+mouth"]
    assert "--ablate network --ablate shading+mouth" in report["command"]
    assert re.search(r"^shading\+mouth .* %", result.stdout, re.M)
    assert str(folder) not in report["command"]
    assert "--seed 0" in report["command"]
    # The second time the judge is there already, and the numbers are the same.
    again = evaluated(folder, "--ablate", "network", "--ablate", "shading+mouth")
    assert "step 2 of 2" in result.stderr
    assert "step 2 of 2" not in again.stderr
    assert again.stdout == result.stdout


def test_a_gate_is_refused_as_judge_and_identity_may_be_left_out(folder: Path) -> None:
    gate = Path(__file__).parents[2] / "lssl_augment" / "weights" / "gate.safetensors"
    refused = evaluated(folder, "--judge", str(gate))
    assert isinstance(refused.exception, WeightsError)
    assert "'judge' is needed" in str(refused.exception)
    without = evaluated(folder, "--recogniser", "none", "--source-classes", "all")
    assert without.exit_code == 0, without.output
    assert "Identity: not measured" in without.stdout


def test_insightface_is_used_only_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path))
    assert choose_embedder("auto").is_substitute
    assert "substitute" in choose_embedder("auto").name
    with pytest.raises(WeightsError, match="nothing is downloaded"):
        choose_embedder("insightface")
    (tmp_path / "models" / "buffalo_l").mkdir(parents=True)
    with pytest.raises(WeightsError, match="is not whole"):
        choose_embedder("auto")


def test_a_judge_of_other_cuts_of_the_face_is_refused(folder: Path) -> None:
    assert evaluated(folder).exit_code == 0
    stored = next((folder / "judges").glob("judge-*.safetensors"))
    assert evaluated(folder, "--judge", str(stored)).exit_code == 0
    card = stored.with_suffix(".json")
    told = json.loads(card.read_text(encoding="utf-8"))
    card.write_text(json.dumps({**told, "face_box": [0.0, 0.0, 1.0]}), encoding="utf-8")
    try:
        refused = evaluated(folder, "--judge", str(stored))
    finally:
        card.write_text(json.dumps(told), encoding="utf-8")
    assert isinstance(refused.exception, WeightsError)
    assert "faces cut in another way" in str(refused.exception)
