"""Data set → face pack: what ``lssl-augment prepare`` runs."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lssl_augment.attributes import Vocabulary
from lssl_augment.datasets import csv_list, fer2013, folder, lfw_expressions
from lssl_augment.datasets.cut import CutFace, FaceCutter
from lssl_augment.datasets.locate import NetworkLocator
from lssl_augment.datasets.records import ReadOptions, Record, RecordTable
from lssl_augment.errors import DataError
from lssl_augment.faces.align import FACE_SIZE_PX
from lssl_augment.faces.landmarks import DENSE_COUNT
from lssl_augment.faces.pack_writer import PackWriter, check_out

__all__ = ["DATASETS", "LANDMARK_SOURCES", "PrepareConfig", "PrepareReport", "prepare", "write_faces"]

#: Name → loader; what each expects to find is told in its message and in docs/datasets.md.
DATASETS: dict[str, Callable[[Path, ReadOptions], RecordTable]] = {
    "lfw-expressions": lfw_expressions.read_lfw_expressions,
    "fer2013": fer2013.read_fer2013,
    "folder": folder.read_folder,
    "csv": csv_list.read_csv_list,
}
LANDMARK_SOURCES = ("auto", "file", "network")

_BLOCK = 128
_FACE_BYTES = FACE_SIZE_PX**2 * 3 + 68 * 2 * 4

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PrepareConfig:
    """How faces are cut out and where they go.

    Args:
        out: the pack to write.
        landmarks: ``"file"``: of the data set only; ``"network"``: the package's landmark network only;
            ``"auto"``: the data set's, and the network where those are missing or
            unusable.
        limit: at most so many photographs, taken evenly from the whole list; None: all.
        workers: threads that decode and align; the result is the same with any number.
        overwrite: replace ``out``.

    Raises:
        DataError: a value that is not allowed.
    """

    out: Path
    landmarks: str = "auto"
    limit: int | None = None
    workers: int = 1
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.landmarks not in LANDMARK_SOURCES:
            raise DataError(f"landmarks must be one of {', '.join(LANDMARK_SOURCES)}; got {self.landmarks!r}")
        for name, value in (("limit", self.limit), ("workers", self.workers)):
            if value is not None and value < 1:
                raise DataError(f"{name} must be at least 1; got {value}")


@dataclass(frozen=True)
class PrepareReport:
    """What was written.

    Attributes:
        out: the pack. vocabulary: its classes. faces: how many. counts: split → class → faces. unlabelled:
            faces without a label. dense: whether there are dense landmarks. skipped: reason → files left
            out.
        notes: what the user should know about this copy of the data set.
    """

    out: Path
    vocabulary: Vocabulary
    faces: int
    counts: dict[str, dict[str, int]]
    unlabelled: int
    dense: bool
    skipped: dict[str, int]
    notes: tuple[str, ...]


def prepare(
    name: str,
    root: Path,
    config: PrepareConfig,
    options: ReadOptions | None = None,
    progress: Progress | None = None,
) -> PrepareReport:
    """Turn a data set into a face pack.

    Args:
        name: one of ``DATASETS``. root: its folder, zip archive or CSV file. progress: gets (done, total).

    Raises:
        DataError: wrong layout, unknown expressions, no usable face, an existing ``out``, or a full disk.
        LeakageError: the data set's own split has a subject on both sides.
        WeightsError: the landmark network is needed and its weights are not there.
    """
    if name not in DATASETS:
        raise DataError(f"unknown data set {name!r}; known: {', '.join(DATASETS)}")
    check_out(config.out, config.overwrite)
    return write_faces(DATASETS[name](Path(root), options or ReadOptions()), config, progress)


def write_faces(table: RecordTable, config: PrepareConfig, progress: Progress | None = None) -> PrepareReport:
    """Cut out and write the faces of a table of records; errors as of :func:`prepare`."""
    records = _limited(table.records, config.limit)
    if not records:
        raise DataError(f"{table.tree.root} holds no photograph to use{_because(_count(table.skipped))}")
    cutter = _cutter(table, records, config.landmarks)
    _check_room(config.out, len(records) * (_FACE_BYTES + (DENSE_COUNT * 12 if cutter.keep_dense else 0)))
    new = PackWriter(config.out, table.vocabulary, dataset=table.dataset, overwrite=config.overwrite)
    with new as writer:
        for file, reason in table.skipped:
            writer.skip(file, reason)
        faces = _append_all(writer, records, cutter, config.workers, progress)
        counts, skipped = writer.counts, writer.skipped
        if not faces:
            raise DataError(f"none of {len(records)} photographs gave a face{_because(skipped)}")
    unlabelled = faces - sum(n for classes in counts.values() for n in classes.values())
    return PrepareReport(
        config.out, table.vocabulary, faces, counts, unlabelled, cutter.keep_dense, skipped, table.notes
    )


def _append_all(
    writer: PackWriter, records: Sequence[Record], cutter: FaceCutter, workers: int, progress: Progress | None
) -> int:
    block: list[tuple[Record, CutFace]] = []
    faces = 0
    for done, (record, result) in enumerate(_cut_in_order(records, cutter, workers), start=1):
        if isinstance(result, str):
            writer.skip(record.file, result)
        else:
            block.append((record, result))
        if len(block) == _BLOCK or (done == len(records) and block):
            _append(writer, block)
            faces += len(block)
            block = []
        if progress is not None:
            progress(done, len(records))
    return faces


def _cut_in_order(
    records: Sequence[Record], cutter: FaceCutter, workers: int
) -> Iterator[tuple[Record, CutFace | str]]:
    """Cut in several threads, give in the order of the records; only a bounded number waits in memory."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prepare")
    waiting: deque[tuple[Record, Future[CutFace | str]]] = deque()
    try:
        for record in records:
            waiting.append((record, pool.submit(cutter, record)))
            if len(waiting) >= _BLOCK:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _append(writer: PackWriter, block: Sequence[tuple[Record, CutFace]]) -> None:
    dense = [face.dense for _, face in block if face.dense is not None]
    writer.append(
        np.stack([face.image for _, face in block]),
        np.array([record.label for record, _ in block], np.int64),
        [record.subject for record, _ in block],
        [record.file for record, _ in block],
        np.stack([face.landmarks for _, face in block]),
        [record.split for record, _ in block],
        np.stack(dense) if dense else None,
    )


