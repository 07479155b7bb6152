from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tiny_faces import NAMES, SIZE_PX, compact_config, expression_field, training_faces

from lssl_augment.attributes import Vocabulary
from lssl_augment.cli.train import train_command
from lssl_augment.errors import DataError
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE
from lssl_augment.models.bundle import load_model
from lssl_augment.training.batches import TrainingFaces, take_faces
from lssl_augment.training.compact_objective import CompactObjective
from lssl_augment.training.further import FEW_FACES, as_seen, borrowed_classes, join_further

CLASSES = Vocabulary(NAMES)


def without_smiles(kept: int = 0) -> TrainingFaces:
    """The drawn faces with at most ``kept`` of happiness; their mouths vary, as those of real faces do."""
    faces = training_faces()
    assert faces.dense is not None
    little = np.random.default_rng(0).normal(0, 0.15, (len(faces), 1, 1)) * expression_field("happiness")
    dense = faces.dense + (little * SIZE_PX / 128).astype(np.float32)
    smiling = np.flatnonzero(faces.labels == 1)
    rows = np.setdiff1d(np.arange(len(faces)), smiling[kept:])
    return take_faces(replace(faces, dense=dense, points68=dense[:, SPARSE_FROM_DENSE, :2]), rows)


def small_grey(shift_px: float = 0.0) -> TrainingFaces:
    """The drawn faces as a further pack: grey, blurred, with landmarks that are off the same way everywhere."""
    faces = training_faces(dataset="small")
    grey = faces.images.mean(3, keepdims=True).astype(np.uint8)
    blurred = np.repeat(np.repeat(grey[:, ::4, ::4], 4, axis=1), 4, axis=2)
    dense = faces.dense.copy()
    dense[:, 13:300, 1] += shift_px  # many points, so that alignment does not take it away
    points = dense[:, SPARSE_FROM_DENSE, :2]
    return replace(faces, images=np.repeat(blurred, 3, axis=3), dense=dense, points68=points)


@cache
def joined() -> TrainingFaces:
    return join_further(without_smiles(), small_grey(), CLASSES)


@cache
def objective() -> CompactObjective:
    return CompactObjective(compact_config(further="small.h5"), joined())


def test_only_what_is_wanting_is_borrowed() -> None:
    faces = joined()
    assert faces.further is not None
    assert borrowed_classes(faces) == (1,)
    assert set(faces.labels[faces.further].tolist()) == {0, 1}  # and faces at rest, to compare with
    assert not set(faces.subjects[faces.further]) & set(faces.subjects[~faces.further])
    assert faces.dataset == "drawn + small"
    assert faces.fingerprint() != replace(faces, further=None).fingerprint()


def test_a_pack_that_has_enough_needs_no_further_one() -> None:
    with pytest.raises(DataError, match="nothing to learn from small"):
        join_further(training_faces(), small_grey(), CLASSES)
    assert borrowed_classes(training_faces()) == ()


@pytest.mark.parametrize("wrong", ["no dense", "few", "no rest", "no neutral class"])
def test_a_further_pack_that_cannot_help_is_refused(wrong: str) -> None:
    further, classes = small_grey(), CLASSES
    match = {
        "no dense": "--fill-dense",
        "few": f"fewer than {FEW_FACES} training faces of happiness",
        "no rest": "training faces of neutral",
        "no neutral class": "faces at rest",
    }[wrong]
    if wrong == "no dense":
        further = replace(further, dense=None)
    if wrong == "few":
        further = take_faces(further, np.flatnonzero(further.labels != 1))
    if wrong == "no rest":
        further = take_faces(further, np.flatnonzero(further.labels != 0))
    if wrong == "no neutral class":
        classes = Vocabulary(("happiness", "surprise"))
    with pytest.raises(DataError, match=match):
        join_further(without_smiles(), further, classes)


def test_faces_at_rest_are_not_borrowed() -> None:
    faces = training_faces()
    few = take_faces(faces, np.concatenate([np.flatnonzero(faces.labels == 0)[:20], np.flatnonzero(faces.labels == 2)]))
    with pytest.raises(DataError, match="drawn has 20 training faces of neutral"):
        join_further(few, small_grey(), CLASSES)


