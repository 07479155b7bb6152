"""Which faces are learned from, and where a head ends."""

from __future__ import annotations

import cv2
import numpy as np

from lssl_augment.simulation.head_mask import head_mask, signed_distance
from lssl_augment.simulation.learn import warped_luma
from lssl_augment.simulation.selection import Selection, select_faces, uncovered, view_angles_deg

Drawn = tuple[np.ndarray, np.ndarray]
#: Drawn people are softer than photographs.
LIMITS = Selection(sharpness=0.0, lips_apart=0.3, lids_apart=0.0, per_subject=3)


def turned(dense: np.ndarray, yaw_deg: float) -> np.ndarray:
    angle = np.radians(yaw_deg)
    centre = dense.mean(axis=1, keepdims=True)
    rotation = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return (dense - centre) @ rotation + centre


def test_turned_faces_open_mouths_and_closed_eyes_are_left_out(drawn: Drawn) -> None:
    images, dense = drawn
    names = [str(row) for row in range(len(images))]
    plain = select_faces(images, dense, names, LIMITS)
    assert len(plain) > 40
    assert len(select_faces(images, turned(dense, 60.0), names, LIMITS)) == 0
    opened = dense.copy()
    opened[:, 14, 1] += 20
    assert len(select_faces(images, opened, names, LIMITS)) == 0
    asleep = dense.copy()
    asleep[:, [145, 374]] = asleep[:, [159, 386]]
    limits = Selection(sharpness=0.0, lips_apart=0.3, lids_apart=0.01)
    assert len(select_faces(images, asleep, names, limits)) == 0


def test_yaw_is_measured_in_degrees(drawn: Drawn) -> None:
    before, _ = view_angles_deg(drawn[1])
    after, _ = view_angles_deg(turned(drawn[1], 20.0))
    assert np.allclose(np.abs(after - before), 20.0, atol=0.5)


def test_a_few_faces_a_person_and_no_blurred_ones(drawn: Drawn) -> None:
    images, dense = drawn
    assert (
        select_faces(images, dense, ["one"] * len(images), LIMITS).tolist()
        == sorted(select_faces(images, dense, [str(i) for i in range(len(images))], LIMITS).tolist())[:3]
    )
    blurred = np.stack([cv2.GaussianBlur(image, (0, 0), 8) for image in images])
    limits = Selection(sharpness=3.0, lips_apart=0.3, lids_apart=0.0)
    assert len(select_faces(blurred, dense, [str(i) for i in range(len(images))], limits)) == 0


def test_glasses_and_hats_are_seen(drawn: Drawn) -> None:
    images, dense = drawn
    luma = warped_luma(images, dense)
    free = uncovered(luma, Selection())
    assert free.mean() > 0.7
    glasses, sunglasses, hat = luma.copy(), luma.copy(), luma.copy()
    glasses[:, 48:50, 36:92] = 10
    glasses[:, 59:61, 38:90] = 10
    sunglasses[:, 43:54, 36:92] = 5
    hat[:, :36] = 15
    for covered in (glasses, sunglasses, hat):
        assert uncovered(covered, Selection()).mean() < 0.1


def test_a_head_is_told_from_its_background(drawn: Drawn) -> None:
    dense = drawn[1][0]
    image = np.full((128, 128, 3), (40, 90, 200), np.uint8)
    rng = np.random.default_rng(0)
    truth = np.zeros((128, 128), np.uint8)
    cv2.ellipse(truth, (64, 60), (48, 66), 0, 0, 360, 1, -1)
    cv2.rectangle(truth, (36, 100), (92, 127), 1, -1)
    image[truth > 0] = (200, 150, 120)
    noisy = np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    found = head_mask(noisy, dense)
    assert np.array_equal(found, head_mask(noisy, dense))
    union, both = (found | (truth > 0)).sum(), (found & (truth > 0)).sum()
    assert both / union > 0.93


def test_signed_distances_are_positive_inside_and_limited() -> None:
    mask = np.zeros((64, 64), bool)
    mask[16:48, 16:48] = True
    distance = signed_distance(mask, 64, limit_px=10.0)
    assert distance.dtype == np.float32
    assert distance[32, 32] == 10.0
    assert distance[0, 0] == -10.0
    assert 0 < distance[32, 17] < distance[32, 20]
