"""Generate a synthetic file: resolve the plan, make the images block by block, write them as they come."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lssl_augment.errors import DataError
from lssl_augment.faces.resize import resize_images
from lssl_augment.synthesis.background import BackgroundWriter
from lssl_augment.synthesis.config import GenerateConfig
from lssl_augment.synthesis.making import Stopwatch, encode, load_sources, make_part, make_parts, parts_of
from lssl_augment.synthesis.run import Run, load_parts, resolve_run
from lssl_augment.synthesis.schema import journal_path, open_synthetic, partial_path
from lssl_augment.synthesis.sheet import contact_sheet, save_sheet, sheet_rows
from lssl_augment.synthesis.writer import RunFile

__all__ = ["Estimate", "GenerateReport", "Progress", "estimate", "generate", "generate_run"]

#: Attributes a user can do something about, and what to call them.
_TOLD = {
    "weights_sha256": "weights",
    "gate_sha256": "gate",
    "package_version": "package version",
    "torch_version": "torch version",
}

#: Called with (rows done, rows in all), from the calling thread.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class GenerateReport:
    """What a run did.

    Attributes:
        path, sheet: the file and its contact sheet.
        counts, accepted: images of each class, and how many of them the gate let through.
        sources: source faces used. rows_made: rows made by this call, the rest having been there.
        seconds: of this call: ``sources``, ``network``, ``gate``, ``writing`` (in its own thread) and
            ``total``.
    """

    path: Path
    sheet: Path
    counts: dict[str, int]
    accepted: dict[str, int]
    sources: int
    rows_made: int
    seconds: dict[str, float]

    @property
    def rows(self) -> int:
        """Images in the file."""
        return sum(self.counts.values())

    @property
    def writing_share(self) -> float:
        """Seconds writing as a fraction of the seconds in the network; 0 when nothing was made."""
        network = self.seconds["network"]
        return self.seconds["writing"] / network if network > 0 else 0.0


@dataclass(frozen=True)
class Estimate:
    """What a run would do: resolved counts, sizes and the time that one timed block promises."""

    counts: dict[str, int]
    sources: int
    source: dict[str, Any]
    image_bytes: int
    seconds: float


def generate(config: GenerateConfig, progress: Progress | None = None) -> GenerateReport:
    """Make the file that ``config`` asks for.

    Killed anywhere and called again with ``resume=True``, it ends with the same file byte for byte on the
    same machine.

    Raises:
        DataError: arguments that cannot be met, a file in the way, or a disk too small.
        LeakageError: test subjects would get in.
        WeightsError, SchemaError: weights or pack that cannot be read.
        KeyboardInterrupt: after Ctrl-C; rows finished so far are kept for ``resume``.
    """
    _check_way(config)  # before the weights are loaded: a quick answer to the commonest mistake
    return generate_run(resolve_run(config, *load_parts(config)), progress)


def estimate(config: GenerateConfig) -> Estimate:
    """Resolve the plan and time one block; writes nothing."""
    return estimate_run(resolve_run(config, *load_parts(config)))


def estimate_run(run: Run) -> Estimate:
    """:func:`estimate` for parts that are loaded already."""
    block = run.plan.blocks(run.config.batch)[0]
    rows = parts_of(run, block)[0]
    for _ in range(2):  # the first pass warms up
        sources = load_sources(run, block)
        watch = Stopwatch()
        faces = encode(run, sources)
        watch.end("network")
        encoding = sources.seconds + watch.seconds["network"]
        watch = Stopwatch()
        make_part(run, faces, sources.owner, rows, watch)
        editing = sum(watch.seconds.values())
    people = len(run.plan.source_starts)
    seconds = encoding / len(sources.images) * people + editing / (rows.stop - rows.start) * len(run.plan)
    size = run.loaded.engine.face_size_px
    return Estimate(
        counts=run.plan.counts,
        sources=people,
        source=run.source.describe(),
        image_bytes=len(run.plan) * size * size * 3,
        seconds=seconds,
    )


def generate_run(run: Run, progress: Progress | None = None, *, mark_every_s: float = 5.0) -> GenerateReport:
    """:func:`generate` for parts that are loaded already.

    Args:
        run: from ``resolve_run``. progress: told after every part.
        mark_every_s: seconds of work that a kill may cost.
    """
    begin = time.perf_counter()
    config, plan = run.config, run.plan
    _check_way(config)
    watch = Stopwatch()
    finished = config.resume and config.out.exists() and not partial_path(config.out).exists()
    rows_made = 0
    if finished:
        with open_synthetic(config.out) as h5:
            _check_same(h5, run)
        journal_path(config.out).unlink(missing_ok=True)  # a kill right after the last step leaves it
    else:
        file = _start(run)
        rows_made = len(plan) - file.rows_done
        try:
            with BackgroundWriter(file, mark_every_s) as writer:
                for part in make_parts(run, file.rows_done, watch):
                    writer.put(part.rows.start, part.images, part.scores, run.accepted(part.scores))
                    if progress is not None:
                        progress(part.rows.stop, len(plan))
            watch.begin()
            file.finish()
            watch.end("writing")
            watch.seconds["writing"] += writer.seconds
        finally:
            file.close()
    accepted = _finish_sheet(run)
    return GenerateReport(
        path=config.out,
        sheet=config.sheet_path,
        counts=plan.counts,
        accepted=accepted,
        sources=len(plan.source_starts),
        rows_made=rows_made,
        seconds={**watch.seconds, "total": time.perf_counter() - begin},
    )


def _check_way(config: GenerateConfig) -> None:
    """Refuse to run over what is there."""
    if config.resume or config.overwrite:
        return
    if partial_path(config.out).exists():
        raise DataError(
            f"{partial_path(config.out).name} holds an unfinished run; go on with it with --resume, or throw "
            "it "
            "away with --overwrite"
        )
    for path in (config.out, config.sheet_path):
        if path.exists():
            raise DataError(f"{path.name} exists already; choose another --out, or replace it with --overwrite")


def _start(run: Run) -> RunFile:
    """Reopen the unfinished file of a resumed run, or lay out a new one."""
    out = run.config.out
    file = RunFile.reopen(out, lambda h5: _check_same(h5, run)) if run.config.resume else None
    if file is not None:
        return file
    return RunFile.create(out, run.plan, run.attributes(), run.loaded.engine.face_size_px)


def _check_same(h5: h5py.File, run: Run) -> None:
    """Refuse to resume a run of other arguments, weights or versions, naming what differs."""
    differences, others = [], []
    for key, wanted in run.attributes().items():
        found = h5.attrs.get(key)
        if np.array_equal(found, wanted):
            continue
        if key in ("config", "source"):
            ours, theirs = json.loads(wanted), json.loads(found)
            names = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
            differences += [f"{k} (there {theirs.get(k)!r}, now {ours.get(k)!r})" for k in names]
        elif key in _TOLD:
            differences.append(f"{_TOLD[key]} (there {str(found)[:16]!r}, now {str(wanted)[:16]!r})")
        else:
            others.append(key)
    differences = differences or others  # the others mostly follow from those that can be named
    if differences:
        raise DataError(
            f"{run.config.out.name} cannot be resumed, it is another run: {'; '.join(differences)}. Use the "
            "arguments "
            "it was started with, or start again with --overwrite"
        )


def _finish_sheet(run: Run) -> dict[str, int]:
    """Write the contact sheet of the finished file; returns the accepted images of each class."""
    plan, names = run.plan, run.plan.vocabulary.names
    ids, rows = sheet_rows(plan)
    with open_synthetic(run.config.out) as h5:
        accepted = np.bincount(plan.targets[h5["accepted"][:]], minlength=len(names))
        faces, _ = run.source.load(ids)
        images = h5["images"]
        shown = [[None if r < 0 else images[r] for r in line] for line in rows]
    size = run.loaded.engine.face_size_px
    cells = [[face, *line] for face, line in zip(resize_images(faces, size), shown, strict=True)]
    sheet = contact_sheet(["source", *names], cells, size)
    save_sheet(run.config.sheet_path, sheet, run.source.digital_source_type)
    return {name: int(n) for name, n in zip(names, accepted, strict=True)}