def test_a_borrowed_expression_is_the_one_that_the_further_faces_show() -> None:
    """A landmark error that all faces of the further pack share is no expression."""
    faces = join_further(without_smiles(), small_grey(shift_px=3.0), CLASSES)
    got = CompactObjective(compact_config(further="small.h5"), faces).shapes
    step = got.donors[got.donor_labels == 1].mean(0) - got.donors[got.donor_labels == 0].mean(0)
    moved = (step @ got.basis).view(-1, 3)[:, :2] * torch.tensor([1.0, -1.0])  # the common pose has y upwards
    wanted = expression_field("happiness")[:, :2]
    assert np.corrcoef(moved.flatten(), wanted.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("kept", [0, FEW_FACES - 1])
def test_a_further_pack_changes_nothing_of_what_the_first_shows(kept: int) -> None:
    """Space, statistics, donors and shading of its classes, mouths; with few own faces of the borrowed or none."""
    close = partial(torch.testing.assert_close, atol=1e-3, rtol=0)  # sums over more faces round otherwise
    alone = without_smiles()
    alone = replace(alone, vocabulary=Vocabulary(("neutral", "surprise")), labels=np.minimum(alone.labels, 1))
    one = CompactObjective(compact_config(), alone)
    joint = join_further(without_smiles(kept), small_grey(), CLASSES)
    both = CompactObjective(compact_config(further="small.h5"), joint)
    close(one.shapes.basis, both.shapes.basis)
    close(one.shapes.neutral_map, both.shapes.neutral_map)
    close(one.shapes.class_mean[-1], both.shapes.class_mean[-1])  # of faces without a label
    close(one.textures.mouth_mean, both.textures.mouth_mean)
    coefficients = len(one.shapes.basis)
    close(one.textures.shading[:coefficients], both.textures.shading[:coefficients])
    for label, same in ((0, 0), (1, 2)):
        a, b = one.shapes.donor_labels == label, both.shapes.donor_labels == same
        close(one.shapes.class_mean[label], both.shapes.class_mean[same])
        close(one.shapes.expression_gain[label], both.shapes.expression_gain[same])
        close(one.shapes.donors[a], both.shapes.donors[b])
        close(one.textures.shading[coefficients + label], both.textures.shading[coefficients + same])


def test_few_own_faces_of_a_borrowed_expression_teach_no_shading() -> None:
    """They would be compared with another pack's faces at rest."""
    faces = join_further(without_smiles(FEW_FACES - 1), small_grey(), CLASSES)
    assert faces.further is not None
    few = (faces.labels == 1) & ~faces.further
    assert few.sum() == FEW_FACES - 1
    turned = replace(faces, images=np.where(few[:, None, None, None], 255 - faces.images, faces.images))
    one, other = (CompactObjective(compact_config(further="small.h5"), f).textures for f in (faces, turned))
    torch.testing.assert_close(one.shading, other.shading)
    assert float(one.shading[-2].abs().max()) > 0  # happiness


def test_all_expressions_may_be_borrowed() -> None:
    """A pack of faces at rest alone; some of them talk, so there are mouths to learn."""
    faces = without_smiles()
    faces = replace(faces, labels=np.zeros_like(faces.labels))
    got = CompactObjective(compact_config(further="small.h5"), join_further(faces, small_grey(), CLASSES))
    assert got.source.borrowed == (1, 2)
    assert bool(got.shapes.donors.isfinite().all())
    rest, smile = (got.shapes.donors[got.shapes.donor_labels == c].mean(0) for c in (0, 1))
    moved = ((smile - rest) @ got.shapes.basis).view(-1, 3)[:, :2] * torch.tensor([1.0, -1.0])
    assert np.corrcoef(moved.flatten(), expression_field("happiness")[:, :2].ravel())[0, 1] > 0.8
    assert all(np.isfinite(float(v)) for v in got.step(0.0, 0).values())


def test_mouths_are_those_of_the_first_pack() -> None:
    textures, shapes = objective().textures, objective().shapes
    inside = textures.donor_mouths[shapes.donor_labels == 1]
    known = textures.donor_mouths[shapes.donor_labels != 1]
    assert len(inside) >= 8
    # Each is exactly the mouth of some donor of the first pack.
    assert not (inside[:, None] - known).abs().amax(2).amin(1).any()


def test_restoration_draws_no_further_face_and_the_critic_sees_them() -> None:
    obj = objective()
    rng = np.random.default_rng(0)
    greys = []
    for _ in range(20):
        real = obj.source.draw(obj.config.batch, obj.numbers.uniform_share, rng)
        assert not (real.labels == 1).any()
        greys.append(float((real.images[:, 0] - real.images[:, 1]).abs().max()))
    assert min(greys) > 0  # colour photographs
    more = obj.source.draw_further(obj.config.batch, rng)
    assert more is not None
    assert set(more.labels.tolist()) == {1}
    assert torch.equal(more.images[:, 0], more.images[:, 1])
    log = obj.step(0.0, 0)
    assert all(np.isfinite(float(v)) for v in log.values())


def test_photographs_and_edits_are_seen_alike() -> None:
    torch.manual_seed(0)
    leaf = torch.rand(3, 3, SIZE_PX, SIZE_PX).requires_grad_()
    shown = as_seen(leaf, torch.tensor([True, False, True]))
    shown.sum().backward()
    assert leaf.grad is not None
    assert bool((leaf.grad.abs().sum((1, 2, 3)) > 0).all())
    images, seen = leaf.detach(), shown.detach()
    assert torch.equal(seen[1], images[1])
    assert torch.equal(seen[0, 0], seen[0, 2])
    assert float(seen[0].diff(dim=-1).abs().mean()) < 0.5 * float(images[0].diff(dim=-1).abs().mean())
    # Once more changes little: a photograph that is small already looks the same.
    again = as_seen(seen, torch.tensor([True, False, True]))
    assert float((again - seen).abs().mean()) < 0.3 * float((seen[0] - images[0]).abs().mean())


def write_npz(path: Path, faces: TrainingFaces) -> Path:
    np.savez(
        path, images=faces.images, labels=faces.labels, dense=faces.dense, subjects=faces.subjects,
        split=np.array(["train"] * len(faces)), class_names=np.array(faces.vocabulary.names),
    )  # fmt: skip
    return path


def test_train_with_a_further_pack_and_initial_weights(tmp_path: Path) -> None:
    """First the classes of one pack, then a third class from another, from the network of the first run."""
    one = write_npz(tmp_path / "one.npz", without_smiles())
    other = write_npz(tmp_path / "other.npz", small_grey())
    # fmt: off
    common = [str(one), "--size", "64", "--steps", "1", "--device", "cpu", "--set", "tensorboard=false",
              "--set", "generator.width=8", "--set", "generator.blocks=1", "--set", "critic.width=8",
              "--set", "sheet_sources=2", "--out", str(tmp_path / "runs")]
    # fmt: on
    run = CliRunner()
    first = run.invoke(train_command, [*common, "--set", "classes=neutral,surprise"], catch_exceptions=False)
    weights = first.stdout.strip().splitlines()[-1]
    # Without the option the third class has no face.
    with pytest.raises(DataError, match="no training faces of happiness"):
        run.invoke(train_command, [*common, "--set", f"classes={','.join(NAMES)}"], catch_exceptions=False)
    more = ["--further", str(other), "--init", weights, "--set", f"classes={','.join(NAMES)}"]
    second = run.invoke(train_command, [*common, *more], catch_exceptions=False)
    bundle = load_model(second.stdout.strip().splitlines()[-1])
    assert bundle.vocabulary.names == NAMES
    assert bundle.card["training"]["data"] == "one + other"
    assert bundle.card["training"]["counts"]["happiness"] == 56
    # Whom the initial network saw is told on.
    init = bundle.card["training"]["init"]
    assert (init["training"]["data"], init["training"]["split"]) == ("one", "train")
    assert init["sha256"] == load_model(weights).card["sha256"]
    refused = run.invoke(train_command, ["--resume", str(next((tmp_path / "runs").iterdir())), *more[:2]])
    assert refused.exit_code == 2
    assert "leave out further" in refused.output
