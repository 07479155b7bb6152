"""Vocabularies, pose bins, and attribute vectors."""

from __future__ import annotations

import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lssl_augment.attribute_vector import AttributeSpec, attribute_words
from lssl_augment.attributes import (
    BASIC5,
    BASIC8,
    LIGHTS,
    POSES_DEG,
    SIGNED_POSES_DEG,
    Vocabulary,
    canonical_expression,
    pose_index,
)
from lssl_augment.errors import DataError, WeightsError

FULL = AttributeSpec(BASIC5, SIGNED_POSES_DEG, LIGHTS)


@st.composite
def specs(draw: st.DrawFn) -> AttributeSpec:
    names = draw(st.permutations(BASIC8.names))[: draw(st.integers(1, 8))]
    poses = draw(st.sampled_from([(), (0,), (0, 15), POSES_DEG, (-15, 0, 15), SIGNED_POSES_DEG]))
    lights = draw(st.permutations(LIGHTS))[: draw(st.integers(0, 3))]
    return AttributeSpec(Vocabulary(tuple(names)), poses, tuple(lights))


@st.composite
def specs_and_codes(draw: st.DrawFn) -> tuple[AttributeSpec, np.ndarray]:
    spec = draw(specs())
    sizes = [place.stop - place.start for place in spec.groups.values()]
    rows = draw(st.lists(st.tuples(*(st.integers(-1, size - 1) for size in sizes)), max_size=6))
    return spec, np.array(rows, np.int64).reshape(-1, len(sizes))


def test_aliases_and_one_hot() -> None:
    assert canonical_expression(" Happy ") == "happiness"
    assert "Happy" in BASIC5
    assert BASIC5.index("surprised") == 2
    assert BASIC5.one_hot([1, 0]).tolist() == [[0, 1, 0, 0, 0], [1, 0, 0, 0, 0]]
    with pytest.raises(DataError, match="unknown expression 'bored'; allowed: neutral"):
        BASIC5.index("bored")


@pytest.mark.parametrize(
    ("yaw", "unsigned", "signed"),
    [(0, 0, 0), (-7.4, 0, 0), (7.5, 15, 15), (-7.5, 15, -15), (22.4, 15, 15), (-44, 45, -45), (52.4, 45, 45)],
)
def test_yaw_goes_to_the_nearest_pose(yaw: float, unsigned: int, signed: int) -> None:
    assert POSES_DEG[pose_index([yaw])[0]] == unsigned
    assert SIGNED_POSES_DEG[pose_index([yaw], SIGNED_POSES_DEG)[0]] == signed


def test_unknown_and_far_yaw_has_no_pose() -> None:
    assert pose_index([math.nan, 52.5, -52.5, 1e300]).tolist() == [-1] * 4
    assert pose_index([math.nan, 52.5, -52.5, -1e300], SIGNED_POSES_DEG).tolist() == [-1] * 4
    assert pose_index(np.zeros(0)).shape == (0,)
    assert pose_index(np.array([30, -30])).tolist() == [2, 2]


@given(st.floats(-52.49, 52.49), st.sampled_from([POSES_DEG, SIGNED_POSES_DEG]))
def test_no_pose_is_nearer(yaw: float, poses: tuple[int, ...]) -> None:
    seen = yaw if poses[0] < 0 else abs(yaw)
    index = int(pose_index([yaw], poses)[0])
    assert abs(poses[index] - seen) <= min(abs(pose - seen) for pose in poses) + 1e-9
    mirrored = int(pose_index([-yaw], poses)[0])
    assert mirrored == (index if poses[0] == 0 else len(poses) - 1 - index)


@pytest.mark.parametrize(
    "poses", [(), (15, 30), (0, 10, 20), (-15, 0), (-30, 0, 30), (0, 15, 45), (45, 30, 15, 0), (-15, 0, 15, 30), (-15,)]
)
def test_other_rows_of_poses_are_refused(poses: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"steps of 15 degrees"):
        pose_index([0.0], poses)


@pytest.mark.parametrize("yaw", [[math.inf], [[0.0]], ["0"], 3.0])
def test_unusable_yaw_is_refused(yaw: object) -> None:
    with pytest.raises(DataError, match="yaw_deg must be"):
        pose_index(yaw)  # type: ignore[arg-type]


