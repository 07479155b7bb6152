"""Networks by name, their first weights drawn from a seed alone."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import nn

from lssl_augment.errors import DataError
from lssl_augment.evaluation.classifiers.rng import forked_rng
from lssl_augment.evaluation.classifiers.small import FaceClassifier

__all__ = ["NETWORKS", "build_network", "check_name", "initial_weights"]

#: Known names; ``timm:NAME`` works too where timm is installed.
NETWORKS = ("tiny", "small", "resnet18", "resnet50", "vgg-face")

_WIDTHS = {"tiny": 8, "small": 32}


def check_name(name: str) -> None:
    """``DataError`` unless ``name`` is a network that can be built here."""
    if name in NETWORKS:
        return
    if not name.startswith("timm:") or len(name) == len("timm:"):
        raise DataError(f"the classifier must be one of {', '.join(NETWORKS)} or timm:NAME; got {name!r}")
    if importlib.util.find_spec("timm") is None:
        raise DataError(f"{name} needs timm, which is not installed: pip install timm, or use {', '.join(NETWORKS)}")


def initial_weights(weights: str | None) -> str:
    """In words, for a report."""
    return "from scratch" if weights is None else f"file {Path(weights).name}"


def build_network(
    name: str,
    num_classes: int,
    seed: int,
    face_size_px: int,
    *,
    weights: str | Path | None = None,
    weights_sha256: str | None = None,
) -> nn.Module:
    """A classifier: ``(B, 3, S, S)`` float in [-1, 1] → logits ``(B, num_classes)``.

    ``small`` is ResNet-18's plan at a narrower width, ``tiny`` the same again narrower (for tries and tests);
    ``resnet18`` and ``resnet50`` are torchvision's; ``vgg-face`` has the VGG-16 layout; ``timm:NAME`` any network of
    timm. All from scratch, except that ``vgg-face`` takes a file of published weights.

    Args:
        seed: of the initial weights; the global generators are not moved.
        face_size_px: side S of the faces.
        weights, weights_sha256: see :func:`~lssl_augment.evaluation.classifiers.vgg_face.read_vgg_face`.

    Raises:
        DataError: unknown name, timm not installed or without that network, or weights for another network.
        WeightsError: weights that are refused.
    """
    check_name(name)
    if num_classes < 2:
        raise DataError(f"a classifier needs at least 2 classes; got {num_classes}")
    if weights is not None and name != "vgg-face":
        raise DataError(f"weights are taken by vgg-face only, not by {name}: give none")
    if name.startswith("timm:"):
        return _timm(name.removeprefix("timm:"), num_classes, seed, face_size_px)
    with torch.device("meta"):
        model = _layout(name, num_classes, published=weights is not None)
    model.to_empty(device="cpu")
    initialise(model, seed)
    if weights is not None:
        from lssl_augment.evaluation.classifiers.vgg_face import VggFace, load_into, read_vgg_face

        assert isinstance(model, VggFace)
        load_into(model, read_vgg_face(weights, weights_sha256), weights)
    return model


def initialise(model: nn.Module, seed: int) -> None:
    """First weights of convolutions (He et al. 2015), batch norms and linear layers, from ``seed`` alone."""
    own = torch.Generator().manual_seed(seed)
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=own)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Linear):
            if module is linear[-1]:
                nn.init.normal_(module.weight, std=0.01, generator=own)
            else:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=own)
            nn.init.zeros_(module.bias)


def _layout(name: str, num_classes: int, *, published: bool) -> nn.Module:
    if name in _WIDTHS:
        return FaceClassifier(num_classes, _WIDTHS[name])
    if name == "vgg-face":
        from lssl_augment.evaluation.classifiers.vgg_face import VggFace

        return VggFace(num_classes, published=published)
    from torchvision import models

    build = {"resnet18": models.resnet18, "resnet50": models.resnet50}[name]
    return build(weights=None, num_classes=num_classes)


def _timm(name: str, num_classes: int, seed: int, face_size_px: int) -> nn.Module:
    import timm

    with forked_rng(seed):  # timm draws from the global generator
        try:
            return timm.create_model(name, pretrained=False, num_classes=num_classes, img_size=face_size_px)
        except TypeError:  # convolutional networks take any size, and no such argument
            return timm.create_model(name, pretrained=False, num_classes=num_classes)
        except RuntimeError as error:
            raise DataError(f"timm has no network {name!r} for {face_size_px} px: {error}") from error
