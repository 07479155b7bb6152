"""Every protocol on a small pack; runs that are stopped and go on; leaks that are refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from drawn_people import write_people
from small_weights import compact_weights
from toy_benchmark import TRAINED, configured, write_pack

from lssl_augment.attributes import BASIC5
from lssl_augment.cli.benchmark import benchmark_command
from lssl_augment.datasets.split_file import SplitFile, read_splits
from lssl_augment.errors import DataError, LeakageError, SchemaError
from lssl_augment.evaluation.batches import BatchSource
from lssl_augment.evaluation.benchmark.arms import ARMS, PRIOR, find_arm
from lssl_augment.evaluation.benchmark.cells import Cell
from lssl_augment.evaluation.benchmark.folds import fold_faces
from lssl_augment.evaluation.benchmark.generators import GeneratorWishes, initial_notes, seen_test_people
from lssl_augment.evaluation.benchmark.planning import Fitted, all_cells, fit_budget, parse_budget
from lssl_augment.evaluation.benchmark.records import RECORDS_FILE, read_records
from lssl_augment.evaluation.benchmark.runner import BenchmarkConfig, run_benchmark
from lssl_augment.evaluation.prior import with_prior
from lssl_augment.evaluation.protocol import PROTOCOL_NAMES, parse_protocol, read_protocol, regime_parts
from lssl_augment.evaluation.statistics.results import read_cells
from lssl_augment.faces.pack import FacePack
from lssl_augment.models.weights import find_weights, read_card


@contextmanager
def read_splits_of(config: BenchmarkConfig) -> Iterator[tuple[FacePack, SplitFile]]:
    with FacePack.open(config.pack) as pack:
        yield pack, read_splits(config.out / "splits.json")


@pytest.mark.parametrize("name", PROTOCOL_NAMES)
def test_every_protocol_runs(name: str, tmp_path: Path) -> None:
    config = configured(tmp_path, name, arms=("real", "lssl"), first_arms=("real",), wishes=TRAINED,
                        regimes=("yaw-30",) if name == "bu3dfe" else ("full",))  # fmt: skip
    report = run_benchmark(config)
    assert (report.done, report.left_out) == (2, [])
    real, made = read_records(config.out)
    assert real["n_synthetic"] == {}
    assert sum(made["n_synthetic"].values()) > 0
    assert made["generator"]["name"] == "lssl (paper)"
    assert sum(map(sum, made["confusion"])) == sum(made["n_test"].values())
    assert len(read_cells(config.out)) == 2  # the statistics can read it
    assert (config.out / "results.csv").read_text().count("\n") == 3
    splits = read_splits(config.out / "splits.json")
    assert not splits.subjects(0, "train") & splits.subjects(0, "test")


def test_every_arm_of_real_faces(tmp_path: Path) -> None:
    arms = tuple(name for name, arm in ARMS.items() if not (arm.generator or arm.sequences))
    config = configured(tmp_path, arms=arms, regimes=("share-50",))
    assert run_benchmark(config).done == len(arms)
    records = read_records(config.out)
    assert len({json.dumps(r["n_train"]) for r in records}) == 1
    assert all(any("near-duplicates" in note for note in r["notes"]) for r in records)


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    config = configured(tmp_path, arms=("real", "balanced"), seeds=(0, 1))

    def stop(done: int, total: int, cell: Cell | None) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_benchmark(config, stop)
    path = config.out / RECORDS_FILE
    first = path.read_bytes()
    path.write_bytes(first + b'{"schema_version": 1, "pro')  # killed while writing
    report = run_benchmark(config)
    assert (report.done, report.ran) == (4, 3)
    assert path.read_bytes().startswith(first)
    assert len(read_records(config.out)) == 4
    assert run_benchmark(config).ran == 0
    with pytest.raises(DataError, match="other settings: steps"):
        run_benchmark(replace(config, protocol=replace(config.protocol, steps=2), keep_steps=True))


def test_class_chances_are_put_back_without_training_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``balanced-prior`` brings ``balanced`` along, uses its classifiers, and costs no budget."""
    config = configured(tmp_path, arms=("balanced-prior",), seeds=(0, 1))
    report = run_benchmark(config)
    assert (report.done, report.planned) == (4, 4)
    by_arm: dict[str, list[dict[str, Any]]] = {}
    for record in read_records(config.out):
        by_arm.setdefault(record["arm"], []).append(record)
    plain, put_back = by_arm["balanced"], by_arm["balanced-prior"]
    assert [r["seed"] for r in plain] == [r["seed"] for r in put_back] == [0, 1]
    for before, after in zip(plain, put_back, strict=True):
        with np.load(config.out / before["predictions"]) as one, np.load(config.out / after["predictions"]) as two:
            counts = list(before["n_train"].values())
            expected = with_prior(one["probabilities"], counts, PRIOR)
            np.testing.assert_array_equal(two["probabilities"], expected)
            assert one["files"].tolist() == two["files"].tolist()
        assert "class chances put back to the power 0.4" in after["notes"][-1]
    # Added later, the cells come from what is there.
    lines = (config.out / RECORDS_FILE).read_text().splitlines(keepends=True)
    (config.out / RECORDS_FILE).write_text("".join(line for line in lines if "balanced-prior" not in line))
    monkeypatch.setattr("lssl_augment.evaluation.benchmark.running.run_cell", None)
    assert run_benchmark(replace(config, budget_s=1.0)).ran == 2
    assert len(read_cells(config.out)) == 4


