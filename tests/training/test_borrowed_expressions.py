"""benchmarks/borrowed_expressions.py: edits are shown as the further pack's faces are, and counted class by class."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lssl_augment.attributes import Vocabulary

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "borrowed_expressions.py"


def test_faces_are_shown_grey_and_without_detail() -> None:
    shown_small = runpy.run_path(str(SCRIPT))["shown_small"]
    images = torch.randint(0, 256, (3, 3, 128, 128), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    small = shown_small(images)
    assert small.dtype == torch.uint8
    assert torch.equal(small[:, 0], small[:, 1])
    assert torch.equal(small[:, 0], small[:, 2])
    assert float(small.float().std()) < 0.5 * float(images.float().std())
    assert float(small.float().mean()) == pytest.approx(float(images.float().mean()), abs=1)


def test_shares_are_means_over_judges_of_the_classes_that_are_there() -> None:
    named = runpy.run_path(str(SCRIPT))["named"]
    vocabulary, labels = Vocabulary(("neutral", "happiness", "fear")), torch.tensor([0, 0, 2, 2])
    judges = [
        SimpleNamespace(vocabulary=vocabulary, says=lambda _: torch.tensor([0, 0, 2, 1])),
        SimpleNamespace(vocabulary=vocabulary, says=lambda _: torch.tensor([0, 1, 1, 2])),
    ]
    found = named(judges, torch.zeros(4, 3, 8, 8), labels)
    assert found["neutral"] == {"mean": 75.0, "sd": pytest.approx(35.4), "faces": 2}
    assert found["fear"] == {"mean": 50.0, "sd": 0.0, "faces": 2}
    assert "happiness" not in found
    assert named(judges[:1], torch.zeros(4, 3, 8, 8), labels)["neutral"]["sd"] is None
