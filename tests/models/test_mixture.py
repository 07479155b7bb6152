"""Between two expressions, with a compact generator."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from tiny_faces import SIZE_PX, as_tensors, compact_bundle
from torch import Tensor

from lssl_augment.errors import DataError
from lssl_augment.models.engine import EncodedFaces, ExpressionEngine
from lssl_augment.models.target_vectors import Mixture

NEUTRAL, HAPPINESS, SURPRISE = range(3)


@pytest.fixture(scope="module")
def engine() -> ExpressionEngine:
    return ExpressionEngine(compact_bundle(), precision="fp32")


@pytest.fixture(scope="module")
def face(engine: ExpressionEngine) -> EncodedFaces:
    return engine.encode(*as_tensors([0]))


def mixed(
    engine: ExpressionEngine, face: EncodedFaces, first: int, second: int, shares: Sequence[float], amount: float = 1.0
) -> Tensor:
    """One row a share, all of one face and seed."""
    n = len(shares)
    mixture = Mixture(torch.full((n,), second), torch.tensor(shares, dtype=torch.float32))
    rows = face.select(torch.zeros(n, dtype=torch.int64))
    return engine.edit(rows, torch.full((n,), first), torch.full((n,), amount), torch.full((n,), 4), mixture=mixture)


def plain(engine: ExpressionEngine, face: EncodedFaces, target: int, amount: float = 1.0) -> Tensor:
    return engine.edit(face, torch.tensor([target]), torch.tensor([amount]), torch.tensor([4]))


@pytest.mark.parametrize(("first", "second"), [(HAPPINESS, SURPRISE), (SURPRISE, NEUTRAL), (NEUTRAL, SURPRISE)])
@pytest.mark.parametrize("amount", [1.0, 0.6])
def test_the_ends_are_the_expressions_themselves(
    engine: ExpressionEngine, face: EncodedFaces, first: int, second: int, amount: float
) -> None:
    ends = mixed(engine, face, first, second, [0.0, 1.0], amount)
    for end, target in zip(ends, (first, second), strict=True):
        # Batches of another size round otherwise: half a grey level.
        torch.testing.assert_close(end, plain(engine, face, target, amount)[0], atol=4e-3, rtol=0)
    assert float((ends[0] - ends[1]).abs().mean()) > 1e-2


@pytest.mark.parametrize(("first", "second"), [(HAPPINESS, SURPRISE), (SURPRISE, HAPPINESS)])
def test_shares_lead_from_one_to_the_other(
    engine: ExpressionEngine, face: EncodedFaces, first: int, second: int
) -> None:
    way = mixed(engine, face, first, second, [0.0, 0.25, 0.5, 0.75, 1.0])
    from_first = [float((step - way[0]).abs().mean()) for step in way]
    from_second = [float((step - way[-1]).abs().mean()) for step in way]
    assert from_first == sorted(from_first)
    assert from_second == sorted(from_second, reverse=True)
    # Two halves are the same mixture whichever comes first.
    halves = mixed(engine, face, first, second, [0.5]), mixed(engine, face, second, first, [0.5])
    torch.testing.assert_close(*halves, atol=4e-3, rtol=0)


def test_the_mouth_opens_in_equal_steps(engine: ExpressionEngine, face: EncodedFaces) -> None:
    """What the generator draws its side image from moves in a straight line, so the landmarks do not jump."""
    drawn: list[Tensor] = []
    side = engine._side
    engine._side = lambda dense: (drawn.append(dense), side(dense))[1]  # type: ignore[func-returns-value, method-assign]
    try:
        mixed(engine, face, NEUTRAL, SURPRISE, [0.0, 0.5, 1.0])
    finally:
        del engine._side
    (moved,) = drawn
    chin = moved[:, 152, 1]
    assert float(chin[2] - chin[0]) > 1
    torch.testing.assert_close(moved[1, 152], (moved[0, 152] + moved[2, 152]) / 2, atol=0.05, rtol=0)


def test_a_mixture_of_one_expression_is_that_expression(engine: ExpressionEngine, face: EncodedFaces) -> None:
    same = mixed(engine, face, HAPPINESS, HAPPINESS, [0.3])
    torch.testing.assert_close(same, plain(engine, face, HAPPINESS), atol=4e-3, rtol=0)


def test_rows_have_shares_of_their_own(engine: ExpressionEngine, face: EncodedFaces) -> None:
    rows = face.select(torch.zeros(3, dtype=torch.int64))
    mixture = Mixture(torch.tensor([SURPRISE, NEUTRAL, SURPRISE]), torch.tensor([0.0, 1.0, 0.5]))
    targets, full, seeds = torch.tensor([HAPPINESS, SURPRISE, HAPPINESS]), torch.ones(3), torch.full((3,), 4)
    out = engine.edit(rows, targets, full, seeds, mixture=mixture)
    torch.testing.assert_close(out[0], plain(engine, face, HAPPINESS)[0], atol=4e-3, rtol=0)
    torch.testing.assert_close(out[1], plain(engine, face, NEUTRAL)[0], atol=4e-3, rtol=0)
    torch.testing.assert_close(out[2:], mixed(engine, face, HAPPINESS, SURPRISE, [0.5]), atol=4e-3, rtol=0)
    nothing = torch.zeros(0, dtype=torch.int64)
    none = engine.edit(face.select(nothing), nothing, torch.zeros(0), nothing, mixture=Mixture(nothing, torch.zeros(0)))
    assert none.shape == (0, 3, SIZE_PX, SIZE_PX)


@pytest.mark.parametrize(
    ("second", "share", "message"),
    [
        ([1, 2], [0.5], "a second target and a share for each of 1 rows; got 2 and 1"),
        ([1], [0.5, 0.5], "got 1 and 2"),
        ([3], [0.5], r"second targets must be in \[0, 2\]; got \[3\]"),
        ([-1], [0.5], r"second targets must be in \[0, 2\]; got \[-1\]"),
        ([1], [1.01], r"shares must be in \[0, 1\]; got 1.0"),
        ([1], [-0.5], r"shares must be in \[0, 1\]; got -0.5"),
        ([1], [float("nan")], r"shares must be in \[0, 1\]; got nan"),
    ],
)
def test_mixtures_that_do_not_fit(
    engine: ExpressionEngine, face: EncodedFaces, second: list[int], share: list[float], message: str
) -> None:
    mixture = Mixture(torch.tensor(second), torch.tensor(share))
    with pytest.raises(DataError, match=message):
        engine.edit(face, torch.tensor([0]), torch.ones(1), torch.tensor([1]), mixture=mixture)
