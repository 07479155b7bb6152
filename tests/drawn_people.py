"""A face pack of drawn people with a training and a test split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tiny_faces import NAMES, drawn_faces

from lssl_augment.attributes import Vocabulary
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE
from lssl_augment.faces.pack import FacePack, PackWriter


def write_people(path: Path, overlap: bool = False) -> FacePack:
    """20 people with three expressions each; the last eight are the test split."""
    faces = drawn_faces(20, 128, 3)
    test = np.array([int(s.split()[1]) >= 12 for s in faces.subjects])
    if overlap:
        test[0] = True
    split = np.where(test, "test", "train").tolist()
    points = faces.dense[:, SPARSE_FROM_DENSE, :2]
    files = [f"{i}.png" for i in range(len(faces.labels))]
    with PackWriter(path, Vocabulary(NAMES), dataset="drawn") as writer:
        writer.append(faces.images, faces.labels, faces.subjects.tolist(), files, points, split, faces.dense)
    return FacePack.open(path)
