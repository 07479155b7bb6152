"""Finding image, labels and landmarks in a sample of any structure, and putting new ones in their place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten
from torchvision import tv_tensors

from lssl_augment.errors import DataError

__all__ = ["INDEX_KEY", "LANDMARKS_KEY", "OpenSample", "open_sample"]

LANDMARKS_KEY = "landmarks_dense"
INDEX_KEY = "index"

_NO_LABEL = (
    "LSSLAugment changes the expression, so it needs the label of every image: call augment(images, labels), "
    "or pass "
    "a sample with a 'labels' entry, or labels_getter=. To leave the labels as they are, use targets='keep' "
    "(the same "
    "expression from another donor, at another intensity) and still pass them"
)


@dataclass(frozen=True)
class OpenSample:
    """A sample taken apart.

    Args:
        images: shape ``(B, C, H, W)``, a plain tensor; B = 1 for a single sample.
        labels: as they came, batched: shape ``(B, …)``.
        landmarks, index: entries of the sample under those keys, or None.
        single: the sample is one image, not a batch.
    """

    images: Tensor
    labels: Tensor
    landmarks: Any
    index: Any
    single: bool
    _leaves: list[Any]
    _spec: TreeSpec
    _image_at: int
    _label_at: int
    _label_type: type | None

    def rebuild(self, images: Tensor, labels: Tensor) -> Any:
        """The sample with these images and labels; an untouched tensor is put back as the very object it
        was.
        """
        leaves = list(self._leaves)
        if images is not self.images:
            old = leaves[self._image_at]
            new = images[0] if self.single else images
            leaves[self._image_at] = (
                tv_tensors.wrap(new, like=old) if isinstance(old, tv_tensors.Image) else new
            )
        if labels is not self.labels:
            leaves[self._label_at] = labels[0] if self.single else labels
        if self._label_type is not None:
            leaves[self._label_at] = self._label_type(int(leaves[self._label_at]))
        return tree_unflatten(leaves, self._spec)


def open_sample(inputs: tuple[Any, ...], labels_getter: Callable[[Any], Any] | None) -> OpenSample:
    """Take a sample apart.

    Args:
        inputs: what the transform was called with: ``(images, labels)``, or one tuple, list, dict or nest of
            them.
        labels_getter: finds the labels tensor in the sample; None for torchvision's rule: the second item if
            it is a tensor, else the entry called ``labels`` (or with "label" in its name) of the dict, or of
            the dict that is the second item. A single sample's label may be an int.

    Raises:
        TypeError: for PIL images, and where no image is found.
        DataError: for several images, boxes, masks or keypoints, and where no labels are found.
    """
    if not inputs:
        raise TypeError("LSSLAugment was called without arguments; call augment(images, labels)")
    sample: Any = inputs if len(inputs) > 1 else inputs[0]
    label_type: type | None = None
    if labels_getter is None:
        sample, label_type = _with_tensor_label(sample)
        labels = _default_labels(sample)
    else:
        labels = labels_getter(sample)
    if not isinstance(labels, Tensor):
        raise DataError(f"labels must be a tensor of integers; got {type(labels).__name__}. {_NO_LABEL}")
    extras = [m for m in (sample, sample[1] if _is_sequence(sample) else None) if isinstance(m, Mapping)]
    landmarks = next((m[LANDMARKS_KEY] for m in extras if m.get(LANDMARKS_KEY) is not None), None)
    index = next((m[INDEX_KEY] for m in extras if m.get(INDEX_KEY) is not None), None)

    leaves, spec = tree_flatten(sample)
    label_at = next((i for i, leaf in enumerate(leaves) if leaf is labels), None)
    if label_at is None:
        raise DataError("labels_getter must return a tensor that is part of the sample itself, not a new one")
    image_at = _find_image(leaves, skip=[labels, landmarks, index])
    image = leaves[image_at]
    single = image.ndim == 3
    plain = image.as_subclass(Tensor)
    return OpenSample(
        images=plain.unsqueeze(0) if single else plain,
        labels=labels.unsqueeze(0) if single else labels,
        landmarks=landmarks,
        index=index,
        single=single,
        _leaves=leaves,
        _spec=spec,
        _image_at=image_at,
        _label_at=label_at,
        _label_type=label_type,
    )


def _find_image(leaves: list[Any], skip: list[Any]) -> int:
    for leaf in leaves:
        if isinstance(leaf, PIL.Image.Image):
            raise TypeError("LSSLAugment works on tensors; put torchvision's v2.ToImage() before it")
        if isinstance(
            leaf, (tv_tensors.BoundingBoxes, tv_tensors.Mask, tv_tensors.KeyPoints, tv_tensors.Video)
        ):
            raise DataError(
                f"LSSLAugment moves parts of the face, so it cannot keep {type(leaf).__name__} in step; take "
                "it out of "
                "the sample first"
            )
    images = [i for i, leaf in enumerate(leaves) if isinstance(leaf, tv_tensors.Image)]
    if len(images) > 1:
        raise DataError(f"LSSLAugment edits one image (or one batch) a call; the sample holds {len(images)}")
    if images:
        return images[0]
    plain = [
        i
        for i, leaf in enumerate(leaves)
        if isinstance(leaf, Tensor) and not any(leaf is other for other in skip)
    ]
    shaped = [i for i in plain if leaves[i].ndim >= 3]
    if not plain:
        kinds = sorted({type(leaf).__name__ for leaf in leaves})
        raise TypeError(f"no image tensor in the sample; it holds {', '.join(kinds)}")
    return (shaped or plain)[0]


def _is_sequence(sample: Any) -> bool:
    return isinstance(sample, (tuple, list)) and len(sample) > 1


def _label_key(mapping: Mapping[Any, Any]) -> Any:
    names = [key for key in mapping if isinstance(key, str)]
    exact = [key for key in names if key.lower() == "labels"]
    found = exact or [key for key in names if "label" in key.lower()]
    if not found:
        raise DataError(
            f"no entry of the sample has 'label' in its name; it holds {list(mapping)}. {_NO_LABEL}"
        )
    return found[0]


def _default_labels(sample: Any) -> Any:
    second = sample[1] if _is_sequence(sample) else sample
    if isinstance(second, Mapping):
        return second[_label_key(second)]
    if second is sample:
        raise DataError(f"got {type(sample).__name__} without labels. {_NO_LABEL}")
    return second


def _with_tensor_label(sample: Any) -> tuple[Any, type | None]:
    """Turn an int label into a 0-d tensor (in a shallow copy) and say what type to give back."""
    if _is_sequence(sample):
        second, label_type = (
            _with_tensor_label(sample[1]) if isinstance(sample[1], Mapping) else _boxed(sample[1])
        )
        if label_type is None:
            return sample, None
        items = [sample[0], second, *sample[2:]]
        return (type(sample)(*items) if hasattr(sample, "_fields") else type(sample)(items)), label_type
    if isinstance(sample, Mapping):
        key = _label_key(sample)
        value, label_type = _boxed(sample[key])
        if label_type is not None:
            sample = copy.copy(sample)
            sample[key] = value  # type: ignore[index]
        return sample, label_type
    return sample, None


def _boxed(value: Any) -> tuple[Any, type | None]:
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return torch.tensor(int(value)), type(value)
    return value, None
