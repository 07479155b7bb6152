"""``lssl-augment benchmark``: does it help, against what people would use instead?"""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lssl_augment.cli.options import device_option
from lssl_augment.errors import LSSLError

if TYPE_CHECKING:
    from lssl_augment.evaluation.benchmark.runner import BenchmarkReport
    from lssl_augment.evaluation.benchmark.setup import Cell
    from lssl_augment.evaluation.protocol import BenchmarkProtocol

__all__ = ["benchmark_command"]

_NAMES = ("oulu", "mug", "bu3dfe", "rafd", "fer2013", "lfw-expressions", "folder")


@click.command("benchmark")
@click.argument("name", type=click.Choice(_NAMES), metavar="PROTOCOL")
@click.option("--pack", type=click.Path(path_type=Path), metavar="PACK.h5", help="From `lssl-augment prepare`.")
@click.option(
    "--root", type=click.Path(path_type=Path), metavar="DIR|ZIP|CSV", help="Of the data set; it is prepared first."
)
@click.option("--simulated", is_flag=True, help="On a stand-in of synthetic people: to try the command without data.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Results; a run that is there goes on.  [default: benchmark-PROTOCOL]",
)
@click.option("--budget", metavar="TIME", help="2h, 15m: run what fits and say what was left out.")
@click.option(
    "--arms",
    metavar="A,B,…",
    help="Ways to train; NAME-prior: class chances put back; NAME-shuffled: a control. Default: those of the protocol.",
)
@click.option("--regimes", metavar="A,B,…", help="full, share-P, rare-N, yaw-D. Default: those of the protocol.")
@click.option("--amounts", metavar="N,N,…", help="Synthetic faces a class. Default: those of the protocol.")
@click.option("--seeds", type=click.IntRange(min=1), metavar="N", help="Seeds 0 to N−1. Default: 5.")
@click.option(
    "--folds",
    type=click.Choice(("all", "fixed")),
    help="Every fold, or one fixed split by subject. Default: as the protocol says.",
)
@click.option("--classifier", metavar="NAME", help="tiny, small, resnet18, resnet50, vgg-face or timm:NAME.")
@click.option("--size", type=click.IntRange(min=16), metavar="PX", help="Side of the classifier's faces.")
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    metavar="N",
    help="Optimiser steps of every arm that classifies single faces.",
)
@click.option("--batch", type=click.IntRange(min=2), metavar="FACES", help="Faces a batch.")
@click.option(
    "--targets",
    type=click.Choice(["rare", "all"]),
    help="Classes that synthetic faces are made of. Default: as the protocol says.",
)
@click.option(
    "--worth",
    type=click.FloatRange(min=0),
    metavar="FACES",
    help="Real faces that a class's synthetic ones stand for: they take FACES of FACES + real ones of its places in a "
    "batch; 0: put among the real ones. Default: as the protocol says.",
)
@click.option(
    "--weights",
    multiple=True,
    metavar="[GENERATOR=]NAME|PATH",
    help="Given weights for a generator (lssl, stargan, cyclegan, icgan, simgan, lssl:WORD); may be repeated. Results "
    "say that they saw more than the fold. Default: lssl=lfw-128, lfw-fer-128 or fer-128, as the protocol says.",
)
@click.option(
    "--train-steps", type=click.IntRange(min=1), metavar="N", help="Train each generator on each fold, so long."
)
@click.option("--train-hours", type=click.FloatRange(min=0, min_open=True), metavar="H", help="The same, by the clock.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Setting of that training (see `train`).")
@click.option("--lssl-preset", default="compact", show_default=True, metavar="PRESET", help="Of the generator lssl.")
@click.option(
    "--min-score", type=click.FloatRange(0, 1), default=0.0, metavar="0..1", help="Use the gate.  [default: no]"
)
@click.option(
    "--yaw",
    metavar="DEG|LOW:HIGH",
    help="Turn heads of stored synthetic faces, as `generate --yaw`, with generators that can.  [default: no]",
)
@click.option("--allow-leak", is_flag=True, help="Use weights that saw test people; the results name it.")
@click.option(
    "--sequence-set",
    "sequence_settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Of the sequence classifiers (arms hog3d, adalbp, dtagn): frames, size_px, dtagn.steps, …; may be repeated.",
)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True,
              help="Cells at once; on a GPU, processes that draw batches for it.")  # fmt: skip
