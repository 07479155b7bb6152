from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from tiny import tiny_config, tiny_faces
from torch import Tensor, nn

from lssl_augment.errors import TrainingError
from lssl_augment.training import losses
from lssl_augment.training.distributed import (
    average_gradients,
    check_same_weights,
    describe_processes,
    exchange,
    processes,
    tell_all,
)
from lssl_augment.training.paper_objective import PaperObjective
from lssl_augment.training.parts import Parts, fit_to_processes, part_generator


def _enter(rank: int, count: int, work: Any, folder: Path) -> None:
    # As torchrun sets them; a file instead of a port, which another test might hold.
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=count)
    try:
        torch.save(work(folder), folder / f"{rank}.pt")
        dist.barrier()  # gloo may abort where the other process is gone already
    finally:
        dist.destroy_process_group()




def steps(pack: Path, folder: Path, *, count: int = 2, **values: Any) -> dict[str, Any]:
    """Gradients of the first step, weights and losses after ``count`` steps of the paper's objective."""
    config = tiny_config(pack, **values)
    objective = PaperObjective(config, tiny_faces(config))
    logs = []
    gradients: dict[str, Tensor] = {}
    for index in range(count):
        means = {k: float(v) for k, v in objective.step(0.0, index).items()}
        logs.append(dict(zip(means, exchange(list(means.values()), [], torch.device("cpu"))[0], strict=True)))
        if index == 0:
            for name, module in objective.modules.items():
                gradients |= {f"{name}.{k}": p.grad.clone() for k, p in module.named_parameters() if p.grad is not None}
    check_same_weights(objective.modules.items(), count)
    weights = {f"{n}.{k}": p.detach() for n, m in objective.modules.items() for k, p in m.named_parameters()}
    return {"gradients": gradients, "weights": weights, "logs": logs, "sampler": objective.sampler.state_dict()}


