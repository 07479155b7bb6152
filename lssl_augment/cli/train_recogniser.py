"""``lssl-augment train-recogniser``: train the network that says whether two faces are one person."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from lssl_augment.cli.options import device_option

__all__ = ["train_recogniser_command"]


@click.command("train-recogniser")
@click.argument("pack", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Weights to write (.safetensors).")
@click.option("--steps", type=click.IntRange(min=1), default=2000, show_default=True, help="Optimiser steps.")
@click.option(
    "--batch-size",
    type=click.IntRange(min=2),
    default=96,
    show_default=True,
    metavar="FACES",
    help="Faces a step.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random.")
@device_option("Where to train")
@click.option(
    "--licence",
    default="as the face pack it was trained on",
    show_default=True,
    help="What the card says about the use of the weights.",
)
def train_recogniser_command(
    pack: Path, out: Path, steps: int, batch_size: int, seed: int, device: str, licence: str
) -> None:
    """Train a recogniser on the training subjects of PACK and verify it on the test subjects.

    It serves `evaluate` where insightface's recogniser is not there; expression labels are not looked at. Its log
    is in OUT.log/.
    """
    from tqdm import tqdm

    from lssl_augment.errors import WeightsError
    from lssl_augment.faces.pack import FacePack
    from lssl_augment.training.recogniser import RecogniserTraining, save_recogniser, train_recogniser
    from lssl_augment.training.step_log import StepLog

    if out.suffix != ".safetensors":  # said before the work, not after it
        raise WeightsError(f"--out must end in .safetensors; got {out.name!r}")
    config = RecogniserTraining(steps=steps, batch_size=batch_size, seed=seed)
    faces = FacePack.open(pack)
    command = (
        f"lssl-augment train-recogniser {pack.name} --steps {steps} --batch-size {batch_size} --seed {seed} "
        f"--out {out.name}"
    )
    with (
        StepLog(out, command, asdict(config), device) as log,
        tqdm(total=steps, unit="step", file=sys.stderr, mininterval=2) as bar,
    ):

        def progress(step: int, loss: float) -> None:
            log.add(step, loss=loss)
            bar.update(step - bar.n)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

        result = train_recogniser(faces, config, device=device, progress=progress)
    path = save_recogniser(out, result, licence=licence, command=command)
    metrics = result.metrics
    click.echo(
        f"{path}: AUROC {metrics['auroc']:.3f} on {metrics['same']} pairs of one person and {metrics['different']} of "
        f"two, {metrics['subjects']} unseen people; right at 1 % false accepts {metrics['tar_1e2']:.3f}, "
        f"at 0.1 % {metrics['tar_1e3']:.3f}"
    )