def test_arms_with_class_chances_put_back() -> None:
    arm = find_arm("lssl-prior")
    assert (arm.of, arm.generator, arm.prior) == ("lssl", "lssl", PRIOR)
    assert find_arm("lssl:a-prior").of == "lssl:a"
    for name in ("prior", "-prior", "balanced-prior-prior", "nothing-prior"):
        with pytest.raises(DataError, match="unknown arm"):
            find_arm(name)


def test_damaged_records_are_refused(tmp_path: Path) -> None:
    config = configured(tmp_path, arms=("real",))
    run_benchmark(config)
    path = config.out / RECORDS_FILE
    record = json.loads(path.read_text())
    for change, said in (({"fold": "0"}, "fold is a str"), ({"extra": 1}, "unknown extra"), ({"steps": True}, "steps")):
        path.write_text(json.dumps({**record, **change}) + "\n")
        with pytest.raises(SchemaError, match=said):
            read_records(config.out)


def test_arms_without_a_generator_are_left_out_and_named(tmp_path: Path) -> None:
    report = run_benchmark(configured(tmp_path, arms=("real", "stargan")))
    assert report.done == 1
    assert any(words.startswith("stargan: no generator") for words in report.left_out)


def test_weights_that_saw_test_people_are_refused(tmp_path: Path) -> None:
    pack = FacePack.open(write_pack(tmp_path / "p.h5", "lfw-expressions"))
    people = frozenset(("p00", "p01"))  # p00 is in the pack's test split, p01 in its training split
    for training, seen in (
        ({"data": "lfw-expressions (x)", "split": "train"}, 1),
        ({"data": "lfw-expressions", "split": "fold 0"}, -1),
        ({"data": "other", "split": "train"}, 0),
        ({"data": "other (x) + lfw-expressions", "split": "train"}, 1),
        ({"data": "lfw-expressions-like + other", "split": "train"}, 0),
        ({"data": "other", "subjects": ["p00", "p01", "q"]}, 2),
    ):
        assert seen_test_people({"training": training}, pack, people)[0] == seen
    began = {"data": "other", "split": "train", "init": {"weights": "x", "training": {"data": "lfw-expressions"}}}
    seen, why = seen_test_people({"training": began}, pack, people)
    assert seen == -1
    assert why.startswith("its network began as x: it learned from lfw-expressions")
    wishes = GeneratorWishes({"lssl": "lfw-128"})
    config = configured(tmp_path, arms=("balanced", "lssl"), all_folds=True, wishes=wishes)
    with pytest.raises(LeakageError, match="--allow-leak"):
        run_benchmark(config)
    # Nor may a training on the fold go on from it.
    goes_on = GeneratorWishes({}, steps=1, settings=("init=lfw-128",))
    with pytest.raises(LeakageError, match="without init"):
        run_benchmark(replace(config, wishes=goes_on, dry_run=True))
    with read_splits_of(config) as (opened, splits):
        told = initial_notes("lssl", replace(goes_on, allow_leak=True), opened, splits, 0)
        assert told[0].startswith("the network of the generator lssl began as lfw-128 (lfw-expressions, split train)")
        assert told[1].startswith("LEAK allowed by the user")
        assert initial_notes("lssl", TRAINED, opened, splits, 0) == ()
    left = run_benchmark(replace(config, wishes=GeneratorWishes({}), dry_run=True)).left_out
    assert left[0].startswith("lssl: the generator lfw-128 may not be tested")


