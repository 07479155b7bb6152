from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_faces import ALL_LOSSES, NAMES, SIZE_PX, as_tensors, compact_config, training_faces

from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import DataError
from lssl_augment.faces.dense_flip import flip_dense
from lssl_augment.models.bundle import load_model
from lssl_augment.models.engine import ExpressionEngine
from lssl_augment.models.weights import write_weights
from lssl_augment.training.compact_objective import CompactNumbers, CompactObjective
from lssl_augment.training.config import TrainConfig, from_mapping
from lssl_augment.training.objective import Objective, objective_class

Log = dict[str, float]


def begin(**values: Any) -> CompactObjective:
    return CompactObjective(compact_config(**values), training_faces())


def variant(objective: CompactObjective, /, **values: Any) -> CompactObjective:
    """The same networks and statistics under another configuration."""
    other = copy.copy(objective)
    other.config = compact_config(**values)
    other.numbers = from_mapping(CompactNumbers, other.config.objective)
    return other


def weights(objective: CompactObjective) -> dict[str, Any]:
    """Copies of everything that a checkpoint holds."""
    return copy.deepcopy(
        {
            "modules": {k: m.state_dict() for k, m in objective.modules.items()},
            "optimizers": {k: o.state_dict() for k, o in objective.optimizers.items()},
            "own": objective.state_dict(),
        }
    )


def load(objective: CompactObjective, state: dict[str, Any]) -> None:
    for name, module in objective.modules.items():
        module.load_state_dict(state["modules"][name])
        objective.optimizers[name].load_state_dict(copy.deepcopy(state["optimizers"][name]))
    objective.load_state_dict(state["own"])


def step(objective: CompactObjective, index: int) -> Log:
    return {name: float(value) for name, value in objective.step(index / 4, index).items()}


@pytest.fixture(scope="module")
def objective() -> CompactObjective:
    """One objective whose weights the tests set back as they need them."""
    return begin()


@pytest.fixture(scope="module")
def first(objective: CompactObjective) -> dict[str, Any]:
    """The state before the first step."""
    return weights(objective)


@pytest.fixture(scope="module")
def history(objective: CompactObjective, first: dict[str, Any]) -> tuple[list[Log], list[dict[str, Any]]]:
    """Logs of three steps, and the state after each."""
    load(objective, first)
    logs, states = [], []
    for index in range(3):
        logs.append(step(objective, index))
        states.append(weights(objective))
    return logs, states


def test_steps_are_finite_and_say_what_they_did(history: tuple[list[Log], list[dict[str, Any]]]) -> None:
    logs, _ = history
    critic = {"critic_real", "critic_fake", "cls_real"}
    both = {"pair", "features", "side", "gan", "cls_fake", "identity", "change", "grad_norm"}
    assert set(logs[0]) == critic | both | {"bidirectional"}
    assert set(logs[1]) == critic | both  # every other step
    assert all(np.isfinite(list(log.values())).all() for log in logs)
    assert logs[0]["change"] == 0  # the first result is the first guess
    assert logs[2]["change"] > 0


def test_a_step_depends_on_seed_index_and_weights_alone(
    objective: CompactObjective, history: tuple[list[Log], list[dict[str, Any]]]
) -> None:
    logs, states = history
    load(objective, states[1])
    np.random.default_rng().random()
    assert step(objective, 2) == logs[2]
    torch.testing.assert_close(weights(objective), states[2], rtol=0, atol=0)
    load(objective, states[1])
    assert step(objective, 1) != logs[2]


def test_the_same_seed_gives_the_same_run_and_no_global_generator_is_touched(
    first: dict[str, Any], history: tuple[list[Log], list[dict[str, Any]]]
) -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    again = begin()
    torch.testing.assert_close(weights(again), first, rtol=0, atol=0)
    assert [step(again, index) for index in range(2)] == history[0][:2]
    again.preview(again.generator)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_another_seed_gives_other_steps(
    objective: CompactObjective, first: dict[str, Any], history: tuple[list[Log], list[dict[str, Any]]]
) -> None:
    load(objective, first)
    assert step(variant(objective, seed=1), 0) != history[0][0]


