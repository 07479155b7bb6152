"""Reading what a benchmark wrote: a line of JSON and a file of predictions for each cell."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lssl_augment.errors import SchemaError
from lssl_augment.evaluation.statistics.cell_metrics import check_predictions

__all__ = ["RECORDS_FILE", "SCHEMA_VERSION", "Cell", "read_cells"]

SCHEMA_VERSION = 1
#: One cell a line.
RECORDS_FILE = "results.jsonl"

_NEEDED = {
    "protocol": str,
    "dataset": str,
    "regime": str,
    "arm": str,
    "seed": int,
    "classifier": str,
    "classes": list,
    "metrics": dict,
    "predictions": str,
}


@dataclass(frozen=True, eq=False)
class Cell:
    """One classifier of one arm, trained with one seed, on the test faces (or sequences) of one fold.

    Args:
        record: the line of JSON.
        probabilities: ``(N, C)`` float64. labels: ``(N,)`` int64. subjects, files: ``(N,)`` str;
            of sequences, their names.
    """

    record: dict[str, Any] = field(repr=False)
    probabilities: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    subjects: np.ndarray = field(repr=False)
    files: np.ndarray = field(repr=False)

    @property
    def arm(self) -> str:
        """Name of the arm with its amount of synthetic faces, if it has one."""
        amount = self.record.get("amount")
        return str(self.record["arm"]) if amount is None else f"{self.record['arm']}, {amount}"

    @property
    def key(self) -> tuple[Any, int]:
        """(fold, seed): cells of two arms with the same key are a pair."""
        return self.record.get("fold"), self.record["seed"]

    @property
    def test_item(self) -> str:
        """What is tested, and what each row of the predictions is: ``face`` or ``sequence``."""
        return str(self.record.get("test_item", "face"))

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.record["classes"])

    @property
    def train_counts(self) -> list[int] | None:
        """Real training faces of each class; None where the record does not say, or a class has none."""
        counts = self.record.get("n_train")
        if not isinstance(counts, dict) or not all(counts.get(name) for name in self.classes):
            return None
        return [int(counts[name]) for name in self.classes]

    @property
    def synthetic(self) -> bool:
        """Whether synthetic faces were trained on, stored or made in the loop."""
        return self.synthetic_faces > 0 or self.record.get("generator") is not None

    @property
    def synthetic_faces(self) -> int:
        """Number of stored synthetic faces that were trained on, over all classes."""
        number = self.record.get("n_synthetic") or 0
        return sum(number.values()) if isinstance(number, dict) else int(number)

    @property
    def correct(self) -> np.ndarray:
        """Whether each face was named rightly, ``(N,)`` bool."""
        right: np.ndarray = self.probabilities.argmax(1) == self.labels
        return right


def read_cells(folder: str | Path) -> list[Cell]:
    """All cells of a results folder, predictions checked; of a cell that was run twice the last counts.

    Raises:
        SchemaError: no such file, a line or predictions that are not as they should be (the line is named).
    """
    folder = Path(folder)
    path = folder / RECORDS_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SchemaError(f"cannot read {path}: {error.strerror or error}; is this a benchmark's folder?") from error
    cells: dict[Any, Cell] = {}
    # A killed run may leave its last line half-written; it ends with no line break.
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), 1):
        if line.strip():
            cell = _cell(folder, line, f"{path.name}, line {number}")
            r = cell.record
            cells[r["protocol"], r["regime"], r["classifier"], cell.arm, *map(str, cell.key)] = cell
    if not cells:
        raise SchemaError(f"{path} holds no cell yet")
    return list(cells.values())


def _cell(folder: Path, line: str, where: str) -> Cell:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise SchemaError(f"{where} is not JSON: {error}") from error
    if not isinstance(record, dict) or record.get("schema_version") != SCHEMA_VERSION:
        raise SchemaError(f"{where} is no cell of schema_version {SCHEMA_VERSION}")
    wrong = [name for name, kind in _NEEDED.items() if not isinstance(record.get(name), kind)]
    if wrong:
        raise SchemaError(f"{where} lacks {', '.join(wrong)}, or has them of another type")
    path = folder / record["predictions"]
    if not path.resolve().is_relative_to(folder.resolve()):
        raise SchemaError(f"{where} names predictions outside its folder: {record['predictions']}")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            probabilities, labels = arrays["probabilities"], arrays["labels"]
            subjects, files = arrays["subjects"], arrays["files"]
        labels, probabilities = check_predictions(labels, probabilities, len(record["classes"]))
    except (OSError, ValueError, KeyError) as error:
        raise SchemaError(f"{where}: predictions {record['predictions']} cannot be used: {error}") from error
    if not len(subjects) == len(files) == len(labels):
        raise SchemaError(f"{where}: {len(labels)} labels, but {len(subjects)} subjects and {len(files)} files")
    return Cell(record, probabilities, labels, subjects.astype(str), files.astype(str))
