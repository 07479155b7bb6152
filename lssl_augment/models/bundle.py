"""Released or trained generator weights, ready for the engine: networks, shape statistics and card."""

from __future__ import annotations

import os
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lssl_augment.attribute_vector import AttributeSpec
from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import DataError, WeightsError
from lssl_augment.faces.expression_shapes import RIGID, ExpressionShapes
from lssl_augment.faces.landmarks import DENSE_COUNT
from lssl_augment.models.expression_textures import ExpressionTextures
from lssl_augment.models.mouth_strip import strip_size
from lssl_augment.models.presets import PRESETS, build_generator
from lssl_augment.models.weights import read_weights

__all__ = ["ModelBundle", "load_model"]


@dataclass(frozen=True, eq=False)
class ModelBundle:
    """A generator with what it needs.

    Attributes:
        generator: in eval mode, without gradients.
        shapes, textures: statistics of shape and look, and donors; None for a generator that takes the attribute
            vector alone (``paper``).
        vocabulary: the expressions it was trained with, in the order of its attribute vector.
        attributes: what its attribute vector holds: the expressions, and pose or light where it was trained with them.
        face_size_px: the size it was trained at.
        card: as stored beside the weights.
    """

    generator: nn.Module
    shapes: ExpressionShapes | None
    textures: ExpressionTextures | None
    vocabulary: Vocabulary
    face_size_px: int
    card: dict[str, Any]

    @property
    def attributes(self) -> AttributeSpec:
        """What its attribute vector holds: the expressions, and pose or light where it was trained with them."""
        stored = self.card.get("attributes")
        return AttributeSpec(self.vocabulary) if stored is None else AttributeSpec.from_card(stored)

    @property
    def side_sigma_px(self) -> float | None:
        """Standard deviation of the side image's dots it was trained with; None: the package's own."""
        stored = self.card.get("architecture", {}).get("side_sigma_px")
        return None if stored is None else float(stored)


def load_model(
    name_or_path: str | os.PathLike[str] = "lfw-128", device: str | torch.device = "cpu"
) -> ModelBundle:
    """Load a generator by the name of released weights or by path.

    Args:
        name_or_path: ``"lfw-128"``, or a ``.safetensors`` file with its card beside it.
        device: where the networks go.

    Raises:
        WeightsError: unknown name, damaged file, wrong hash, a pickle, or tensors that do not fit the card.
    """
    tensors, card = read_weights(name_or_path, "generator")
    try:
        vocabulary = Vocabulary(tuple(card["class_names"]))
        told = AttributeSpec.from_card(card["attributes"]) if "attributes" in card else AttributeSpec(vocabulary)
        if told.expressions != vocabulary:
            raise ValueError(f"attributes {told.names} do not begin with the classes {vocabulary.names}")
        size = int(card["face_size_px"])
        architecture = card["architecture"]
        able = {"paper": ("expression", "pose", "light"), "compact": ("expression", "pose")}
        can = able.get(architecture["kind"], ("expression",))
        if set(told.groups) - set(can):
            raise ValueError(f"a {architecture['kind']} generator edits {' and '.join(can)} only; got {told.names}")
        sigma = architecture.get("side_sigma_px", 1.0)
        if type(sigma) not in (int, float) or not 0 < sigma < float("inf"):
            raise ValueError(f"side_sigma_px must be a positive number; got {sigma!r}")
        preset = next(p for p in PRESETS.values() if p.kind == architecture["kind"])
        preset = preset.with_numbers(generator=architecture["generator"])
        # A compact generator turns heads by geometry; its network is told the expression alone.
        inputs = len(told) if preset.kind == "paper" else len(vocabulary)
        generator = build_generator(preset, inputs, size)
        generator.load_state_dict(_under(tensors, "generator."))
        shapes = _statistics(ExpressionShapes, _under(tensors, "shapes."))
        textures = _statistics(ExpressionTextures, _under(tensors, "textures."))
        _check_statistics(shapes, textures, len(vocabulary), size)
    except (KeyError, AttributeError, TypeError, ValueError, StopIteration, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        what = "the tensors and the card do not describe a generator"
        raise WeightsError(f"{name_or_path}: {what} ({reason})") from error
    if (shapes is None or textures is None) and getattr(generator, "uses_geometry", False):
        raise WeightsError(f"{name_or_path}: the statistics that this generator needs are missing")
    generator = generator.to(device).eval().requires_grad_(False)
    return ModelBundle(generator, shapes, textures, vocabulary, size, card)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


T = TypeVar("T", ExpressionShapes, ExpressionTextures)


def _statistics(cls: type[T], tensors: dict[str, Tensor]) -> T | None:
    if not tensors:
        return None
    names = {f.name for f in fields(cls)}
    needed = {f.name for f in fields(cls) if f.default is MISSING}
    if not needed <= set(tensors) <= names:
        raise DataError(
            f"of another version of the package? train it again: {cls.__name__} must hold {', '.join(sorted(names))}; "
            f"got {', '.join(sorted(tensors))}"
        )
    return cls(**tensors)


def _check_statistics(
    shapes: ExpressionShapes | None, textures: ExpressionTextures | None, classes: int, size_px: int
) -> None:
    if shapes is None or textures is None:
        return
    rows, columns = strip_size(size_px)
    if textures.mouth_size.tolist() != [rows, columns]:
        raise DataError(f"mouth_size must be {[rows, columns]} at {size_px} px; got {textures.mouth_size.tolist()}")
    n, k, m, d = DENSE_COUNT, len(shapes.basis), len(textures.mouth_basis), len(shapes.donors)
    pixels = 3 * rows * columns
    wanted: dict[str, tuple[int, ...]] = {
        "shapes.template": (n, 3),
        "shapes.neutral_map": (3 * len(RIGID) + 1, 3 * n),
        "shapes.basis": (k, 3 * n),
        "shapes.offset": (3 * n,),
        "shapes.class_mean": (classes + 1, k),
        "shapes.expression_gain": (classes + 1, k, k),
        "shapes.classifier": (classes, k + 1),
        "shapes.donors": (d, k),
        "shapes.donor_labels": (d,),
        "textures.frame": (n, 3),
        "textures.shading": (k + classes, *textures.shading.shape[1:]),
        "textures.rest": tuple(textures.shading.shape[1:]),
        "textures.mouth_mean": (pixels,),
        "textures.mouth_basis": (m, pixels),
        "textures.donor_mouths": (d, m),
        "textures.donor_open": (d,),
    }
    if shapes.stretch is not None:
        wanted["shapes.stretch"] = (classes, k)
    if textures.shading_strength is not None:
        wanted["textures.shading_strength"] = (classes,)
    for name, shape in wanted.items():
        owner, _, attribute = name.partition(".")
        found = tuple(getattr(shapes if owner == "shapes" else textures, attribute).shape)
        if found != shape:
            raise DataError(f"{name} must have shape {shape}; got {found}")
    missing = sorted(set(range(classes)) - set(shapes.donor_labels.tolist()))
    if missing:
        raise DataError(f"no donors for the classes {missing}")
