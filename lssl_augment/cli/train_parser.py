"""``lssl-augment train-parser``: train the face parser."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lssl_augment.cli.options import device_option

if TYPE_CHECKING:
    from lssl_augment.training.parser_faces import ParserData

__all__ = ["train_parser_command"]


@click.command("train-parser")
@click.option(
    "--helen",
    type=click.Path(path_type=Path, exists=True),
    metavar="DIR|ZIP",
    help="Helen with the region labels of Smith et al. 2013 (images, labels, lists).",
)
@click.option(
    "--pack",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="PACK",
    help="A face pack instead: regions are drawn from its dense landmarks; its training subjects are learned from.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Weights to write (.safetensors).")
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="Optimiser steps; the same seed then draws the same faces.  [default: as --minutes allows]",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=40.0,
    show_default=True,
    metavar="MINUTES",
    help="How long to train when --steps is not given.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=2),
    default=16,
    show_default=True,
    metavar="FACES",
    help="Faces a step.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random.")
@device_option("Where to train")
@click.option("--bf16/--no-bf16", default=False, show_default=True, help="Train in bfloat16 autocast.")
@click.option(
    "--sheet",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PNG",
    help="Also write a picture of what was found on unseen faces.",
)
@click.option(
    "--licence",
    default="as the data it was trained on",
    show_default=True,
    help="What the card says about the use of the weights.",
)
def train_parser_command(
    helen: Path | None,
    pack: Path | None,
    out: Path,
    steps: int | None,
    minutes: float,
    batch_size: int,
    seed: int,
    device: str,
    bf16: bool,
    sheet: Path | None,
    licence: str,
) -> None:
    """Train the face parser (skin, eyes, lips) on --helen or --pack and measure it on unseen faces.

    A run that was stopped continues from its checkpoint, OUT.ckpt, when it is started again. Its log is in OUT.log/.
    """
    from tqdm import tqdm

    from lssl_augment.errors import WeightsError
    from lssl_augment.training.parser import ParserTraining, train_parser
    from lssl_augment.training.step_log import StepLog

    root = helen or pack
    if root is None or (helen is not None and pack is not None):
        raise click.UsageError("give either --helen or --pack")
    if out.suffix != ".safetensors":  # said before the work, not after it
        raise WeightsError(f"--out must end in .safetensors; got {out.name!r}")
    config = ParserTraining(steps=steps, minutes=minutes, batch_size=batch_size, seed=seed, bf16=bf16)
    data = _load(root, is_helen=helen is not None)
    length = f"--minutes {minutes:g}" if steps is None else f"--steps {steps}"
    command = f"lssl-augment train-parser --{'helen' if helen else 'pack'} {shlex.quote(root.name)} {length}"
    command += f" --batch-size {batch_size} --seed {seed}{' --bf16' if bf16 else ''} --out {shlex.quote(out.name)}"
    with (
        StepLog(out, command, asdict(config), device) as log,
        tqdm(total=100, unit="%", file=sys.stderr, bar_format="{l_bar}{bar}| {elapsed}{postfix}") as bar,
    ):

        def report(row: dict[str, float]) -> None:
            log.add(int(row["step"]), loss=row["loss"])
            bar.n = min(100.0, 100 * row["progress"])
            bar.set_postfix(step=int(row["step"]), loss=f"{row['loss']:.4f}")

        metrics = train_parser(
            data, out, config, licence=licence, command=command, device=device, sheet=sheet, report=report
        )
    click.echo(_say(out, metrics))
    if sheet is not None:
        click.echo(str(sheet))


def _load(root: Path, *, is_helen: bool) -> ParserData:
    from tqdm import tqdm

    from lssl_augment.training.parser_faces import load_helen_faces, load_pack_faces

    if not is_helen:
        from lssl_augment.faces.pack import FacePack

        with FacePack.open(root) as pack:
            return load_pack_faces(pack)
    from lssl_augment.faces.backends.bundled import BundledBackend

    backend = BundledBackend()
    backend.load()  # missing weights are told before the work
    with tqdm(unit="photo", file=sys.stderr, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        data = load_helen_faces(root, backend, progress=progress)
    for note in data.notes:
        click.echo(f"note: {note}", err=True)
    return data


def _say(out: Path, metrics: dict[str, Any]) -> str:
    lines = [
        f"{out}: mean IoU {metrics['mean_iou']:.3f}, pixel accuracy {metrics['pixel_accuracy']:.3f} "
        f"on {metrics['faces']} unseen faces"
    ]
    for name, f_score in metrics["f_score"].items():
        values = (f_score, metrics["precision"][name], metrics["recall"][name], metrics["iou"][name])
        told = [("–" if value is None else f"{value:.3f}") for value in values]
        lines.append(f"  {name:<11} F-score {told[0]}, precision {told[1]}, recall {told[2]}, IoU {told[3]}")
    return "\n".join(lines)
