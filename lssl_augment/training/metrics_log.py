"""The log of a run: ``stats.jsonl``, one JSON object a log point, and TensorBoard scalars beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lssl_augment.errors import TrainingError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["Means", "MetricsLog", "read_stats"]


class Means:
    """Means of what was logged since the last log point; its state is part of a checkpoint."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, float]) -> None:
        """Take in the values of one step; a name need not come at every step."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """The means so far; starts again from nothing."""
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])


class MetricsLog:
    """Writes the log of one run, each point flushed at once.

    Args:
        folder: of the run.
        step: steps done so far; points after it, which a killed run had logged since its last checkpoint, are
            dropped, because the resumed run writes them again.
        tensorboard: write TensorBoard scalars too.

    Raises:
        TrainingError: TensorBoard is asked for but not installed.
    """

    def __init__(self, folder: Path, step: int, *, tensorboard: bool) -> None:
        path = folder / "stats.jsonl"
        if path.exists():
            kept = [line for line in read_stats(path) if line["step"] <= step]
            path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._tensorboard = _open_tensorboard(folder / "tensorboard", step) if tensorboard else None
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, values: Mapping[str, float | str]) -> None:
        """One log point; text goes to ``stats.jsonl`` alone."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        if self._tensorboard is not None:
            for name, value in values.items():
                if not isinstance(value, str):
                    self._tensorboard.add_scalar(name, value, step)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Close both files."""
        self._file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()  # type: ignore[no-untyped-call]


def read_stats(path: str | Path) -> list[dict[str, Any]]:
    """The points of a ``stats.jsonl``; a last line that a killed run left half-written is left out."""
    lines = Path(path).read_text(encoding="utf-8").split("\n")
    # What follows the last line end is empty, or half a line.
    return [json.loads(line) for line in lines[:-1]]


def _open_tensorboard(folder: Path, step: int) -> SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainingError(
            "tensorboard is not installed; install it with `pip install tensorboard` or train with "
            "--set tensorboard=false"
        ) from error
    return SummaryWriter(str(folder), purge_step=step + 1)  # type: ignore[no-untyped-call]
