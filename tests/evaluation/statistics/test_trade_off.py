"""Arms at the same plain accuracy: curves and their best places against a search by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from lssl_augment.evaluation.prior import with_prior
from lssl_augment.evaluation.statistics import Cell, summarise_cells
from lssl_augment.evaluation.statistics.bootstrap import Resampler
from lssl_augment.evaluation.statistics.trade_off import COSTS, EXPONENTS, TradeOff, trade_offs
from tests.evaluation.drawn_cells import drawn

COUNTS = {"neutral": 400, "happiness": 100, "surprise": 10}


def cells_of(folder: Path, skills: dict[str, float]) -> dict[str, list[Cell]]:
    out: dict[str, list[Cell]] = {}
    for cell in drawn(folder, skills, n_train=COUNTS):
        out.setdefault(cell.arm, []).append(cell)
    return out


def by_hand(cells: list[Cell]) -> np.ndarray:
    """(exponents, 2): plain and balanced accuracy by scikit-learn, means over cells."""
    found = []
    for exponent in EXPONENTS:
        named = [with_prior(c.probabilities, list(COUNTS.values()), exponent).argmax(1) for c in cells]
        scores = [
            (accuracy_score(c.labels, n), balanced_accuracy_score(c.labels, n))
            for c, n in zip(cells, named, strict=True)
        ]
        found.append(np.mean(scores, 0))
    return np.array(found)


def test_curves_and_best_places_as_by_hand(tmp_path: Path) -> None:
    arms = cells_of(tmp_path, {"balanced": 1.0, "lssl": 1.6})
    got = trade_offs(arms, "balanced", Resampler(60))
    assert list(got) == ["balanced", "lssl"]
    tables = {name: by_hand(cells) for name, cells in arms.items()}
    level = tables["balanced"][EXPONENTS.index(0.0), 0]
    for name, table in tables.items():
        np.testing.assert_allclose(got[name].accuracy, table[:, 0])
        np.testing.assert_allclose(got[name].balanced, table[:, 1])
        for place, cost in enumerate(COSTS):
            best = max(balanced for plain, balanced in table if plain >= level - cost - 1e-9)
            assert got[name].best[place] == pytest.approx(best)
            assert got[name].gain[place] == pytest.approx(best - got["balanced"].best[place])
    assert got["balanced"].gain == (0.0,) * len(COSTS)
    assert got["balanced"].interval == ((0.0, 0.0),) * len(COSTS)
    for gain, (low, high) in zip(got["lssl"].gain, got["lssl"].interval, strict=True):
        assert 0 < low < gain < high


def test_boldness_alone_gains_nothing(tmp_path: Path) -> None:
    """An arm whose classifiers are the baseline's with chances taken away has the baseline's curve."""
    arms = cells_of(tmp_path, {"balanced": 1.0})
    bold = [
        replace(
            cell,
            record={**cell.record, "arm": "bold"},
            probabilities=with_prior(cell.probabilities, list(COUNTS.values()), -0.3),
        )
        for cell in arms["balanced"]
    ]
    got = trade_offs({**arms, "bold": bold}, "balanced", Resampler(60))
    as_it_is = EXPONENTS.index(0.0)
    assert got["bold"].accuracy[as_it_is] < got["balanced"].accuracy[as_it_is]
    np.testing.assert_allclose(got["bold"].gain, 0, atol=1e-12)
    np.testing.assert_allclose(got["bold"].interval, 0, atol=1e-12)


def test_an_arm_that_never_gets_there(tmp_path: Path) -> None:
    got = trade_offs(cells_of(tmp_path, {"balanced": 4.0, "lssl": 0.0}), "balanced", Resampler(60))
    assert np.isnan(got["lssl"].best).all()
    assert np.isnan(got["lssl"].interval).all()


def test_which_arms_have_a_curve(tmp_path: Path) -> None:
    def curves(cells: list[Cell]) -> dict[str, TradeOff]:
        (regime,) = summarise_cells(cells, draws=10)
        return regime.trade_offs

    cells = drawn(tmp_path / "a", {"balanced": 1.0, "lssl": 1.5, "lssl-prior": 1.5}, n_train=COUNTS)
    assert list(curves(cells)) == ["balanced", "lssl"]  # -prior is a point of lssl's own curve
    named_so = drawn(tmp_path / "d", {"balanced": 1.0, "lssl:no-prior-side": 1.5}, n_train=COUNTS)
    assert list(curves(named_so)) == ["balanced", "lssl:no-prior-side"]
    assert curves([c for c in cells if c.arm != "balanced"]) == {}  # nothing to compare with
    assert curves(drawn(tmp_path / "b", {"balanced": 1.0, "lssl": 1.5})) == {}  # no counts in these records
    other = drawn(tmp_path / "c", {"lssl": 1.5}, n_train=COUNTS, prefix="generated/")
    assert list(curves([c for c in cells if c.arm == "balanced"] + other)) == ["balanced"]
