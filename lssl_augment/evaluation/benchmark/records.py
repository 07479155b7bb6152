"""Results: one line of JSON a finished cell, appended so that a kill loses nothing that was finished."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lssl_augment.errors import SchemaError
from lssl_augment.files import whole_file

__all__ = [
    "FACE",
    "RECORDS_FILE",
    "SCHEMA_VERSION",
    "SEQUENCE",
    "append_record",
    "check_record",
    "read_records",
    "save_predictions",
    "write_csv",
]

SCHEMA_VERSION = 1
RECORDS_FILE = "results.jsonl"
#: What a test item is: a single face, also where the record does not say, or a whole sequence.
FACE, SEQUENCE = "face", "sequence"

_NUMBER = (int, float)
_FIELDS: dict[str, tuple[type, ...]] = {
    "schema_version": (int,),
    "protocol": (str,),
    "dataset": (str,),
    "simulated": (bool,),
    "regime": (str,),
    "arm": (str,),
    "amount": (int, type(None)),
    "fold": (int,),
    "seed": (int,),
    "classifier": (str,),
    "classes": (list,),
    "n_train": (dict,),
    "n_synthetic": (dict,),
    "n_test": (dict,),
    "steps": (int,),
    "seconds": _NUMBER,
    "metrics": (dict,),
    "recall": (dict,),
    "precision": (dict,),
    "confusion": (list,),
    "predictions": (str,),
    "generator": (dict, type(None)),
    "environment": (dict,),
    "git_commit": (str,),
    "command": (str,),
    "notes": (list,),
}
_OPTIONAL: dict[str, tuple[type, ...]] = {"test_item": (str,), "sequence_settings": (dict,)}
_METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc", "ece", "log_loss")


def check_record(record: Any, where: str) -> dict[str, Any]:
    """The record of a cell, as it came.

    Raises:
        SchemaError: a key is missing, unknown or of another type, or values disagree; it says which.
    """
    if not isinstance(record, dict):
        raise SchemaError(f"{where} is no record of a cell: {type(record).__name__}")
    missing, unknown = sorted(set(_FIELDS) - set(record)), sorted(set(record) - set(_FIELDS) - set(_OPTIONAL))
    if missing or unknown:
        raise SchemaError(
            f"{where}: missing {', '.join(missing) or 'nothing'}, unknown {', '.join(unknown) or 'nothing'}"
        )
    # A bool is an int to Python, and no number here.
    wrong = [
        k
        for k, kinds in (_FIELDS | _OPTIONAL).items()
        if k in record and (not isinstance(record[k], kinds) or (bool not in kinds and record[k] is True))
    ]
    if wrong:
        raise SchemaError(f"{where}: {', '.join(f'{k} is a {type(record[k]).__name__}' for k in wrong)}")
    if record["schema_version"] != SCHEMA_VERSION:
        raise SchemaError(f"{where} has schema version {record['schema_version']}; this package reads {SCHEMA_VERSION}")
    classes = record["classes"]
    if any(sorted(record[key]) != sorted(classes) for key in ("n_train", "n_test", "recall", "precision")):
        raise SchemaError(f"{where}: n_train, n_test, recall and precision must speak of {', '.join(classes)}")
    confusion = record["confusion"]
    if len(confusion) != len(classes) or any(len(row) != len(classes) for row in confusion):
        raise SchemaError(f"{where}: confusion must be {len(classes)} by {len(classes)}")
    if [sum(row) for row in confusion] != [record["n_test"][name] for name in classes]:
        raise SchemaError(f"{where}: the rows of confusion do not add up to n_test")
    if record.get("test_item", FACE) not in (FACE, SEQUENCE):
        raise SchemaError(f"{where}: test_item is {record['test_item']!r}; allowed: {FACE}, {SEQUENCE}")
    lacking = [name for name in _METRICS if not isinstance(record["metrics"].get(name), _NUMBER)]
    if lacking:
        raise SchemaError(f"{where}: metrics lack {', '.join(lacking)}")
    return record


def append_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Append one checked line, on disk when this returns; a half-written last line of a killed run goes first."""
    checked = check_record(dict(record), "the record of this cell")
    line = (json.dumps(checked, ensure_ascii=False) + "\n").encode()
    path = folder / RECORDS_FILE
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        whole = _whole(path)
        os.ftruncate(descriptor, whole)
        os.lseek(descriptor, whole, os.SEEK_SET)
        view = memoryview(line)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_records(folder: Path) -> list[dict[str, Any]]:
    """All records, checked; a last line that a killed run left half-written does not count.

    Raises:
        SchemaError: a damaged line, or one whose predictions are not there.
    """
    path = folder / RECORDS_FILE
    if not path.exists():
        return []
    records = []
    text = path.read_bytes()[: _whole(path)].decode("utf-8")
    for number, line in enumerate(text.splitlines(), start=1):
        where = f"{path.name}, line {number}"
        try:
            record = check_record(json.loads(line), where)
        except ValueError as error:
            if isinstance(error, SchemaError):
                raise
            raise SchemaError(f"{where} is no JSON: {error}") from error
        if not (folder / record["predictions"]).is_file():
            raise SchemaError(f"{where}: {record['predictions']} is not there; remove the line to run the cell again")
        records.append(record)
    return records


def write_csv(folder: Path) -> Path:
    """``results.csv``: a row for each cell, metrics and recalls in columns."""
    import pandas as pd  # heavy, and needed here alone

    rows = []
    for r in read_records(folder):
        row = {k: v for k, v in r.items() if not isinstance(v, dict | list)}
        row |= {f"recall_{name}": value for name, value in r["recall"].items()} | r["metrics"]
        row |= {f"n_train_{k}": n for k, n in r["n_train"].items()}
        row |= {f"n_synthetic_{k}": n for k, n in r["n_synthetic"].items()}
        row["generator"] = (r["generator"] or {}).get("name", "")
        rows.append(row)
    path = folder / "results.csv"
    with whole_file(path) as file:
        pd.DataFrame(rows).to_csv(file, index=False)
    return path


def save_predictions(
    path: Path, probabilities: np.ndarray, labels: np.ndarray, subjects: np.ndarray, files: np.ndarray
) -> None:
    """``(N, C)`` float32, ``(N,)`` int64 and two columns of text; only a complete file appears under that name."""
    with whole_file(path) as fresh, fresh.open("wb") as file:
        np.savez_compressed(
            file,
            probabilities=probabilities.astype(np.float32),
            labels=labels.astype(np.int64),
            subjects=subjects.astype(np.str_),
            files=files.astype(np.str_),
        )


def _whole(path: Path) -> int:
    """Bytes up to the end of the last whole line."""
    return path.read_bytes().rfind(b"\n") + 1
