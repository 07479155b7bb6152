"""``lssl-augment train``: train a generator on a face pack."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lssl_augment.training.config import TrainConfig
    from lssl_augment.training.run_folder import RunFolder

__all__ = ["train_command"]


@click.command("train")
@click.argument("pack", type=click.Path(path_type=Path), required=False)
@click.option(
    "--preset",
    default="compact",
    show_default=True,
    help="Networks and recipe: compact, paper; stargan, cyclegan, icgan, simgan.",
)
@click.option(
    "--size", type=click.Choice(["64", "128"]), default=None, help="Face size in pixels.  [default: 128]"
)
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Stop after N steps.")
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), metavar="H", help="Stop after H hours.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder of run folders.",
)
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="RUN", help="Go on with the run in this folder."
)
@click.option("--seed", type=click.IntRange(min=0), metavar="INT", help="Of everything random.  [default: 0]")
@click.option("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N.  [default: auto]")
@click.option(
    "--batch", type=click.IntRange(min=1), metavar="FACES", help="Faces a batch; the preset knows one."
)
@click.option(
    "--splits",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Split file (`lssl-augment split`) instead of the pack's own split.",
)
@click.option("--fold", type=click.IntRange(min=0), metavar="N", help="Its fold whose training people to learn from.")
@click.option(
    "--further",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="PACK.h5",
    help="A second pack, for expressions that PACK has hardly any faces of (compact).",
)
@click.option("--init", metavar="NAME|PATH", help="Go on from the network of these weights (compact).")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other setting; may be repeated."
)
@click.option("--dry-run", is_flag=True, help="Print the resolved configuration and stop.")
def train_command(
    pack: Path | None,
    preset: str,
    size: str | None,
    steps: int | None,
    hours: float | None,
    out: Path,
    resume: Path | None,
    seed: int | None,
    device: str | None,
    batch: int | None,
    splits: Path | None,
    fold: int | None,
    further: Path | None,
    init: str | None,
    settings: tuple[str, ...],
    dry_run: bool,
) -> int:
    """Train a generator on the training split of PACK (from `lssl-augment prepare`).

    Everything about the run goes into a numbered folder: configuration, log, sample sheets, checkpoints and,
    at the end, the weights. Ctrl-C writes a checkpoint first; --resume RUN goes on from the newest one.

    Several processes: torchrun --nproc_per_node N --no-python lssl-augment train ...

    Settings, for example: --set classes=neutral,happiness --set objective.beta1=0.5 --set generator.width=24
    """
    from lssl_augment.models.device import resolve_device
    from lssl_augment.training.config import make_config, parse_settings
    from lssl_augment.training.distributed import process_count, processes
    from lssl_augment.training.parts import fit_to_processes
    from lssl_augment.training.run_folder import RunFolder

    options: dict[str, Any] = {"steps": steps, "hours": hours, "seed": seed, "batch": batch, "device": device}
    options |= {"face_size_px": None if size is None else int(size)}
    options |= {"splits": None if splits is None else str(splits), "fold": fold}
    options |= {"further": None if further is None else str(further), "init": init}
    given = {key: value for key, value in options.items() if value is not None}
    if resume is not None:
        kept = ("seed", "batch", "face_size_px", "splits", "fold", "further", "init")
        refused = [key for key in kept if key in given]
        if refused or settings:
            raise click.UsageError(
                f"a resumed run keeps its configuration; leave out {', '.join([*refused, *settings])} "
                "(only --device, --steps and --hours may change)"
            )
        run = RunFolder.open(resume)
        config = run.read_config()
        if "steps" in given or "hours" in given:
            config = replace(config, steps=steps, hours=hours)
        # Of several processes each had its own CUDA device, and the first wrote the configuration.
        before = config.device.partition(":")[0] if config.processes > 1 else config.device
        config = replace(config, device=resolve_device(device or before))
        config = config if pack is None else replace(config, pack=str(pack))
    else:
        if pack is None:
            raise click.UsageError("give the face pack to train on, or --resume RUN")
        given["device"] = resolve_device(device or "auto")
        config = make_config(preset, {"pack": str(pack), **parse_settings(settings), **given})

    with processes(config.device) as own_device:
        config = replace(config, device=own_device)
        if resume is None:
            config = replace(config, processes=process_count())
        else:
            config = fit_to_processes(config)
        return _train(config, out, run if resume is not None else None, dry_run)


def _train(config: TrainConfig, out: Path, resumed: RunFolder | None, dry_run: bool) -> int:
    from lssl_augment.training.batches import load_training_faces
    from lssl_augment.training.distributed import process_rank
    from lssl_augment.training.export import export_generator
    from lssl_augment.training.loop import Hooks, train
    from lssl_augment.training.objective import objective_class
    from lssl_augment.training.run_folder import RunFolder, describe_faces

    first = process_rank() == 0
    splits_path = config.splits or None
    faces = load_training_faces(
        config.pack,
        config.face_size_px,
        config.classes,
        splits=splits_path,
        fold=config.fold,
        further=config.further or None,
    )
    cls = objective_class(config.networks.kind)
    total = config.total_steps(len(faces), cls.faces_per_step(config))
    objective = cls(config, faces)
    if dry_run:
        if first:
            _print_plan(config.to_json(), describe_faces(faces), total, config.hours)
        return 0
    if resumed is None:
        run = RunFolder.create(out, config, faces, _command_line())
    else:
        run = resumed
        run.check_faces(faces)
        if first:
            run.write_config(config)
    again = resumed is not None
    if not first:
        result = train(objective, config, run, total_steps=total, resume=again)
        return 130 if result.interrupted else 0
    several = f", {config.processes} processes" if config.processes > 1 else ""
    click.echo(f"{run.path}: {len(faces)} faces on {config.device}{several}", err=True)
    if not config.monitor_judge:
        click.echo("no monitor_judge is set: no judge scores the edits while training", err=True)
    with _Bar(total, config.hours) as bar:
        hooks = Hooks(on_step=bar.step, on_warning=bar.say)
        result = train(objective, config, run, total_steps=total, resume=again, hooks=hooks)
    if result.interrupted:
        go_on = f"lssl-augment train --resume {shlex.quote(str(run.path))}"
        click.echo(f"interrupted at step {result.step}; go on with: {go_on}", err=True)
        return 130
    click.echo(str(export_generator(objective, config, run, result)))
    return 0


class _Bar:
    """tqdm over steps, or over hours, with the losses behind it."""

    def __init__(self, total_steps: int | None, hours: float | None) -> None:
        from tqdm import tqdm

        self._hours = hours if total_steps is None else None
        unit = "h" if self._hours else "step"
        form = "{l_bar}{bar}| {n:.2f}/{total:.2f} h{postfix}" if self._hours else None
        self._bar = tqdm(total=self._hours or total_steps, unit=unit, bar_format=form, file=sys.stderr)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def step(self, step: int, progress: float, losses: Mapping[str, float]) -> None:
        done = progress * self._hours if self._hours else step
        totals = [name for name in losses if name.endswith("/total")]
        # Totals where an objective has them: a bar of a dozen terms fits no terminal.
        shown = {name: f"{losses[name]:.3g}" for name in totals or list(losses)[:5]}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(done - self._bar.n)

    def say(self, text: str) -> None:
        self._bar.write(f"warning: {text}", file=sys.stderr)


def _print_plan(config: str, data: Mapping[str, Any], total: int | None, hours: float | None) -> None:
    click.echo(config, nl=False)
    counts = ", ".join(f"{name} {n}" for name, n in data["counts"].items())
    click.echo(f"faces: {data['faces']} of {data['subjects']} subjects ({counts})")
    click.echo(f"ends after: {hours} hours" if total is None else f"ends after: {total} steps")


def _command_line() -> str:
    """The command as typed, with the program's name instead of its path."""
    return shlex.join(["lssl-augment", *sys.argv[1:]])
