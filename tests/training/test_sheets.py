from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lssl_augment.training.objective import Preview
from lssl_augment.training.sheets import condition_sensitivity, draw_sheet, write_sheet


def preview(levels: list[float], source: float = 0.0, rows: int = 2) -> Preview:
    """Flat grey faces: one level a target, in [-1, 1]."""
    edits = torch.tensor(levels).view(1, -1, 1, 1, 1).expand(rows, -1, 3, 16, 16)
    names = tuple(f"target {i}" for i in range(len(levels)))
    return Preview(torch.full((rows, 3, 16, 16), source), edits, names)


def test_sensitivity_by_hand() -> None:
    found = condition_sensitivity(preview([0.0, 0.2, 0.4]))
    assert found.between_targets_grey == pytest.approx((0.2 + 0.4 + 0.2) / 3 * 127.5, rel=1e-5)
    assert found.from_source_grey == pytest.approx(0.2 * 127.5, rel=1e-5)
    assert found.warning() is None
    assert condition_sensitivity(preview([0.5])).between_targets_grey == 0


def test_flat_generators_are_told_in_plain_words() -> None:
    nothing = condition_sensitivity(preview([0.0, 0.0, 0.0])).warning()
    assert nothing is not None
    assert "changes nothing" in nothing
    alike = condition_sensitivity(preview([0.5, 0.5, 0.5])).warning()
    assert alike is not None
    assert "ignores the wanted expression" in alike


def test_sources_down_and_targets_across(tmp_path: Path) -> None:
    sheet = draw_sheet(preview([-1.0, 1.0, 2.0], rows=4))
    assert sheet.dtype == np.uint8
    height, width = sheet.shape[:2]
    assert width == 4 * 18
    assert height == 4 * 18 + 14
    centres = sheet[14 + 8 :: 18, 8::18]
    assert centres.shape[:2] == (4, 4)
    # Source 0.0 → 128, then -1 → 0, 1 → 255 and what is out of range → clamped.
    assert (centres == np.array([128, 0, 255, 255])[None, :, None]).all()
    path = write_sheet(tmp_path / "sheets" / "a.png", preview([-1.0, 1.0, 2.0], rows=4))
    assert np.array_equal(np.asarray(Image.open(path)), sheet)
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]