def test_vectors_hold_the_groups_side_by_side() -> None:
    spec = AttributeSpec(BASIC5, POSES_DEG, LIGHTS)
    assert len(spec) == 5 + 4 + 3
    assert spec.groups == {"expression": slice(0, 5), "pose": slice(5, 9), "light": slice(9, 12)}
    assert spec.names[4:7] == ("sadness", "pose 0", "pose 15")
    assert spec.names[-1] == "light dark"
    codes = spec.codes([1, -1, 4], yaw_deg=[-16.0, 0.0, math.nan], lights=["weak", "", "dark"])
    assert codes.tolist() == [[1, 1, 1], [-1, 0, -1], [4, -1, 2]]
    vectors = spec.encode(codes)
    assert vectors.dtype == np.float32
    assert [np.flatnonzero(row).tolist() for row in vectors] == [[1, 6, 10], [5], [4, 11]]
    assert spec.mask(codes)[1].tolist() == [False] * 5 + [True] * 4 + [False] * 3
    assert spec.describe(codes[2]) == {"expression": "sadness", "pose": None, "light": "dark"}


def test_a_plain_spec_is_the_vocabulary() -> None:
    spec = AttributeSpec(BASIC5)
    labels = np.array([3, 0, 2])
    assert np.array_equal(spec.encode(spec.codes(labels, [5.0, 9.0, 50.0], ["dark"] * 3)), BASIC5.one_hot(labels))
    assert spec.to_card() == {"expression": list(BASIC5.names)}


def test_lights_of_the_world_that_are_not_of_the_spec_are_unknown() -> None:
    spec = AttributeSpec(BASIC5, lights=("normal", "dark"))
    assert spec.codes([0, 0], lights=["weak", "dark"]).tolist() == [[0, -1], [0, 1]]


@given(specs_and_codes(), st.floats(0.01, 1))
def test_what_is_encoded_is_decoded(pair: tuple[AttributeSpec, np.ndarray], intensity: float) -> None:
    spec, codes = pair
    vectors = spec.encode(codes)
    assert vectors.shape == (len(codes), len(spec)) == (len(codes), len(spec.names))
    assert np.array_equal(spec.decode(vectors), codes)
    assert np.array_equal(spec.decode(vectors * intensity), codes)
    assert np.array_equal(vectors.sum(1), (codes >= 0).sum(1))
    assert np.array_equal(vectors * spec.mask(codes), vectors)
    for column, place in zip(codes.T, spec.groups.values(), strict=True):
        assert np.array_equal(spec.mask(codes)[:, place].all(1), column >= 0)
        assert np.array_equal(spec.mask(codes)[:, place].any(1), column >= 0)


@given(specs_and_codes(), st.data())
def test_replacing_one_group_keeps_the_others(pair: tuple[AttributeSpec, np.ndarray], data: st.DataObject) -> None:
    spec, codes = pair
    before = codes.copy()
    name = data.draw(st.sampled_from(sorted(spec.groups)))
    place = spec.groups[name]
    code = data.draw(st.integers(-1, place.stop - place.start - 1))
    out = spec.replace(codes, **{name: code})
    assert np.array_equal(codes, before)
    at = list(spec.groups).index(name)
    assert (out[:, at] == code).all()
    assert np.array_equal(np.delete(out, at, axis=1), np.delete(codes, at, axis=1))
    assert np.array_equal(spec.replace(out, **{name: codes[:, at]}), codes)