def close(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Equal to float32's rounding, which Adam's first steps blow up where a gradient is zero in truth."""
    for name, gradient in one["gradients"].items():
        assert float((other["gradients"][name] - gradient).norm()) <= 1e-3 * float(gradient.norm()) + 1e-5, name
    for a, b in zip(one["logs"], other["logs"], strict=True):
        assert b == pytest.approx(a, rel=1e-3, abs=1e-4)
    assert one["sampler"] == other["sampler"]


@pytest.fixture(scope="module")
def whole(tiny_pack: Path) -> dict[str, Any]:
    """One process with the whole batch of four."""
    return steps(tiny_pack, tiny_pack.parent, batch=4)


@pytest.fixture(scope="module")
def pair(tiny_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found; started once, because they take their time to import torch."""
    folder = tmp_path_factory.mktemp("pair")
    torch.multiprocessing.spawn(_enter, (2, functools.partial(_work, tiny_pack), folder), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_two_processes_with_half_the_batch_equal_one_with_all_of_it(
    whole: dict[str, Any], pair: list[dict[str, Any]]
) -> None:
    first, second = (found["steps"] for found in pair)
    assert whole["logs"][0]["critic/penalty"] > 0
    assert any(name.startswith("critic.") and bool(g.abs().max() > 1e-3) for name, g in whole["gradients"].items())
    close(whole, first)
    for part in ("gradients", "weights"):
        assert all(torch.equal(first[part][name], second[part][name]) for name in first[part])
    assert first["logs"] == second["logs"]


def test_accumulated_parts_equal_one_large_batch(whole: dict[str, Any], tiny_pack: Path, tmp_path: Path) -> None:
    close(whole, steps(tiny_pack, tmp_path, batch=2, accumulate=2))
    close(whole, steps(tiny_pack, tmp_path, batch=1, accumulate=4))
    with pytest.raises(AssertionError):  # and the comparison can tell
        close(whole, steps(tiny_pack, tmp_path, batch=2))


def _penalty_gradients(folder: Path, rows: slice | None = None) -> dict[str, Tensor]:
    """Gradients of eq. 1 alone with a wholly known critic, on this process's half of four pairs, in float64."""
    random = torch.Generator().manual_seed(0)
    critic = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Tanh(), nn.Conv2d(6, 1, 3)).double()
    with torch.no_grad():
        for p in critic.parameters():
            p.copy_(torch.randn(p.shape, generator=random, dtype=torch.float64))
    x, s, fake_x, fake_s = (torch.randn(4, c, 8, 8, generator=random, dtype=torch.float64) for c in (3, 1, 3, 1))
    rows = slice(2 * dist.get_rank(), 2 * dist.get_rank() + 2) if rows is None else rows

    def src(image: Tensor, side: Tensor) -> Tensor:
        return critic(torch.cat([image, side], dim=1))

    half = 0.5 * (x + fake_x)[rows], 0.5 * (s + fake_s)[rows]
    penalty = losses.gradient_penalty(src, half)
    gan = losses.wgan_loss(src(x[rows], s[rows]), src(fake_x[rows], fake_s[rows]), penalty, 10.0)
    (-gan).backward()
    average_gradients(critic)
    return {name: p.grad.clone() for name, p in critic.named_parameters() if p.grad is not None}


def _work(pack: Path, folder: Path) -> dict[str, Any]:
    """Everything that is tried in two processes."""
    rank = dist.get_rank()
    found: dict[str, Any] = {
        "steps": steps(pack, folder, batch=2),
        "penalty": _penalty_gradients(folder),
        "means": list(exchange([rank, 4.0], [rank + 5.0], torch.device("cpu"))),
        "told": tell_all(f"from {rank}"),
        "world": describe_processes(),
        "mine": list(Parts.of(tiny_config(folder, accumulate=3)).mine),
        "fit": fit_to_processes(tiny_config(folder, processes=4, accumulate=3)).accumulate,
    }
    module = nn.Linear(1, 1)
    with torch.no_grad():
        module.weight.fill_(1.0)
        module.bias.fill_(float(rank))
    # An objective that forgot to average, and parts that cannot be shared out.
    with pytest.raises(TrainingError) as drifted:
        check_same_weights([("critic", module)], 7)
    with pytest.raises(TrainingError) as uneven:
        fit_to_processes(tiny_config(folder, processes=3))
    return {**found, "drifted": str(drifted.value), "uneven": str(uneven.value)}


def test_gradients_of_the_penalty_to_the_last_digits(pair: list[dict[str, Any]], tmp_path: Path) -> None:
    first, second = pair
    expected = _penalty_gradients(tmp_path, slice(None))
    torch.testing.assert_close(first["penalty"], expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(second["penalty"], expected, rtol=1e-12, atol=1e-12)


def test_the_small_helpers(pair: list[dict[str, Any]]) -> None:
    first, second = pair
    for found in (first, second):
        assert found["means"] == [[0.5, 4.0], [5.0]]
        assert found["told"] == "from 0"
        assert found["world"] == {"processes": 2, "backend": "gloo", "machines": 1}
        assert found["fit"] == 6
        assert "step 7: the critic weights of 2 processes differ by up to 1" in found["drifted"]
        assert "3 parts (3 processes, accumulate 1), which 2 processes cannot share" in found["uneven"]
    assert (first["mine"], second["mine"]) == ([0, 1, 2], [3, 4, 5])


def test_alone_nothing_changes(tmp_path: Path) -> None:
    with processes("cpu") as device:
        assert device == "cpu"
        assert exchange([0.1], [0.2], torch.device("cpu")) == ([0.1], [0.2])
        assert describe_processes() == {"processes": 1}
        assert Parts.of(tiny_config(tmp_path)).slices(2) == [slice(0, 2)]
    # The key of part 0 is that of runs before there were parts.
    assert part_generator(3, 5, 0).random() != part_generator(3, 5, 1).random()


def test_another_number_of_processes_keeps_the_parts(tmp_path: Path) -> None:
    assert fit_to_processes(tiny_config(tmp_path, processes=4)).accumulate == 4
    assert fit_to_processes(tiny_config(tmp_path, processes=2, accumulate=3)).accumulate == 6
