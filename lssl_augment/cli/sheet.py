"""``lssl-augment sheet``: draw what a generator makes of some faces."""

from __future__ import annotations

from pathlib import Path

import click

from lssl_augment.cli.options import device_option

__all__ = ["sheet_command"]


@click.command("sheet")
@click.argument("weights")
@click.argument("pack", type=click.Path(path_type=Path), required=False)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE.png", help="The picture."
)
@click.option(
    "--count", type=click.IntRange(min=1), metavar="FACES", help="Source faces, each of another person.  [default: 4]"
)
@click.option("--split", metavar="NAME", help="Split of the pack to draw them from.  [default: test]")
@click.option("--subjects", metavar="A,B,…", help="One face of each of these people instead.")
@click.option("--rows", metavar="N,N,…", help="These rows of the pack, or these built-in people, instead.")
@click.option("--source-classes", metavar="A,B,…", help="Expressions of the sources.  [default: all]")
@click.option("--targets", metavar="A,B,…", help="Columns.  [default: all expressions, poses and lights it can make]")
@click.option("--intensity", metavar="0,0.25,…", help="The one target of --targets at these intensities.")
@click.option("--between", metavar="A,B", help="From one expression to another.")
@click.option("--steps", type=click.IntRange(min=2), metavar="COLUMNS", help="Of --between, both ends.  [default: 5]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of faces and donors.")
@device_option("Where to run")
def sheet_command(
    weights: str,
    pack: Path | None,
    out: Path,
    count: int | None,
    split: str | None,
    subjects: str | None,
    rows: str | None,
    source_classes: str | None,
    targets: str | None,
    intensity: str | None,
    between: str | None,
    steps: int | None,
    seed: int,
    device: str,
) -> None:
    """Draw what the generator WEIGHTS (a name or a file) makes of faces of PACK.

    A row is a source face: first the face itself, then a column a target. Without PACK, or with the word builtin, the
    sources are synthetic people that come with the package. The same arguments and weights make the same picture.
    """
    from lssl_augment.attributes import canonical_expression
    from lssl_augment.errors import DataError
    from lssl_augment.evaluation.sheet_command import SheetWish, write_edits
    from lssl_augment.evaluation.sheet_sources import WhichFaces

    try:
        numbers = tuple(int(word) for word in _words(rows))
    except ValueError as error:
        raise DataError(f"--rows takes whole numbers separated by commas, such as 3,14; got {rows!r}") from error
    faces = WhichFaces(
        count=count,
        split=split,
        subjects=_words(subjects),
        rows=numbers,
        classes=tuple(canonical_expression(word) for word in _words(source_classes)),
        seed=seed,
    )
    wish = SheetWish(
        weights=weights,
        pack=None if pack is None or str(pack) == "builtin" else pack,
        faces=faces,
        targets=_words(targets),
        intensity=intensity,
        between=_words(between),
        steps=steps,
        device=device,
    )
    sheet = write_edits(wish, out)
    shown = ",".join(str(row) for row in sheet.rows)
    click.echo(f"{out}: {len(sheet.rows)} faces × {len(sheet.columns)} edits")
    click.echo(f"rows  {shown}")


def _words(text: str | None) -> tuple[str, ...]:
    return () if text is None else tuple(word.strip() for word in text.split(","))
