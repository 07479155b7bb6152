"""What a draw depends on: seed, epoch, row or dataset index; and DataLoader workers."""

from __future__ import annotations

import multiprocessing
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset, default_collate

from lssl_augment.transforms import LSSLAugment
from lssl_augment.transforms.randomness import DrawKey, unit_interval

LABELS = torch.arange(12) % 4


def drawn(augment: LSSLAugment, **kwargs: Any) -> tuple[Any, ...]:
    record = augment.draw(LABELS, **kwargs)
    return tuple(record.chosen.tolist()), tuple(record.targets.tolist()), tuple(record.seeds.tolist())


def test_seed_epoch_and_call(engine: Any) -> None:
    a, b = LSSLAugment(engine=engine, seed=1), LSSLAugment(engine=engine, seed=1)
    first = [drawn(a) for _ in range(3)]
    assert [drawn(b) for _ in range(3)] == first
    assert len(set(first)) == 3
    assert drawn(LSSLAugment(engine=engine, seed=2)) != first[0]
    a.set_epoch(4)
    fourth = [drawn(a) for _ in range(2)]
    a.set_epoch(5)
    assert drawn(a) != fourth[0]
    a.set_epoch(4)
    assert [drawn(a) for _ in range(2)] == fourth


def test_a_row_does_not_depend_on_its_batch(engine: Any) -> None:
    long, short = LSSLAugment(engine=engine, seed=1), LSSLAugment(engine=engine, seed=1)
    whole, part = long.draw(LABELS), short.draw(LABELS[:5])
    assert whole.seeds[:5].tolist() == part.seeds.tolist()
    assert whole.targets[:5].tolist() == part.targets.tolist()


def test_with_an_index_order_and_batches_change_nothing(engine: Any) -> None:
    augment = LSSLAugment(engine=engine, seed=1)
    augment.set_epoch(0)
    whole = augment.draw(LABELS, index=list(range(12)))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    parts = [augment.draw(LABELS[rows], index=rows) for rows in order.split(5)]
    assert torch.cat([p.seeds for p in parts]).tolist() == whole.seeds[order].tolist()
    assert torch.cat([p.targets for p in parts]).tolist() == whole.targets[order].tolist()
    augment.set_epoch(1)
    assert augment.draw(LABELS, index=list(range(12))).seeds.tolist() != whole.seeds.tolist()
    # Without set_epoch every pass over the data is a new one.
    free = LSSLAugment(engine=engine, seed=1)
    assert drawn(free, index=list(range(12))) != drawn(free, index=list(range(12)))


def test_words_are_fixed_for_ever() -> None:
    key = DrawKey(seed=7, epoch=3, worker=0, base_seed=0, call=2, by_index=False)
    assert [hex(w) for w in key.words([0, 2**40])[:, 0]] == ["0x87916bb978768042", "0xfad570389b805b52"]
    many = unit_interval(key.words(range(4000)))
    assert abs(many.mean() - 0.5) < 0.02
    assert many.min() >= 0
    assert many.max() < 1


class Collate:
    def __init__(self, augment: LSSLAugment, with_index: bool) -> None:
        self.augment, self.with_index = augment, with_index

    def __call__(self, samples: list[Any]) -> Any:
        images, labels, ids = default_collate(samples)
        _, _, record = self.augment(images, labels, index=ids if self.with_index else None)
        return ids, record


def epoch_of_seeds(loader: Any) -> tuple[dict[int, int], set[int]]:
    """Seed drawn for each sample, and the workers that drew."""
    seeds, workers = {}, set()
    for ids, record in loader:
        workers.add(record.worker)
        seeds.update(zip(ids.tolist(), record.seeds.tolist(), strict=True))
    return seeds, workers


def make_loader(augment: LSSLAugment, *, with_index: bool, workers: int = 2, **kwargs: Any) -> Any:
    data = TensorDataset(torch.zeros(16, 3, 16, 16), torch.arange(16) % 4, torch.arange(16))
    context = multiprocessing.get_context("fork") if workers else None
    return DataLoader(
        data,
        batch_size=4,
        num_workers=workers,
        collate_fn=Collate(augment, with_index),
        multiprocessing_context=context,
        generator=torch.Generator().manual_seed(0),
        **kwargs,
    )


@pytest.fixture
def tiny(engine: Any) -> LSSLAugment:
    engine.face_size_px = 16
    return LSSLAugment(p=1, engine=engine, seed=1, return_record=True)


def test_workers_and_epochs_draw_apart(tiny: LSSLAugment) -> None:
    loader = make_loader(tiny, with_index=False)
    first, workers = epoch_of_seeds(loader)
    assert workers == {1, 2}
    assert len(set(first.values())) == 16  # no two workers, batches or rows share a draw
    second, _ = epoch_of_seeds(loader)  # new processes, call counters at 0 again: the loader's seed differs
    assert not set(first.values()) & set(second.values())
    again, _ = epoch_of_seeds(make_loader(tiny, with_index=False))
    assert again == first


def test_persistent_workers_hear_set_epoch(tiny: LSSLAugment) -> None:
    loader = make_loader(tiny, with_index=True, persistent_workers=True)
    epochs = []
    for epoch in (0, 1, 0):
        tiny.set_epoch(epoch)
        epochs.append(epoch_of_seeds(loader)[0])
    assert epochs[0] == epochs[2] != epochs[1]
    # The number of workers changes nothing when samples are known by index.
    tiny.set_epoch(1)
    assert epoch_of_seeds(make_loader(tiny, with_index=True, workers=0))[0] == epochs[1]
