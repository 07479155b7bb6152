from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_faces import NAMES, SIZE_PX, as_tensors, compact_bundle, drawn_faces, posed_bundle

from lssl_augment.attributes import Vocabulary
from lssl_augment.errors import DataError
from lssl_augment.models.bundle import ModelBundle, load_model
from lssl_augment.models.engine import EncodedFaces, ExpressionEngine
from lssl_augment.models.landmark_net import load_landmark_net
from lssl_augment.models.paper_generator import PaperGenerator

SOURCES = [0, 2, 4, 7]


@pytest.fixture(scope="module")
def engine() -> ExpressionEngine:
    return ExpressionEngine(compact_bundle(), precision="fp32")


@pytest.fixture(scope="module")
def encoded(engine: ExpressionEngine) -> EncodedFaces:
    return engine.encode(*as_tensors(SOURCES))


def plan(*rows: tuple[int, float, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    targets, intensity, seeds = zip(*rows, strict=True)
    return torch.tensor(targets), torch.tensor(intensity, dtype=torch.float32), torch.tensor(seeds)


def test_faces_in_faces_out(engine: ExpressionEngine, encoded: EncodedFaces) -> None:
    assert engine.vocabulary.names == NAMES
    assert engine.face_size_px == SIZE_PX
    assert len(encoded) == 4
    out = engine.edit(encoded, *plan((0, 1.0, 1), (1, 0.5, 2), (2, 1.0, 3), (2, 0.0, 4)))
    assert out.shape == (4, 3, SIZE_PX, SIZE_PX)
    assert out.dtype == torch.float32
    assert out.is_contiguous()
    assert bool(out.isfinite().all())
    assert float(out.abs().max()) <= 1
    assert not out.requires_grad


rows_of_a_plan = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.floats(0, 1, width=32), st.integers(-5, 2**62)),
    min_size=1,
    max_size=5,
)


@settings(max_examples=8)
@given(rows=rows_of_a_plan, data=st.data())
def test_a_row_is_the_same_in_any_batch(rows: list[tuple[int, int, float, int]], data: st.DataObject) -> None:
    engine = ExpressionEngine(compact_bundle(), precision="fp32")
    faces = engine.encode(*as_tensors(SOURCES))
    out = engine.edit(faces.select(torch.tensor([r[0] for r in rows])), *plan(*(r[1:] for r in rows)))
    chosen = rows[data.draw(st.integers(0, len(rows) - 1))]
    alone = engine.encode(*as_tensors([SOURCES[chosen[0]]]))  # encoded by itself, too
    difference = (engine.edit(alone, *plan(chosen[1:]))[0] - out[rows.index(chosen)]).abs()
    # Rounding: the edge of a mouth may turn out 1/16 of a pixel off.
    assert float(difference.mean()) < 2e-4
    assert float(difference.max()) < 0.05


def test_one_encoding_serves_all_targets(engine: ExpressionEngine, encoded: EncodedFaces) -> None:
    images, dense, labels = as_tensors([SOURCES[1]] * 3)
    wanted = plan((0, 1.0, 9), (1, 1.0, 9), (2, 1.0, 9))
    out = engine.edit(encoded.select(torch.tensor([1, 1, 1])), *wanted)
    # Batches of another size round otherwise, and the edge of a mouth may turn out 1/16 of a pixel off.
    difference = (out - engine.edit(engine.encode(images, dense, labels), *wanted)).abs()
    assert float(difference.mean()) < 2e-4
    assert float(difference.max()) < 0.05
    assert not torch.allclose(out[0], out[2], atol=0.02)
    assert torch.equal(out, engine.edit(encoded.select(torch.tensor([1, 1, 1])), *wanted))


def test_select_repeats_and_reorders(encoded: EncodedFaces) -> None:
    some = encoded.select(torch.tensor([2, 0, 2]))
    assert len(some) == 3
    assert torch.equal(some.dense, encoded.dense[[2, 0, 2]])
    assert torch.equal(some.latent.coarse, encoded.latent.coarse[[2, 0, 2]])
    assert some.faces is not None
    assert encoded.faces is not None
    assert torch.equal(some.faces, encoded.faces[[2, 0, 2]])


def test_target_intensity_and_seed_matter(engine: ExpressionEngine, encoded: EncodedFaces) -> None:
    same = encoded.select(torch.tensor([0, 0, 0, 0]))
    out = engine.edit(same, *plan((2, 1.0, 1), (2, 1.0, 2), (2, 0.4, 1), (1, 1.0, 1)))
    for other in (1, 2, 3):
        assert float((out[0] - out[other]).abs().mean()) > 1e-3


