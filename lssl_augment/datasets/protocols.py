"""Protocols: how papers divide a data set into faces to train on and faces to test on.

A protocol puts every subject into one part and says, for each fold, which parts are trained on and which are
tested on. All are independent of the subject where the subject is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from lssl_augment.datasets.splits import TEST, TRAIN, check_apart, folds_without, subject_folds, subject_split
from lssl_augment.errors import DataError, LeakageError

__all__ = ["KINDS", "PROTOCOLS", "Division", "Fold", "Protocol", "divide", "find_protocol", "protocol_of"]

KINDS = ("kfold", "holdout", "official")


@dataclass(frozen=True)
class Fold:
    """Names of the parts that one fold trains on, tests on, and chooses settings on (validation)."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    validation: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        parts = [*self.train, *self.test, *self.validation]
        twice = sorted({part for part in parts if parts.count(part) > 1})
        if twice:
            raise LeakageError(f"part {', '.join(twice)} of a fold is used for two things; each part has one use")
        if not self.train or not self.test:
            raise DataError(f"a fold needs a part to train on and one to test on; got {self.train} and {self.test}")


@dataclass(frozen=True)
class Protocol:
    """How a data set is divided.

    Args:
        name: as typed after ``--protocol``.
        kind: ``"kfold"``: every fold is tested once on a k-th of the subjects. ``"holdout"``: one fold, tested
            on a share of the subjects. ``"official"``: the data set's own split.
        source: where it comes from.
        folds: how many; 1 but for ``kfold``.
        test_fraction: share of each expression's faces to test on (``holdout``).
        fold: which of the data set's own splits do what (``official``).

    Raises:
        DataError: values that do not fit the kind.
    """

    name: str
    kind: str
    source: str
    folds: int = 1
    test_fraction: float | None = None
    fold: Fold | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DataError(f"kind of a protocol must be one of {', '.join(KINDS)}; got {self.kind!r}")
        if (self.kind == "kfold") != (self.folds > 1):
            raise DataError(f"a kfold protocol has at least 2 folds, others have 1; got {self.kind} with {self.folds}")
        if (self.kind == "holdout") != (self.test_fraction is not None):
            raise DataError(f"test_fraction belongs to holdout only; got {self.test_fraction} for {self.kind}")
        if self.test_fraction is not None and not 0 < self.test_fraction < 1:
            raise DataError(f"test_fraction must be between 0 and 1; got {self.test_fraction}")
        if (self.kind == "official") != (self.fold is not None):
            raise DataError(f"an official protocol, and no other, names its fold; got {self.fold} for {self.kind}")


_OWN = "this package"
_LSSL = "Bozorgtabar, Rad, Ekenel, Thiran 2019 (arXiv 1905.00286)"
_ALL = (
    Protocol("oulu", "kfold", f"subject-independent 10-fold; Zhao et al. 2011, {_LSSL}", folds=10),
    Protocol("ckplus", "kfold", "subject-independent 10-fold; common since Liu et al. 2014", folds=10),
    Protocol("bu3dfe", "kfold", f"subject-independent 5-fold; {_LSSL}", folds=5),
    Protocol("lfw-expressions", "kfold", f"subject-independent 5-fold; {_OWN}", folds=5),
    Protocol("mug", "holdout", f"90 % to train on, 10 % to test on; {_LSSL}; by subject", test_fraction=0.1),
    Protocol("rafd", "holdout", "90 % and 10 % as in Choi et al. 2018 (StarGAN), here by subject", test_fraction=0.1),
    Protocol(
        "fer2013",
        "official",
        "Goodfellow et al. 2013: the private test decides, the public one is for choosing",
        fold=Fold((TRAIN,), ("private_test",), ("public_test",)),
    ),
    Protocol(
        "fer2013-public",
        "official",
        "Goodfellow et al. 2013, tested on the public test, for copies without the private one",
        fold=Fold((TRAIN,), ("public_test",)),
    ),
    Protocol("rafdb", "official", "Li, Deng, Du 2017", fold=Fold((TRAIN,), (TEST,))),
    Protocol(
        "affectnet",
        "official",
        "Mollahosseini, Hasani, Mahoor 2017; the test part was never published, papers test on val",
        fold=Fold((TRAIN,), ("val",)),
    ),
)

#: Name → protocol; those called like a data set are its usual ones.
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({protocol.name: protocol for protocol in _ALL})

_OFFICIAL = Protocol("official", "official", "the split of the pack", fold=Fold((TRAIN,), (TEST,), ("val",)))