@given(specs())
def test_cards_bring_the_spec_back(spec: AttributeSpec) -> None:
    assert AttributeSpec.from_card(json.loads(json.dumps(spec.to_card()))) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert hash(spec) == hash(AttributeSpec(spec.expressions, spec.poses_deg, spec.lights))


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (None, "need expression"),
        ({"pose_deg": [0]}, "need expression"),
        ({"expression": ["neutral"], "age": ["old"]}, "need expression"),
        ({"expression": "neutral"}, "expression must be a list of str"),
        ({"expression": ["happy"]}, "use 'happiness'"),
        ({"expression": []}, "at least one"),
        ({"expression": ["neutral"], "pose_deg": [0, 15.0]}, "pose_deg must be a list of int"),
        ({"expression": ["neutral"], "pose_deg": [0, True]}, "pose_deg must be a list of int"),
        ({"expression": ["neutral"], "pose_deg": [0, 20]}, "steps of 15"),
        ({"expression": ["neutral"], "light": ["dim"]}, r"got \['dim'\]"),
    ],
)
def test_cards_of_something_else_are_refused(card: object, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        AttributeSpec.from_card(card)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": [0, 1], "yaw_deg": [0.0]}, "2 labels need as many values of pose; got 1"),
        ({"labels": [0], "lights": ["weak", "dark"]}, "1 labels need as many values of light; got 2"),
        ({"labels": [5]}, "expression: codes must be 0 to 4, or -1 where unknown; got 5"),
        ({"labels": [-2]}, "got -2"),
        ({"labels": [0.0]}, "1-D integer array; got shape .1,., dtype float64"),
        ({"labels": [[0]]}, "1-D integer array"),
        ({"labels": [0], "lights": ["dim"]}, "unknown light 'dim'; allowed: normal, weak, dark, or empty"),
        ({"labels": [0], "lights": [["dark"]]}, "1-D array of texts"),
    ],
)
def test_faces_that_do_not_fit_are_refused(arguments: dict[str, list[object]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        FULL.codes(**arguments)  # type: ignore[arg-type]


def test_codes_and_vectors_that_do_not_fit_are_refused() -> None:
    codes = FULL.codes([0, 1])
    with pytest.raises(DataError, match=r"shape \(B, 3\), a column each for expression, pose, light; got \(2, 2\)"):
        FULL.encode(codes[:, :2])
    with pytest.raises(DataError, match="float64"):
        FULL.mask(codes.astype(float))
    with pytest.raises(DataError, match=r"\(B, 15\); got \(2, 3\)"):
        FULL.decode(codes)
    with pytest.raises(DataError, match="finite"):
        FULL.decode(np.full((1, 15), np.nan))
    with pytest.raises(DataError, match="no attribute group 'pose' here; this spec has expression"):
        AttributeSpec(BASIC5).replace(codes[:, :1], pose=0)
    with pytest.raises(DataError, match=r"one code, or 2 of them; got shape \(3,\)"):
        FULL.replace(codes, light=[0, 1, 2])
    with pytest.raises(DataError, match="codes must be integers"):
        FULL.replace(codes, light=0.5)
    with pytest.raises(DataError, match="got 7 to 7"):
        FULL.replace(codes, pose=7)


def test_lights_must_be_known_and_distinct() -> None:
    for lights in (("dim",), ("weak", "weak")):
        with pytest.raises(DataError, match="lights must be distinct and of normal, weak, dark"):
            AttributeSpec(BASIC5, lights=lights)


@pytest.mark.parametrize(
    ("words", "poses", "lights"),
    [
        (("expression",), (), ()),
        (("light", "expression"), (), LIGHTS),
        (("expression", "pose", "light"), POSES_DEG, LIGHTS),
        (("expression", "signed-pose"), SIGNED_POSES_DEG, ()),
        (("expression", "pose:30", "light:dark+normal"), (0, 15, 30), ("normal", "dark")),
        (("signed-pose:15", "expression"), (-15, 0, 15), ()),
    ],
)
def test_words_name_groups(words: tuple[str, ...], poses: tuple[int, ...], lights: tuple[str, ...]) -> None:
    assert attribute_words(words) == (poses, lights)
    spec = AttributeSpec(BASIC5, *attribute_words(words))
    assert (spec.poses_deg, spec.lights) == (poses, lights)


EACH_ONCE = "attributes are expression, and where wanted pose (or signed-pose) and light, each once; got "


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), EACH_ONCE + "none"),
        (("pose", "light"), EACH_ONCE + "pose,light"),
        (("expression", "age"), EACH_ONCE + "expression,age"),
        (("expression", "signed-light"), EACH_ONCE + "expression,signed-light"),
        (("signed-expression",), EACH_ONCE + "signed-expression"),
        (("expression", ""), EACH_ONCE + "expression,"),
        (("expression", "expression"), EACH_ONCE + "expression,expression"),
        (("expression", "pose", "signed-pose"), EACH_ONCE + "expression,pose,signed-pose"),
        (("expression", "light", "light:dark+weak"), EACH_ONCE + "expression,light,light:dark+weak"),
        (("expression", "pose:20"), "pose:N ends at one of 15, 30, 45; got 'pose:20'"),
        (("expression", "pose:0"), "pose:N ends at one of 15, 30, 45; got 'pose:0'"),
        (("expression", "pose:"), "got 'pose:'"),
        (("expression", "pose:-15"), "got 'pose:-15'"),
        (("expression", "pose:wide"), "got 'pose:wide'"),
        (("expression", "signed-pose:60"), "signed-pose:N ends at one of 15, 30, 45; got 'signed-pose:60'"),
        (("expression", "light:"), "light:A+B takes two or three of normal, weak, dark; got 'light:'"),
        (("expression", "light:dark"), "two or three of normal, weak, dark; got 'light:dark'"),
        (("expression", "light:dark+dark"), "got 'light:dark+dark'"),
        (("expression", "light:dark+dim"), "got 'light:dark+dim'"),
        (("expression:happiness",), "expressions are chosen with classes=…; got 'expression:happiness'"),
    ],
)
def test_other_words_are_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError) as caught:
        attribute_words(words)
    assert message in str(caught.value)
