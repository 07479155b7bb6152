"""The log of a training run in small form, to keep beside the weights: what was run, where, and how its losses fell.

    python benchmarks/training_log.py runs/00000-compact-lfw-expressions benchmarks/results/training/lfw-128 \
        --show pair,features,bidirectional

Copies `command.txt`, `config.json`, `data.json` and `environment.json`, writes `stats.csv` (each loss, its mean over
stretches of steps) and `curve.svg` of those named by --show, each over its first value.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pandas as pd

from lssl_augment.evaluation.report.svg import line_svg
from lssl_augment.training.metrics_log import read_stats

_COPIED = ("command.txt", "config.json", "data.json", "environment.json")


def thinned(run: Path, stretch: int) -> pd.DataFrame:
    """Means of the log over stretches of steps; a row is named by the last step of its stretch."""
    stats = pd.DataFrame(read_stats(run / "stats.jsonl"))
    last = ((stats["step"] - 1) // stretch + 1) * stretch
    means = stats.drop(columns=["step", "seconds"]).groupby(last).mean(numeric_only=True)  # warnings are text
    return means.join(stats.groupby(last)["seconds"].max()).rename_axis("step")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder of `train`, or OUT.log of `train-gate` and its like")
    parser.add_argument("out", type=Path, help="folder for the small log")
    parser.add_argument("--stretch", type=int, default=100, help="steps that a row of stats.csv is the mean of")
    parser.add_argument("--show", required=True, help="losses of curve.svg, joined by commas")
    args = parser.parse_args()
    table = thinned(args.run, args.stretch)
    shown = args.show.split(",")
    unknown = [name for name in shown if name not in table]
    if unknown:
        parser.error(f"the log has no {', '.join(unknown)}; it has {', '.join(table.columns)}")
    if table[shown].count().min() < 2:
        parser.error(f"a curve needs two stretches of each loss; the log has {len(table)} of {args.stretch} steps")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in _COPIED:
        if (args.run / name).exists():  # a command without a run folder tells its data in the card
            shutil.copyfile(args.run / name, args.out / name)
    table.round(5).to_csv(args.out / "stats.csv")
    # Losses differ by orders of magnitude: each is drawn over its own first value.
    relative = {name: table[name].dropna() / table[name].dropna().iloc[0] for name in shown}
    lines = {name: [(float(x), float(y)) for x, y in values.items()] for name, values in relative.items()}
    (args.out / "curve.svg").write_text(line_svg(lines, "step", "over its first value"))


if __name__ == "__main__":
    main()
