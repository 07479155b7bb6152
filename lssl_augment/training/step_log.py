"""The log of a training command that writes one weights file and has no run folder.

``OUT.log/`` beside ``OUT.safetensors`` holds ``command.txt``, ``config.json``, ``environment.json`` and
``stats.jsonl``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from lssl_augment.errors import DataError
from lssl_augment.training.environment import environment
from lssl_augment.training.metrics_log import Means, MetricsLog

__all__ = ["StepLog"]


class StepLog:
    """Means of the loss over stretches of steps.

    A run that goes on from a checkpoint goes on in its log: what came after the checkpoint is written again. To be used
    in a ``with`` statement; a run that ends, however it ends, has its last stretch written. ``seconds`` count from the
    start of the command.

    Args:
        out: the weights file. command, config: of the run. device: where it trains.
        stretch: steps of a line.

    Raises:
        DataError: on entering, a file where the folder should be (output that was redirected there, perhaps).
    """

    def __init__(self, out: Path, command: str, config: Mapping[str, Any], device: str, stretch: int = 100) -> None:
        self.folder, self._stretch = out.with_suffix(".log"), stretch
        self._command, self._config, self._device = command, config, device
        self._means, self._step = Means(), 0
        self._log: MetricsLog | None = None

    def __enter__(self) -> StepLog:
        if self.folder.exists() and not self.folder.is_dir():
            raise DataError(
                f"{self.folder} is a file, and the run keeps its log in a folder of that name; move the file away, "
                "redirect output elsewhere, or choose another --out"
            )
        self._begun = time.monotonic()
        return self

    def add(self, step: int, **values: float) -> None:
        """Values of the step that made ``step`` steps."""
        if self._log is None:
            self._log = self._open(step - 1)
        self._means.add(values)
        self._step = step
        if step % self._stretch == 0:
            self._write()

    def _open(self, step: int) -> MetricsLog:
        # Not before the first step: a command that is refused must not write over the log of one that ended.
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "command.txt").write_text(self._command + "\n", encoding="utf-8")
        for name, told in (("config", dict(self._config)), ("environment", environment(self._device))):
            text = json.dumps(told, indent=1, default=str) + "\n"
            (self.folder / f"{name}.json").write_text(text, encoding="utf-8")
        return MetricsLog(self.folder, step, tensorboard=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._log is not None:
            self._write()
            self._log.close()

    def _write(self) -> None:
        means = self._means.take()
        if means and self._log is not None:
            self._log.write(self._step, {**means, "seconds": round(time.monotonic() - self._begun, 3)})
