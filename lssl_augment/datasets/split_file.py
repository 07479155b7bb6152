"""``*.splits.json``: who is trained and tested on in each fold, written once and read by every later step.

docs/protocols.md lists its contents.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lssl_augment._version import __version__
from lssl_augment.datasets.protocols import Fold, Protocol, divide
from lssl_augment.datasets.splits import check_apart
from lssl_augment.errors import DataError, LeakageError, SchemaError
from lssl_augment.files import write_text

if TYPE_CHECKING:
    from lssl_augment.faces.pack import FacePack

__all__ = [
    "FORMAT",
    "SCHEMA_VERSION",
    "USES",
    "SplitFile",
    "make_splits",
    "open_fold",
    "pack_fingerprint",
    "read_splits",
    "rows_of",
]

FORMAT = "lssl-augment/splits"
SCHEMA_VERSION = 1
#: What a fold may be asked for.
USES = ("train", "test", "validation")


@dataclass(frozen=True)
class SplitFile:
    """Subjects in parts, and what each fold does with the parts.

    Args:
        dataset: name in the pack. protocol: its name; ``kind`` and ``source`` as of ``Protocol``. seed: of the
            division. class_names: of the pack. faces: how many it has.
        fingerprint: of the pack, see :func:`pack_fingerprint`.
        folds: parts to train on, to test on and to validate on. part_of: subject → part.
        counts: part → expression → faces. notes: what the user should know.
    """

    dataset: str
    protocol: str
    kind: str
    source: str
    seed: int
    class_names: tuple[str, ...]
    faces: int
    fingerprint: str
    folds: tuple[Fold, ...]
    part_of: Mapping[str, str]
    counts: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...] = ()

    def subjects(self, fold: int, use: str = "train") -> frozenset[str]:
        """Subjects of one use (``train``, ``test``, ``validation``) of a fold."""
        parts = set(self._parts(fold, use))
        return frozenset(subject for subject, part in self.part_of.items() if part in parts)

    def train_rows(self, pack: FacePack, fold: int, *, same_faces: bool = True) -> np.ndarray:
        """Rows of a pack to train on, increasing int64; unlabelled faces are among them.

        Args:
            pack: the one that was divided. fold: from 0. same_faces: False takes a pack with other faces of
                the same subjects, such as one prepared with other landmarks.

        Raises:
            DataError: the split file does not fit the pack, or there is no such fold.
        """
        return self.rows(pack, fold, "train", same_faces=same_faces)

    def test_rows(self, pack: FacePack, fold: int, *, same_faces: bool = True) -> np.ndarray:
        """Rows of a pack to test on; as :meth:`train_rows`."""
        return self.rows(pack, fold, "test", same_faces=same_faces)

    def validation_rows(self, pack: FacePack, fold: int, *, same_faces: bool = True) -> np.ndarray:
        """Rows of a pack to choose settings on, often none; as :meth:`train_rows`."""
        return self.rows(pack, fold, "validation", same_faces=same_faces)

    def rows(self, pack: FacePack, fold: int, use: str, *, same_faces: bool = True) -> np.ndarray:
        """Rows of one use of a fold; see :meth:`train_rows`."""
        self.check(pack, same_faces=same_faces)
        parts = set(self._parts(fold, use))
        names, back = np.unique(pack.subjects, return_inverse=True)
        inside = np.array([self.part_of[name] in parts for name in names.tolist()], bool)
        return np.flatnonzero(inside[back]) if len(names) else np.zeros(0, np.int64)

    def check(self, pack: FacePack, *, same_faces: bool = True) -> None:
        """Compare with a pack.

        Raises:
            DataError: the pack shows somebody whom the file does not know, or (with ``same_faces``) has
                other faces or labels than the pack that was divided.
        """
        where = f"the splits of {self.dataset} ({self.protocol}, seed {self.seed}) do not fit {pack.path.name}"
        people = set(pack.subjects.tolist())
        strange = sorted(people - set(self.part_of))
        if strange:
            raise DataError(
                f"{where}: {len(strange)} of its {len(people)} subjects are not in them, such as {strange[0]!r}; "
                "divide this pack with `lssl-augment split`"
            )
        if not same_faces or pack_fingerprint(pack) == self.fingerprint:
            return
        gone = sorted(set(self.part_of) - people)
        lacks = f", {len(gone)} subjects are gone, such as {gone[0]!r}" if gone else ""
        raise DataError(
            f"{where}: other faces or labels ({len(pack)} faces, {self.faces} when it was divided{lacks}); divide "
            "it again with `lssl-augment split`, or prepare it as it was then"
        )

    def write(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write as JSON; only a complete file appears under that name.

        Raises:
            DataError: the file exists and is not to be replaced.
        """
        path = Path(path)
        if path.is_dir() or (path.exists() and not overwrite):
            raise DataError(f"{path} exists; choose another --out, or replace a file with --overwrite")
        values = {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "package_version": __version__,
            "dataset": self.dataset,
            "protocol": {"name": self.protocol, "kind": self.kind, "source": self.source},
            "seed": self.seed,
            "pack": {"class_names": self.class_names, "faces": self.faces, "fingerprint": self.fingerprint},
            "notes": self.notes,
            "folds": [vars(fold) for fold in self.folds],
            "counts": self.counts,
            "subjects": dict(sorted(self.part_of.items())),
        }
        write_text(path, json.dumps(values, indent=1, ensure_ascii=False) + "\n")

    def _parts(self, fold: int, use: str) -> tuple[str, ...]:
        if use not in USES:
            raise DataError(f"a fold is asked for {', '.join(USES)}; got {use!r}")
        if not 0 <= fold < len(self.folds):
            raise DataError(f"fold must be 0 to {len(self.folds) - 1} ({self.protocol}); got {fold}")
        parts: tuple[str, ...] = getattr(self.folds[fold], use)
        return parts


