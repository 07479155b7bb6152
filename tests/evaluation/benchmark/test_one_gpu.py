"""Classifiers that train in turn in one process learn what each would learn by itself."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_benchmark import TRAINED, configured

from lssl_augment.errors import TrainingError
from lssl_augment.evaluation.benchmark import one_gpu, running
from lssl_augment.evaluation.benchmark.arms import find_arm
from lssl_augment.evaluation.benchmark.cells import Cell
from lssl_augment.evaluation.benchmark.one_gpu import shares_a_gpu
from lssl_augment.evaluation.benchmark.records import read_records
from lssl_augment.evaluation.benchmark.runner import run_benchmark
from lssl_augment.evaluation.classifiers import ClassifierConfig, predict, train_classifier
from lssl_augment.evaluation.classifiers.trainee import BatchForm, Trainee


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor stands in for the GPU."""
    cells = ("balanced", "ordinary", "mixup", "lssl")
    monkeypatch.setattr(running, "shares_a_gpu", lambda setup, cell, workers: workers > 1 and cell.arm in cells)


def stored(folder: Path, record: dict[str, Any]) -> np.ndarray:
    with np.load(folder / record["predictions"]) as file:
        return np.asarray(file["probabilities"])


def test_cells_are_those_of_one_process_each(tmp_path: Path, shared: None) -> None:
    arms = ("balanced", "balanced-prior", "mixup", "ordinary")
    config = configured(tmp_path, arms=arms, seeds=(0, 1), steps=3)
    run_benchmark(replace(config, out=tmp_path / "alone"))
    report = run_benchmark(replace(config, workers=2, out=tmp_path / "shared"))
    assert (report.done, report.failed) == (8, [])
    alone, together = (
        {(r["arm"], r["seed"]): r for r in read_records(tmp_path / name)} for name in ("alone", "shared")
    )
    assert alone.keys() == together.keys()
    for key, record in alone.items():
        found = stored(tmp_path / "shared", together[key])
        # Rounding apart: of a rate in float32, and what a first step of Adam makes of it.
        assert np.abs(found - stored(tmp_path / "alone", record)).max() < 0.02
        assert together[key]["n_train"] == record["n_train"]
        assert together[key]["n_test"] == record["n_test"]
    first, second = (stored(tmp_path / "shared", together["balanced", seed]) for seed in (0, 1))
    assert not np.allclose(first, second)


def test_synthetic_faces_and_what_cannot_be_run(tmp_path: Path, shared: None) -> None:
    config = configured(tmp_path, arms=("balanced", "lssl", "lssl-loop"), wishes=TRAINED, workers=2)
    report = run_benchmark(config)
    assert report.failed == []
    records = {r["arm"]: r for r in read_records(config.out)}
    assert set(records) == {"balanced", "lssl", "lssl-loop"}
    assert sum(records["lssl"]["n_synthetic"].values()) > 0
    assert records["lssl"]["generator"]["name"] == "lssl (paper)"
    # A generator that breaks down takes its arm with it and leaves the other one.
    broken = replace(TRAINED, settings=(*TRAINED.settings, "face_size_px=33"))
    report = run_benchmark(replace(config, wishes=broken, out=tmp_path / "broken"))
    assert any(words.startswith("lssl, full, fold 0") for words in report.failed)
    assert [r["arm"] for r in read_records(tmp_path / "broken")] == ["balanced"]


def test_a_loss_that_is_not_finite_is_told(tmp_path: Path, shared: None) -> None:
    config = configured(tmp_path, arms=("balanced",), workers=2, steps=4, learning_rate=1e30)
    with pytest.raises(TrainingError, match="lower the learning rate"):
        run_benchmark(config)


def test_a_worker_that_is_killed_is_told_and_finished_cells_are_kept(tmp_path: Path, shared: None) -> None:
    config = configured(tmp_path, arms=("balanced", "ordinary"), workers=2, seeds=(0, 1, 2, 3))

    def kill(done: int, total: int, cell: Cell | None) -> None:
        if done == 1:
            for child in multiprocessing.active_children():
                child.kill()

    with pytest.raises(TrainingError, match="fewer --workers"):
        run_benchmark(config, kill)
    assert multiprocessing.active_children() == []
    kept = len(read_records(config.out))
    assert 1 <= kept < 8
    assert run_benchmark(config).done == 8


