"""``lssl-augment train-landmarks``: train the landmark network on ``lfw-expressions``."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path

import click

from lssl_augment.cli.options import device_option

__all__ = ["train_landmarks_command"]


@click.command("train-landmarks")
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    metavar="DIR",
    help="Unpacked lfw-expressions folder (images, labels.csv, landmarks.npz).",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Weights to write (.safetensors).")
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="Optimiser steps; the same seed then draws the same crops.  [default: as --minutes allows]",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=15.0,
    show_default=True,
    metavar="MINUTES",
    help="How long to train when --steps is not given.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=2),
    default=64,
    show_default=True,
    metavar="FACES",
    help="Faces a step.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random.")
@device_option("Where to train")
def train_landmarks_command(
    root: Path, out: Path, steps: int | None, minutes: float, batch_size: int, seed: int, device: str
) -> None:
    """Train the landmark network on the training subjects and measure it on the test subjects.

    A run that was stopped continues from its checkpoint, OUT.ckpt, when it is started again. Its log is in OUT.log/.
    """
    from tqdm import tqdm

    from lssl_augment.errors import WeightsError
    from lssl_augment.training.landmarks import LandmarkTraining, train_landmarks
    from lssl_augment.training.step_log import StepLog

    if out.suffix != ".safetensors":  # said before the work, not after it
        raise WeightsError(f"--out must end in .safetensors; got {out.name!r}")
    config = LandmarkTraining(steps=steps, minutes=minutes, batch_size=batch_size, seed=seed)
    length = f"--minutes {minutes:g}" if steps is None else f"--steps {steps}"
    command = f"lssl-augment train-landmarks --root {shlex.quote(root.name)} {length}"
    command += f" --batch-size {batch_size} --seed {seed} --out {shlex.quote(out.name)}"
    with (
        StepLog(out, command, asdict(config), device) as log,
        tqdm(total=100, unit="%", file=sys.stderr, bar_format="{l_bar}{bar}| {elapsed}{postfix}") as bar,
    ):

        def report(row: dict[str, float]) -> None:
            log.add(int(row["step"]), loss=row["loss"])
            bar.n = min(100.0, 100 * row["progress"])
            bar.set_postfix(step=int(row["step"]), loss=f"{row['loss']:.4f}")

        metrics = train_landmarks(root, out, config, command=command, device=device, report=report)
    for name in ("aligned", "loose"):
        found = metrics[name]
        click.echo(
            f"{name:<8} mean {found['mean_68']:.4f}, median {found['median_68']:.4f}, "
            f"90 % {found['p90_68']:.4f} of the distance between the eyes over 68 points, "
            f"{found['mean_478']:.4f} over 478 ({found['n']} unseen faces)"
        )
    click.echo(str(out))