def test_every_weight_of_both_networks_moves(
    objective: CompactObjective, first: dict[str, Any], history: tuple[list[Log], list[dict[str, Any]]]
) -> None:
    load(objective, history[1][-1])
    for index in range(3, 5):  # layers that begin at zero pass on no gradient until they have moved
        objective.step(0.0, index)
    for name, module in objective.modules.items():
        still = [k for k, v in module.state_dict().items() if torch.equal(v, first["modules"][name][k])]
        assert not still, name
        assert all(p.requires_grad for p in module.parameters())


def test_the_critic_starts_alone(objective: CompactObjective, first: dict[str, Any]) -> None:
    load(objective, first)
    alone = variant(objective, objective={**ALL_LOSSES, "critic_first_steps": 2})
    assert set(step(alone, 0)) == {"critic_real", "critic_fake", "cls_real"}
    torch.testing.assert_close(alone.modules["generator"].state_dict(), first["modules"]["generator"], rtol=0, atol=0)
    moved = [not torch.equal(v, first["modules"]["critic"][k]) for k, v in alone.modules["critic"].state_dict().items()]
    assert all(moved)
    assert "pair" in step(alone, 2)


def test_losses_of_weight_nothing_are_not_run(objective: CompactObjective, first: dict[str, Any]) -> None:
    load(objective, first)
    lone = {**ALL_LOSSES, "lambda_gan": 0.0, "lambda_features": 0.0, "lambda_cls": 0.0, "critic_first_steps": 2}
    log = step(variant(objective, objective=lone), 0)
    # The generator begins at once: there is no critic to wait for.
    assert set(log) == {"pair", "side", "identity", "change", "bidirectional", "grad_norm"}
    torch.testing.assert_close(objective.modules["critic"].state_dict(), first["modules"]["critic"], rtol=0, atol=0)
    assert "bidirectional" not in step(variant(objective, objective={**ALL_LOSSES, "lambda_bi": 0.0}), 0)
    # Nor does the recipe of the package run those that did not earn their place.
    recipe = CompactNumbers(critic_first_steps=0)
    assert (recipe.lambda_cls, recipe.lambda_bi, recipe.critic_views) == (0, 0, False)
    assert "bidirectional" not in step(variant(objective, objective={"critic_first_steps": 0}), 0)


