"""The table by skin tone against one counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_faces import mean_face

from lssl_augment.evaluation.skin_tone import GROUPS
from lssl_augment.evaluation.tone_table import tone_table, tones

NAMES = ("neutral", "happiness", "surprise")


def test_counted_by_hand() -> None:
    table = tone_table(
        NAMES,
        sources=np.array(["light", "dark", "light"]),
        origin=np.array([0, 0, 1, 1, 2, 2]),
        targets=np.array([1, 2, 1, 2, 0, 2]),
        correct=np.array([1.0, 0.5, 0.5, 0.0, 1.0, 1.0]),
        passes=np.array([True, False, True, True, True, True]),
        sharpness_ratio=np.array([1.0, 0.8, 0.9, 0.7, 1.2, 1.1]),
        real=np.array(["light", "dark", "light", "tan"]),
        labels=np.array([1, 1, 1, 0]),
        real_correct=np.array([1.0, 1.0, 0.0, 0.5]),
    )
    assert set(table) == {"measure", "light", "dark"}  # no source is tan
    light = table["light"]
    assert light["sources"] == 2
    assert light["label_fidelity"] == pytest.approx((1 + 0.75 + 1) / 3, abs=1e-4)  # classes count alike
    assert light["identity_above_threshold"] == 0.75
    assert light["sharpness_ratio_median"] == pytest.approx(1.05)
    assert light["by_class"]["happiness"] == {"edits": 1.0, "edited": 1, "real": 0.5, "real_faces": 2}
    assert light["by_class"]["surprise"] == {"edits": 0.75, "edited": 2, "real": None, "real_faces": 0}
    assert set(table["dark"]["by_class"]) == {"happiness", "surprise"}
    assert table["dark"]["by_class"]["happiness"] == {"edits": 0.5, "edited": 1, "real": 1.0, "real_faces": 1}


@given(seed=st.integers(0, 2**31))
def test_groups_share_out_all_edits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [*GROUPS, "unknown"]
    sources, n = rng.choice(names, 9), 30
    origin, targets, correct = rng.integers(9, size=n), rng.integers(3, size=n), rng.random(n)
    table = tone_table(
        NAMES, sources, origin, targets, correct, None, rng.random(n), rng.choice(names, 5), rng.integers(3, size=5),
        rng.random(5),
    )  # fmt: skip
    rows = [row for name, row in table.items() if name != "measure"]
    cells = [cell for row in rows for cell in row["by_class"].values()]
    assert sum(cell["edited"] for cell in cells) == n
    assert sum(cell["edits"] * cell["edited"] for cell in cells) == pytest.approx(correct.sum(), abs=0.01)
    assert all(row["identity_above_threshold"] is None for row in rows)


class _Pack:
    landmarks_dense = None
    face_size_px = 128


class _MeanFace(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def aligned(self, images: torch.Tensor) -> torch.Tensor:
        return torch.tensor(mean_face()).float().expand(len(images), -1, -1)


def test_tones_are_the_same_with_landmarks_of_the_pack_and_of_the_network() -> None:
    faces = torch.stack([torch.tensor(c).view(3, 1, 1).expand(3, 128, 128) for c in ((220, 180, 150), (60, 40, 30))])
    found = tones(faces.byte(), _Pack(), np.array([0, 1]), _MeanFace())  # type: ignore[arg-type]
    held = _Pack()
    held.landmarks_dense = np.stack([mean_face()] * 3)  # type: ignore[assignment]
    known = tones(faces.byte(), held, np.array([2, 0]), _MeanFace())  # type: ignore[arg-type]
    assert found.tolist() == known.tolist()
    assert found[0] != found[1] == "dark"
