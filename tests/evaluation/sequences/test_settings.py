"""Settings of sequence classifiers out of words."""

from __future__ import annotations

import pytest

from lssl_augment.errors import DataError
from lssl_augment.evaluation.sequences.adalbp import AdaLbpConfig
from lssl_augment.evaluation.sequences.dtagn import DtagnConfig
from lssl_augment.evaluation.sequences.hog3d import Hog3dConfig
from lssl_augment.evaluation.sequences.lbp_top import LbpTopConfig
from lssl_augment.evaluation.sequences.settings import parse_sequence_settings


def test_words_become_the_arguments_of_each_classifier() -> None:
    found = parse_sequence_settings([
        "frames=8", "hog3d.blocks=1,3,3", "hog3d.half_orientation=true", "adalbp.rounds=5", "adalbp.rows=3",
        "dtagn.steps=7", "dtagn.learning_rate=1e-3", "dtagn.flip=False", "dtagn.steps=9",
    ])  # fmt: skip
    assert (found.frames, found.size_px) == (8, 64)
    assert found.arguments == {
        "hog3d": {"config": Hog3dConfig(blocks=(1, 3, 3), half_orientation=True)},
        "adalbp": {"config": AdaLbpConfig(rounds=5), "layout": LbpTopConfig(rows=3)},
        "dtagn": {"config": DtagnConfig(steps=9, learning_rate=1e-3, flip=False)},
    }
    assert parse_sequence_settings([]).arguments == {"hog3d": {}, "adalbp": {}, "dtagn": {}}


@pytest.mark.parametrize(("word", "said"), [
    ("steps", "written KEY=VALUE; got 'steps'"),
    ("steps=3", "unknown setting 'steps=3'; allowed: frames="),
    ("lbp.rows=3", "unknown setting 'lbp.rows=3'"),
    ("dtagn.rows=3", "dtagn has width, hidden"),
    ("adalbp.steps=3", "adalbp has rounds, pairs, cost, gamma, points"),
    ("dtagn.steps=few", "needs a whole number behind the =; got 'few'"),
    ("dtagn.flip=1", "needs true or false"),
    ("hog3d.blocks=1,x,3", "needs whole numbers with commas"),
    ("dtagn.steps=0", "steps must be from 1"),
    ("frames=1", "frames must be at least 2"),
    ("size_px=4", "size_px at least 8; got 16 and 4"),
])  # fmt: skip
def test_other_words_are_refused(word: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        parse_sequence_settings([word])
