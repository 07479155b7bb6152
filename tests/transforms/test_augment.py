"""LSSLAugment: labels, untouched rows, types, modes."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from lssl_augment.attribute_vector import AttributeSpec
from lssl_augment.errors import DataError
from lssl_augment.transforms import AugmentRecord, LSSLAugment

ORDER = ["sad", "happy", "neutral", "angry", "surprised"]  # sadness is not in the stand-in's vocabulary
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def test_labels_become_the_new_expression_in_the_users_order(engine: Any, batch: Any) -> None:
    images, _ = batch
    labels = torch.arange(16) % 5
    augment = LSSLAugment(p=1.0, classes=ORDER, engine=engine, seed=3, return_record=True)
    out, new, record = augment(images, labels)
    assert new.dtype == torch.int64
    assert torch.equal(new, record.targets)
    assert set(new.tolist()) <= {1, 2, 3, 4}  # sadness is never a target …
    assert not torch.equal(out[labels == 0], images[labels == 0])  # … but a source
    # The engine saw its own labels: sadness unknown, happy 0, neutral 1, angry 2, surprised 3.
    assert engine.source_labels == [[-1, 0, 1, 2, 3][i] for i in labels.tolist()]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    p=st.floats(0, 1),
    seed=st.integers(0, 2**63 - 1),
    dtype=st.sampled_from([torch.uint8, *FLOATS]),
    label_dtype=st.sampled_from([torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]),
    channels=st.sampled_from([1, 3]),
    size=st.sampled_from([16, 24, 32, 56]),
)
def test_rows_not_chosen_are_bit_identical(
    engine: Any, p: float, seed: int, dtype: Any, label_dtype: Any, channels: int, size: int
) -> None:
    own = torch.Generator().manual_seed(seed % 1000)
    images = torch.randint(0, 256, (6, channels, size, size), generator=own, dtype=torch.uint8)
    if dtype != torch.uint8:
        images = images.to(dtype) / 255
    labels = torch.tensor([0, 1, 2, 3, 0, 1], dtype=label_dtype)
    before_images, before_labels = images.clone(), labels.clone()
    out, new, record = LSSLAugment(p=p, engine=engine, seed=seed, return_record=True)(images, labels)
    assert torch.equal(images, before_images)
    assert torch.equal(labels, before_labels)
    assert (out.dtype, out.shape, new.dtype) == (images.dtype, images.shape, label_dtype)
    kept = ~record.chosen
    assert torch.equal(out[kept], images[kept])
    assert torch.equal(new[kept], labels[kept])
    assert all(not torch.equal(out[i], images[i]) for i in record.rows)
    assert ((record.intensity[record.chosen] >= 0.6) & (record.intensity[record.chosen] <= 1)).all()


def test_p_zero_is_the_identity(engine: Any, batch: Any) -> None:
    images, labels = batch
    out, new = LSSLAugment(p=0, engine=engine)(images, labels)
    assert out is images
    assert new is labels
    assert engine.faces_seen == 0


def test_only_chosen_rows_reach_the_network(engine: Any, batch: Any) -> None:
    _, _, record = LSSLAugment(p=0.4, engine=engine, seed=0, return_record=True)(*batch)
    assert 0 < engine.faces_seen == len(record.rows) < 16


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_value_ranges_give_the_same_face(engine: Any, batch: Any, value_range: Any) -> None:
    images, labels = batch
    low, high = value_range
    floats = images.float() / 255 * (high - low) + low
    expected, _ = LSSLAugment(p=1, engine=engine, seed=5)(images, labels)
    out, _ = LSSLAugment(p=1, engine=engine, seed=5, value_range=value_range)(floats, labels)
    assert float(out.min()) >= low
    assert float(out.max()) <= high
    assert ((out - low) / (high - low) * 255 - expected).abs().max() <= 0.51


@pytest.mark.parametrize("shift", [-2.0, 2.0, float("nan"), float("inf")])
def test_floats_outside_the_range_are_refused(engine: Any, shift: float) -> None:
    images = torch.full((2, 3, 32, 32), 0.5)
    images[0, 0, 0, 0] += shift
    augment = LSSLAugment(engine=engine, seed=1)
    with pytest.raises(DataError, match=r"value_range \(0.0, 1.0\)"):
        augment(images, torch.zeros(2, dtype=torch.int64))
    # A refused batch draws nothing.
    assert augment.get_extra_state() == LSSLAugment(engine=engine, seed=1).get_extra_state()


def test_a_little_overshoot_of_resizing_is_taken(engine: Any) -> None:
    images = torch.full((2, 3, 32, 32), 1.0005)
    out, _ = LSSLAugment(p=1, engine=engine)(images, torch.zeros(2, dtype=torch.int64))
    assert float(out.max()) <= 1.0


@pytest.mark.parametrize("size", [24, 64, 100])
def test_other_sizes_keep_their_sharpness_where_nothing_changed(engine: Any, size: int) -> None:
    images = torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8)
    labels = torch.tensor([0, 1, 2, 3])
    out, _ = LSSLAugment(p=1, engine=engine, intensity=1.0, seed=2)(images, labels)
    # The stand-in paints the lower half of two columns in the middle; resizing spreads that by a few pixels.
    edge = size // 4
    assert torch.equal(out[:, :, : size // 2 - edge // 2], images[:, :, : size // 2 - edge // 2])
    assert torch.equal(out[..., :edge], images[..., :edge])
    middle = out[:, :, size * 3 // 4 :, size // 2 - 1 : size // 2].float()
    painted = middle.std(dim=(2, 3))
    assert float(painted.max()) < 40  # noise of the source (std 74) is gone where the bar was painted


def test_grey_faces_stay_grey(engine: Any) -> None:
    images = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8)
    out, new = LSSLAugment(p=1, engine=engine, seed=2)(images, torch.tensor([0, 1, 2, 3]))
    assert out.shape == images.shape
    assert not torch.equal(out, images)
    assert len(new) == 4


def test_tv_tensors_keep_their_type(engine: Any, batch: Any) -> None:
    images, labels = batch
    plain, _ = LSSLAugment(p=1, engine=engine, seed=4)(images, labels)
    out, _ = LSSLAugment(p=1, engine=engine, seed=4)(tv_tensors.Image(images), labels)
    assert type(out) is tv_tensors.Image
    assert type(plain) is torch.Tensor
    assert torch.equal(out.as_subclass(torch.Tensor), plain)


def test_channels_last_and_non_contiguous_batches(engine: Any, batch: Any) -> None:
    images, labels = batch
    expected, _ = LSSLAugment(p=0.5, engine=engine, seed=4)(images, labels)
    last = images.contiguous(memory_format=torch.channels_last)
    out, _ = LSSLAugment(p=0.5, engine=engine, seed=4)(last, labels)
    assert torch.equal(out, expected)
    strided = images.repeat_interleave(2, dim=0)[::2]
    out, _ = LSSLAugment(p=0.5, engine=engine, seed=4)(strided, labels)
    assert torch.equal(out, expected)


def test_training_mode_of_a_parent_changes_nothing(engine: Any, batch: Any) -> None:
    class Parent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.augment = LSSLAugment(p=1, engine=engine, seed=6)
            self.head = nn.Linear(2, 2)

    parent = Parent().train()
    engine.train()
    out, _ = parent.augment(*batch)
    assert engine.training  # the user's module is left as it was
    assert engine.dropout.training
    engine.eval()
    expected, _ = LSSLAugment(p=1, engine=engine, seed=6)(*batch)
    assert torch.equal(out, expected)
    assert not out.requires_grad
    assert len(list(parent.parameters())) == 2  # the engine's parameters are not the classifier's
    parent.apply(lambda module: None)  # nn.Module.apply still walks through


def test_an_autocast_region_changes_nothing(engine: Any, batch: Any) -> None:
    expected, _ = LSSLAugment(p=1, engine=engine, seed=6)(*batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, _ = LSSLAugment(p=1, engine=engine, seed=6)(*batch)
    assert torch.equal(out, expected)


def test_compute_dtype_reaches_the_engine(engine: Any, batch: Any) -> None:
    class Product(type(engine)):  # type: ignore[misc]
        def edit(self, faces: Any, targets: Any, intensity: Any, seeds: Any) -> Any:
            self.product = torch.ones(2, 2) @ torch.ones(2, 2)
            return super().edit(faces, targets, intensity, seeds)

    own = Product()
    LSSLAugment(p=1, engine=own, compute_dtype=torch.bfloat16)(*batch)
    assert own.product.dtype == torch.bfloat16
    LSSLAugment(p=1, engine=own)(*batch)
    assert own.product.dtype == torch.float32


def test_the_global_generators_are_neither_read_nor_moved(engine: Any, batch: Any) -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index] # noqa: NPY002
    augment = LSSLAugment(p=0.5, engine=engine)
    augment(*batch)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # type: ignore[index] # noqa: NPY002
    # No seed given: from the operating system, whatever torch.manual_seed said.
    assert LSSLAugment(engine=engine).seed != augment.seed


def test_draw_then_replay(engine: Any, batch: Any) -> None:
    images, labels = batch
    augment = LSSLAugment(p=0.6, engine=engine, seed=8, return_record=True)
    out, new, record = augment(images, labels)
    again, again_new = augment.replay(images, labels, record)
    assert torch.equal(out, again)
    assert torch.equal(new, again_new)
    assert not torch.equal(augment(images, labels)[2].seeds, record.seeds)  # the next call draws anew
    fresh = LSSLAugment(p=0.6, engine=engine, seed=8)
    drawn = fresh.draw(labels)
    assert drawn.to_dict() == record.to_dict()
    assert torch.equal(fresh.replay(images, labels, drawn)[0], out)
    loaded = AugmentRecord.from_dict(record.to_dict())
    assert torch.equal(fresh.replay(tv_tensors.Image(images), labels, loaded)[0], out)


def test_heads_turn_where_asked_and_only_there(engine: Any, batch: Any) -> None:
    images, labels = batch
    still = LSSLAugment(p=0.6, engine=engine, seed=8)
    turning = LSSLAugment(p=0.6, engine=engine, seed=8, yaw=(-20, 30), return_record=True)
    plain, (out, _, record) = still(images, labels)[0], turning(images, labels)
    unturned = LSSLAugment(p=0.6, engine=engine, seed=8).draw(labels)
    # Everything else is drawn as without.
    assert {**record.to_dict(), "yaw_deg": None} == {**unturned.to_dict(), "yaw_deg": None}
    assert torch.equal(record.yaw_deg.isnan(), ~record.chosen)
    known = record.yaw_deg[record.chosen]
    assert -20 <= float(known.min()) < float(known.max()) <= 30
    assert torch.equal(out[~record.chosen], images[~record.chosen])
    assert all(not torch.equal(out[r], plain[r]) for r in record.rows)
    loaded = AugmentRecord.from_dict(json.loads(json.dumps(record.to_dict(), allow_nan=False)))
    assert torch.equal(turning.replay(images, labels, loaded)[0], out)


def test_weights_that_turn_no_heads_are_refused_at_once(engine: Any) -> None:
    engine.attributes = AttributeSpec(engine.vocabulary)
    with pytest.raises(DataError, match="turn no heads to any angle"):
        LSSLAugment(engine=engine, yaw=10)
    engine.attributes, engine.turns_heads = AttributeSpec(engine.vocabulary, (-15, 0, 15)), True
    with pytest.raises(DataError, match="from -15 to 15 degrees; got yaw 16:16"):
        LSSLAugment(engine=engine, yaw=16)
    assert "yaw=(-15.0, 15.0)" in repr(LSSLAugment(engine=engine, yaw=(-15, 15)))


def test_replay_refuses_another_batch(engine: Any, batch: Any) -> None:
    images, labels = batch
    augment = LSSLAugment(p=1, engine=engine, return_record=True)
    record = augment(images, labels)[2]
    with pytest.raises(DataError, match="other labels"):
        augment.replay(images, labels.flip(0), record)
    with pytest.raises(DataError, match="classes"):
        LSSLAugment(engine=engine, classes=ORDER).replay(images, labels, record)
    with pytest.raises(TypeError, match="AugmentRecord"):
        augment.replay(images, labels)
    with pytest.raises(DataError, match="keys"):
        AugmentRecord.from_dict({"seed": 1})
    with pytest.raises(DataError, match="intensity"):
        AugmentRecord.from_dict({**record.to_dict(), "intensity": [0.5]})


def test_unlabelled_rows_are_left_alone(engine: Any, batch: Any) -> None:
    images, labels = batch
    labels = labels.clone()
    labels[::2] = -1
    out, new = LSSLAugment(p=1, engine=engine)(images, labels)
    assert torch.equal(out[::2], images[::2])
    assert (new[::2] == -1).all()
    assert all(not torch.equal(out[i], images[i]) for i in range(1, 16, 2))


def test_an_empty_batch(engine: Any) -> None:
    images, labels = torch.zeros(0, 3, 32, 32), torch.zeros(0, dtype=torch.int64)
    out, new, record = LSSLAugment(p=1, engine=engine, return_record=True)(images, labels)
    assert (len(out), len(new), len(record)) == (0, 0, 0)


def test_state_dict_resumes_the_draws(engine: Any, batch: Any) -> None:
    labels = batch[1]
    augment = LSSLAugment(engine=engine, targets="balance")
    augment.set_epoch(2)
    augment.draw(labels)
    other = LSSLAugment(engine=engine, targets="balance")
    other.load_state_dict(pickle.loads(pickle.dumps(augment.state_dict())))
    assert other.draw(labels).to_dict() == augment.draw(labels).to_dict()
    with pytest.raises(DataError, match="classes"):
        LSSLAugment(engine=engine, classes=ORDER).load_state_dict(augment.state_dict())


@pytest.mark.parametrize("copied", [lambda a: pickle.loads(pickle.dumps(a)), copy.deepcopy])
def test_copies_go_on_alike_and_apart(engine: Any, batch: Any, copied: Any) -> None:
    images, labels = batch
    augment = LSSLAugment(engine=engine, seed=11, classes=["neutral", "happy", "angry", "surprise"])
    augment.set_epoch(1)
    augment(images, labels)
    twin = copied(augment)
    assert torch.equal(twin(images, labels)[0], augment(images, labels)[0])
    twin.set_epoch(7)
    assert augment.draw(labels).epoch == 1


def test_it_sits_in_a_torchvision_pipeline(engine: Any, batch: Any) -> None:
    pipeline = v2.Compose([LSSLAugment(p=1, engine=engine, seed=1), v2.MixUp(num_classes=4)])
    images, labels = pipeline(batch[0].float() / 255, batch[1])
    assert images.shape == (16, 3, 32, 32)
    assert labels.shape == (16, 4)
    assert "seed=1" in repr(pipeline)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(engine: Any, batch: Any) -> None:
    images, labels = batch
    augment = LSSLAugment(p=0.5, engine=engine, seed=1)
    expected, expected_labels = augment.replay(images, labels, record := augment.draw(labels))
    out, new = augment.replay(images.cuda(), labels.cuda(), record)
    assert out.device.type == new.device.type == "cuda"
    assert torch.equal(out.cpu(), expected)
    assert torch.equal(new.cpu(), expected_labels)
