"""``lssl-augment prepare``: data set → face pack."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lssl_augment.datasets.prepare import PrepareReport

__all__ = ["prepare_command"]

_NAMES = ("lfw-expressions", "fer2013", "folder", "csv")


@click.command("prepare")
@click.argument("name", type=click.Choice(_NAMES), metavar="NAME")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR|ZIP|CSV",
    help="Folder of the data set; a zip archive of it is read as it is, and a CSV file where it is one.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="PACK.h5", help="Face pack to write.")
@click.option(
    "--landmarks",
    type=click.Choice(("auto", "file", "network")),
    default="auto",
    show_default=True,
    help="Where landmarks come from: the data set's landmarks.npz, the package's landmark network, or (auto) "
    "the file and the network for what is not in it.",
)
@click.option(
    "--classes",
    metavar="A,B,…",
    help="Expressions to keep, in the order of their labels. Default: the data set's.",
)
@click.option(
    "--alias",
    "aliases",
    multiple=True,
    metavar="NAME=EXPRESSION",
    help="What a class name of the data set means; may be repeated.",
)
@click.option(
    "--subject-pattern",
    metavar="REGEX",
    help="`folder` only: finds the subject in a file's name (its first group). Default: each file is its own subject.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="PHOTOS",
    help="Take so many, evenly from the whole list: a quick try.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the split by subject.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="THREADS",
    help="Threads that decode and align; they do not change the result. Default: the cores, at most 8.",
)
@click.option("--overwrite", is_flag=True, help="Replace PACK.h5 if it exists.")
def prepare_command(
    name: str,
    root: Path,
    out: Path,
    landmarks: str,
    classes: str | None,
    aliases: tuple[str, ...],
    subject_pattern: str | None,
    limit: int | None,
    seed: int,
    workers: int | None,
    overwrite: bool,
) -> None:
    """Turn the data set NAME into a face pack.

    A pack holds aligned 128×128 faces with labels, subjects, landmarks and splits.

    \b
    NAME is one of
      lfw-expressions  folder or zip with labels.csv, images/ and landmarks.npz; split by subject
      fer2013          folder or zip with train/, public_test/, private_test/, or fer2013.csv,
                       or icml_face_data.csv
      folder           [train|test/]EXPRESSION/**/*.jpg
      csv              columns file,expression[,subject][,split]

    Counts per class and split, and what was left out and why, are printed and stored in the pack.
    """
    if subject_pattern is not None and name != "folder":
        raise click.UsageError(f"--subject-pattern is for `folder` only; {name} knows its subjects otherwise")
    from tqdm import tqdm

    from lssl_augment.datasets.prepare import PrepareConfig, prepare
    from lssl_augment.datasets.records import ReadOptions

    options = ReadOptions(
        seed=seed,
        classes=None if classes is None else tuple(classes.split(",")),
        aliases=dict(map(_alias, aliases)),
        subject_pattern=subject_pattern,
    )
    config = PrepareConfig(out, landmarks, limit, workers or min(8, os.cpu_count() or 1), overwrite)
    bar: tqdm | None = None

    def progress(done: int, total: int) -> None:
        nonlocal bar
        bar = bar or tqdm(total=total, unit="photo", desc=name, file=sys.stderr)
        bar.update(done - bar.n)

    try:
        report = prepare(name, root, config, options, progress)
    finally:
        if bar is not None:
            bar.close()
    click.echo("\n".join(_lines(report)))


def _alias(text: str) -> tuple[str, str]:
    name, equals, word = text.partition("=")
    if not (name.strip() and equals and word.strip()):
        raise click.UsageError(f"--alias must be NAME=EXPRESSION; got {text!r}")
    return name, word


def _lines(report: PrepareReport) -> list[str]:
    splits = list(report.counts)
    totals = {split: sum(report.counts[split].values()) for split in splits}
    rows = [("", *splits, "all")]
    for word in report.vocabulary.names:
        numbers = [report.counts[split][word] for split in splits]
        rows.append((word, *map(str, numbers), str(sum(numbers))))
    rows.append(("all", *(str(totals[split]) for split in splits), str(sum(totals.values()))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    if report.unlabelled:
        lines.append(f"{report.unlabelled} more without a label")
    left_out = sum(report.skipped.values())
    lines.append(f"left out: {left_out}" + (":" if left_out else ""))
    lines += [f"  {count} × {reason}" for reason, count in report.skipped.items()]
    lines += [f"note: {note}" for note in report.notes]
    points = "68 and 478 landmarks" if report.dense else "68 landmarks"
    return [*lines, f"{report.out}: {report.faces} faces with {points}"]
