"""``lssl-augment check``: what is in a data set or face pack, and what is wrong with it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lssl_augment.datasets.check import CheckReport

__all__ = ["check_command"]

_SIZES = 5


@click.command("check")
@click.argument("data", metavar="PACK.h5|NAME")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    metavar="DIR|ZIP|CSV",
    help="Where the data set NAME is. It is prepared into a temporary pack with the options that `prepare` takes by "
    "default; to check it with others, prepare it and check the pack.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Write contact sheets (PNG) there. Default: none."
)
@click.option("--no-duplicates", is_flag=True, help="Do not look for copies; with 100,000 faces that takes minutes.")
@click.option("--limit", type=click.IntRange(min=1), metavar="PHOTOS", help="Of a data set, take so many, evenly.")
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="WORKERS", help="As of `prepare`. Default: the cores, at most 8."
)
@click.option("--json", "as_json", is_flag=True, help="The whole report as JSON.")
@click.option("--strict", is_flag=True, help="End with status 1 when there is a problem.")
def check_command(
    data: str,
    root: Path | None,
    out: Path | None,
    no_duplicates: bool,
    limit: int | None,
    workers: int | None,
    as_json: bool,
    strict: bool,
) -> int:
    """Look through a face pack, or through the copy of the data set NAME in --root.

    Told are faces of each expression, split and subject, sizes of photographs (of a data set), files that cannot
    be read, people in two splits, photographs that appear twice and where, and how far the faces are from the
    template, with the worst by name.
    """
    from tqdm import tqdm

    from lssl_augment.datasets.check import check_dataset, check_faces, write_sheets
    from lssl_augment.datasets.registry import DATASET_NAMES
    from lssl_augment.faces.pack import FacePack

    if root is None and data in DATASET_NAMES and not Path(data).exists():
        raise click.UsageError(f"give --root, where {data} is, or name a face pack to check")
    if root is None and limit is not None:
        raise click.UsageError("--limit is for data sets; a pack is checked as a whole")
    step = ""
    with tqdm(file=sys.stderr, disable=None, mininterval=0.5) as bar:

        def progress(what: str, done: int, total: int) -> None:
            nonlocal step
            if what != step:
                step = what
                bar.set_description(what, refresh=False)
                bar.reset(total)
            bar.update(done - bar.n)

        if root is not None:
            workers = workers or min(8, os.cpu_count() or 1)
            report = check_dataset(
                data, root, out=out, duplicates=not no_duplicates, limit=limit, workers=workers, progress=progress
            )
        else:
            with FacePack.open(data) as pack:
                report = check_faces(pack, duplicates=not no_duplicates, progress=progress)
                if out is not None:
                    write_sheets(pack, report, out)
    click.echo(json.dumps(report.to_json(), indent=1, ensure_ascii=False) if as_json else "\n".join(_lines(report)))
    if out is not None:
        click.echo(f"contact sheets in {out}", err=as_json)
    return 1 if strict and report.problems else 0


def _lines(report: CheckReport) -> list[str]:
    simulated = ", SIMULATED" if report.simulated else ""
    lines = [f"{report.dataset}: {report.faces} faces of {report.subjects['all']} subjects{simulated}"]
    lines += _table(report.counts, report.subjects)
    if report.unlabelled:
        lines.append(f"{report.unlabelled} more without a label")
    most = ", ".join(f"{subject} {faces}" for subject, faces in report.most_faces[:_SIZES] if faces > 1)
    lines.append(f"most faces: {most or 'every face is its own subject'}")
    if report.photo_sizes_px is not None:
        sizes = [f"{size} {count}" for size, count in list(report.photo_sizes_px.items())[:_SIZES]]
        others = len(report.photo_sizes_px) - len(sizes)
        lines.append(f"photo sizes: {', '.join(sizes)}{f' and {others} other sizes' if others else ''}")
    left_out = ", ".join(f"{count} × {reason}" for reason, count in report.skipped.items())
    lines.append(f"left out: {left_out or 'nothing'}")
    lines += [f"  {file}: {reason}" for file, reason in report.unreadable[:_SIZES]]
    if report.fit is not None:
        fit = report.fit
        lines.append(
            f"distance from the template, px: median {fit.median_px:.2f}, 95 % under {fit.p95_px:.2f}, 99 % under "
            f"{fit.p99_px:.2f}, worst {fit.max_px:.2f}"
        )
        lines += [f"  {error:.2f} {file}" for file, error in fit.worst[:_SIZES]]
    if report.copies is not None:
        copies = report.copies
        kinds = ", ".join(f"{count} {kind}" for kind, count in copies.pairs.items())
        lines.append(
            f"copies: {copies.photographs} photographs appear {copies.faces} times; pairs: {kinds}; of these "
            f"{copies.across_splits} across splits, {copies.across_subjects} across subjects, "
            f"{copies.labels_differ} with different labels"
        )
        lines += [f"  {one} = {other} ({distance:.3f}; {why})" for one, other, distance, why in copies.named[:_SIZES]]
    lines += [f"note: {note}" for note in report.notes]
    lines += [f"problem: {problem}" for problem in report.problems]
    return lines if report.problems else [*lines, "no problem found"]


def _table(counts: Mapping[str, Mapping[str, int]], subjects: Mapping[str, int]) -> list[str]:
    words = list(next(iter(counts.values()), {}))
    rows = [("", *words, "labelled", "subjects")]
    for split, row in counts.items():
        rows.append(
            (split or "(none)", *(str(row[word]) for word in words), str(sum(row.values())), str(subjects[split]))
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
