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


def test_shares_are_means_over_judges_of_the_classes_that_have_faces_enough() -> None:
    named = runpy.run_path(str(SCRIPT))["named"]
    vocabulary, labels = Vocabulary(("neutral", "happiness", "fear")), torch.tensor([0] * 20 + [1] * 19 + [2] * 40)
    answers = (torch.tensor([0] * 20 + [2] * 40), torch.tensor([0] * 10 + [1] * 10 + [2] * 30 + [0] * 10))
    judges = [SimpleNamespace(vocabulary=vocabulary, says=lambda _, answer=answer: answer) for answer in answers]
    found = named(judges, torch.zeros(79, 3, 8, 8), labels)
    assert found["faces"] == {"neutral": 20, "fear": 40}
    assert found["neutral"] == {"mean": 0.75, "sd": pytest.approx(0.3536)}
    assert found["fear"]["mean"] == 0.875
    assert found["balanced"]["mean"] == pytest.approx((1 + 1 + 0.5 + 0.75) / 4, abs=1e-4)
    assert "happiness" not in found
