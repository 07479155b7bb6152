"""Weights registry: NAME.safetensors (the tensors) beside NAME.json (the card).

Weights are data. Files that can run code when they are read (pickles, and with them PyTorch's ``.pt``,
``.pth`` and ``.ckpt``) are recognised by their first bytes, whatever they are called, and refused; nothing
here ever calls ``torch.load``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from lssl_augment.errors import WeightsError
from lssl_augment.files import whole_file, write_text

__all__ = [
    "KINDS",
    "SCHEMA_VERSION",
    "find_weights",
    "list_weights",
    "read_card",
    "read_weights",
    "write_weights",
]

SCHEMA_VERSION = 1

#: What a set of weights can be.
KINDS = ("generator", "landmarks", "gate", "faces", "parser", "recogniser", "judge")

#: Keys the author of a card gives; ``class_names`` may be null where there are no classes.
AUTHOR_KEYS = (
    "kind",
    "architecture",
    "class_names",
    "face_size_px",
    "training",
    "metrics",
    "licence",
    "intended_use",
)
#: Keys :func:`write_weights` adds.
WRITER_KEYS = ("schema_version", "template68", "bytes", "sha256")

_SUFFIX = ".safetensors"
_CONVERT = "give a .safetensors file with its .json card, such as `lssl-augment train` writes"
_COPY_AGAIN = "copy both files again"
_PICKLE = "pickles can run any code when they are read"


def find_weights(name_or_path: str | os.PathLike[str], kind: str) -> Path:
    """Path of a set of weights: a released name such as ``"lfw-128"`` or the path of a ``.safetensors`` file.

    The first bytes of the file and the kind in its card are checked here, the content in
    :func:`read_weights`.

    Raises:
        WeightsError: unknown name (the known ones are listed), no such file, a refused format, a card that is
            missing or damaged, or weights of another kind.
    """
    _check_kind(kind)
    path = _resolve(name_or_path, kind)
    with _open(path) as file:
        _refuse_by_content(path, file.read(64), path.stat().st_size)
    card = read_card(path)
    if card["kind"] != kind:
        raise WeightsError(
            f"{path} holds weights of kind {card['kind']!r}, but {kind!r} is needed here{_known(kind)}"
        )
    return path


def read_weights(name_or_path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and card of a set of weights.

    Returns:
        The tensors on the CPU (floating point ones as float32, integer ones as stored) and the card.

    Raises:
        WeightsError: everything :func:`find_weights` refuses, and content that does not match the card's size
            and sha256.
    """
    path = find_weights(name_or_path, kind)
    card = read_card(path)
    with _open(path) as file:
        content = file.read()
    if len(content) != card["bytes"]:
        what = "truncated" if len(content) < card["bytes"] else "not the file its card describes"
        raise WeightsError(
            f"{path} is {what}: {len(content)} bytes, its card says {card['bytes']}; {_COPY_AGAIN}"
        )
    found = hashlib.sha256(content).hexdigest()
    if found != card["sha256"]:
        raise WeightsError(
            f"{path} is damaged: sha256 {found}, its card says {card['sha256']}; {_COPY_AGAIN}"
        )
    try:
        tensors = tensors_from_bytes(content)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a readable safetensors file ({error}); {_CONVERT}") from error
    return {k: t.float() if t.is_floating_point() else t for k, t in tensors.items()}, card


