"""Samples of every structure: what is found, what is put back, what is refused."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import tv_tensors

from lssl_augment.errors import DataError
from lssl_augment.transforms import AugmentRecord, LSSLAugment


class Pair(NamedTuple):
    image: Any
    label: Any


@pytest.fixture
def augment(engine: Any) -> LSSLAugment:
    return LSSLAugment(p=1, engine=engine, seed=2)


@pytest.fixture
def expected(engine: Any, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = LSSLAugment(p=1, engine=engine, seed=2)(*batch)
    return images, labels


def test_batches_as_tuple_list_and_dict(augment: LSSLAugment, batch: Any, expected: Any) -> None:
    images, labels = batch
    ids = torch.arange(16)
    makers = [
        (lambda: (images, labels), lambda s: s),
        (lambda: [images, labels], lambda s: s),
        (lambda: Pair(images, labels), lambda s: s),
        (lambda: {"image": images, "labels": labels, "ids": ids}, lambda s: (s["image"], s["labels"])),
        (lambda: {"ids": ids, "Label": labels, "image": images}, lambda s: (s["image"], s["Label"])),
        (lambda: OrderedDict(a_label=labels, x=[images, "name"]), lambda s: (s["x"][0], s["a_label"])),
        (lambda: (images, {"labels": labels, "ids": ids}), lambda s: (s[0], s[1]["labels"])),
        (lambda: (images, labels, ids, "more"), lambda s: s[:2]),
    ]
    for make, read in makers:
        augment.set_epoch(0)
        first = augment(make())
        epoch0, _ = read(first)
        augment.set_epoch(0)
        plain, plain_labels = augment(images, labels)
        assert type(first) is type(make())
        assert torch.equal(epoch0, plain)
        assert torch.equal(read(first)[1], plain_labels)
    assert first[2] is ids
    assert first[3] == "more"


def test_the_main_form_and_one_tuple_agree(augment: LSSLAugment, batch: Any, expected: Any) -> None:
    images, labels = augment(batch)
    assert torch.equal(images, expected[0])
    assert torch.equal(labels, expected[1])


def test_a_labels_getter(engine: Any, batch: Any, expected: Any) -> None:
    images, labels = batch
    augment = LSSLAugment(p=1, engine=engine, seed=2, labels_getter=lambda s: s["y"]["expression"])
    out = augment({"y": {"expression": labels, "age": torch.zeros(16)}, "x": images})
    assert torch.equal(out["x"], expected[0])
    assert torch.equal(out["y"]["expression"], expected[1])
    stranger = LSSLAugment(engine=engine, labels_getter=lambda s: s["y"] + 0)
    with pytest.raises(DataError, match="part of the sample"):
        stranger({"x": images, "y": labels})
    with pytest.raises(DataError, match="list"):
        LSSLAugment(engine=engine, labels_getter=lambda s: [1])({"x": images})


@pytest.mark.parametrize("label", [1, np.int64(1), torch.tensor(1), torch.tensor(1, dtype=torch.int32)])
def test_one_face(augment: LSSLAugment, batch: Any, label: Any) -> None:
    image = batch[0][0]
    for _ in range(4):
        out, new = augment(image, label)
        assert type(new) is type(label)
        assert out.shape == image.shape
        assert not torch.equal(out, image)
        assert 0 <= int(new) < 4
        if isinstance(label, torch.Tensor):
            assert (new.dtype, new.ndim) == (label.dtype, 0)


def test_one_face_in_other_structures(engine: Any, batch: Any) -> None:
    image = tv_tensors.Image(batch[0][0])
    augment = LSSLAugment(p=1, engine=engine, seed=2, targets=["anger"])
    out = augment({"image": image, "label": 1, "index": 1})  # the equal int beside it is not the label
    assert (out["label"], out["index"]) == (2, 1)
    assert type(out["image"]) is tv_tensors.Image
    assert augment((image, 0))[1] == 2
    assert augment(Pair(image, 0)).label == 2
    assert augment(image, {"label": 0})[1] == {"label": 2}


def test_records_come_last(engine: Any, batch: Any) -> None:
    images, labels = batch
    augment = LSSLAugment(p=1, engine=engine, return_record=True)
    assert isinstance(augment(images, labels)[2], AugmentRecord)
    assert isinstance(augment([images, labels])[2], AugmentRecord)
    sample, record = augment({"image": images, "labels": labels})
    assert set(sample) == {"image", "labels"}
    again = augment.replay({"image": images, "labels": labels}, record)
    assert torch.equal(again["image"], sample["image"])
    _, label, one = augment(images[0], 3)
    assert (len(one), one.targets.tolist()) == (1, [label])


def test_what_is_refused(augment: LSSLAugment, batch: Any) -> None:
    images, labels = batch
    boxes = tv_tensors.BoundingBoxes(torch.zeros(1, 4), format="XYXY", canvas_size=(32, 32))
    two = {"a": tv_tensors.Image(images), "b": tv_tensors.Image(images), "labels": labels}
    cases: list[tuple[tuple[Any, ...], type[Exception], str]] = [
        ((), TypeError, "images, labels"),
        ((images,), DataError, "targets='keep'"),
        (((images,),), DataError, "targets='keep'"),
        (({"image": images},), DataError, "'label' in its name"),
        ((images, None), DataError, "NoneType"),
        ((images, "happy"), DataError, "str"),
        ((images, labels[:3]), DataError, "16 images came with 3 labels"),
        ((images[0], labels), DataError, "labels"),
        ((images, labels[0]), DataError, "labels"),
        ((images, labels.float()), DataError, "integer class labels"),
        ((images, labels > 1), DataError, "integer class labels"),
        ((images, torch.eye(4)[labels]), DataError, r"argmax\(1\)"),
        ((images, labels + 1), DataError, r"label 4 is outside 0 to 3 .*classes="),
        ((images, labels - 2), DataError, "label -2"),
        ((images.long(), labels), TypeError, "torch.int64"),
        ((images[:, :2], labels), DataError, "shape"),
        ((images[0, 0], labels), DataError, "shape"),
        ((images[..., :30], labels), DataError, "square"),
        ((images[..., :8, :8], labels), DataError, "at least 16"),
        ((PIL.Image.new("RGB", (32, 32)), 1), TypeError, "ToImage"),
        (({"image": images, "boxes": boxes, "labels": labels},), DataError, "BoundingBoxes"),
        ((two,), DataError, "one image"),
        (({"image": "face.jpg", "labels": labels},), TypeError, "no image tensor"),
    ]
    for inputs, error, message in cases:
        with pytest.raises(error, match=message):
            augment(*inputs)
