from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from lssl_augment.errors import TrainingError
from lssl_augment.training.checkpoint import CheckpointFolder, read_checkpoint, write_checkpoint

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
trees = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(trees)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_plain_values_come_back_equal(tmp_path: Path, tree: Any) -> None:
    state = {"tree": tree}
    back = read_checkpoint(write_checkpoint(tmp_path / "a.safetensors", state))
    assert back == state
    assert repr(back) == repr(state)  # 1 is not True, (1,) is not [1]


def test_optimiser_and_random_state_come_back_equal(tmp_path: Path) -> None:
    module = nn.Linear(4, 2).to(torch.bfloat16)
    optimizer = torch.optim.Adam(module.parameters(), lr=1 / 3, betas=(0.5, 0.999))
    module(torch.ones(1, 4, dtype=torch.bfloat16)).sum().backward()
    optimizer.step()
    random, rng = torch.Generator().manual_seed(7), np.random.default_rng(3)
    state = {
        "module": dict(module.state_dict()),
        "shared": [module.weight, module.weight],
        "transposed": torch.arange(6).view(2, 3).T,
        "optimizer": optimizer.state_dict(),
        "random": random.get_state(),
        "numpy": rng.bit_generator.state,
    }
    back = read_checkpoint(write_checkpoint(tmp_path / "a.safetensors", state))
    numpy_state = back.pop("numpy")
    assert numpy_state == state.pop("numpy")
    torch.testing.assert_close(back, state, rtol=0, atol=0)
    again = torch.optim.Adam(module.parameters())
    again.load_state_dict(back["optimizer"])
    assert again.param_groups[0]["betas"] == (0.5, 0.999)
    assert again.param_groups[0]["lr"] == 1 / 3
    rng2 = np.random.default_rng()
    rng2.bit_generator.state = numpy_state
    assert rng2.random() == rng.random()


def test_other_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="state/what is ndarray"):
        write_checkpoint(tmp_path / "a.safetensors", {"what": np.zeros(2)})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="needs POSIX file size limits")
    path = write_checkpoint(tmp_path / "a.safetensors", {"step": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"a\.safetensors"):
            write_checkpoint(path, {"step": 2, "big": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read_checkpoint(path) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "a.safetensors", {"t": torch.zeros(100)})
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(TrainingError, match="cannot read the checkpoint"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps({"step": 1}))
    with pytest.raises(TrainingError, match="cannot read the checkpoint"):
        read_checkpoint(path)
    from safetensors.torch import save_file

    save_file({"t": torch.zeros(1)}, path)
    with pytest.raises(TrainingError, match="no checkpoint of this version"):
        read_checkpoint(path)
    with pytest.raises(TrainingError, match="cannot read the checkpoint"):
        read_checkpoint(tmp_path / "none.safetensors")


def test_the_newest_are_kept_and_a_damaged_one_is_never_skipped(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=2)
    with pytest.raises(TrainingError, match="no checkpoint to resume from"):
        folder.read_newest()
    for step in (2, 10, 300):
        folder.write(step, {"step": step})
    assert [p.name for p in folder.paths()] == ["step-00000010.safetensors", "step-00000300.safetensors"]
    assert folder.read_newest() == {"step": 300}
    folder.paths()[-1].write_bytes(b"half")
    with pytest.raises(TrainingError, match="delete it to resume from step-00000010"):
        folder.read_newest()


def test_the_best_stays_beside_the_newest(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=1)
    assert folder.best() is None
    for step in (2, 10):
        folder.write_best(step, {"step": step})
    folder.write(12, {"step": 12})
    folder.write(13, {"step": 13})
    best = folder.best()
    assert best is not None
    assert read_checkpoint(best) == {"step": 10}
    assert sorted(p.name for p in folder.folder.iterdir()) == [best.name, "step-00000013.safetensors"]
    assert folder.read_newest() == {"step": 13}