def pack_fingerprint(pack: FacePack) -> str:
    """sha256 of the faces of a pack: of their (file, subject, expression), sorted; order and pixels do not count."""
    words = (*pack.vocabulary.names, "")  # label −1 takes the last
    lines = zip(pack.files.tolist(), pack.subjects.tolist(), pack.labels.tolist(), strict=True)
    texts = sorted(json.dumps([file, subject, words[label]]) for file, subject, label in lines)
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def make_splits(pack: FacePack, protocol: Protocol, seed: int = 0) -> SplitFile:
    """Divide a pack by a protocol.

    Raises:
        DataError: the pack cannot be divided so; see :func:`~lssl_augment.datasets.protocols.divide`.
        LeakageError: a subject is in two of the pack's own splits (official protocols).
    """
    words = [(*pack.vocabulary.names, "")[label] for label in pack.labels.tolist()]
    subjects = pack.subjects.tolist()
    division = divide(protocol, subjects, words, pack.split.tolist(), seed)
    parts = list(dict.fromkeys(part for f in division.folds for part in (*f.train, *f.test, *f.validation)))
    counts = {part: dict.fromkeys(pack.vocabulary.names, 0) for part in sorted(parts)}
    for subject, word in zip(subjects, words, strict=True):
        if word:
            counts[division.part_of[subject]][word] += 1
    return SplitFile(
        dataset=pack.dataset,
        protocol=protocol.name,
        kind=protocol.kind,
        source=protocol.source,
        seed=seed,
        class_names=pack.vocabulary.names,
        faces=len(pack),
        fingerprint=pack_fingerprint(pack),
        folds=division.folds,
        part_of=division.part_of,
        counts=counts,
        notes=division.notes,
    )


