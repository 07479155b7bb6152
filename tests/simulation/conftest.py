"""Faces for these tests are drawn from the model that ships: no data set is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lssl_augment.attributes import Vocabulary
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE
from lssl_augment.faces.pack import PackWriter
from lssl_augment.simulation.face_model import FaceModel, load_face_model

TRAINING_FACES = 40


@pytest.fixture(scope="session")
def model() -> FaceModel:
    return load_face_model()


@pytest.fixture(scope="session")
def drawn(model: FaceModel) -> tuple[np.ndarray, np.ndarray]:
    """Forty-eight people: faces and dense landmarks; not to be changed."""
    images, dense = model.sample(np.arange(48))
    images.setflags(write=False)
    dense.setflags(write=False)
    return images, dense


@pytest.fixture(scope="session")
def pack_path(drawn: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of forty training faces, two a subject, and eight test faces that are pure noise."""
    images, dense = drawn[0].copy(), drawn[1]
    rng = np.random.default_rng(0)
    images[TRAINING_FACES:] = rng.integers(0, 256, images[TRAINING_FACES:].shape, np.uint8)
    path = tmp_path_factory.mktemp("pack") / "people.h5"
    count = len(images)
    with PackWriter(path, Vocabulary(("neutral", "happiness")), dataset="drawn people") as writer:
        writer.append(
            images,
            np.zeros(count, np.int64),
            [f"person-{row // 2}" for row in range(count)],
            [f"{row}.png" for row in range(count)],
            dense[:, SPARSE_FROM_DENSE, :2],
            ["train" if row < TRAINING_FACES else "test" for row in range(count)],
            dense,
        )
    return path
