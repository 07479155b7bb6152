"""What the evaluation says of heads that are turned."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from drawn_people import write_people
from tiny_faces import mean_face, posed_bundle, turned
from torch import Tensor

from lssl_augment.evaluation.edits import Edits, choose_sources, edit_sources, scale_dense
from lssl_augment.evaluation.judges import Judge
from lssl_augment.evaluation.report_text import _pose
from lssl_augment.evaluation.turned_heads import real_yaws, turn_table, turned_heads
from lssl_augment.faces.pack import FacePack
from lssl_augment.faces.pose import yaw_deg
from lssl_augment.models.engine import ExpressionEngine
from lssl_augment.models.landmark_net import LandmarkNet

POSES = (-15, 0, 15)


class WrittenYaw(LandmarkNet):
    """Reads the yaw from the first pixel: grey level less 100."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def aligned(self, images: Tensor) -> Tensor:
        levels = ((images[:, 0, 0, 0] + 1) * 127.5).round() - 100
        return torch.from_numpy(np.stack([turned(mean_face(), float(level)) for level in levels])).float()


class WrittenName:
    """Reads the expression from the second pixel."""

    def says(self, images: Tensor) -> Tensor:
        return images[:, 0, 0, 1].long()


def faces(yaws: list[int], names: list[int]) -> Tensor:
    out = torch.zeros(len(yaws), 3, 16, 16, dtype=torch.uint8)
    out[:, :, 0, 0] = torch.tensor([yaw + 100 for yaw in yaws], dtype=torch.uint8)[:, None]
    out[:, :, 0, 1] = torch.tensor(names, dtype=torch.uint8)[:, None]
    return out


def table(poses: tuple[int, ...], heads: list[Tensor], sources: Tensor) -> dict[str, Any]:
    labels = torch.tensor([0, 1, -1])
    nothing = torch.zeros(0, dtype=torch.int64)
    edits = Edits(sources, labels, np.arange(3), np.array(["a", "b", "c"]), sources[:0], nothing, nothing)
    judges = cast(list[Judge], [WrittenName(), WrittenName()])
    real = [(4, -28.0), (0, None)]
    return turn_table(poses, torch.stack(heads), edits, judges, WrittenYaw(), [0.5, None], [1.0, 0.9], real)


def read(level: float) -> float:
    """What the rule of faces/pose.py says of the drawn head turned by so much."""
    return float(yaw_deg(turned(mean_face(), level)[None])[0])


def test_numbers_of_the_table() -> None:
    heads = [faces([-30, -28, -25], [0, 1, 0]), faces([30, 30, 36], [1, 1, 0])]
    found = table((-30, 30), heads, faces([5, -5, 0], [0, 0, 1]))
    assert list(found) == ["sources", "-30", "30"]
    assert found["sources"]["named_as_labelled"] == 0.5  # the unlabelled face does not count
    assert found["-30"]["named_as_labelled"] == 1.0
    assert found["30"]["named_as_labelled"] == 0.5
    assert found["-30"]["same_person"] == 0.5
    assert found["30"]["sharpness_ratio"] == 0.9
    wanted = np.mean([abs(read(level) - 30) for level in (30, 30, 36)])
    assert found["30"]["mean_distance_deg"] == pytest.approx(wanted, abs=0.01)


def test_sides_do_not_matter_where_poses_have_none() -> None:
    """A head that looked to the left is asked to look further to the left."""
    heads = [faces([0, 0, 0], [0, 1, 0]), faces([30, -30, 30], [0, 1, 0])]
    found = table((0, 30), heads, faces([5, -5, 3], [0, 1, 1]))
    assert found["30"]["mean_distance_deg"] == pytest.approx(abs(abs(read(30)) - 30), abs=0.1)
    wrong = table((0, 30), [heads[0], faces([30, 30, 30], [0, 1, 0])], faces([5, -5, 3], [0, 1, 1]))
    assert wrong["30"]["mean_distance_deg"] > 15


def test_real_heads_are_read_beside() -> None:
    images = faces([-30, -24, 2, 29, 60], [0] * 5)
    yaw = np.array([28.0, 23.0, np.nan, -33.0, -60.0])  # the drawn head turns to the other side
    found = real_yaws((-30, 0, 30), images, yaw, WrittenYaw())
    assert [count for count, _ in found] == [1, 0, 2]
    assert found[0][1] == pytest.approx(read(29), abs=0.01)
    assert found[1][1] is None
    assert found[2][1] == pytest.approx((read(-30) + read(-24)) / 2, abs=0.01)
    assert real_yaws((0, 30), images, yaw, WrittenYaw())[1] == (
        3,
        pytest.approx((abs(read(29)) + read(-30) + read(-24)) / 3, abs=0.01),
    )


def test_heads_of_all_sources_in_every_pose(tmp_path: Path) -> None:
    engine = ExpressionEngine(posed_bundle(*POSES), precision="fp32")
    pack: FacePack = write_people(tmp_path / "drawn.h5")
    rows = choose_sources(pack, engine.vocabulary, split="test", count=5, seed=0)
    edits = edit_sources(engine, pack, rows)
    heads = turned_heads(engine, pack, edits, len(POSES))
    assert heads.shape == (3, len(rows), 3, engine.face_size_px, engine.face_size_px)
    assert heads.dtype == torch.uint8
    # The same as asked for one by one.
    dense = pack.landmarks_dense
    assert dense is not None
    points = scale_dense(np.asarray(dense[int(rows[0])])[None], engine.face_size_px / pack.face_size_px)
    one = engine.encode(edits.sources[:1].float() / 127.5 - 1, points, edits.labels[:1])
    ask = torch.tensor([-1]), torch.ones(1), torch.zeros(1, dtype=torch.int64)
    alone = engine.edit(one, *ask, pose=torch.tensor([2]))
    gap = ((alone[0] + 1) * 127.5).round() - heads[2, 0].float()
    assert float(gap.abs().mean()) < 0.5


def test_the_text_tells_poses() -> None:
    heads = [faces([-30, -28, -25], [0, 1, 0]), faces([30, 30, 36], [1, 1, 0])]
    found = table((-30, 30), heads, faces([5, -5, 0], [0, 0, 1]))
    lines = _pose(found)
    assert any("-30°" in line and "100.0 %" in line and "50.0 %" in line and "-28.0° (4)" in line for line in lines)
    assert any("30°" in line and "–" in line for line in lines)
    assert _pose(None) == []
