"""Data set → face pack: what ``lssl-augment prepare`` runs.

The photographs are worked on in parts that are kept beside the pack until it is finished, so that a run which was
killed goes on where it stopped. The pack is put together from the parts in the order of the data set: its bytes
depend neither on the number of workers nor on how often it was interrupted.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lssl_augment.attributes import Vocabulary
from lssl_augment.datasets.cut import FaceCutter
from lssl_augment.datasets.prepare_config import PrepareConfig, check_options
from lssl_augment.datasets.prepare_journal import CHUNK, FacePart, Journal, finished_parts
from lssl_augment.datasets.prepare_key import parts_key
from lssl_augment.datasets.prepare_work import Chunk, cut_chunk, cut_here, cut_in_processes
from lssl_augment.datasets.records import ReadOptions, Record, RecordTable
from lssl_augment.datasets.registry import find_dataset
from lssl_augment.datasets.stand_in import stand_in_notes
from lssl_augment.errors import DataError
from lssl_augment.faces.align import FACE_SIZE_PX
from lssl_augment.faces.backends.choose import LANDMARK_SOURCES, describe, first_use_notes, open_backend
from lssl_augment.faces.landmarks import DENSE_COUNT
from lssl_augment.faces.light import light_names
from lssl_augment.faces.pack_writer import PackWriter, check_out
from lssl_augment.faces.pose import yaw_deg

__all__ = ["LANDMARK_SOURCES", "PrepareConfig", "PrepareReport", "Progress", "Tell", "prepare", "write_faces"]

#: Gets (photographs done, photographs in all).
Progress = Callable[[int, int], None]
#: Gets a sentence for the user while the work goes on.
Tell = Callable[[str], None]

_FACE_BYTES = FACE_SIZE_PX**2 * 3 + 68 * 2 * 4
#: Photographs from which worker processes make up for the time they take to start.
_LEAST_FOR_PROCESSES = 32 * CHUNK


@dataclass(frozen=True)
class PrepareReport:
    """What was written.

    Attributes:
        out: the pack. vocabulary: its classes. faces: how many. counts: split → class → faces. unlabelled:
            faces without a label. dense: whether there are dense landmarks. skipped: reason → files left
            out. landmarks_from: what found the landmarks → faces.
        notes: what the user should know about this copy of the data set. simulated: it is a stand-in.
        resumed: photographs that an earlier run had done.
    """

    out: Path
    vocabulary: Vocabulary
    faces: int
    counts: dict[str, dict[str, int]]
    unlabelled: int
    dense: bool
    skipped: dict[str, int]
    notes: tuple[str, ...]
    landmarks_from: dict[str, int]
    simulated: bool = False
    resumed: int = 0


def prepare(
    name: str,
    root: Path,
    config: PrepareConfig,
    options: ReadOptions | None = None,
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> PrepareReport:
    """Turn a data set into a face pack.

    A copy that ``--simulated`` made is recognised, and the pack says so.

    Args:
        name: of the registry. root: its folder, zip archive or CSV file. progress: gets (done, total).
        tell: gets sentences while the work goes on: what is resumed, terms that are shown once.

    Raises:
        DataError: wrong layout, unknown expressions, an option that the data set does not know, no usable face,
            an existing ``out``, a full disk, or a worker that was killed.
        LeakageError: the data set's own split has a subject on both sides.
        WeightsError: landmarks are to be found and what finds them is not there.
    """
    dataset = find_dataset(name)
    options = options or ReadOptions()
    check_out(config.out, config.overwrite)
    check_options(dataset.info, options)
    table = dataset.read(Path(root), options)
    simulated = stand_in_notes(Path(root))
    if simulated is not None:
        table = replace(table, notes=(*simulated, *table.notes))
    return write_faces(table, config, progress, tell, simulated=simulated is not None)


def write_faces(
    table: RecordTable,
    config: PrepareConfig,
    progress: Progress | None = None,
    tell: Tell | None = None,
    *,
    simulated: bool = False,
) -> PrepareReport:
    """Cut out and write the faces of a table of records, marked if ``simulated``; errors as of :func:`prepare`."""
    check_out(config.out, config.overwrite)
    records = _limited(table.records, config.limit)
    if not records:
        raise DataError(f"{table.tree.root} holds no photograph to use{_because(_count(table.skipped))}")
    _check_light_rule(table, config)
    cutter = _cutter(table, records, config, tell)
    chunks: list[Chunk] = [(i // CHUNK, records[i : i + CHUNK]) for i in range(0, len(records), CHUNK)]
    _check_room(config.out, cutter.keep_dense, len(records), finished_parts(config.out) * CHUNK)
    with Journal(config.out, parts_key(table.tree, records, cutter), len(chunks)) as journal:
        todo = [chunk for chunk in chunks if chunk[0] not in journal.finished]
        resumed = len(records) - sum(len(chunk) for _, chunk in todo)
        _say_resumed(journal.discarded, resumed, len(records), config.out, tell)
        _cut_all(todo, cutter, config, journal.folder, resumed, len(records), progress)
        writer = PackWriter(
            config.out,
            table.vocabulary,
            dataset=f"{table.dataset} (simulated)" if simulated else table.dataset,
            overwrite=config.overwrite,
            simulated=simulated,
            notes=table.notes,
            yaw_from="data set" if _says_yaw(table) else "landmarks",
            light_from="photometric rule" if config.light_rule else "data set" if _says_light(table) else "",
        )
        with writer:
            for file, reason in table.skipped:
                writer.skip(file, reason)
            for index, chunk in chunks:
                part = journal.read(index, lambda chunk=chunk: cut_chunk(chunk, cutter))  # type: ignore[misc]
                _append(writer, chunk, part)
            counts, skipped, landmarks_from = writer.counts, writer.skipped, writer.landmarks_from
            faces = sum(landmarks_from.values())
            if cutter.backend is None or cutter.backend.name in landmarks_from:
                writer.notes = (*table.notes, *describe(cutter.backend))
            if not faces:
                journal.remove()
                raise DataError(f"none of {len(records)} photographs gave a face{_because(skipped)}")
        journal.remove()
    return PrepareReport(
        out=config.out,
        vocabulary=table.vocabulary,
        faces=faces,
        counts=counts,
        unlabelled=faces - sum(n for classes in counts.values() for n in classes.values()),
        dense=cutter.keep_dense,
        skipped=skipped,
        notes=writer.notes,
        landmarks_from=landmarks_from,
        simulated=simulated,
        resumed=resumed,
    )


def _cut_all(
    todo: Sequence[Chunk],
    cutter: FaceCutter,
    config: PrepareConfig,
    folder: Path,
    done: int,
    total: int,
    progress: Progress | None,
) -> None:
    def count(photos: int) -> None:
        nonlocal done
        done += photos
        if progress is not None:
            progress(done, total)

    if done and progress is not None:
        progress(done, total)
    if config.workers == 1 or total - done < _LEAST_FOR_PROCESSES or config.device != "cpu":
        cut_here(todo, cutter, config.workers, folder, count)
    else:
        cut_in_processes(todo, cutter, min(config.workers, len(todo)), folder, count)


def _append(writer: PackWriter, records: Sequence[Record], part: FacePart) -> None:
    for row, reason in zip(part.skipped.tolist(), part.reasons.tolist(), strict=True):
        writer.skip(records[row].file, reason)
    chosen = [records[row] for row in part.rows.tolist()]
    if not chosen:
        return
    if writer.yaw_from == "landmarks":
        yaw = yaw_deg(part.landmarks if part.dense is None else part.dense)
    else:
        yaw = np.array([np.nan if record.yaw_deg is None else record.yaw_deg for record in chosen])
    measured = writer.light_from == "photometric rule"
    writer.append(
        part.images,
        np.array([record.label for record in chosen], np.int64),
        [record.subject for record in chosen],
        [record.file for record in chosen],
        part.landmarks,
        [record.split for record in chosen],
        part.dense,
        lights=light_names(part.images).tolist() if measured else [record.light for record in chosen],
        yaw_deg=yaw,
        intensities=np.array([np.nan if r.intensity is None else r.intensity for r in chosen]),
        sequences=[record.sequence for record in chosen],
        frames=np.array([record.frame for record in chosen]),
        landmarks_from=part.landmarks_from.tolist(),
    )


def _cutter(table: RecordTable, records: Sequence[Record], config: PrepareConfig, tell: Tell | None) -> FaceCutter:
    backend = open_backend(config.landmarks, pick=config.pick, device=config.device, pack=config.insightface_pack)
    use_file = config.landmarks in ("auto", "precomputed")
    placed = [r for r in records if r.points68 is not None or r.photo is not None]
    if backend is None and not placed:
        raise DataError(
            f"{table.tree.root} has no landmarks of its own; with --landmarks auto, bundled or insightface they "
            "are found"
        )
    lacking = not use_file or len(placed) < len(records)
    if backend is not None and (lacking or any(r.photo is not None for r in records)):
        backend.load()  # now, so that missing weights are known before the work
        for note in first_use_notes(backend):
            if tell is not None:
                tell(note)
    # A pack has dense points for all of its faces or for none.
    known = use_file and all(r.dense is not None or r.photo is not None for r in placed)
    found = backend is None or backend.gives_dense
    keep = config.fill_dense or ((known or not use_file) and (found or (known and not lacking)))
    # The few faces whose own landmarks turn out useless are filled in where the backend gives 68 points only.
    return FaceCutter(table.tree, use_file, backend, keep, config.fill_dense or (keep and not found))


def _says_yaw(table: RecordTable) -> bool:
    return any(record.yaw_deg is not None for record in table.records)


def _says_light(table: RecordTable) -> bool:
    return any(record.light for record in table.records)


def _check_light_rule(table: RecordTable, config: PrepareConfig) -> None:
    if config.light_rule and _says_light(table):
        raise DataError(
            f"{table.dataset} states the light of its photographs, which is better than the {config.light_rule} rule; "
            "leave --light-rule out"
        )


def _limited(records: Sequence[Record], limit: int | None) -> Sequence[Record]:
    if limit is None or limit >= len(records):
        return records
    return [records[i * len(records) // limit] for i in range(limit)]


def _say_resumed(discarded: int, resumed: int, total: int, out: Path, tell: Tell | None) -> None:
    if tell is None:
        return
    if discarded:
        tell(
            f"unfinished work on {out.name} was of other data, options, weights or another version of the package; "
            "it was removed, and all begins anew"
        )
    elif resumed:
        tell(f"going on with {out.name}: {resumed} of {total} photographs were done before")


def _check_room(out: Path, dense: bool, photos: int, done: int) -> None:
    """Both the parts and the pack lie on the disk before the parts are removed."""
    folder = next(parent for parent in out.absolute().parents if parent.is_dir())
    free = shutil.disk_usage(folder).free
    needed = (photos + max(0, photos - done)) * (_FACE_BYTES + (DENSE_COUNT * 12 if dense else 0))
    if needed > free:
        raise DataError(
            f"{out.name} needs about {needed / 1e6:.1f} MB while it is made, and the disk has {free / 1e6:.1f} MB "
            "free; make room, choose another --out, or take fewer photographs with --limit"
        )


def _count(skipped: Sequence[tuple[str, str]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for _, reason in skipped:
        reason = reason.partition(": ")[0]
        counts[reason] = counts.get(reason, 0) + 1
    return counts


def _because(skipped: dict[str, int]) -> str:
    return ": " + ", ".join(f"{reason} ({n})" for reason, n in skipped.items()) if skipped else ""
