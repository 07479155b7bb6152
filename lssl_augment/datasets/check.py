"""What is in a data set, and what is wrong with it: what ``lssl-augment check`` runs.

Counts, photographs that cannot be read, people and photographs on both sides of a split, copies with different
labels, faces that alignment hardly fits, and contact sheets to look at.
"""

from __future__ import annotations

import io
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lssl_augment.datasets.duplicates import MAX_DISTANCE, DuplicatePair, duplicate_groups, find_duplicates
from lssl_augment.datasets.records import ReadOptions, RecordTable
from lssl_augment.datasets.splits import TRAIN
from lssl_augment.errors import DataError, ImageError
from lssl_augment.faces.align import STABLE_WEIGHTS
from lssl_augment.faces.pack import FacePack
from lssl_augment.files import whole_file

__all__ = ["CheckReport", "Copies", "TemplateFit", "check_dataset", "check_faces", "template_errors", "write_sheets"]

#: How many files, people or pairs a report names, and rows × columns of a contact sheet.
_NAMED, _ROWS, _COLUMNS = 10, 8, 8
UNREADABLE = ("unreadable image", "file missing", "blank image")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class TemplateFit:
    """How far faces are from the template, see :func:`template_errors`; all in px of the faces.

    Attributes:
        median_px, p95_px, p99_px, max_px: of all faces. worst: (file, error), the largest first.
    """

    median_px: float
    p95_px: float
    p99_px: float
    max_px: float
    worst: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Copies:
    """Photographs that appear more than once.

    Attributes:
        pairs: of faces that are one photograph, by kind (``exact``, ``near``, ``mirrored``). photographs: that
            appear more than once. faces: of them. across_splits, across_subjects, labels_differ: pairs of which
            the two are in different splits, called different people, labelled differently.
        leaked_faces: outside the training split that have a copy in it.
        named: (file, file, distance, what is wrong) of some pairs, those across splits first, then those across
            subjects.
    """

    pairs: Mapping[str, int]
    photographs: int
    faces: int
    across_splits: int
    across_subjects: int
    labels_differ: int
    leaked_faces: int
    named: tuple[tuple[str, str, float, str], ...]