def _cutter(table: RecordTable, records: Sequence[Record], landmarks: str) -> FaceCutter:
    if landmarks == "file" and table.landmark_file is None:
        raise DataError(
            f"{table.tree.root} has no landmarks.npz; with --landmarks auto or network the landmark network finds them"
        )
    network = NetworkLocator()
    if landmarks == "network" or (landmarks == "auto" and any(r.points68 is None for r in records)):
        network.load()  # now, so that missing weights are known before the work
    # A pack has dense points for all of its faces or for none.
    keep_dense = landmarks == "network" or table.landmark_file != "sparse"
    return FaceCutter(table.tree, landmarks != "network", None if landmarks == "file" else network, keep_dense)


def _limited(records: Sequence[Record], limit: int | None) -> Sequence[Record]:
    if limit is None or limit >= len(records):
        return records
    return [records[i * len(records) // limit] for i in range(limit)]


def _check_room(out: Path, needed: int) -> None:
    folder = next(parent for parent in out.absolute().parents if parent.is_dir())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{out.name} needs about {needed / 1e6:.1f} MB and the disk has {free / 1e6:.1f} MB free; make "
            "room, choose another --out, or take fewer photographs with --limit"
        )


def _count(skipped: Sequence[tuple[str, str]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for _, reason in skipped:
        counts[reason] = counts.get(reason, 0) + 1
    return counts


def _because(skipped: dict[str, int]) -> str:
    return ": " + ", ".join(f"{reason} ({n})" for reason, n in skipped.items()) if skipped else ""
