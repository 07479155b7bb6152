"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

__all__ = ["device_option"]


def device_option(what: str, default: str = "auto") -> Callable[[Any], Any]:
    """``--device``; the command gets a name that torch knows and that is there.

    Args:
        what: what happens there, for ``--help``, such as ``'Where to train'``.
    """

    def resolved(_: click.Context, __: click.Parameter, value: str) -> str:
        from lssl_augment.models.device import resolve_device

        return resolve_device(value)

    return click.option(
        "--device",
        default=default,
        show_default=True,
        metavar="DEVICE",
        callback=resolved,
        help=f"{what}: auto, cpu, cuda or cuda:N.",
    )