def find_protocol(name: str) -> Protocol:
    """The protocol of a name: one of ``PROTOCOLS``, ``kfold:K``, ``holdout:FRACTION`` or ``official``.

    Raises:
        DataError: none of these.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    if name == _OFFICIAL.name:
        return _OFFICIAL
    kind, _, number = name.partition(":")
    try:
        if kind == "kfold":
            return Protocol(name, kind, f"subject-independent {int(number)}-fold", folds=int(number))
        if kind == "holdout":
            return Protocol(name, kind, f"{float(number):g} of the faces held out", test_fraction=float(number))
    except ValueError as error:  # DataError is one too
        raise DataError(f"protocol {name!r} cannot be used: {error}; write kfold:5 or holdout:0.2, say") from error
    raise DataError(
        f"unknown protocol {name!r}; known: {', '.join(PROTOCOLS)}, official, kfold:K (such as kfold:5) and "
        "holdout:FRACTION (such as holdout:0.2)"
    )


def protocol_of(dataset: str) -> Protocol:
    """The usual protocol of a data set, by the name in its pack.

    Raises:
        DataError: it has no usual one.
    """
    name = dataset.removesuffix(" (simulated)")
    if name not in PROTOCOLS:
        raise DataError(
            f"{dataset} has no usual protocol; choose one with --protocol: official (the pack's own split), "
            f"kfold:K, holdout:FRACTION or that of a data set ({', '.join(PROTOCOLS)})"
        )
    return PROTOCOLS[name]


@dataclass(frozen=True)
class Division:
    """Subjects in parts.

    Args:
        part_of: subject → part. folds: what each fold does with the parts.
        notes: what the user should know.
    """

    part_of: Mapping[str, str]
    folds: tuple[Fold, ...]
    notes: tuple[str, ...] = ()


def divide(
    protocol: Protocol, subjects: Sequence[str], words: Sequence[str], splits: Sequence[str], seed: int = 0
) -> Division:
    """Put the subjects of a data set into the parts of a protocol.

    Args:
        subjects: who is seen, one entry a face. words: expressions, empty where unlabelled.
        splits: the data set's own; used by ``official`` only. seed: not used by ``official``.

    Raises:
        DataError: no face, a face without a subject, or a split of the data set that is missing or that the
            protocol does not know.
        LeakageError: a subject is in two of the data set's own splits.
    """
    if not len(subjects):
        raise DataError("there is no face to divide")
    if "" in subjects:
        raise DataError(
            f"{list(subjects).count('')} faces have no subject, so nobody can say on which side they belong; prepare "
            "the pack again with subjects"
        )
    if protocol.kind == "official":
        return _official(protocol, subjects, splits)
    if protocol.kind == "holdout":
        assert protocol.test_fraction is not None  # of every hold-out protocol
        sides = subject_split(subjects, words, seed, protocol.test_fraction)
        fold = Fold((TRAIN,), (TEST,))
        if TEST not in sides:
            raise DataError(
                f"{protocol.name}: no subject can be held out of {len(set(subjects))}: each expression keeps one "
                "to train on; there must be more subjects than expressions"
            )
        division = Division(dict(sorted(zip(subjects, sides, strict=True))), (fold,))
    else:
        fold_of = subject_folds(subjects, words, protocol.folds, seed)
        parts = [f"fold{i}" for i in range(protocol.folds)]
        folds = tuple(Fold(tuple(p for p in parts if p != part), (part,)) for part in parts)
        division = Division({subject: parts[fold] for subject, fold in fold_of.items()}, folds)
    return Division(division.part_of, division.folds, _notes(protocol, division, subjects, words))


def _official(protocol: Protocol, subjects: Sequence[str], splits: Sequence[str]) -> Division:
    asked = protocol.fold
    assert asked is not None  # of every official protocol
    found = sorted(set(splits))
    needed = [*asked.train, *asked.test]
    missing = [part for part in needed if part not in found]
    unknown = [part for part in found if part not in (*needed, *asked.validation)]
    if missing or unknown:
        wrong = [f"no face of split {', '.join(missing)}"] * bool(missing)
        wrong += [f"faces of split {', '.join(unknown)}, which the protocol does not know"] * bool(unknown)
        fitting = [p.name for p in (*_ALL, _OFFICIAL) if p.fold is not None and _fits(p.fold, found)]
        fitting.append("a split by subject such as kfold:5")
        raise DataError(
            f"protocol {protocol.name} needs the splits {', '.join(needed)}; this pack has {' and '.join(wrong)} "
            f"(its splits: {', '.join(found)}). What fits: {', '.join(fitting)}"
        )
    home: dict[str, str] = {}
    for subject, split in zip(subjects, splits, strict=True):
        if home.setdefault(subject, split) != split:
            check_apart([subject], [subject], f"in {home[subject]} and in {split}")
    validation = tuple(part for part in asked.validation if part in found)
    notes = _unknown_subjects(subjects)
    return Division(dict(sorted(home.items())), (Fold(asked.train, asked.test, validation),), notes)


def _fits(fold: Fold, found: Sequence[str]) -> bool:
    needed = {*fold.train, *fold.test}
    return needed <= set(found) <= needed | set(fold.validation)


def _unknown_subjects(subjects: Sequence[str]) -> tuple[str, ...]:
    if len(set(subjects)) < len(subjects):
        return ()
    return ("every face is its own subject: if somebody has two faces, they may be on both sides",)


def _notes(protocol: Protocol, division: Division, subjects: Sequence[str], words: Sequence[str]) -> tuple[str, ...]:
    tested = [part for fold in division.folds for part in fold.test]
    parts = list(dict.fromkeys([*tested, *division.part_of.values()])) if protocol.kind == "holdout" else tested
    place = {part: i for i, part in enumerate(parts)}
    fold_of = {subject: place[part] for subject, part in division.part_of.items()}
    notes = [*_unknown_subjects(subjects)]
    for word, (people, without) in folds_without(subjects, words, fold_of, len(parts)).items():
        if word:
            why = f"has {people} subjects for {len(parts)} parts" if people < len(parts) else "cannot be in all parts"
            notes.append(f"{word} {why}: none in {', '.join(parts[i] for i in without)}")
    return tuple(notes)
