"""``lssl-augment``: the group of commands.

A command's module is loaded when it is used, so ``--help`` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import click

from lssl_augment._version import __version__
from lssl_augment.cli.errors import DEBUG_VARIABLE, run_command
from lssl_augment.memory import keep_memory

__all__ = ["COMMANDS", "cli", "main"]

#: Command → (module in ``lssl_augment.cli``, its line in the list of commands).
COMMANDS = {
    "prepare": ("prepare", "Turn a data set into a face pack (HDF5)."),
    "check": ("check", "Say what a face pack or a data set holds: counts, duplicates, unreadable files."),
    "split": ("split", "Write the folds of a protocol to a file."),
    "train": ("train", "Train a generator on a face pack."),
    "generate": ("generate", "Write a balanced synthetic data set (HDF5)."),
    "evaluate": ("evaluate", "Measure a generator on people its training never saw."),
    "sheet": ("sheet", "Draw what a generator makes of some faces: every target, intensities, between two."),
    "benchmark": ("benchmark", "Say whether synthetic faces help, against what people would use instead."),
    "export": ("export", "Turn a synthetic file into an image folder, WebDataset or CSV index."),
    "train-landmarks": ("train_landmarks", "Train the landmark network."),
    "train-parser": ("train_parser", "Train the face parser (skin, eyes, lips)."),
    "train-sources": ("train_sources", "Learn the statistical face model of the built-in sources."),
    "train-gate": ("train_gate", "Train the gate, the filter of synthetic faces."),
    "train-recogniser": ("train_recogniser", "Train the recogniser that measures identity."),
    "card": ("card", "Print the card of a set of weights, or list the weights of the package."),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = COMMANDS[cmd_name][0]
        command: click.Command = getattr(import_module(f"lssl_augment.cli.{module}"), f"{module}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # click would load every command to ask for its help line.
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    epilog="The first run to make: lssl-augment generate --per-class 5000",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="lssl-augment")
@click.option("--debug", is_flag=True, envvar=DEBUG_VARIABLE, help="Print the traceback of an error.")
def cli(debug: bool) -> None:
    """Expression synthesis as data augmentation: the same person, another expression.

    Results go to stdout, progress and errors to stderr.
    """


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the ``lssl-augment`` script: run a command and exit with its status."""
    arguments = list(sys.argv[1:] if args is None else args)
    keep_memory()
    debug = True if "--debug" in arguments else None
    sys.exit(run_command(lambda: cli.main(arguments, "lssl-augment", standalone_mode=False), debug=debug))