@device_option("Of classifiers and generators")
@click.option("--dry-run", is_flag=True, help="Plan and time one step; run nothing.")
def benchmark_command(
    name: str,
    pack: Path | None,
    root: Path | None,
    simulated: bool,
    out: Path | None,
    budget: str | None,
    arms: str | None,
    regimes: str | None,
    amounts: str | None,
    seeds: int | None,
    folds: str | None,
    classifier: str | None,
    size: int | None,
    steps: int | None,
    batch: int | None,
    targets: str | None,
    worth: float | None,
    weights: tuple[str, ...],
    train_steps: int | None,
    train_hours: float | None,
    settings: tuple[str, ...],
    lssl_preset: str,
    min_score: float,
    yaw: str | None,
    allow_leak: bool,
    sequence_settings: tuple[str, ...],
    workers: int,
    device: str,
    dry_run: bool,
) -> None:
    """Train the same classifier in several ways and compare, by the protocol of a data set.

    \b
    PROTOCOL is one of oulu, mug, bu3dfe, rafd, fer2013, lfw-expressions, folder.

    People are split first; every arm has the same number of optimiser steps. Only classifiers of sequences (oulu) are
    trained in their own way and reported apart. Results are written cell by cell, and
    the same command goes on where it was stopped. At the end come results.csv and the report.
    """
    from lssl_augment.evaluation.benchmark.generators import GeneratorWishes
    from lssl_augment.evaluation.benchmark.planning import parse_budget
    from lssl_augment.evaluation.benchmark.runner import BenchmarkConfig, run_benchmark
    from lssl_augment.evaluation.protocol import read_protocol
    from lssl_augment.synthesis.config import parse_yaw

    if train_steps is not None and train_hours is not None:
        raise click.UsageError("give --train-steps or --train-hours, not both")
    protocol = read_protocol(name)
    changes: dict[str, Any] = {"classifier": classifier, "face_size_px": size, "steps": steps, "batch": batch}
    changes |= {"targets": targets, "worth": worth}
    changes["sequence_settings"] = sequence_settings or None
    changes |= {"arms": _words(arms), "regimes": _words(regimes), "amounts": _numbers(amounts)}
    protocol = replace(protocol, **{key: value for key, value in changes.items() if value is not None})
    seconds = None if budget is None else parse_budget(budget)
    given = dict(_assigned(word) for word in weights)
    out = out or Path(f"benchmark-{name}")
    config = BenchmarkConfig(
        protocol=protocol,
        pack=_pack(protocol, pack, root, simulated, out),
        out=out,
        wishes=GeneratorWishes(
            given,
            train_steps,
            train_hours,
            settings,
            lssl_preset,
            allow_leak,
            min_score,
            None if yaw is None else parse_yaw(yaw),
            protocol.released,
        ),
        seeds=tuple(range(seeds or protocol.seeds)),
        all_folds=None if folds is None else folds == "all",
        workers=workers,
        budget_s=seconds,
        keep_steps=steps is not None,
        device=device,
        command=_command_line(),
        dry_run=dry_run,
    )
    with _Bar() as bar:
        report = run_benchmark(config, bar.update, bar.say)
    click.echo("\n".join(_lines(report, dry_run)))
    if report.failed:
        # Results of the others are there; a script must still hear of it.
        raise LSSLError(f"what could not be run: {'; '.join(report.failed)}; the other arms were")


def _pack(protocol: BenchmarkProtocol, pack: Path | None, root: Path | None, simulated: bool, out: Path) -> Path:
    """The pack to run on, prepared first where a data set or a stand-in was asked for."""
    if sum((pack is not None, root is not None, simulated)) > 1:
        raise click.UsageError("give one of --pack, --root and --simulated")
    if pack is not None:
        return pack
    name = protocol.name
    if root is None and not simulated:
        from lssl_augment.cli.prepare import where_to_ask

        raise click.UsageError(f"{where_to_ask(name)}. Or a face pack: --pack PACK.h5")
    made = out / "pack.h5"
    if made.exists():
        return made
    from lssl_augment.datasets.prepare import prepare
    from lssl_augment.datasets.prepare_config import PrepareConfig
    from lssl_augment.datasets.records import ReadOptions
    from lssl_augment.datasets.simulated import prepare_simulated

    out.mkdir(parents=True, exist_ok=True)
    # Where single faces are picked from sequences later on, sequence classifiers can have all of their frames.
    options = ReadOptions(frames="all" if protocol.key_frames else "peak")
    config = PrepareConfig(out=made, workers=min(8, os.cpu_count() or 1))
    click.echo(f"preparing {name}: {made}", err=True)
    if root is not None:
        prepare(name, root, config, options)
    else:
        prepare_simulated(name, None, config, options)
    return made


class _Bar:
    """tqdm over cells, with the time that is left."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._bar = tqdm(unit="cell", file=sys.stderr, disable=None)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def update(self, done: int, total: int, cell: Cell | None) -> None:
        if cell is None:
            self._bar.reset(total)
        else:
            self._bar.set_description(cell.name, refresh=False)
        self._bar.update(done - self._bar.n)

    def say(self, text: str) -> None:
        self._bar.write(text, file=sys.stderr)


def _lines(report: BenchmarkReport, dry_run: bool) -> list[str]:
    todo = report.planned - report.done
    lines = [f"{report.done} of {report.planned} cells done; {report.steps} optimiser steps each"]
    if report.step_seconds is not None and report.todo_s is not None and dry_run:
        hours = report.todo_s / 3600
        lines.append(
            f"one step takes {report.step_seconds:.3g} s here: about {hours:.2g} h for {todo} cells on one worker"
        )
    lines += [f"left out: {words}" for words in report.left_out]
    if not dry_run:
        lines.append(f"results: {report.out / 'results.csv'}")
        if report.report is not None:
            lines.append(f"report: {report.report}")
    return lines


def _assigned(word: str) -> tuple[str, str]:
    key, equals, name = word.partition("=")
    return (key, name) if equals else ("lssl", word)


def _words(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(word.strip() for word in text.split(",") if word.strip())


def _numbers(text: str | None) -> tuple[int, ...] | None:
    try:
        return None if text is None else tuple(int(word) for word in text.split(","))
    except ValueError:
        raise click.UsageError(f"--amounts are whole numbers with commas between them; got {text!r}") from None


def _command_line() -> str:
    return shlex.join(["lssl-augment", *sys.argv[1:]])
