"""``lssl-augment evaluate``: measure a generator on people its training never saw."""

from __future__ import annotations

from pathlib import Path

import click

from lssl_augment.cli.options import device_option

__all__ = ["evaluate_command"]


@click.command("evaluate")
@click.argument("weights")
@click.argument("pack", type=click.Path(path_type=Path))
@click.option("--split", default="test", show_default=True, help="People the training never saw.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the report as JSON."
)
@click.option(
    "--sources", type=click.IntRange(min=1), default=200, show_default=True, metavar="FACES", help="Faces to edit."
)
@click.option(
    "--per-subject",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    metavar="FACES",
    help="Of a person at most; 0: any number.",
)
@click.option(
    "--source-classes",
    default="neutral,happiness",
    show_default=True,
    help="Expressions of the sources, separated by commas; 'all' for all.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of sources, donors and pairs.")
@click.option("--judges", type=click.IntRange(min=1), default=3, show_default=True, help="Judges to train.")
@click.option(
    "--judge-steps", type=click.IntRange(min=1), default=400, show_default=True, help="Optimiser steps of each judge."
)
@click.option(
    "--judge-network", default="resnet18", show_default=True, help="resnet18, small, tiny, vgg-face or timm:NAME."
)
@click.option("--judge-seed", type=click.IntRange(min=0), default=11, show_default=True, help="Of the first judge.")
@click.option(
    "--judge",
    "judge_files",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="A stored judge in place of trained ones; may be repeated.",
)
@click.option(
    "--judge-cache",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Where trained judges are kept  [default: the user's cache folder]",
)
@click.option(
    "--recogniser",
    default="auto",
    show_default=True,
    help="auto (insightface where its pack is there, else the package's), insightface, none, or a weights file.",
)
@click.option(
    "--ablate",
    multiple=True,
    metavar="PART[+PART]",
    help="Measure the generator without its network, shading, mouth or donors, too; may be repeated (compact).",
)
@device_option("Where to run")
def evaluate_command(
    weights: str,
    pack: Path,
    split: str,
    out: Path | None,
    sources: int,
    per_subject: int,
    source_classes: str,
    seed: int,
    judges: int,
    judge_steps: int,
    judge_network: str,
    judge_seed: int,
    judge_files: tuple[Path, ...],
    judge_cache: Path | None,
    recogniser: str,
    ablate: tuple[str, ...],
    device: str,
) -> None:
    """Measure the generator WEIGHTS (a name or a file) on the faces of PACK.

    Printed are: how often judges name the edited faces as meant, beside real faces; how alike results and sources are
    as persons; KID; the direction in which landmarks move; sharpness; and all of it by apparent skin tone. Judges are
    trained on the real training faces of PACK and kept for the next time.
    """
    from lssl_augment.attributes import canonical_expression
    from lssl_augment.evaluation.ablation import parse_parts
    from lssl_augment.evaluation.command import EvaluateWish, evaluate_weights
    from lssl_augment.evaluation.evaluate import EvaluateConfig
    from lssl_augment.evaluation.report_text import report_text

    names = () if source_classes == "all" else tuple(canonical_expression(n) for n in source_classes.split(","))
    config = EvaluateConfig(split=split, sources=sources, per_subject=per_subject, source_classes=names, seed=seed)
    wish = EvaluateWish(
        weights=weights,
        pack=pack,
        judges=judges,
        judge_steps=judge_steps,
        judge_network=judge_network,
        judge_seed=judge_seed,
        judge_files=judge_files,
        judge_cache=judge_cache,
        recogniser=recogniser,
        ablate=tuple(parse_parts(words) for words in ablate),
        device=device,
    )
    report = evaluate_weights(wish, config, out=out, progress=lambda text: click.echo(text, err=True))
    click.echo(report_text(report))
    if out is not None:
        click.echo(f"{out}: the same and more as JSON", err=True)