@dataclass(frozen=True)
class CheckReport:
    """What was found.

    Attributes:
        dataset: its name. simulated: a stand-in. faces: in all. unlabelled: of them. counts: split → expression →
            faces. subjects: split → people, and under ``all`` those of the whole. most_faces: (subject, faces) of
            those with most. in_two_splits: people who are in more than one split.
        skipped: reason → files left out. unreadable: (file, reason) of all whose pixels could not be used.
        photo_sizes_px: "width×height" → photographs, the commonest first; None where only the faces are there.
        fit: distance from the template; None without a face. copies: photographs that appear more than once;
            None when they were not looked for.
        problems: what should be seen to, in sentences. notes: of the data set.
    """

    dataset: str
    simulated: bool
    faces: int
    unlabelled: int
    counts: Mapping[str, Mapping[str, int]]
    subjects: Mapping[str, int]
    most_faces: tuple[tuple[str, int], ...]
    in_two_splits: tuple[str, ...]
    skipped: Mapping[str, int]
    unreadable: tuple[tuple[str, str], ...]
    photo_sizes_px: Mapping[str, int] | None
    fit: TemplateFit | None
    copies: Copies | None
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``."""
        return asdict(self)


def check_faces(
    pack: FacePack, *, duplicates: bool = True, max_distance: float = MAX_DISTANCE, progress: Progress | None = None
) -> CheckReport:
    """Check a face pack.

    Args:
        pack: an open one. duplicates: look for copies; the time grows with the square of the faces.
        max_distance: of copies, see :func:`~lssl_augment.datasets.duplicates.find_duplicates`.
        progress: gets (what, done, total).
    """
    told = None if progress is None else lambda done, total: progress("faces compared", done, total)
    people = {split: set(pack.subjects[pack.split == split].tolist()) for split in pack.counts}
    everybody = Counter(pack.subjects.tolist())
    homes = Counter(person for some in people.values() for person in some)
    report = CheckReport(
        dataset=pack.dataset,
        simulated=pack.simulated,
        faces=len(pack),
        unlabelled=int((pack.labels < 0).sum()),
        counts=pack.counts,
        subjects={split: len(some) for split, some in people.items()} | {"all": len(everybody)},
        most_faces=tuple(sorted(everybody.items(), key=lambda item: (-item[1], item[0]))[:_NAMED]),
        in_two_splits=tuple(sorted(person for person, splits in homes.items() if splits > 1)),
        skipped=pack.skipped,
        unreadable=tuple(item for item in _skipped_files(pack) if item[1].partition(": ")[0] in UNREADABLE),
        photo_sizes_px=None,
        fit=_fit(pack) if len(pack) else None,
        copies=_copies(pack, find_duplicates(pack.images, max_distance, told)) if duplicates else None,
        notes=pack.notes,
    )
    return replace(report, problems=tuple(_problems(report)))


def check_dataset(
    name: str,
    root: Path,
    *,
    out: Path | None = None,
    duplicates: bool = True,
    limit: int | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> CheckReport:
    """Check a copy of a data set: prepare it into a temporary pack, look at that, and at the photographs' sizes.

    Args:
        name: of the registry. root: its folder, archive or list. out: folder for contact sheets; None: none.
        duplicates, progress: as of :func:`check_faces`. limit, workers: as of ``PrepareConfig``.

    Raises:
        DataError: as of :func:`~lssl_augment.datasets.prepare.prepare`.
    """
    # Late: preparing brings in the landmark backends, which a check of a pack does not need.
    from lssl_augment.datasets.prepare import PrepareConfig, prepare
    from lssl_augment.datasets.registry import find_dataset

    prepared = None if progress is None else lambda done, total: progress("photographs prepared", done, total)
    with tempfile.TemporaryDirectory(prefix="lssl-augment-check-") as folder:
        config = PrepareConfig(Path(folder) / "faces.h5", limit=limit, workers=workers)
        prepare(name, root, config, progress=prepared)
        with FacePack.open(config.out) as pack:
            report = check_faces(pack, duplicates=duplicates, progress=progress)
            if out is not None:
                write_sheets(pack, report, out)
    table = find_dataset(name).read(Path(root), ReadOptions())
    return replace(report, photo_sizes_px=_photo_sizes(table, progress))


def template_errors(pack: FacePack) -> np.ndarray:
    """Distance of every face from the template, ``(N,)`` float64, px of the face.

    It is what alignment could not take away: the root of the weighted mean square distance of the points that
    it is fitted to (eye corners, nose, temples). A turned head has a large one too.
    """
    distance = ((pack.landmarks.astype(np.float64) - pack.template68) ** 2).sum(axis=2)
    errors: np.ndarray = np.sqrt(distance @ (STABLE_WEIGHTS / STABLE_WEIGHTS.sum()))
    return errors


def write_sheets(pack: FacePack, report: CheckReport, out: Path) -> list[Path]:
    """Write contact sheets into a folder: ``class_NAME.png`` for every expression (64 faces, evenly from all of
    them), ``worst_aligned.png``, and ``copies.png`` (pairs, side by side).

    Returns:
        The files.

    Raises:
        DataError: ``out`` is a file.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; --out names a folder for contact sheets")
    out.mkdir(parents=True, exist_ok=True)
    shown = {}
    for label, name in enumerate(pack.vocabulary.names):
        rows = np.flatnonzero(pack.labels == label)
        if len(rows):
            most = min(len(rows), _ROWS * _COLUMNS)
            shown[f"class_{name}"] = f"{name} {len(rows)}", rows[np.arange(most) * len(rows) // most]
    if len(pack):
        worst = np.argsort(-template_errors(pack), kind="stable")[: _ROWS * _COLUMNS]
        shown["worst_aligned"] = "worst first", worst
    if report.copies is not None and report.copies.named:
        place = {file: row for row, file in enumerate(pack.files.tolist())}
        pairs = [[place[one], place[other]] for one, other, _, _ in report.copies.named]
        shown["copies"] = "pairs", np.array(pairs).ravel()
    return [_write_sheet(pack, out / f"{name}.png", *what) for name, what in shown.items()]


def _write_sheet(pack: FacePack, path: Path, title: str, rows: np.ndarray) -> Path:
    # Late, and from above: the one drawer of contact sheets lives with the synthesis.
    from lssl_augment.synthesis.schema import AI_EDITED
    from lssl_augment.synthesis.sheet import contact_sheet, save_sheet

    faces: list[np.ndarray | None] = [pack.images[row] for row in rows.tolist()]
    faces += [None] * (-len(faces) % _COLUMNS)
    cells = [faces[i : i + _COLUMNS] for i in range(0, len(faces), _COLUMNS)]
    sheet = contact_sheet([title, *[""] * (_COLUMNS - 1)], cells, pack.face_size_px)
    if pack.simulated:
        save_sheet(path, sheet, AI_EDITED)
    else:
        with whole_file(path) as file:
            sheet.save(file, format="PNG")
    return path


def _fit(pack: FacePack) -> TemplateFit:
    errors = template_errors(pack)
    worst = np.argsort(-errors, kind="stable")[:_NAMED].tolist()
    median, p95, p99 = (round(float(value), 3) for value in np.percentile(errors, (50, 95, 99)))
    named = tuple((str(pack.files[row]), round(float(errors[row]), 3)) for row in worst)
    return TemplateFit(median, p95, p99, round(float(errors.max()), 3), named)


def _copies(pack: FacePack, pairs: list[DuplicatePair]) -> Copies:
    def wrong(pair: DuplicatePair) -> list[str]:
        columns = {"split": pack.split, "subject": pack.subjects, "label": pack.labels}
        return [name for name, column in columns.items() if column[pair.i] != column[pair.j]]

    faults = [wrong(pair) for pair in pairs]
    groups = duplicate_groups(pairs)
    leaked = [[pack.split[row] != TRAIN for row in rows] for rows in groups]
    gravest = ("split", "subject", "label")
    order = sorted(range(len(pairs)), key=lambda n: ([fault not in faults[n] for fault in gravest], pairs[n]))
    named = []
    for n in order[:_NAMED]:
        differ = ", ".join(f"{fault}s differ" for fault in faults[n]) or "the same subject, split and label"
        named.append((str(pack.files[pairs[n].i]), str(pack.files[pairs[n].j]), pairs[n].distance, differ))
    return Copies(
        pairs={kind: sum(pair.kind == kind for pair in pairs) for kind in ("exact", "near", "mirrored")},
        photographs=len(groups),
        faces=sum(map(len, groups)),
        across_splits=sum("split" in fault for fault in faults),
        across_subjects=sum("subject" in fault for fault in faults),
        labels_differ=sum("label" in fault for fault in faults),
        leaked_faces=sum(sum(outside) for outside in leaked if not all(outside)),
        named=tuple(named),
    )


def _problems(report: CheckReport) -> list[str]:
    found = []
    if report.unreadable:
        found.append(f"{len(report.unreadable)} photographs cannot be used, such as {report.unreadable[0][0]}")
    if report.in_two_splits:
        found.append(f"{len(report.in_two_splits)} people are in two splits, such as {report.in_two_splits[0]!r}")
    for split, counts in report.counts.items():
        empty = [name for name, faces in counts.items() if not faces]
        if empty:
            found.append(f"split {split} has no face of {', '.join(empty)}")
    copies = report.copies
    if copies is not None:
        if copies.leaked_faces:
            found.append(f"{copies.leaked_faces} faces outside {TRAIN} are copies of faces in it")
        if copies.across_subjects and report.subjects["all"] < report.faces:  # else subjects are unknown
            found.append(f"{copies.across_subjects} pairs of copies are called different people")
        if copies.labels_differ:
            found.append(f"{copies.labels_differ} pairs of copies have different labels")
    return found


def _skipped_files(pack: FacePack) -> list[tuple[str, str]]:
    file = pack.images.file
    if "skipped/files" not in file or not len(file["skipped/files"]):
        return []
    files, reasons = (file[f"skipped/{column}"].asstr()[:].tolist() for column in ("files", "reasons"))
    return list(zip(files, reasons, strict=True))


def _photo_sizes(table: RecordTable, progress: Progress | None) -> dict[str, int]:
    sizes: Counter[str] = Counter()
    for done, record in enumerate(table.records, start=1):
        if record.image is not None:
            sizes[f"{record.image.shape[1]}×{record.image.shape[0]}"] += 1
        elif record.photo is None:  # a rendered photograph has the size that was asked for
            size = _photo_size(table, record.file)
            if size is not None:
                sizes[f"{size[0]}×{size[1]}"] += 1
        if progress is not None:
            progress("photographs measured", done, len(table.records))
    return dict(sizes.most_common())


def _photo_size(table: RecordTable, file: str) -> tuple[int, int] | None:
    """Width and height that the header tells; None where there is none: the report counts such files elsewhere."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            size: tuple[int, int] = Image.open(io.BytesIO(table.tree.read(file))).size
        return size
    except (OSError, ImageError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