def test_a_worker_killed_before_it_is_told_something_is_named(
    tmp_path: Path, shared: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its batches are all there, the classifier is trained, and nobody waits for what it predicts."""

    def tell(member: one_gpu._Member, what: object) -> None:
        if not isinstance(what, Cell):
            member.process.kill()
            member.process.join()
        told(member, what)

    told = one_gpu._Member._tell
    monkeypatch.setattr(one_gpu._Member, "_tell", tell)
    config = configured(tmp_path, arms=("balanced",), workers=2, seeds=(0, 1))
    with pytest.raises(TrainingError, match="fewer --workers"):
        run_benchmark(config)
    assert multiprocessing.active_children() == []


def test_which_cells_share_a_gpu(tmp_path: Path) -> None:
    class Setup:
        device, protocol = "cuda", configured(tmp_path).protocol

    def shares(arm: str, workers: int = 4) -> bool:
        find_arm(arm)
        return shares_a_gpu(Setup(), Cell("full", arm, None, 0, 0), workers)  # type: ignore[arg-type]

    assert shares("balanced")
    assert shares("lssl")
    assert not shares("balanced", workers=1)
    assert not shares("lssl-loop")
    assert not shares("dtagn")
    Setup.device = "cpu"
    assert not shares("balanced")


@pytest.mark.parametrize("soft", [False, True])
def test_a_trainee_can_be_used_again(soft: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    batches = [(torch.rand(6, 3, 16, 16, generator=rng) * 2 - 1, torch.arange(6) % 3) for _ in range(5)]
    if soft:
        batches = [(x, torch.nn.functional.one_hot(y, 3).float() * 0.7 + 0.1) for x, y in batches]
    test = torch.randint(0, 256, (9, 3, 16, 16), dtype=torch.uint8, generator=rng)
    config = ClassifierConfig(name="tiny", steps=5, face_size_px=16, precision="fp32")
    trainee = Trainee(3, config, 6, torch.device("cpu"))
    for seed in (3, 1, 3):
        trainee.begin(seed)
        for images, labels in batches:
            data = torch.zeros(trainee.form.size, dtype=torch.uint8)
            trainee.form.write(data, images, labels)
            trainee.step(data)
            assert trainee.idle()
        queue = iter(batches)
        model = train_classifier(lambda _, queue=queue: next(queue), 3, replace(config, seed=seed))  # type: ignore[misc]
        assert torch.allclose(trainee.predict(test), predict(model, test), atol=5e-3)


def test_what_a_failed_cell_leaves_is_passed_over() -> None:
    form = BatchForm(2, 4, 3, bf16=False)
    ring = one_gpu._Ring(form)
    try:
        for value in range(3):
            ring.put(torch.full((2, 3, 4, 4), float(value)), torch.tensor([0, 1]))
        ring.release()
        ring.clear()
        assert ring.next() is None
        ring.put(torch.full((2, 3, 4, 4), 7.0), torch.tensor([2, 2]))
        data = ring.next()
        assert data is not None
        images, labels = (view.clone() for view in form.views(data))
        del data
        assert bool((images == 7).all())
        assert labels.argmax(1).tolist() == [2, 2]
    finally:
        ring.close(unlink=True)


@pytest.mark.parametrize("bf16", [False, True])
def test_batches_in_bytes(bf16: bool) -> None:
    form = BatchForm(4, 8, 3, bf16=bf16)
    data = torch.zeros(form.size, dtype=torch.uint8)
    images, labels = torch.rand(4, 3, 8, 8), torch.tensor([2, 0, 1, 1])
    form.write(data, images, labels)
    there, soft = form.views(data)
    assert torch.equal(there, images.to(form.dtype))
    assert there.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(soft.argmax(1), labels)
