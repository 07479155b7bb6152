"""A `compact` generator without some of its parts, to measure what each is worth."""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from torch import Tensor, nn

from lssl_augment.errors import DataError
from lssl_augment.models.bundle import ModelBundle, load_model
from lssl_augment.models.engine import ExpressionEngine
from lssl_augment.models.expression_textures import ExpressionTextures

__all__ = ["PARTS", "ablated", "parse_parts"]

#: Part → what is left out with it.
PARTS = {
    "network": "the network's correction: the first guess is the result",
    "shading": "the shading of the first guess",
    "mouth": "the insides of mouths that open",
    "donors": "donors: every target has the mean shape of its class",
}


class _OwnMouths(ExpressionTextures):
    """No mouth gets another inside than the warp gives it."""

    def guess(self, warped: Tensor, skin: Tensor, dense: Tensor, field: Tensor, donors: Tensor, own_gap: Tensor,
              *, mouths: Tensor | None = None, trust: Tensor | None = None) -> Tensor:  # fmt: skip
        wide = torch.full_like(own_gap, 1e3)  # as if it had been open wide already
        return super().guess(warped, skin, dense, field, donors, wide, mouths=mouths, trust=trust)


def parse_parts(text: str) -> tuple[str, ...]:
    """``'shading+mouth'`` → ``('shading', 'mouth')``; ``DataError`` for parts that there are not."""
    parts = tuple(part.strip() for part in text.split("+"))
    unknown = [part for part in parts if part not in PARTS]
    if unknown or len(set(parts)) != len(parts):
        raise DataError(f"parts to leave out are {', '.join(PARTS)}, joined by '+', each once; got {text!r}")
    return parts


def ablated(weights: str, parts: tuple[str, ...], device: str = "cpu") -> ExpressionEngine:
    """The generator of these weights without some of :data:`PARTS`; nothing is trained or fitted again.

    Raises:
        DataError: it is no generator with a first guess. WeightsError: no such weights.
    """
    bundle = load_model(weights, device)
    if bundle.shapes is None or bundle.textures is None:
        raise DataError(f"{weights} has no first guess, so none of its parts can be left out; take a compact generator")
    for part in parts:
        bundle = _LEAVE_OUT[part](bundle)
    return ExpressionEngine(bundle, device)


@torch.no_grad()
def _no_network(bundle: ModelBundle) -> ModelBundle:
    heads = bundle.generator.heads
    assert isinstance(heads, nn.Module)
    for parameter in heads.parameters():
        parameter.zero_()
    return bundle


def _no_shading(bundle: ModelBundle) -> ModelBundle:
    assert bundle.textures is not None
    textures = replace(bundle.textures, shading=torch.zeros_like(bundle.textures.shading))
    return replace(bundle, textures=textures)


def _no_mouth(bundle: ModelBundle) -> ModelBundle:
    assert bundle.textures is not None
    own = {field.name: getattr(bundle.textures, field.name) for field in fields(bundle.textures)}
    return replace(bundle, textures=_OwnMouths(**own))


def _no_donors(bundle: ModelBundle) -> ModelBundle:
    assert bundle.shapes is not None
    labels, donors = bundle.shapes.donor_labels, bundle.shapes.donors
    means = torch.stack([donors[labels == label].mean(0) for label in labels.unique()])
    return replace(bundle, shapes=replace(bundle.shapes, donors=means[torch.searchsorted(labels.unique(), labels)]))


_LEAVE_OUT = {"network": _no_network, "shading": _no_shading, "mouth": _no_mouth, "donors": _no_donors}