def test_regimes_keep_what_they_say(tmp_path: Path) -> None:
    with FacePack.open(write_pack(tmp_path / "p.h5")) as pack:
        config = configured(tmp_path, pack=tmp_path / "p.h5", arms=("real",))
        run_benchmark(config)
        splits = read_splits(config.out / "splits.json")
        counts = {r: fold_faces(pack, splits, 0, r, BASIC5, 16).train.counts for r in ("full", "rare-3", "share-20")}
    assert counts["full"] == {"neutral": 105, "happiness": 15, "surprise": 15, "anger": 15, "sadness": 15}
    assert counts["rare-3"] == {"neutral": 105, "happiness": 3, "surprise": 3, "anger": 3, "sadness": 3}
    assert counts["share-20"] == {"neutral": 21, "happiness": 3, "surprise": 3, "anger": 3, "sadness": 3}
    for word in ("rare", "share-0", "share-101", "rare-2.5", "yaw-91", "most"):
        with pytest.raises(DataError, match="unknown regime"):
            regime_parts(word)


def test_protocols_are_strict() -> None:
    with pytest.raises(DataError, match="unknown settings colour"):
        parse_protocol("name: a\ncolour: red", "a.yaml")
    with pytest.raises(DataError, match="incomplete"):
        parse_protocol("name: a", "a.yaml")
    with pytest.raises(DataError, match="steps in a"):
        parse_protocol("steps: many", "a.yaml")


def test_a_budget_keeps_pairs_and_says_what_is_left() -> None:
    arms = ("balanced", "lssl", "mixup")
    few = {"first_arms": ("balanced", "lssl"), "steps": 600, "least_steps": 150}
    protocol = replace(read_protocol("lfw-expressions"), arms=arms, regimes=("full", "rare-25"), **few)
    cells = all_cells(protocol, 1, range(5))
    # 1500 steps can be paid for: 10 cells of 150.
    fitted = fit_budget(protocol, cells, 1875, 1.0, 1, keep_steps=False)
    assert (fitted.steps, len(fitted.cells)) == (150, 10)
    assert {(c.arm, c.seed) for c in fitted.cells} == {(a, s) for a in ("balanced", "lssl") for s in range(5)}
    assert fitted.left_out[0] == "steps cut from 600 to 150 in every arm"
    assert fitted.left_out[1:] == ["balanced, lssl in rare-25: all cells", "mixup in full, rare-25: all cells"]
    # 500 steps are one pair of 150, or rather of 250.
    short = fit_budget(protocol, cells, 1875, 1.0, 1, keep_steps=False, making_s=1000)
    assert (short.steps, len(short.cells)) == (250, 2)
    assert short.left_out[1] == "balanced, full: 4 of 5 cells"
    # 260 steps are one pair of 130: fewer than this protocol's least, and it says so.
    first_look = fit_budget(protocol, cells, 325, 1.0, 1, keep_steps=False)
    assert (first_look.steps, len(first_look.cells), first_look.together) == (130, 2, 2)
    assert first_look.left_out[1] == "130 steps are fewer than the 150 the protocol asks for: a first look"
    # Nothing can be paid for: one pair all the same.
    least = fit_budget(protocol, cells, 10, 1.0, 1, keep_steps=False, making_s=1000)
    assert (least.steps, len(least.cells)) == (100, 2)
    # Five cells of 300 steps: two pairs.
    asked = fit_budget(replace(protocol, steps=300), cells, 1875, 1.0, 1, keep_steps=True)
    assert (asked.steps, len(asked.cells)) == (300, 4)
    assert asked.left_out[0] == "balanced, full: 3 of 5 cells"
    assert parse_budget("1h30m") == 5400
    for text in ("", "15", "m", "-2h"):
        with pytest.raises(DataError, match="a budget is"):
            parse_budget(text)


