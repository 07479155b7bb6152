"""``lssl-augment train-sources``: learn the face model of the built-in sources from a face pack."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

__all__ = ["train_sources_command"]


@click.command("train-sources")
@click.argument("pack", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="PACK.h5")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="Weights to write (.safetensors).",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random.")
def train_sources_command(pack: Path, out: Path, seed: int) -> None:
    """Learn the statistical face model of the built-in sources.

    Reads the neutral faces of the training split of PACK.h5, which must hold dense landmarks and subjects
    (`lssl-augment prepare lfw-expressions` writes them). The same pack and seed give the same model.
    """
    from tqdm import tqdm

    from lssl_augment.errors import WeightsError
    from lssl_augment.faces.pack import FacePack
    from lssl_augment.simulation.train_sources import SourcesConfig, train_sources

    if out.suffix != ".safetensors":  # said before the work, not after it
        raise WeightsError(f"--out must end in .safetensors; got {out.name!r}")
    command = f"lssl-augment train-sources {shlex.quote(pack.name)} --out {shlex.quote(out.name)} --seed {seed}"
    with (
        FacePack.open(pack) as opened,
        tqdm(total=100, unit="%", file=sys.stderr, bar_format="{l_bar}{bar}| {elapsed}") as bar,
    ):

        def report(step: str, share: float) -> None:
            bar.set_description(step)
            bar.n = round(100 * share)
            bar.refresh()

        metrics = train_sources(opened, out, SourcesConfig(seed=seed), command=command, report=report)
    nearest = metrics["nearest_training_face"]
    for name, apart in nearest["of_training_faces_of_other_subjects"].items():
        found = nearest["of_synthetic_people"][name]
        click.echo(
            f"nearest training face, {name:<5}  synthetic people: min {found['min']:.4f}, 1 % {found['q01']:.4f}; "
            f"training faces of other subjects: min {apart['min']:.4f}, 1 % {apart['q01']:.4f}"
        )
    click.echo(f"{metrics['prototypes']} prototypes, {metrics['prototypes_dropped']} dropped for closeness")
    click.echo(str(out))
