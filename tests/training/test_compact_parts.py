"""Parts of a compact step: accumulated gradients are those of all parts as one batch, in one process or in two."""

from __future__ import annotations

import copy
import functools
import math
import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from tiny_faces import ALL_LOSSES, compact_config, loosen, training_faces
from torch import Tensor

from lssl_augment.training import compact_objective
from lssl_augment.training.compact_faces import CompactFaces, KnownFaces
from lssl_augment.training.compact_objective import CompactObjective
from lssl_augment.training.compact_parts import Part, pair_weight
from lssl_augment.training.distributed import check_same_weights, mean_over_all
from lssl_augment.training.parts import fit_to_processes

Found = dict[str, Any]
#: Adam's first step follows the sign of a gradient, which rounding decides where it is all but zero: keep it short.
SHORT = {**ALL_LOSSES, "lr_critic": 1e-6}


@functools.cache
def known(size_px: int, seed: int) -> CompactFaces:
    """Fitted once: no step changes it."""
    return CompactFaces(training_faces(), size_px, seed, torch.device("cpu"))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread everywhere, as in the processes that are compared: more of them round otherwise."""
    monkeypatch.setattr(compact_objective, "CompactFaces", lambda faces, size_px, seed, *_: known(size_px, seed))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def begin(**values: Any) -> CompactObjective:
    """Layers that begin at zero are shaken, or most gradients would be zero in the first step."""
    objective = CompactObjective(compact_config(**{"batch": 2, **values}), training_faces())
    for name, module in objective.modules.items():
        loosen(module, seed=len(name))
    return objective


def stepped(objective: CompactObjective, index: int = 0) -> Found:
    """Log and gradients of one step."""
    log = {name: float(value) for name, value in objective.step(0.0, index).items()}
    gradients = {
        f"{name}.{key}": p.grad.clone()
        for name, module in objective.modules.items()
        for key, p in module.named_parameters()
        if p.grad is not None
    }
    return {"log": log, "gradients": gradients}


def close(one: Found, other: Found, share: float = 1e-3) -> None:
    assert one["gradients"].keys() == other["gradients"].keys()
    for name, gradient in one["gradients"].items():
        assert float((other["gradients"][name] - gradient).norm()) <= share * float(gradient.norm()) + 1e-6, name
    assert other["log"] == pytest.approx(one["log"], rel=1e-4, abs=1e-5)


def as_one(parts: list[Part]) -> Part:
    """Several parts put together."""

    def joined(values: list[Any]) -> Any:
        if isinstance(values[0], KnownFaces):
            return KnownFaces(*(joined([getattr(v, f.name) for v in values]) for f in fields(KnownFaces)))
        return torch.cat(values) if isinstance(values[0], Tensor) else values[0]

    return Part(*(joined([getattr(part, f.name) for part in parts]) for f in fields(Part)))


def middle(images: Tensor, sides: Tensor, rng: torch.Generator, *, shared: int) -> tuple[Tensor, Tensor]:
    """In place of random augmentation, which parts draw each for itself."""
    return images[..., 8:-8, 8:-8], sides[..., 8:-8, 8:-8]


@pytest.mark.parametrize("index", [0, 1])  # with the bidirectional loss, and without
def test_accumulated_parts_equal_one_large_batch(index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact_objective, "critic_augment", middle)
    numbers = {**SHORT, "lambda_pair": 1000.0}  # enough for gradients to be clipped
    accumulated, whole = begin(accumulate=3, objective=numbers), begin(batch=6, objective=numbers)
    parts = [accumulated._prepare(index, number) for number in range(3)]
    assert len({round(float(pair_weight(part).mean()), 4) for part in parts}) == 3  # a normaliser of each would differ
    monkeypatch.setattr(whole, "_prepare", lambda step, number: as_one(parts))
    expected = stepped(whole, index)
    assert ("bidirectional" in expected["log"]) == (index == 0)
    # L1 has a kink: a pixel that is all but restored, rounded to its other side, turns its weighted gradient round.
    close(expected, stepped(accumulated, index), share=2e-2)
    assert expected["log"]["grad_norm"] > 5.0  # so the gradient was clipped, that of the whole
    norms = [float(g.norm()) for name, g in expected["gradients"].items() if name.startswith("generator.")]
    assert math.hypot(*norms) == pytest.approx(5.0, rel=1e-4)
    with pytest.raises(AssertionError):  # and the comparison can tell
        close(expected, stepped(begin(objective=numbers), index))


def test_the_critic_alone_accumulates_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact_objective, "critic_augment", middle)
    alone = {"critic_first_steps": 2}
    accumulated, whole = begin(accumulate=2, objective=alone), begin(batch=4, objective=alone)
    parts = [accumulated._prepare(0, number) for number in range(2)]
    monkeypatch.setattr(whole, "_prepare", lambda step, number: as_one(parts))
    expected = stepped(whole)
    assert set(expected["log"]) == {"critic_real", "critic_fake", "cls_real"}
    close(expected, stepped(accumulated))


def test_the_first_part_draws_what_a_run_without_parts_draws() -> None:
    one, several = begin()._prepare(4, 0), begin(accumulate=2)
    first, second = (several._prepare(4, number) for number in range(2))
    assert torch.equal(first.source, one.source)
    assert not torch.equal(second.real.images, first.real.images)


def test_a_resumed_run_repeats_accumulated_steps_to_the_last_digit() -> None:
    objective = begin(accumulate=2)
    stepped(objective, 0)
    kept = copy.deepcopy([
        {name: part.state_dict() for name, part in group.items()} for group in (objective.modules, objective.optimizers)
    ])  # fmt: skip
    own = objective.state_dict()
    expected = stepped(objective, 1)
    resumed = begin(accumulate=2, seed=objective.config.seed)
    for group, states in zip((resumed.modules, resumed.optimizers), kept, strict=True):
        for name, part in group.items():
            part.load_state_dict(states[name])
    resumed.load_state_dict(own)
    found = stepped(resumed, 1)
    assert found["log"] == expected["log"]
    assert all(torch.equal(found["gradients"][name], g) for name, g in expected["gradients"].items())


def test_only_one_graph_is_kept_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that autograd holds for a backward pass, at most, whatever the number of parts."""

    def most(objective: CompactObjective) -> int:
        alive, peak = 0, 0

        class Held:
            def __init__(self, tensor: Tensor) -> None:
                nonlocal alive, peak
                self.tensor, self.size = tensor, tensor.numel() * tensor.element_size()
                alive += self.size
                peak = max(peak, alive)

            def __del__(self) -> None:
                nonlocal alive
                alive -= self.size

        with torch.autograd.graph.saved_tensors_hooks(Held, lambda kept: kept.tensor):
            objective.step(0.0, 0)
        return peak

    held = [most(begin(accumulate=count)) for count in (1, 4)]
    assert held[1] <= 1.05 * held[0]
    assert most(begin(batch=8)) > 3 * held[0]


def _enter(rank: int, folder: Path) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    try:
        objective = begin(objective=SHORT)
        found = stepped(objective)
        check_same_weights(objective.modules.items(), 1)
        found["mean"] = mean_over_all(torch.tensor(float(rank)))
        # Two processes go on as one or the other way round: the parts stay the same.
        found["fit"] = fit_to_processes(compact_config(processes=1, accumulate=4)).accumulate
        torch.save(found, folder / f"{rank}.pt")
        dist.barrier()  # gloo may abort where the other process is gone already
    finally:
        dist.destroy_process_group()


def test_two_processes_equal_one_that_accumulates_two_parts(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_enter, (tmp_path,), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    expected = stepped(begin(accumulate=2, objective=SHORT))
    means = {name: (first["log"][name] + second["log"][name]) / 2 for name in first["log"]}
    close(expected, {"log": means, "gradients": first["gradients"]})
    assert all(torch.equal(second["gradients"][name], g) for name, g in first["gradients"].items())
    assert (first["mean"], second["mean"]) == (0.5, 0.5)
    assert (first["fit"], second["fit"]) == (2, 2)
    assert mean_over_all(torch.tensor(3.0)) == 3.0
