"""Go on from released or trained weights, also with other expressions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import WeightsError
from lssl_augment.models.weights import find_weights, read_card, read_weights

__all__ = ["describe_start", "start_from"]

_EMBED = "embed.0.weight"
#: What a card must go on telling of the weights that a run began with.
_TOLD = ("data", "split", "subjects", "faces", "init")


def describe_start(weights: str) -> dict[str, Any]:
    """Where a network comes from, for the card of what is made of it: whom it saw counts for that one, too.

    Raises:
        WeightsError: no such weights.
    """
    card = read_card(find_weights(weights, "generator"))
    training = card.get("training")
    told = {key: training[key] for key in _TOLD if key in training} if isinstance(training, dict) else {}
    return {"weights": Path(weights).stem, "sha256": card["sha256"], "training": told}


def start_from(generator: nn.Module, weights: str, vocabulary: Vocabulary, face_size_px: int) -> None:
    """Fill a `compact` generator with the network of given weights; statistics are not taken, they are fitted anew.

    Expressions are matched by name. One that the weights do not know starts without a say of its own: its column of the
    attribute embedding is zero, so that its edits begin as the first guess that geometry and shading make.

    Args:
        generator: of the run; its other numbers must be those of the weights.
        weights: name or path. vocabulary: of the run. face_size_px: of the run.

    Raises:
        WeightsError: no such weights, of another kind or size, or a network of other numbers.
    """
    tensors, card = read_weights(weights, "generator")
    kind, size = card["architecture"].get("kind"), card["face_size_px"]
    if kind != "compact" or size != face_size_px:
        raise WeightsError(
            f"{weights}: a {kind} generator of {size} px faces; init takes a compact one of {face_size_px} px"
        )
    state = {k.removeprefix("generator."): v.float() for k, v in tensors.items() if k.startswith("generator.")}
    fresh = generator.state_dict()
    before = Vocabulary(tuple(card["class_names"]))
    columns = fresh[_EMBED].new_zeros(fresh[_EMBED].shape)
    for label, name in enumerate(vocabulary.names):
        if name in before:
            columns[:, label] = state[_EMBED][:, before.index(name)]  # as many rows whatever the width
    state[_EMBED] = columns
    other = sorted(k for k in fresh if k not in state or state[k].shape != fresh[k].shape)
    if other or len(state) != len(fresh):
        raise WeightsError(
            f"{weights}: its network has other numbers than this run (generator.width, generator.blocks): "
            f"{len(other)} of {len(fresh)} tensors do not fit, such as {(other or sorted(set(state) - set(fresh)))[0]}"
        )
    generator.load_state_dict(state)