def write_weights(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    card: Mapping[str, Any],
    *,
    dtypes: Mapping[str, torch.dtype] | None = None,
) -> Path:
    """Write ``NAME.safetensors`` and its card ``NAME.json``; only complete files replace existing ones.

    Args:
        path: where to; must end in ``.safetensors``.
        tensors: stored as float16 where floating point, as they are otherwise (int8, uint8, int64 … stay).
        card: the keys of ``AUTHOR_KEYS``; more are kept. ``schema_version``, ``template68``, ``bytes`` and
            ``sha256`` are added.
        dtypes: tensors to be stored in another type than that, by name (``{"mean": torch.float32}``).

    Returns:
        The path written.

    Raises:
        WeightsError: another suffix, a card that lacks keys or cannot be written as JSON, a tensor with
            values that are not finite or too large for the type it would be stored in.
    """
    path = Path(path)
    if path.suffix != _SUFFIX:
        raise WeightsError(f"weights are written as NAME{_SUFFIX}; got {path.name!r}")
    full = _complete(card)
    stored = _storable(tensors, dtypes or {})
    content = tensors_to_bytes(stored, metadata={"format": "pt"})
    full |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    try:
        text = json.dumps(full, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise WeightsError(
            f"the card cannot be written as JSON ({error}); give plain finite numbers, text and lists"
        ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    # The card goes last: were the machine to stop between the two, its sha256 would refuse the pair.
    with whole_file(path) as file:
        file.write_bytes(content)
    write_text(_card_path(path), text)
    return path


def list_weights(kind: str | None = None) -> list[str]:
    """Names of the weights that come with the package, sorted; of one kind or all."""
    if kind is not None:
        _check_kind(kind)
    found = sorted(p for p in _package_folder().glob(f"*{_SUFFIX}") if _card_path(p).is_file())
    return [p.stem for p in found if kind is None or read_card(p)["kind"] == kind]


def read_card(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The card beside a ``.safetensors`` file, checked for its schema version, its keys and its kind.

    Raises:
        WeightsError: the card is missing, is no JSON object, has an unknown schema version or kind, or lacks
            keys.
    """
    card_path = _card_path(Path(path))
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not Path(path).exists():
            raise WeightsError(f"no such weights file: {path}{_known()}") from None
        raise WeightsError(
            f"{path} has no card: {card_path.name} must lie beside it; copy both files"
        ) from None
    except OSError as error:
        raise WeightsError(f"cannot read the card {card_path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise WeightsError(f"the card {card_path} is not JSON ({error}); {_COPY_AGAIN}") from error
    if not isinstance(card, dict):
        raise WeightsError(f"the card {card_path} must be a JSON object; got {type(card).__name__}")
    version = card.get("schema_version")
    if version != SCHEMA_VERSION:
        raise WeightsError(
            f"the card {card_path} has schema_version {version!r}; "
            f"this version of lssl_augment reads {SCHEMA_VERSION}"
        )
    missing = [key for key in (*AUTHOR_KEYS, *WRITER_KEYS) if key not in card]
    if missing:
        raise WeightsError(f"the card {card_path} lacks {', '.join(missing)}")
    _check_kind(card["kind"])
    if type(card["bytes"]) is not int or not isinstance(card["sha256"], str):
        raise WeightsError(f"the card {card_path} must give bytes as an integer and sha256 as text")
    return card


def _check_kind(kind: object) -> None:
    if kind not in KINDS:
        raise WeightsError(f"unknown kind of weights {kind!r}; allowed: {', '.join(KINDS)}")


def _card_path(path: Path) -> Path:
    return path.with_suffix(".json")


def _package_folder() -> Path:
    return Path(str(files("lssl_augment").joinpath("weights")))


def _known(kind: str | None = None) -> str:
    names = list_weights(kind)
    what = f" of kind {kind!r}" if kind else ""
    return f"; weights{what} that come with the package: {', '.join(names) if names else 'none'}"


def _resolve(name_or_path: str | os.PathLike[str], kind: str) -> Path:
    if not isinstance(name_or_path, str | os.PathLike):
        raise TypeError(f"weights are a name or a path; got {type(name_or_path).__name__}")
    text = os.fspath(name_or_path)
    path = Path(text)
    looks_like_path = isinstance(name_or_path, os.PathLike) or path.name != text or path.suffix != ""
    if not looks_like_path:
        packaged = _package_folder() / f"{text}{_SUFFIX}"
        if not text or not packaged.is_file():
            raise WeightsError(
                f"no weights are called {text!r}{_known(kind)}; or give the path of a {_SUFFIX} file"
            )
        return packaged
    if path.is_dir():
        raise WeightsError(f"{path} is a folder; give the path of a {_SUFFIX} file{_known(kind)}")
    if not path.is_file():
        raise WeightsError(f"no such weights file: {path}{_known(kind)}")
    return path


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from error


def _refuse_by_content(path: Path, head: bytes, size: int) -> None:
    """Refuse whatever is not safetensors: u64 header length, then a JSON header that begins with ``{``."""
    header = int.from_bytes(head[:8], "little")
    # This test comes first: a header of 640 bytes begins with 80 02, just like a pickle.
    if len(head) > 8 and head[8:9] == b"{" and 2 <= header:
        if header <= size - 8:
            return
        raise WeightsError(
            f"{path} is truncated: {size} bytes, its header alone needs {header + 8}; {_COPY_AGAIN}"
        )
    if not head:
        raise WeightsError(f"{path} is empty; {_COPY_AGAIN}")
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        what = f"a zip archive, as torch.save writes (.pt, .pth, .ckpt): {_PICKLE}"
    elif head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        what = f"a pickle: {_PICKLE}"
    elif head.startswith(b"\x89HDF\r\n\x1a\n"):
        what = "an HDF5 file (a face pack or a synthetic data set?)"
    elif head.startswith(b"version https://git-lfs"):
        what = "a git-lfs pointer; run `git lfs pull`"
    else:
        what = "not a safetensors file"
    raise WeightsError(f"{path} is refused: it is {what}; {_CONVERT}")


def _complete(card: Mapping[str, Any]) -> dict[str, Any]:
    missing = [key for key in AUTHOR_KEYS if key not in card]
    if missing:
        raise WeightsError(f"the card lacks {', '.join(missing)}; it needs {', '.join(AUTHOR_KEYS)}")
    _check_kind(card["kind"])
    full = {"schema_version": SCHEMA_VERSION, **card}
    if full["schema_version"] != SCHEMA_VERSION:
        raise WeightsError(
            f"the card has schema_version {full['schema_version']!r}; {SCHEMA_VERSION} is what is written"
        )
    if full.get("template68") is None:
        from lssl_augment.faces.align import template68  # imports OpenCV, which reading weights does not need

        full["template68"] = template68(int(full["face_size_px"])).round(4).tolist()
    return full


def _storable(tensors: Mapping[str, Tensor], dtypes: Mapping[str, torch.dtype]) -> dict[str, Tensor]:
    unknown = sorted(set(dtypes) - set(tensors))
    if unknown:
        raise WeightsError(f"dtypes names tensors that are not there: {', '.join(unknown)}")
    stored = {}
    for name, tensor in tensors.items():
        dtype = dtypes.get(name, torch.float16 if tensor.is_floating_point() else tensor.dtype)
        value = tensor.detach().to("cpu").to(dtype)
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            finite = bool(torch.isfinite(tensor).all())
            why = f"has values too large for {dtype}" if finite else "has values that are not finite"
            raise WeightsError(f"tensor {name!r} {why}")
        # A copy of its own: safetensors refuses tensors that share memory.
        stored[name] = value.clone(memory_format=torch.contiguous_format)
    return stored
