"""One process or several with the same code: gradients are averaged before every optimiser step, by hand.

Each process works on its part of a batch and calls :func:`average_gradients` between ``backward`` and the optimiser. A
mean of means over equal parts is the mean over the whole, and the gradient of a mean is the mean of gradients, so the
weights move as they would in one process with the whole batch. That holds for any loss that is a mean over rows,
a gradient penalty included, because what is averaged is the finished gradient.

``DistributedDataParallel`` is not used: it averages from hooks inside the backward pass of a module's ``forward``. Here
networks are called by other names (``encode``, ``decode``) and several times a backward pass, gradients of gradients
are taken, and the penalty runs a second backward pass through the critic: hooks then fire too early or not at all.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lssl_augment.errors import TrainingError

__all__ = [
    "average_gradients",
    "check_same_weights",
    "describe_processes",
    "exchange",
    "mean_over_all",
    "process_count",
    "process_rank",
    "processes",
    "tell_all",
    "wait_for_all",
]

#: Longer than the first process may spend on a sheet or a checkpoint while the others wait.
_PATIENCE = timedelta(hours=1)


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()


def process_rank() -> int:
    """Number of this process, from 0; 0 when it is alone."""
    return dist.get_rank() if _several() else 0


def process_count() -> int:
    """How many processes train together; 1 when this one is alone."""
    return dist.get_world_size() if _several() else 1


@contextmanager
def processes(device: str) -> Iterator[str]:
    """Join the processes that ``torchrun`` started, for the length of a block; alone, nothing happens.

    Args:
        device: ``cpu`` (processes talk through gloo) or ``cuda`` (nccl).

    Yields:
        The device of this process: ``cuda`` becomes ``cuda:0``, ``cuda:1`` … by its place on the machine.

    Raises:
        TrainingError: ``torchrun`` started more processes on this machine than it has CUDA devices, or one CUDA
            device was asked for by number.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or _several():
        yield device
        return
    kind, place = torch.device(device).type, int(os.environ.get("LOCAL_RANK", "0"))
    if kind == "cuda":
        if torch.device(device).index is not None or place >= torch.cuda.device_count():
            raise TrainingError(
                f"process {place} of this machine was given {device}, and {torch.cuda.device_count()} CUDA devices are "
                "there; use --device cuda and at most so many processes (torchrun --nproc_per_node)"
            )
        device = f"cuda:{place}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def average_gradients(module: nn.Module) -> None:
    """Make every gradient of a network the mean over all processes; alone, nothing happens.

    Call it between the last ``backward`` and the optimiser (before gradients are clipped, too). One message for all
    gradients of a type. A parameter that has a gradient in one process must have one in all.
    """
    if process_count() == 1:
        return
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for parameter in module.parameters():
        if parameter.grad is not None:
            by_type.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for gradients in by_type.values():
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= process_count()
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, mean in zip(gradients, flat.split(sizes), strict=True):
            gradient.copy_(mean.view_as(gradient))


def exchange(
    averaged: Sequence[float], decided: Sequence[float], device: torch.device
) -> tuple[list[float], list[float]]:
    """Numbers that all processes must agree on: means of the first list, the first process's of the second.

    Returns:
        Both lists, the same in every process; alone, what came in.
    """
    if process_count() == 1:
        return list(averaged), list(decided)
    mine = decided if process_rank() == 0 else [0.0] * len(decided)
    numbers = torch.tensor([*averaged, *mine], dtype=torch.float64, device=device)
    dist.all_reduce(numbers)
    numbers[: len(averaged)] /= process_count()
    found = numbers.tolist()
    return found[: len(averaged)], found[len(averaged) :]


def mean_over_all(number: Tensor) -> Tensor:
    """The mean of a number without gradient over all processes; alone, what came in."""
    if process_count() == 1:
        return number
    mean = number.detach().clone()
    dist.all_reduce(mean)
    return mean / process_count()


def tell_all(text: str) -> str:
    """What the first process says, in every process."""
    if process_count() == 1:
        return text
    told = [text]
    dist.broadcast_object_list(told)
    return told[0]


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if process_count() > 1:
        dist.barrier()


def check_same_weights(modules: Iterable[tuple[str, nn.Module]], step: int) -> None:
    """Refuse to go on when networks differ between processes.

    Raises:
        TrainingError: in every process; an objective that forgot :func:`average_gradients` is the likely cause.
    """
    if process_count() == 1:
        return
    for name, module in modules:
        weights = torch.cat([p.detach().reshape(-1) for p in module.parameters()])
        low, high = weights.clone(), weights.clone()
        dist.all_reduce(low, dist.ReduceOp.MIN)
        dist.all_reduce(high, dist.ReduceOp.MAX)
        if not torch.equal(low, high):
            raise TrainingError(
                f"step {step}: the {name} weights of {process_count()} processes differ by up to "
                f"{float((high - low).abs().max()):.3g}; its objective must call average_gradients before every "
                "optimiser step, on the same number of rows in every process"
            )


def describe_processes() -> dict[str, int | str]:
    """For the run folder: how many processes, how they talk, on how many machines."""
    if process_count() == 1:
        return {"processes": 1}
    machines: list[str] = [""] * process_count()
    dist.all_gather_object(machines, socket.gethostname())
    return {"processes": process_count(), "backend": dist.get_backend(), "machines": len(set(machines))}
