"""``lssl-augment generate``: write a balanced synthetic data set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lssl_augment.cli.options import device_option

if TYPE_CHECKING:
    from lssl_augment.synthesis.config import GenerateConfig
    from lssl_augment.synthesis.generate import Estimate, GenerateReport

__all__ = ["generate_command"]


@click.command("generate")
@click.option("--per-class", type=click.IntRange(min=1), metavar="IMAGES", help="Images of each class.")
@click.option(
    "--targets",
    default="uniform",
    show_default=True,
    help="uniform: --per-class of every class. balance: fill every class up to the source's largest (or to "
    "--per-class). Class names: anger,sadness. Counts: anger=500,sadness=200.",
)
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    metavar="PACK|DIR",
    help="Faces to start from: a face pack, or a folder of photographs. Default: built-in synthetic people.",
)
@click.option("--weights", default="lfw-128", show_default=True, metavar="NAME|PATH", help="The generator.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("synthetic.h5"),
    show_default=True,
    help="The HDF5 file; a contact sheet (.png) of the same name comes beside it.",
)
@click.option(
    "--intensity",
    default="0.8:1",
    show_default=True,
    metavar="VALUE|LOW:HIGH",
    help="Expression intensity from 0 to 1; of a range, each image draws its own.",
)
@click.option(
    "--yaw",
    metavar="DEG|LOW:HIGH",
    help="Turn heads to this yaw in degrees, positive towards larger x; of a range, each image draws its own. "
    "Default: they keep their pose.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of everything random.")
@click.option(
    "--people",
    type=click.IntRange(min=1),
    metavar="PEOPLE",
    help="Built-in people to draw. Default: as many as the largest class has images.",
)
@click.option("--gate", default="gate", show_default=True, metavar="NAME|PATH", help="The network that scores images.")
@click.option("--no-gate", is_flag=True, help="Do not score.")
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    metavar="SCORE",
    help="Mark images scored lower as not accepted; they are kept in the file.",
)
@click.option(
    "--splits",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Split file (`lssl-augment split`) instead of the pack's own splits.",
)
@click.option("--fold", type=click.IntRange(min=0), metavar="N", help="Its fold whose training people to start from.")
@click.option("--split", default="train", show_default=True, help="Split of the source to read.")
@click.option(
    "--allow-test-subjects",
    is_flag=True,
    help="Let faces in that are meant for testing. The file says so, and mixing it with real faces is refused.",
)
@device_option("Where to run")
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    metavar="FACES",
    help="Faces at once.",
)
@click.option("--resume", is_flag=True, help="Go on with an unfinished run of the same arguments.")
@click.option("--overwrite", is_flag=True, help="Replace a file or an unfinished run of this name.")
@click.option("--dry-run", is_flag=True, help="Print the resolved plan, size and estimated time; write nothing.")
def generate_command(
    per_class: int | None,
    targets: str,
    source: Path | None,
    weights: str,
    out: Path,
    intensity: str,
    yaw: str | None,
    seed: int,
    people: int | None,
    gate: str,
    no_gate: bool,
    min_score: float,
    splits: Path | None,
    fold: int | None,
    split: str,
    allow_test_subjects: bool,
    device: str,
    batch: int,
    resume: bool,
    overwrite: bool,
    dry_run: bool,
) -> None:
    """Make synthetic faces of every class, in a file that SyntheticExpressionDataset reads.

    Without --source the faces are those of synthetic people that come with the package. The same arguments
    and weights make the same file; a run that was stopped goes on with --resume.
    """
    from lssl_augment.synthesis.config import GenerateConfig, parse_intensity, parse_yaw
    from lssl_augment.synthesis.generate import estimate

    config = GenerateConfig(
        out=out,
        per_class=per_class,
        targets=targets,
        source=source,
        weights=weights,
        intensity=parse_intensity(intensity),
        yaw=None if yaw is None else parse_yaw(yaw),
        seed=seed,
        people=people,
        splits=splits,
        fold=fold,
        split=split,
        allow_test_subjects=allow_test_subjects,
        gate=None if no_gate else gate,
        min_score=min_score,
        device=device,
        batch=batch,
        resume=resume,
        overwrite=overwrite,
    )
    if dry_run:
        click.echo(_say_estimate(estimate(config), config))
    else:
        click.echo(_say_report(_run(config)))


def _run(config: GenerateConfig) -> GenerateReport:
    from tqdm import tqdm

    from lssl_augment.synthesis.generate import generate
    from lssl_augment.synthesis.schema import partial_path

    # A kill is not an end of the bar's line; the bar appears with the first block, when the total is known.
    bar = tqdm(unit="image", file=sys.stderr, disable=None, delay=0.1)
    first = True

    def progress(done: int, total: int) -> None:
        nonlocal first
        if first:
            bar.total, bar.initial, first = total, 0, False
        bar.update(done - bar.n)

    try:
        return generate(config, progress)
    except KeyboardInterrupt:
        if partial_path(config.out).exists():
            click.echo(f"\nstopped after {bar.n} images; the same command with --resume goes on from there", err=True)
        raise
    finally:
        bar.close()


def _say_estimate(estimate: Estimate, config: GenerateConfig) -> str:
    from lssl_augment.synthesis.writer import human_bytes

    described = ", ".join(f"{k} {v}" for k, v in estimate.source.items() if k not in ("fingerprint", "face_model"))
    total = sum(estimate.counts.values())
    return "\n".join(
        [
            f"would write {config.out} with {config.sheet_path.name} beside it",
            *_table({name: str(n) for name, n in estimate.counts.items()} | {"total": str(total)}),
            f"sources     {estimate.sources} faces, each encoded once ({described})",
            f"size        {human_bytes(estimate.image_bytes)}",
            f"time        about {human_seconds(estimate.seconds)} (one block timed)",
        ]
    )


def _say_report(report: GenerateReport) -> str:
    seconds = report.seconds
    accepted = {n: f"{c}, accepted {report.accepted[n]}" for n, c in report.counts.items()}
    lines = [
        f"{report.path}: {report.rows} images from {report.sources} sources",
        *_table(accepted),
        f"contact sheet {report.sheet}",
    ]
    if not report.rows_made:
        return "\n".join([*lines, "was complete already; nothing was made"])
    speed = report.rows_made / seconds["total"]
    return "\n".join(
        [
            *lines,
            f"made {report.rows_made} images in {human_seconds(seconds['total'])}, {speed:.1f} images/s",
            f"network {seconds['network']:.1f} s, sources {seconds['sources']:.1f} s, gate "
            f"{seconds['gate']:.1f} s, "
            f"writing {seconds['writing']:.1f} s ({100 * report.writing_share:.1f} % of the network's time, "
            "in the background)",
        ]
    )


def _table(values: dict[str, str]) -> list[str]:
    return [f"  {name:<12}{value:>8}" for name, value in values.items()]


def human_seconds(seconds: float) -> str:
    """``75.2`` → ``'1 min 15 s'``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