def test_a_critic_may_see_faces_as_they_are(objective: CompactObjective, first: dict[str, Any]) -> None:
    load(objective, first)
    sizes: list[tuple[int, ...]] = []
    handle = objective.modules["critic"].register_forward_pre_hook(lambda _, args: sizes.append(args[0].shape[2:]))
    step(variant(objective, objective={**ALL_LOSSES, "critic_views": False}), 0)
    assert set(sizes) == {(SIZE_PX, SIZE_PX)}
    sizes.clear()
    step(objective, 1)
    handle.remove()
    assert set(sizes) == {(3 * SIZE_PX // 4,) * 2}


def test_statistics_that_are_fitted_are_taken(objective: CompactObjective, first: dict[str, Any]) -> None:
    again = CompactObjective(objective.config, objective.faces, objective.source)
    assert again.source is objective.source
    torch.testing.assert_close(again.modules["generator"].state_dict(), first["modules"]["generator"], rtol=0, atol=0)


def test_learning_rates_fall_at_the_end(objective: CompactObjective, first: dict[str, Any]) -> None:
    rates = []
    for progress in (0.0, 0.59, 0.8, 1.0):
        load(objective, first)
        objective.step(progress, 0)
        rates.append(objective.optimizers["generator"].param_groups[0]["lr"])
    assert rates == pytest.approx([3e-4, 3e-4, 1.5e-4, 0])


def test_bf16_runs(
    objective: CompactObjective, first: dict[str, Any], history: tuple[list[Log], list[dict[str, Any]]]
) -> None:
    load(objective, first)
    log = step(variant(objective, precision="bf16"), 0)
    assert log["critic_real"] == pytest.approx(history[0][0]["critic_real"], abs=0.05)
    assert log["critic_real"] != history[0][0]["critic_real"]
    assert np.isfinite(list(log.values())).all()
    assert all(p.dtype == torch.float32 for m in objective.modules.values() for p in m.parameters())


def test_mirrored_faces_take_their_landmarks_along(objective: CompactObjective) -> None:
    faces = training_faces()
    assert faces.dense is not None
    rows, flipped = np.array([2, 2]), np.array([False, True])
    loaded = objective.source.load(rows, flipped)
    assert torch.equal(loaded.images[1], loaded.images[0].flip(-1))
    assert np.allclose(loaded.dense[1].numpy(), flip_dense(faces.dense[2], SIZE_PX))
    shape, back = objective.shapes.canonical(loaded.dense)
    told = objective.shapes.expression(objective.shapes.coefficients(shape), loaded.labels)
    expected = objective.shapes.taken_off(told, loaded.classes)
    torch.testing.assert_close(loaded.expression, expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(loaded.back, back, atol=1e-4, rtol=0)


def test_preview(objective: CompactObjective, first: dict[str, Any]) -> None:
    load(objective, first)
    preview = objective.preview(objective.generator)
    assert preview.sources.shape == (2, 3, SIZE_PX, SIZE_PX)
    assert preview.edits.shape == (2, len(NAMES), 3, SIZE_PX, SIZE_PX)
    assert preview.targets == NAMES
    assert torch.equal(preview.edits, objective.preview(objective.generator).edits)


def test_released_weights_run_in_the_engine(
    objective: CompactObjective, history: tuple[list[Log], list[dict[str, Any]]], tmp_path: Path
) -> None:
    load(objective, history[1][-1])
    release = objective.release(objective.generator)
    card = {
        "kind": "generator",
        "architecture": dict(release.architecture),
        "class_names": list(NAMES),
        "face_size_px": SIZE_PX,
        "training": {},
        "metrics": {},
        "licence": "none",
        "intended_use": "tests",
    }
    path = write_weights(tmp_path / "drawn.safetensors", release.tensors, card, dtypes=release.dtypes)
    engine = ExpressionEngine(load_model(path), precision="fp32")
    images, dense, labels = as_tensors([0, 3])
    faces = engine.encode(images, dense, labels).select(torch.tensor([0, 0, 0, 1]))
    out = engine.edit(faces, torch.tensor([0, 1, 2, 2]), torch.ones(4), torch.arange(4))
    assert bool(out.isfinite().all())
    mouth = slice(int(0.6 * SIZE_PX), int(0.85 * SIZE_PX))
    assert float((out[2] - out[0])[:, mouth].abs().mean()) > 0.02  # surprise opens the mouth


def test_the_protocol(objective: CompactObjective) -> None:
    assert isinstance(objective, Objective)
    assert objective_class("compact") is CompactObjective
    assert CompactObjective.faces_per_step(compact_config(batch=7)) == 7
    assert objective.generator is objective.modules["generator"]
    with pytest.raises(DataError, match="a compact run keeps no sampler state; got epoch"):
        objective.load_state_dict({"epoch": 1})


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (compact_config(), {"dense": None}, "needs dense landmarks"),
        (
            compact_config(),
            {"vocabulary": Vocabulary(("fear", "happiness", "surprise"))},
            "needs neutral faces; classes are fear, happiness, surprise",
        ),
        (compact_config(objective={"lambda_xx": 1}), {}, "unknown setting lambda_xx; allowed: lambda_pair"),
    ],
)
def test_what_cannot_be_trained(config: TrainConfig, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        CompactObjective(config, training_faces(**changes))