def test_the_source_label_matters_and_may_be_unknown(engine: ExpressionEngine) -> None:
    images, dense, labels = as_tensors([2])
    wanted = plan((0, 1.0, 1))
    told = engine.edit(engine.encode(images, dense, labels), *wanted)
    untold = engine.edit(engine.encode(images, dense), *wanted)
    marked = engine.edit(engine.encode(images, dense, torch.tensor([-1])), *wanted)
    assert torch.equal(untold, marked)
    assert not torch.equal(told, untold)


def test_an_intensity_of_nothing_does_not_depend_on_the_seed(engine: ExpressionEngine, encoded: EncodedFaces) -> None:
    faces = encoded.select(torch.tensor([0]))
    first = engine.edit(faces, *plan((0, 0.0, 1)))
    torch.testing.assert_close(first, engine.edit(faces, *plan((0, 0.0, 2))), atol=1e-5, rtol=0)


def test_stretched_donors_change_the_shading_of_their_own_class_alone() -> None:
    bundle = posed_bundle(-15, 0, 15)
    assert bundle.shapes is not None
    stretch = torch.zeros(len(NAMES), len(bundle.shapes.basis))
    stretch[2] = bundle.shapes.donors[bundle.shapes.donor_labels == 2].mean(0)
    stretched = replace(bundle, shapes=replace(bundle.shapes, stretch=stretch))
    images, dense, labels = as_tensors([2, 2, 2, 0])  # a surprised source, a face at rest
    assert labels.tolist() == [2, 2, 2, 0]
    wanted = plan((2, 1.0, 1), (1, 1.0, 2), (-1, 1.0, 3), (2, 0.0, 4))
    before, after = (
        engine.edit(engine.encode(images, dense, labels), *wanted)
        for engine in (ExpressionEngine(b, precision="fp32") for b in (bundle, stretched))
    )
    same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    # Kept, other and absent expressions are what they were.
    assert same == [False, True, True, True]


def test_a_class_that_is_shaded_more_leaves_the_others_as_they_are() -> None:
    bundle = posed_bundle(-15, 0, 15)
    assert bundle.textures is not None
    strong = replace(bundle, textures=replace(bundle.textures, shading_strength=torch.tensor([1.0, 1.0, 2.0])))
    images, dense, labels = as_tensors([2, 2, 2, 0, 0])
    wanted = plan((2, 1.0, 1), (1, 1.0, 2), (-1, 1.0, 3), (2, 0.0, 4), (2, 0.3, 5))
    before, after = (
        engine.edit(engine.encode(images, dense, labels), *wanted)
        for engine in (ExpressionEngine(b, precision="fp32") for b in (bundle, strong))
    )
    same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert same == [False, True, True, True, False]


def test_bf16_is_close_to_float32(engine: ExpressionEngine, encoded: EncodedFaces) -> None:
    half = ExpressionEngine(compact_bundle(), precision="bf16")
    wanted = plan((0, 1.0, 1), (1, 1.0, 2), (2, 1.0, 3), (1, 1.0, 4))
    out = half.edit(half.encode(*as_tensors(SOURCES)), *wanted)
    assert out.dtype == torch.float32
    assert float((out - engine.edit(encoded, *wanted)).abs().mean()) < 0.02
    with pytest.raises(DataError, match="precision must be auto, bf16 or fp32; got 'fp16'"):
        ExpressionEngine(compact_bundle(), precision="fp16")


