"""``lssl-augment prepare``: data set → face pack."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lssl_augment.cli.options import device_option
from lssl_augment.datasets.registry import DATASET_NAMES

if TYPE_CHECKING:
    from tqdm import tqdm

    from lssl_augment.datasets.prepare import PrepareReport
    from lssl_augment.datasets.prepare_config import PrepareConfig
    from lssl_augment.datasets.records import ReadOptions

__all__ = ["prepare_command", "where_to_ask"]


@click.command("prepare")
@click.argument("name", type=click.Choice(DATASET_NAMES), metavar="NAME")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    metavar="DIR|ZIP|CSV",
    help="Folder of the data set; a zip archive of it is read as it is, and a CSV file where it is one.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="PACK.h5", help="Face pack to write.")
@click.option(
    "--landmarks",
    type=click.Choice(("auto", "precomputed", "insightface", "bundled")),
    default="auto",
    show_default=True,
    help="Where landmarks come from: those of the data set, a model pack of insightface, the package's own "
    "network, or (auto) the data set's, and for what has none insightface where a pack of it is there, else the "
    "network.",
)
@click.option(
    "--pick",
    type=click.Choice(("largest", "central")),
    default="largest",
    show_default=True,
    help="Which of several faces insightface takes.",
)
@click.option("--insightface-pack", metavar="NAME|DIR", help="Model pack of insightface. Default: the first one found.")
@device_option("Where landmarks are found", default="cpu")
@click.option(
    "--fill-dense",
    is_flag=True,
    help="478 points for every face: where only 68 are known, the network finds the others on the aligned face.",
)
@click.option(
    "--light-rule",
    type=click.Choice(("photometric",)),
    help="Name the light (normal, weak, dark) by a rule of thumb on brightness. Default: as the data set says.",
)
@click.option("--classes", metavar="A,B,…", help="Expressions to keep, in the order of their labels. Default: all.")
@click.option(
    "--alias",
    "aliases",
    multiple=True,
    metavar="NAME=EXPRESSION",
    help="What a class name of the data set means; may be repeated.",
)
@click.option("--frames", type=click.Choice(("peak", "all")), help="Of sequences: those of the apex, or all.")
@click.option("--lights", metavar="A,B,…", help="Light conditions to keep: normal, weak, dark.")
@click.option("--modality", metavar="VL|NI", help="Camera to keep: visible light or near infrared.")
@click.option("--views", metavar="DEG,DEG,…", help="Yaw angles to keep or to render, in degrees: -30,0,30.")
@click.option("--label-file", type=click.Path(path_type=Path), metavar="CSV", help="`fer2013`: the labels of FER+.")
@click.option(
    "--subject-pattern",
    metavar="REGEX",
    help="`folder`: finds the subject in a file's name (its first group). Default: each file is its own subject.",
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
    metavar="WORKERS",
    help="Processes that work at once; they do not change the result. Default: the cores, at most 8.",
)
@click.option(
    "--simulated",
    is_flag=True,
    help="Make a stand-in for the data set from synthetic people and prepare that: to try things without a copy. "
    "With --root, which must not exist yet, the stand-in is kept there.",
)
@click.option(
    "--subjects", type=click.IntRange(min=1), metavar="PEOPLE", help="People of the stand-in. Default: 10 (bu3dfe: 5)."
)
@click.option("--overwrite", is_flag=True, help="Replace PACK.h5 if it exists.")
def prepare_command(
    name: str,
    root: Path | None,
    out: Path,
    landmarks: str,
    pick: str,
    insightface_pack: str | None,
    device: str,
    fill_dense: bool,
    light_rule: str | None,
    classes: str | None,
    aliases: tuple[str, ...],
    frames: str | None,
    lights: str | None,
    modality: str | None,
    views: str | None,
    label_file: Path | None,
    subject_pattern: str | None,
    limit: int | None,
    seed: int,
    workers: int | None,
    simulated: bool,
    subjects: int | None,
    overwrite: bool,
) -> None:
    """Turn the data set NAME into a face pack.

    A pack holds aligned 128×128 faces with labels, subjects, landmarks, splits, and what is known of light, yaw,
    intensity and sequence.

    \b
    NAME is one of
      oulu, mug, ckplus       sequences of the laboratory; --frames, of oulu --lights and --modality too
      rafd                    photographs of the laboratory; --views
      bu3dfe                  3D models, rendered; --views
      fer2013                 folder or zip with train/, public_test/, private_test/, or its CSV file; --label-file
      rafdb, affectnet        photographs from the web
      lfw-expressions         labels.csv, images/ and landmarks.npz
      folder                  [train|test/]EXPRESSION/**/*.jpg; --subject-pattern
      csv                     columns file,expression[,subject][,split]

    Counts per class and split, and what was left out and why, are printed and stored in the pack. Work that was
    stopped goes on when the same command is given again.
    """
    from lssl_augment.datasets.prepare_config import PrepareConfig
    from lssl_augment.datasets.records import ReadOptions

    if subjects is not None and not simulated:
        raise click.UsageError("--subjects is for --simulated only")
    if root is None and not simulated:
        raise click.UsageError(where_to_ask(name))
    options = ReadOptions(
        seed=seed,
        classes=_words(classes),
        aliases=dict(map(_alias, aliases)),
        subject_pattern=subject_pattern,
        frames=frames or "peak",
        lights=_words(lights),
        modality=modality,
        views_deg=None if views is None else _degrees(views),
        label_file=label_file,
    )
    config = PrepareConfig(
        out=out,
        landmarks=landmarks,
        limit=limit,
        workers=workers or min(8, os.cpu_count() or 1),
        overwrite=overwrite,
        pick=pick,
        device=device,
        insightface_pack=insightface_pack,
        fill_dense=fill_dense,
        light_rule=light_rule or "",
    )
    report = _run(name, root, config, options, simulated, subjects)
    click.echo("\n".join(_lines(report)))


def _run(
    name: str, root: Path | None, config: PrepareConfig, options: ReadOptions, simulated: bool, subjects: int | None
) -> PrepareReport:
    from tqdm import tqdm

    from lssl_augment.datasets.prepare import prepare
    from lssl_augment.datasets.prepare_journal import CHUNK, finished_parts, parts_folder

    bar: tqdm | None = None

    def progress(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            # What an earlier run did must not count towards the speed of this one.
            bar = tqdm(total=total, initial=done, unit="photo", desc=name, file=sys.stderr, mininterval=0.5)
        bar.update(done - bar.n)

    def tell(text: str) -> None:
        tqdm.write(f"note: {text}", file=sys.stderr)

    try:
        if not simulated:
            assert root is not None  # checked by the caller
            return prepare(name, root, config, options, progress, tell)
        from lssl_augment.datasets.simulated import prepare_simulated

        return prepare_simulated(name, root, config, options, subjects, progress, tell)
    except KeyboardInterrupt:
        parts = finished_parts(config.out)
        if parts:
            click.echo(
                f"\nstopped; {parts} parts of at most {CHUNK} photographs are kept in {parts_folder(config.out)}: "
                "the same command goes on from there",
                err=True,
            )
        raise
    finally:
        if bar is not None:
            bar.close()


def where_to_ask(name: str) -> str:
    """What to say when a data set is not there: its layout and where a copy can be asked for."""
    from lssl_augment.datasets.registry import find_dataset

    dataset = find_dataset(name)
    layout, ask = (" ".join(text.split()).rstrip(".") for text in (dataset.info.layout, dataset.info.ask))
    stand_in = "" if dataset.stand_in is None else ". To try things without a copy: --simulated"
    return f"--root DIR is missing: the folder or zip archive of {name} ({layout}). A copy: {ask}{stand_in}"


def _words(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(word.strip() for word in text.split(","))


def _degrees(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise click.UsageError(f"--views must be angles in degrees such as -30,0,30; got {text!r}") from None


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
    if report.simulated:
        lines.append("SIMULATED: these are synthetic people; results on them say nothing about real faces")
    points = "68 and 478 landmarks" if report.dense else "68 landmarks"
    found_by = ", ".join(f"{name} {count}" for name, count in report.landmarks_from.items())
    return [*lines, f"{report.out}: {report.faces} faces with {points} ({found_by})"]
