"""``lssl-augment card NAME``: what a set of weights is, was trained on and may be used for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

__all__ = ["card_command"]

#: Long or technical entries that the readable form leaves to ``--json``.
_HIDDEN = ("template68", "schema_version")


@click.command("card")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="The whole card as JSON.")
def card_command(name: str | None, as_json: bool) -> None:
    """Print the card of weights NAME (a released name or the path of a .safetensors file).

    Without NAME: list the weights that come with the package.
    """
    from lssl_augment.errors import WeightsError
    from lssl_augment.models.weights import KINDS, find_weights, list_weights, read_card, read_weights

    if name is None:
        names = {entry: kind for kind in KINDS for entry in list_weights(kind)}
        if as_json:
            click.echo(json.dumps(names, indent=1))
        else:
            for entry, kind in names.items():
                click.echo(f"{entry:<20} {kind}")
        return
    path = Path(name)
    if path.suffix != ".safetensors" and path.name == name:
        kinds = [kind for kind in KINDS if name in list_weights(kind)]
        if not kinds:
            known = ", ".join(list_weights()) or "none"
            raise WeightsError(f"no weights are called {name!r}; those that come with the package: {known}")
        path = find_weights(name, kinds[0])
    # Reads the weights too: a card is worth printing only beside the file it describes.
    _, card = read_weights(path, read_card(path)["kind"])
    click.echo(json.dumps(card, indent=1, ensure_ascii=False) if as_json else _readable(card))


def _readable(card: dict[str, Any], indent: str = "") -> str:
    lines = []
    for key, value in card.items():
        if key in _HIDDEN:
            continue
        if isinstance(value, dict) and value:
            lines += [f"{indent}{key}:", _readable(value, indent + "  ")]
        elif isinstance(value, list) and all(not isinstance(v, list | dict) for v in value):
            lines.append(f"{indent}{key}: {', '.join(map(str, value))}")
        else:
            lines.append(f"{indent}{key}: {value}")
    return "\n".join(lines)