def test_no_global_generator_is_moved(tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    run_benchmark(configured(tmp_path, arms=("randaugment",)))
    assert torch.equal(before, torch.get_rng_state())


def test_synthetic_faces_take_fewer_places_of_a_class_with_more_real_ones(tmp_path: Path) -> None:
    config = configured(tmp_path, arms=("lssl",), first_arms=(), wishes=TRAINED, regimes=("full",), targets="all")
    seen: list[list[tuple[float, int]]] = []
    with pytest.MonkeyPatch.context() as patch:

        class Watched(BatchSource):
            def __init__(self, table: Any, batch: int, **how: Any) -> None:
                seen.append([(how["shares"][label], n) for label, n in enumerate(table.counts.values())])
                super().__init__(table, batch, **how)

        patch.setattr("lssl_augment.evaluation.benchmark.cells.BatchSource", Watched)
        run_benchmark(config)
    (found,) = seen
    assert len({n for _, n in found}) == 2
    for share, n in found:
        assert share == pytest.approx(100 / (100 + n))
    (record,) = read_records(config.out)
    assert any("take 100 / (100 + n) of its places" in note for note in record["notes"])


def test_faces_made_while_training_are_of_the_classes_whose_places_they_take(tmp_path: Path) -> None:
    from lssl_augment.transforms import augment

    asked: list[dict[str, float]] = []
    shares: list[dict[int, float]] = []
    config = configured(tmp_path, arms=("lssl-loop",), first_arms=(), wishes=TRAINED, targets="all")
    with pytest.MonkeyPatch.context() as patch:

        class Asked(augment.LSSLAugment):
            def __init__(self, *args: Any, **how: Any) -> None:
                asked.append(how["targets"])
                super().__init__(*args, **how)

        class Watched(BatchSource):
            def __init__(self, table: Any, batch: int, **how: Any) -> None:
                shares.append(how["shares"])
                super().__init__(table, batch, **how)

        patch.setattr("lssl_augment.transforms.augment.LSSLAugment", Asked)
        patch.setattr("lssl_augment.evaluation.benchmark.cells.BatchSource", Watched)
        assert run_benchmark(config).left_out == []
    assert asked == [{BASIC5.names[label]: share for label, share in shares[0].items()}]
    assert len(set(asked[0].values())) == 2  # neutral has more real faces, and fewer places go to synthetic ones


def test_controls_see_the_same_faces_without_what_they_say(tmp_path: Path) -> None:
    arms = ("balanced", "emptied", "lssl", "lssl-shuffled")
    config = configured(tmp_path, arms=arms, first_arms=(), wishes=TRAINED, regimes=("rare-3",), seeds=(1,))
    seen: list[tuple[BatchSource, dict[str, Any]]] = []
    with pytest.MonkeyPatch.context() as patch:

        class Watched(BatchSource):
            def __init__(self, table: Any, batch: int, **how: Any) -> None:
                super().__init__(table, batch, **how)
                seen.append((self, how))

        patch.setattr("lssl_augment.evaluation.benchmark.cells.BatchSource", Watched)
        assert run_benchmark(config).left_out == []
    _, emptied, made, shuffled = (how for _, how in seen)
    # As rarely drawn as synthetic faces leave room for real ones.
    assert emptied["emptied"] == made["shares"] == shuffled["shares"]
    true, mixed = made["synthetic"]._table, shuffled["synthetic"]._table
    assert torch.equal(true.images, mixed.images)
    assert not torch.equal(true.labels, mixed.labels)
    assert torch.equal(true.labels.bincount(), mixed.labels.bincount())
    text = (config.out / "report.md").read_text()
    assert "lssl-shuffled, 4, a control whose labels are shuffled," in text
    assert "the best of" not in text.splitlines()[0]  # a control is not one of them


@pytest.mark.parametrize("workers", [1, 2])
def test_an_arm_that_fails_does_not_stop_the_others(tmp_path: Path, workers: int) -> None:
    # A `compact` generator needs dense landmarks, which this pack lacks.
    wishes = replace(TRAINED, lssl_preset="compact", settings=())
    arms = ("lssl", "lssl-prior", "real", "balanced")
    config = configured(tmp_path, arms=arms, first_arms=(), wishes=wishes, seeds=(0, 1), workers=workers)
    report = run_benchmark(config)
    assert {r["arm"] for r in read_records(config.out)} == {"real", "balanced"}
    assert (report.ran, len(report.failed)) == (4, 1)
    assert report.failed[0].startswith("lssl, full, fold 0: ")
    assert json.loads((config.out / "left_out.json").read_text()) == [f"failed: {report.failed[0]}"]
    with pytest.raises(DataError, match="dense landmarks"):  # nothing is left that could run
        run_benchmark(replace(config, out=tmp_path / "alone", protocol=replace(config.protocol, arms=("lssl",))))


def test_the_command_ends_with_an_error_where_an_arm_failed(tmp_path: Path) -> None:
    pack = write_pack(tmp_path / "p.h5", "lfw-expressions")
    # fmt: off
    words = ["lfw-expressions", "--pack", str(pack), "--out", str(tmp_path / "run"), "--arms", "balanced,lssl",
             "--regimes", "full", "--amounts", "4", "--seeds", "1", "--classifier", "tiny", "--size", "16",
             "--steps", "1", "--batch", "8", "--train-steps", "1"]
    # fmt: on
    done = CliRunner().invoke(benchmark_command, words)
    assert done.exit_code == 1
    assert "lssl, full, fold 0" in str(done.exception)
    assert "report: " in done.output  # and what could be run is there
    assert [r["arm"] for r in read_records(tmp_path / "run")] == ["balanced"]


def test_targets_and_worth_from_the_command_line(tmp_path: Path) -> None:
    pack = write_pack(tmp_path / "p.h5", "lfw-expressions")
    # fmt: off
    words = ["lfw-expressions", "--pack", str(pack), "--out", str(tmp_path / "run"), "--arms", "balanced,lssl",
             "--regimes", "full", "--amounts", "4", "--seeds", "1", "--classifier", "tiny", "--size", "16",
             "--steps", "1", "--batch", "8", "--train-steps", "1", "--lssl-preset", "paper",
             "--set", "generator.width=4", "--set", "critic.width=4", "--set", "objective.critic_steps=1"]
    # fmt: on
    run = CliRunner()
    done = run.invoke(benchmark_command, [*words, "--targets", "all", "--worth", "0"], catch_exceptions=False)
    assert done.exit_code == 0
    assert set(read_records(tmp_path / "run")[1]["n_synthetic"]) == set(BASIC5.names)
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert (settings["targets"], settings["worth"]) == ("all", 0)
    with pytest.raises(DataError, match="other settings: targets"):
        run.invoke(benchmark_command, [*words, "--targets", "rare", "--worth", "0"], catch_exceptions=False)
    for wrong in (["--worth", "-1"], ["--targets", "most"]):
        assert run.invoke(benchmark_command, [*words, *wrong]).exit_code == 2


@pytest.mark.parametrize("turns", [True, False])
def test_heads_of_stored_faces_turn_where_the_generator_can(tmp_path: Path, turns: bool) -> None:
    pack, weights = tmp_path / "people.h5", tmp_path / "own.safetensors"
    write_people(pack).close()
    compact_weights(weights, poses_deg=(-15, 0, 15) if turns else ())
    wishes = GeneratorWishes({"lssl": str(weights)}, allow_leak=True, yaw=(-10.0, 15.0))
    config = configured(tmp_path, "folder", arms=("lssl",), first_arms=(), pack=pack, wishes=wishes)
    run_benchmark(config)
    (record,) = read_records(config.out)
    told = "heads turned to -10:15 degrees" if turns else "this generator turns no heads"
    assert told in record["notes"]
    with h5py.File(config.out / "synthetic" / "lssl-full-fold0-train.h5") as h5:
        yaws = h5["yaws"][:]
    assert np.isnan(yaws).all() != turns
    assert not turns or -10 <= yaws.min() < yaws.max() <= 15
    with pytest.raises(DataError, match="other settings: yaw"):
        run_benchmark(replace(config, wishes=replace(wishes, yaw=None)))


def test_making_synthetic_faces_is_paid_by_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack, weights = tmp_path / "people.h5", tmp_path / "own.safetensors"
    write_people(pack).close()
    compact_weights(weights)
    wishes = GeneratorWishes({}, released=str(weights), allow_leak=True)
    arms = ("power", "lssl-power", "lssl")
    config = configured(tmp_path, "folder", arms=arms, pack=pack, wishes=wishes, budget_s=60.0, least_steps=1)
    asked: list[float] = []

    def fitted(*args: Any, making_s: float, **how: Any) -> Fitted:
        asked.append(making_s)
        return fit_budget(*args, making_s=making_s, **how)

    monkeypatch.setattr("lssl_augment.evaluation.benchmark.runner.fit_budget", fitted)
    assert run_benchmark(config).done == 3
    assert 0 < asked[0] < 60
    assert {r["generator"]["name"] for r in read_records(config.out) if r["generator"]} == {"own"}
    run_benchmark(replace(config, seeds=(0, 1)))
    assert asked[1] == 0  # they are there
    with pytest.raises(DataError, match="other settings: released"):
        run_benchmark(replace(config, wishes=GeneratorWishes({"lssl": str(weights)}, allow_leak=True)))


def test_a_deadline_does_not_come_between_the_first_pair(tmp_path: Path) -> None:
    """On a slow machine `--budget 15m` trained without synthetic faces and then had no time for those with them."""
    arms = ("balanced", "mixup", "cutmix")
    config = configured(tmp_path, arms=arms, first_arms=arms[:2], budget_s=0.01, keep_steps=True)
    report = run_benchmark(config)
    assert report.done == 2
    assert {r["arm"] for r in read_records(config.out)} == {"balanced", "mixup"}
    assert any("cutmix" in words for words in report.left_out)


@pytest.mark.parametrize("name", PROTOCOL_NAMES)
def test_protocols_run_their_first_arms_and_have_a_generator_for_them(name: str) -> None:
    protocol = read_protocol(name)
    assert set(protocol.first_arms) < set(protocol.arms)
    assert any(find_arm(arm).generator == "lssl" for arm in protocol.first_arms)
    assert any(not find_arm(arm).generator for arm in protocol.first_arms)
    able = set(read_card(find_weights(protocol.released, "generator"))["class_names"])
    wanted = set(protocol.classes or {"happiness", "surprise", "anger", "sadness", "fear", "disgust"})
    assert wanted <= able
