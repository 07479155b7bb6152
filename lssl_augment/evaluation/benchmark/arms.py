"""Arms: ways to train the same classifier on the same faces for the same number of optimiser steps."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lssl_augment.errors import DataError
from lssl_augment.evaluation.controls import SHUFFLED_SUFFIX
from lssl_augment.evaluation.prior import PRIOR_SUFFIX

__all__ = ["ARMS", "GENERATOR_PRESETS", "POWER", "PRIOR", "Arm", "find_arm"]

#: Exponent of tempered sampling: a class of n faces is drawn with a chance proportional to n^POWER.
POWER = 0.2
#: Exponent of the class chances that an arm ``NAME-prior`` puts back, chosen on training people (docs/benchmark.md).
PRIOR = 0.4


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Args:
        name: as typed and reported.
        change: of each face: ``none``, ``ordinary`` (flip, crop, rotation, colour) or ``randaugment``.
        sampling: ``plain`` (faces as they come), ``balanced`` (a class first), ``power``, or ``emptied``: ``balanced``
            less the places that synthetic faces would take.
        mix: ``none``, ``mixup`` or ``cutmix``.
        extra: ``none``, ``upsampled`` (real faces of the target classes again), ``stored`` (synthetic faces from a
            file) or ``loop`` (made while training). shuffled: the labels of stored faces are, as a control.
        generator: key of the generator of synthetic faces; empty: none.
        of: arm whose trained classifiers this one uses; empty: it trains its own. prior: what it does to their
            probabilities, :func:`~lssl_augment.evaluation.prior.with_prior`.
        sequences: it is a classifier of whole sequences with a training of its own, and nothing above counts.
    """

    name: str
    change: str = "ordinary"
    sampling: str = "balanced"
    mix: str = "none"
    extra: str = "none"
    generator: str = ""
    shuffled: bool = False
    of: str = ""
    prior: float = 0.0
    sequences: bool = False

    @property
    def power(self) -> float | None:
        return POWER if self.sampling == "power" else None


_ALL = (
    Arm("real", change="none", sampling="plain"),
    Arm("ordinary", sampling="plain"),
    Arm("balanced"),
    Arm("power", sampling="power"),
    Arm("emptied", sampling="emptied"),
    Arm("randaugment", change="randaugment"),
    Arm("power-randaugment", change="randaugment", sampling="power"),
    Arm("mixup", mix="mixup"),
    Arm("cutmix", mix="cutmix"),
    Arm("upsampled", sampling="plain", extra="upsampled"),
    Arm("lssl", extra="stored", generator="lssl"),
    Arm("lssl-power", sampling="power", extra="stored", generator="lssl"),
    Arm("lssl-power-randaugment", change="randaugment", sampling="power", extra="stored", generator="lssl"),
    Arm("lssl-loop", extra="loop", generator="lssl"),
    Arm("stargan", extra="stored", generator="stargan"),
    Arm("cyclegan", extra="stored", generator="cyclegan"),
    Arm("icgan", extra="stored", generator="icgan"),
    Arm("simgan", extra="stored", generator="simgan"),
    *(Arm(name, sequences=True) for name in ("hog3d", "adalbp", "dtagn")),
)

ARMS = {arm.name: arm for arm in _ALL}

#: Generator → preset that trains it.
GENERATOR_PRESETS = {
    "lssl": "compact",
    "stargan": "stargan",
    "cyclegan": "cyclegan",
    "icgan": "icgan",
    "simgan": "simgan",
}


def find_arm(name: str) -> Arm:
    """The arm of a name; ``lssl:WORD`` is an ablation, the generator of that key with stored faces; ``NAME-prior`` is
    the arm NAME with class chances put back, ``NAME-shuffled`` the arm NAME with shuffled labels of synthetic faces.

    Raises:
        DataError: there is none.
    """
    if name in ARMS:
        return ARMS[name]
    plain = name.removesuffix(PRIOR_SUFFIX)
    if plain != name and not plain.endswith(PRIOR_SUFFIX):
        base = find_arm(plain)
        if base.sequences:
            raise DataError(f"there is no arm {name!r}: class chances are put back for arms of single faces only")
        return replace(base, name=name, of=base.name, prior=PRIOR)
    plain = name.removesuffix(SHUFFLED_SUFFIX)
    if plain != name:
        base = find_arm(plain)
        if base.extra != "stored" or base.shuffled or base.of:
            raise DataError(f"there is no arm {name!r}: only synthetic faces that are made beforehand can be shuffled")
        return replace(base, name=name, shuffled=True)
    key, colon, word = name.partition(":")
    if key == "lssl" and colon and word:
        return Arm(name, extra="stored", generator=name)
    raise DataError(
        f"unknown arm {name!r}; arms: {', '.join(ARMS)}, lssl:WORD (with --weights lssl:WORD=FILE) "
        "and each of them with -prior behind, those with stored synthetic faces with -shuffled"
    )
