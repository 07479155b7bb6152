from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_faces import NAMES, SIZE_PX, compact_bundle, compact_config, fitted

from lssl_augment.attribute_vector import AttributeSpec
from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import WeightsError
from lssl_augment.models.bundle import load_model
from lssl_augment.models.compact_generator import CompactGenerator
from lssl_augment.models.paper_generator import PaperGenerator
from lssl_augment.models.presets import find_preset
from lssl_augment.models.weights import read_weights, write_weights

TEXT = {"training": {}, "metrics": {}, "licence": "none", "intended_use": "tests"}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compact generator with shaken weights, as training releases it."""
    release = fitted().release(compact_bundle().generator)
    card = {
        "kind": "generator",
        "architecture": dict(release.architecture),
        "class_names": list(NAMES),
        "face_size_px": SIZE_PX,
        **TEXT,
    }
    path = tmp_path_factory.mktemp("weights") / "drawn.safetensors"
    return write_weights(path, release.tensors, card, dtypes=release.dtypes)


def test_a_release_comes_back(released: Path) -> None:
    bundle = load_model(released)
    assert isinstance(bundle.generator, CompactGenerator)
    assert bundle.vocabulary.names == NAMES
    assert bundle.face_size_px == SIZE_PX
    assert bundle.card["licence"] == "none"
    assert not bundle.generator.training
    assert not any(p.requires_grad for p in bundle.generator.parameters())
    for name, value in compact_bundle().generator.state_dict().items():
        assert torch.equal(bundle.generator.state_dict()[name], value.half().float())
    assert bundle.shapes is not None
    assert bundle.textures is not None
    before = fitted()
    # Statistics are exact; only donors and shading, of which there is much, are stored in half precision.
    assert bundle.shapes.stretch is None  # files do not hold what is not there
    for name, value in [*vars(before.shapes).items(), *vars(before.textures).items()]:
        if value is None:
            continue
        found = getattr(bundle.shapes, name, None) if hasattr(bundle.shapes, name) else getattr(bundle.textures, name)
        assert found.dtype == value.dtype
        if value.is_floating_point() and ("donor" in name or name == "shading"):
            torch.testing.assert_close(found, value, rtol=1e-3, atol=1e-3)
        else:
            assert torch.equal(found, value), name


def test_what_an_adviser_found_comes_back(released: Path, tmp_path: Path) -> None:
    tensors, card = read_weights(released, "generator")
    classes, components = len(NAMES), len(tensors["shapes.basis"])
    stretch = torch.arange(float(classes * components)).view(classes, components)
    more = {"shapes.stretch": stretch, "textures.shading_strength": torch.arange(float(classes))}
    floats = {name: t.dtype for name, t in (tensors | more).items()}
    bundle = load_model(write_weights(tmp_path / "far.safetensors", tensors | more, card, dtypes=floats))
    shapes, textures = bundle.shapes, bundle.textures
    assert textures is not None
    assert textures.shading_strength is not None
    assert torch.equal(textures.shading_strength, more["textures.shading_strength"])
    assert shapes is not None
    assert shapes.stretch is not None
    assert torch.equal(shapes.stretch, stretch)


def test_a_card_says_which_attributes_it_was_trained_with(tmp_path: Path) -> None:
    path, bundle = tmp_path / "own.safetensors", compact_bundle()
    assert bundle.attributes == AttributeSpec(bundle.vocabulary)  # a card that does not say
    tensors, card = read_weights("lfw-128", "generator")
    kept = {key: card[key] for key in ("kind", "architecture", "class_names", "face_size_px", *TEXT)}
    spec = AttributeSpec(Vocabulary(tuple(card["class_names"])))
    dtypes = {name: value.dtype for name, value in tensors.items()}
    write_weights(path, tensors, {**kept, "attributes": spec.to_card()}, dtypes=dtypes)
    assert load_model(path).attributes == spec
    lit = AttributeSpec(spec.expressions, lights=("normal", "dark"))
    write_weights(path, tensors, {**kept, "attributes": lit.to_card()}, dtypes=dtypes)
    with pytest.raises(WeightsError, match="a compact generator edits expression and pose only"):
        load_model(path)


def test_a_paper_generator_has_no_statistics(tmp_path: Path) -> None:
    numbers = {"width": 4, "downs": 2, "blocks": 1, "side_channels": 1}
    card = {
        "kind": "generator",
        "architecture": {"preset": "paper", "kind": "paper", "generator": numbers},
        "class_names": list(NAMES),
        "face_size_px": 32,
        **TEXT,
    }
    tensors = {f"generator.{k}": v for k, v in PaperGenerator(3, **numbers).state_dict().items()}
    bundle = load_model(write_weights(tmp_path / "paper.safetensors", tensors, card))
    assert isinstance(bundle.generator, PaperGenerator)
    assert bundle.shapes is None
    assert bundle.textures is None


def change(card: dict[str, Any], **values: Any) -> None:
    card.update(values)


CARDS: dict[str, Callable[[dict[str, Any]], None]] = {
    "fewer classes": lambda card: change(card, class_names=["neutral", "anger"]),
    "classes that are no text": lambda card: change(card, class_names=[1, 2, 3]),
    "no classes": lambda card: change(card, class_names=None),
    "an alias": lambda card: change(card, class_names=["neutral", "happy", "surprise"]),
    "size that is no number": lambda card: change(card, face_size_px="large"),
    "a size that mouths do not have": lambda card: change(card, face_size_px=32),
    "odd size": lambda card: change(card, face_size_px=65),
    "unknown kind": lambda card: change(card, architecture={**card["architecture"], "kind": "huge"}),
    "no kind": lambda card: change(card, architecture={"preset": "compact"}),
    "architecture that is text": lambda card: change(card, architecture="compact"),
    "other width": lambda card: change(card, architecture={**card["architecture"], "generator": {"width": 16}}),
    "unknown number": lambda card: change(card, architecture={**card["architecture"], "generator": {"depth": 16}}),
}


@pytest.mark.parametrize("what", CARDS)
def test_cards_that_do_not_fit_are_refused(what: str, released: Path, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(released.read_bytes())
    card = json.loads(released.with_suffix(".json").read_text())
    CARDS[what](card)
    (tmp_path / "x.json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match="do not describe a generator"):
        load_model(tmp_path / "x.safetensors")


TENSORS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], Any], str]] = {
    "a layer missing": (lambda t: t.pop("generator.heads.weight"), "heads.weight"),
    "a layer too many": (lambda t: t.update({"generator.extra": torch.zeros(1)}), "extra"),
    "a statistic missing": (lambda t: t.pop("shapes.basis"), "ExpressionShapes must hold basis"),
    "an unknown statistic": (lambda t: t.update({"textures.x": torch.zeros(1)}), "ExpressionTextures must hold"),
    "a statistic of another shape": (
        lambda t: t.update({"shapes.template": torch.zeros(68, 3)}),
        r"shapes.template must have shape \(478, 3\); got \(68, 3\)",
    ),
    "a stretch of another shape": (
        lambda t: t.update({"shapes.stretch": torch.zeros(1, 2)}),
        "shapes.stretch must have shape",
    ),
    "shading strengths of another shape": (
        lambda t: t.update({"textures.shading_strength": torch.ones(2)}),
        r"textures.shading_strength must have shape \(3,\); got \(2,\)",
    ),
    "a class without donors": (
        lambda t: t.update({"shapes.donor_labels": t["shapes.donor_labels"].clamp(max=1)}),
        r"no donors for the classes \[2\]",
    ),
    "donors without mouths": (
        lambda t: t.update({"textures.donor_mouths": t["textures.donor_mouths"][:-1]}),
        "textures.donor_mouths must have shape",
    ),
    "mouths of another size": (
        lambda t: t.update({"textures.mouth_size": torch.tensor([20, 36])}),
        r"mouth_size must be \[10, 18\] at 64 px; got \[20, 36\]",
    ),
}


@pytest.mark.parametrize("what", TENSORS)
def test_tensors_that_do_not_fit_are_refused(what: str, released: Path, tmp_path: Path) -> None:
    tensors, card = read_weights(released, "generator")
    spoil, message = TENSORS[what]
    spoil(tensors)
    path = write_weights(tmp_path / "x.safetensors", tensors, card)
    with pytest.raises(WeightsError, match=message):
        load_model(path)


def test_a_compact_generator_without_statistics_is_refused(released: Path, tmp_path: Path) -> None:
    tensors, card = read_weights(released, "generator")
    kept = {k: v for k, v in tensors.items() if k.startswith("generator.")}
    path = write_weights(tmp_path / "x.safetensors", kept, card)
    with pytest.raises(WeightsError, match="the statistics that this generator needs are missing"):
        load_model(path)


def test_unknown_names_damage_and_other_kinds_are_refused(released: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights are called 'nothing'"):
        load_model("nothing")
    with pytest.raises(WeightsError, match="holds weights of kind 'landmarks'"):
        load_model(Path(str(files("lssl_augment").joinpath("weights", "landmarks.safetensors"))))
    content = bytearray(released.read_bytes())
    content[-1] ^= 1
    (tmp_path / "x.safetensors").write_bytes(content)
    (tmp_path / "x.json").write_bytes(released.with_suffix(".json").read_bytes())
    with pytest.raises(WeightsError, match="sha256"):
        load_model(tmp_path / "x.safetensors")


def test_the_architecture_in_a_release_names_every_number() -> None:
    architecture = fitted().release(fitted().generator).architecture
    assert architecture["kind"] == "compact"
    assert architecture["generator"] == dict(find_preset("compact").with_numbers(compact_config().generator).generator)
    json.dumps(architecture)