def test_nothing_in_nothing_out(engine: ExpressionEngine, encoded: EncodedFaces) -> None:
    none = torch.tensor([], dtype=torch.int64)
    out = engine.edit(encoded.select(none), none, torch.tensor([]), none)
    assert out.shape == (0, 3, SIZE_PX, SIZE_PX)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda i, d, n: (i[:, :, :32, :32], d, n), r"images must be float with shape \(B, 3, 64, 64\)"),
        (lambda i, d, n: (i[0], d, n), "images must be float"),
        (lambda i, d, n: ((i * 255).to(torch.uint8), d, n), "got torch.uint8"),
        (lambda i, d, n: (i, d[:1], n), r"dense must have shape \(2, 478, 3\); got \(1, 478, 3\)"),
        (lambda i, d, n: (i, d[..., :2], n), r"got \(2, 478, 2\)"),
        (lambda i, d, n: (i, d * float("nan"), n), "dense must be finite"),
        (lambda i, d, n: (i, d, n[:1]), r"labels must have shape \(2,\); got \(1,\)"),
    ],
)
def test_faces_that_do_not_fit(engine: ExpressionEngine, spoil: Callable[..., Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        engine.encode(*spoil(*as_tensors([0, 1])))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(0, 1.0, 1)], "one value for each of 2 rows; got 1, 1 and 1"),
        ([(0, 1.0, 1), (3, 1.0, 1)], r"targets must be in \[-1, 2\]; got 0 to 3"),
        ([(-2, 1.0, 1), (0, 1.0, 1)], "targets must be in"),
        ([(0, 1.5, 1), (0, 1.0, 1)], r"intensity must be in \[0, 1\]; got 1.0 to 1.5"),
        ([(0, -0.1, 1), (0, 1.0, 1)], "intensity must be in"),
        ([(0, float("nan"), 1), (0, 1.0, 1)], "intensity must be in"),
    ],
)
def test_plans_that_do_not_fit(
    engine: ExpressionEngine, encoded: EncodedFaces, rows: list[tuple[int, float, int]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        engine.edit(encoded.select(torch.tensor([0, 1])), *plan(*rows))


def test_a_grey_photograph_stays_grey(engine: ExpressionEngine) -> None:
    images, dense, labels = as_tensors([0, 1, 2])
    faces = engine.encode(images.mean(1, keepdim=True).expand(-1, 3, -1, -1), dense, labels)
    for target in range(len(engine.vocabulary)):
        out = engine.edit(faces, torch.full((3,), target), torch.ones(3), torch.arange(3))
        assert float((out.amax(1) - out.amin(1)).max()) < 1e-5


def test_more_than_a_donors_expression_must_be_asked_for(engine: ExpressionEngine, encoded: EncodedFaces) -> None:
    some = encoded.select(torch.tensor([0, 0, 0]))
    wanted = plan((2, 0.5, 1), (2, 1.0, 1), (2, 1.5, 1))
    out = engine.edit(some, *wanted, exaggerate=True)
    assert engine.max_intensity == 1.5
    assert float((out[2] - out[0]).abs().mean()) > float((out[1] - out[0]).abs().mean()) > 1e-3
    with pytest.raises(DataError, match=r"intensity must be in \[0, 1\]; got 0.5 to 1.5"):
        engine.edit(some, *wanted)
    with pytest.raises(DataError, match=r"intensity must be in \[0, 1.5\]; got 1.6"):
        engine.edit(some.select(torch.tensor([0])), *plan((2, 1.6, 1)), exaggerate=True)


def test_a_paper_generator_runs_in_the_same_engine() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = PaperGenerator(3, width=4, downs=2, blocks=1).eval().requires_grad_(False)
    engine = ExpressionEngine(ModelBundle(generator, None, None, Vocabulary(NAMES), SIZE_PX, {}), precision="fp32")
    faces = engine.encode(*as_tensors([0, 3]))
    out = engine.edit(faces.select(torch.tensor([1, 0, 1])), *plan((0, 1.0, 1), (1, 0.5, 1), (2, 1.0, 1)))
    assert out.shape == (3, 3, SIZE_PX, SIZE_PX)
    assert float(out.abs().max()) <= 1
    alone = engine.edit(engine.encode(*as_tensors([3])), *plan((2, 1.0, 1)))
    torch.testing.assert_close(alone[0], out[2], atol=1e-4, rtol=0)


def test_landmarks_are_found_where_none_are_given() -> None:
    net = load_landmark_net()
    engine = ExpressionEngine(compact_bundle(), landmarks=net)
    images, _, _ = as_tensors([0, 3])
    faces = engine.encode(images)
    torch.testing.assert_close(faces.dense, net.aligned(images))
    assert engine.edit(faces, *plan((0, 1.0, 1), (1, 1.0, 1))).shape == images.shape


released = pytest.mark.skipif(
    not files("lssl_augment").joinpath("weights", "lfw-128.safetensors").is_file(),
    reason="the package holds no released generator yet",
)


@released
def test_the_released_weights_edit_a_drawn_face() -> None:
    bundle = load_model()
    engine = ExpressionEngine(bundle)
    drawn = drawn_faces(per_class=2, size_px=bundle.face_size_px)
    images = torch.from_numpy(drawn.images[:1]).permute(0, 3, 1, 2).float() / 127.5 - 1
    count = len(engine.vocabulary)
    faces = engine.encode(images, torch.from_numpy(drawn.dense[:1])).select(torch.zeros(count, dtype=torch.int64))
    out = engine.edit(faces, torch.arange(count), torch.ones(count), torch.zeros(count, dtype=torch.int64))
    assert float(out.abs().max()) <= 1
    for target in range(1, count):
        assert float((out[target] - out[0]).abs().mean()) > 1e-3
