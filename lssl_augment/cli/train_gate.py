"""``lssl-augment train-gate``: train the filter of synthetic faces on a face pack's real faces."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from lssl_augment.cli.options import device_option

__all__ = ["train_gate_command"]


@click.command("train-gate")
@click.argument("pack", type=click.Path(path_type=Path))
@click.option(
    "--further",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="PACK",
    help="Another pack whose training split is trained on too; may be repeated.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Weights to write (.safetensors)."
)
@click.option(
    "--classes",
    default="neutral,happiness,surprise,anger,sadness",
    show_default=True,
    help="Expressions to tell apart, separated by commas.",
)
@click.option("--steps", type=click.IntRange(min=1), default=3000, show_default=True, help="Optimiser steps.")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    metavar="FACES",
    help="Faces a step.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random."
)
@device_option("Where to train")
@click.option(
    "--licence",
    default="as the face packs it was trained on",
    show_default=True,
    help="What the card says about the use of the weights.",
)
def train_gate_command(
    pack: Path,
    further: tuple[Path, ...],
    out: Path,
    classes: str,
    steps: int,
    batch_size: int,
    seed: int,
    device: str,
    licence: str,
) -> None:
    """Train a gate on the training split of PACK and measure it on the test split's subjects.

    Its log is in OUT.log/.
    """
    from tqdm import tqdm

    from lssl_augment.attributes import canonical_expression
    from lssl_augment.errors import WeightsError
    from lssl_augment.faces.pack import FacePack
    from lssl_augment.training.gate import GateTraining, save_gate, train_gate
    from lssl_augment.training.step_log import StepLog

    if out.suffix != ".safetensors":  # said before the work, not after it
        raise WeightsError(f"--out must end in .safetensors; got {out.name!r}")
    names = tuple(canonical_expression(name) for name in classes.split(","))
    config = GateTraining(class_names=names, steps=steps, batch_size=batch_size, seed=seed)
    faces, others = FacePack.open(pack), [FacePack.open(path) for path in further]
    command = " ".join(
        ["lssl-augment train-gate", pack.name, *(f"--further {path.name}" for path in further)]
        + [f"--classes {','.join(names)} --steps {steps} --batch-size {batch_size} --seed {seed}"]
        + [f"--out {out.name}"]
    )
    with (
        StepLog(out, command, asdict(config), device) as log,
        tqdm(total=steps, unit="step", file=sys.stderr) as bar,
    ):

        def progress(step: int, loss: float) -> None:
            log.add(step, loss=loss)
            bar.update(step - bar.n)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

        result = train_gate(faces, config, further=others, device=device, progress=progress)
    path = save_gate(out, result, licence=licence, command=command)
    metrics = result.metrics
    click.echo(
        f"{path}: balanced accuracy {metrics['balanced_accuracy']:.3f}, macro-F1 {metrics['macro_f1']:.3f} "
        f"on {sum(metrics['faces'].values())} faces of unseen subjects (chance {1 / len(names):.3f})"
    )
    for name, recall in metrics["recall"].items():
        click.echo(f"  {name:<12} recall {recall:.3f} of {metrics['faces'][name]} faces")
