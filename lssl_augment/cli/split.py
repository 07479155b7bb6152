"""``lssl-augment split``: divide a face pack for training and testing, in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lssl_augment.datasets.split_file import SplitFile

__all__ = ["split_command"]


@click.command("split")
@click.argument("pack", type=click.Path(path_type=Path), metavar="PACK.h5")
@click.option(
    "--protocol",
    metavar="NAME",
    help="That of a data set (oulu, ckplus, bu3dfe, lfw-expressions, mug, rafd, fer2013, fer2013-public, rafdb, "
    "affectnet), kfold:K, holdout:FRACTION, or official (the pack's own split). Default: that of the pack's data set.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another one, other parts.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.splits.json",
    help="File to write. Default: beside the pack, with its name.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
def split_command(pack: Path, protocol: str | None, seed: int, out: Path | None, overwrite: bool) -> None:
    """Divide the subjects of PACK.h5 into parts to train and to test on.

    Nobody is in two parts. With folds, every expression is in every fold where the data allow; where not,
    that is said. The same pack, protocol and seed give the same file.
    """
    from lssl_augment.datasets.protocols import find_protocol, protocol_of
    from lssl_augment.datasets.split_file import make_splits
    from lssl_augment.faces.pack import FacePack

    chosen = None if protocol is None else find_protocol(protocol)
    with FacePack.open(pack) as opened:
        splits = make_splits(opened, protocol_of(opened.dataset) if chosen is None else chosen, seed)
    out = out or pack.with_suffix(".splits.json")
    splits.write(out, overwrite=overwrite)
    click.echo("\n".join([*_lines(splits), str(out)]))


def _lines(splits: SplitFile) -> list[str]:
    """Parts × expressions, with the subjects of each part."""
    people = dict.fromkeys(splits.counts, 0)
    for part in splits.part_of.values():
        people[part] += 1
    rows = [("", *splits.class_names, "labelled", "subjects")]
    for part, counts in splits.counts.items():
        rows.append((part, *map(str, counts.values()), str(sum(counts.values())), str(people[part])))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{splits.dataset}, protocol {splits.protocol} ({splits.kind}: {splits.source}), seed {splits.seed}"]
    lines += [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    if splits.kind == "kfold":
        lines.append(f"fold K is tested on part foldK and trained on the other {len(splits.folds) - 1}")
    else:
        (fold,) = splits.folds
        uses = {"trained": fold.train, "validated": fold.validation, "tested": fold.test}
        lines.append(", ".join(f"{use} on {', '.join(parts)}" for use, parts in uses.items() if parts))
    return lines + [f"note: {note}" for note in splits.notes]
