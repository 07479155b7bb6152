"""``lssl-augment export``: a synthetic file as an image folder, WebDataset shards or a CSV index."""

from __future__ import annotations

import sys
from pathlib import Path

import click

__all__ = ["export_command"]


@click.command("export")
@click.argument("synthetic", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--to",
    type=click.Choice(["folder", "webdataset", "csv"]),
    default="folder",
    show_default=True,
    help="folder: images/CLASS/ROW.png and index.csv. webdataset: shard-000000.tar and so on. csv: the index alone.",
)
@click.option(
    "--image-format",
    type=click.Choice(["png", "jpg"]),
    default="png",
    show_default=True,
    help="png is exact.",
)
@click.option("--min-score", type=click.FloatRange(0, 1), metavar="SCORE", help="Leave out images scored lower.")
@click.option("--all", "everything", is_flag=True, help="Also export images marked as not accepted.")
@click.option(
    "--shard-size",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    metavar="IMAGES",
    help="Images in a WebDataset shard.",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier export of this name.")
def export_command(
    synthetic: Path,
    out: Path,
    to: str,
    image_format: str,
    min_score: float | None,
    everything: bool,
    shard_size: int,
    overwrite: bool,
) -> None:
    """Export the file SYNTHETIC, as `lssl-augment generate` writes it, to OUT.

    Every form says in a machine-readable way that the images are AI-generated.
    """
    from tqdm import tqdm

    from lssl_augment.synthesis.export import ExportConfig, export_synthetic

    config = ExportConfig(
        path=synthetic,
        out=out,
        to=to,
        image_format=image_format,
        min_score=min_score,
        accepted_only=not everything,
        shard_size=shard_size,
        overwrite=overwrite,
    )
    with tqdm(unit="image", file=sys.stderr, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        written = export_synthetic(config, progress)
    click.echo(f"{out}: {written} images")