def read_splits(path: str | os.PathLike[str]) -> SplitFile:
    """Read and check a split file.

    Raises:
        FileNotFoundError: there is no such file.
        SchemaError: damaged, of another kind or of another version.
        LeakageError: a subject is in two parts, or a part is both trained and tested on.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no split file {path}; write one with `lssl-augment split`")
    try:
        values = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_no_key_twice)
    except (ValueError, RecursionError) as error:
        if isinstance(error, LeakageError):
            raise LeakageError(f"{path.name}: {error}") from error
        raise SchemaError(f"{path.name} is no split file: {error}") from error
    kind = values.get("format") if isinstance(values, dict) else None
    if kind != FORMAT:
        raise SchemaError(f"{path.name} is no split file: its format is {kind!r}, expected {FORMAT!r}")
    version = values.get("schema_version")
    if version != SCHEMA_VERSION:
        raise SchemaError(f"{path.name} has schema version {version}; this package reads version {SCHEMA_VERSION}")
    try:
        splits = _parse(values)
    except LeakageError as error:
        raise LeakageError(f"{path.name}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SchemaError(f"{path.name} is damaged: {type(error).__name__} {error}") from error
    unused = sorted(set(splits.part_of.values()) - set(splits.counts))
    if unused or not splits.folds:
        raise SchemaError(f"{path.name} is damaged: no fold uses the parts {', '.join(unused)}")
    for fold in range(len(splits.folds)):
        check_apart(splits.subjects(fold, "train"), splits.subjects(fold, "test"), f"trained on in fold {fold}")
    return splits


def rows_of(
    pack: FacePack, split: str | None = "train", splits: SplitFile | None = None, fold: int | None = None
) -> np.ndarray:
    """Rows of a pack, increasing int64: of one of its own splits, or of a fold of a split file.

    Args:
        pack: where from. split: without ``splits`` one of the pack's own, None is all; with ``splits``
            ``train``, ``test`` or ``validation``. splits: a split file. fold: of it, from 0; may be left out when
            it has one only.

    Raises:
        DataError: no such split or fold, a fold without splits, or splits that do not fit the pack.
    """
    fold = _fold_of(splits, fold)
    if splits is None or fold is None:
        return pack.select(split=split)
    if split is None:
        raise DataError(f"of a fold, say which faces: {', '.join(USES)}")
    return splits.rows(pack, fold, split)


def open_fold(
    path: str | os.PathLike[str], splits: str | os.PathLike[str] | SplitFile | None = None, fold: int | None = None
) -> FacePack:
    """Open a face pack as a fold sees it: its column ``split`` says ``train``, ``test`` or ``validation``.

    Whatever reads one split of a pack so reads that of the fold, and takes the people of the others for held
    out. Faces that the fold does not use have the split ``unused``.

    Args:
        path: of the pack. splits: a split file or its path; None leaves the pack as it is. fold: as of
            :func:`rows_of`.

    Raises:
        DataError, LeakageError, SchemaError, FileNotFoundError: as of :func:`read_splits`, :func:`rows_of` and
            ``FacePack.open``.
    """
    from lssl_augment.faces.pack import FacePack  # late: a split file can be read without HDF5

    known = splits if splits is None or isinstance(splits, SplitFile) else read_splits(splits)
    chosen = _fold_of(known, fold)
    pack = FacePack.open(path)
    if known is None or chosen is None:
        return pack
    pack.split = np.full(len(pack), "unused", "<U10")
    for use in USES:
        pack.split[known.rows(pack, chosen, use)] = use
    present = [use for use in (*USES, "unused") if (pack.split == use).any()]
    names = pack.vocabulary.names
    labels = {use: np.bincount(pack.labels[(pack.split == use) & (pack.labels >= 0)]) for use in present}
    pack.counts = {
        use: dict.fromkeys(names, 0) | dict(zip(names, n.tolist(), strict=False)) for use, n in labels.items()
    }
    return pack


def _fold_of(splits: SplitFile | None, fold: int | None) -> int | None:
    """The fold that is meant; None without splits."""
    if splits is None:
        if fold is not None:
            raise DataError(f"fold {fold} of what? Give the split file too (--splits FILE --fold {fold})")
        return None
    if fold is None and len(splits.folds) > 1:
        raise DataError(f"{splits.protocol} has {len(splits.folds)} folds; choose one with --fold 0 and so on")
    return fold or 0


def _no_key_twice(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    # json keeps the last of two, so a subject in two parts would not be noticed.
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise LeakageError(f"{key!r} is listed twice, as {found[key]!r} and as {value!r}; a subject has one part")
        found[key] = value
    return found


def _parse(values: Mapping[str, Any]) -> SplitFile:
    pack, protocol = values["pack"], values["protocol"]
    return SplitFile(
        dataset=_text(values["dataset"]),
        protocol=_text(protocol["name"]),
        kind=_text(protocol["kind"]),
        source=_text(protocol["source"]),
        seed=int(values["seed"]),
        class_names=_texts(pack["class_names"]),
        faces=int(pack["faces"]),
        fingerprint=_text(pack["fingerprint"]),
        folds=tuple(Fold(**{use: _texts(parts) for use, parts in fold.items()}) for fold in values["folds"]),
        part_of={subject: _text(part) for subject, part in values["subjects"].items()},
        counts={part: {word: int(n) for word, n in row.items()} for part, row in values["counts"].items()},
        notes=_texts(values["notes"]),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, found {value!r}")
    return value


def _texts(values: Iterable[Any]) -> tuple[str, ...]:
    return tuple(map(_text, values))
