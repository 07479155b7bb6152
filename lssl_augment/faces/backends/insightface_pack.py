"""Model packs of insightface: where they are, and whether they are whole, before insightface sees them.

insightface takes any folder of the right name for a finished download, and fetches what is not there. Here
nothing is fetched, and a folder is used only when its files are all there and unchanged.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lssl_augment.errors import WeightsError
from lssl_augment.files import write_text

__all__ = ["KNOWN_PACKS", "CheckedPack", "check_pack", "find_pack", "first_use_note", "remember_pack"]

_2D106 = "f001b856447c413801ef5c42091ed0cd516fcd21f2d6b79635b1e733a7109dbf"
_3D68 = "df5c06b8a0c12e422b2ed8947b8869faa4105387f199c477af038aa01f9a45cc"
_AGE = "4fde69b1c810857b88c64a335084f1c3fe8f01246c9a191b48c7bb756d6652fb"
_SCRFD_10G = "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91"

#: Pack → file → sha256, or None where this package does not know it for certain. In order of preference.
KNOWN_PACKS: Mapping[str, Mapping[str, str | None]] = {
    "buffalo_l": {
        "1k3d68.onnx": _3D68,
        "2d106det.onnx": _2D106,
        "det_10g.onnx": _SCRFD_10G,
        "genderage.onnx": _AGE,
        "w600k_r50.onnx": "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
    },
    "antelopev2": {
        "1k3d68.onnx": _3D68,
        "2d106det.onnx": _2D106,
        "genderage.onnx": _AGE,
        "glintr100.onnx": "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf",
        "scrfd_10g_bnkps.onnx": _SCRFD_10G,
    },
    "buffalo_s": {
        "1k3d68.onnx": None,
        "2d106det.onnx": None,
        "det_500m.onnx": "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a",
        "genderage.onnx": None,
        "w600k_mbf.onnx": "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f",
    },
}

_URL = "https://github.com/deepinsight/insightface/releases/download/v0.7/{}.zip"
_LICENCE = (
    "insightface's model packs are for non-commercial research only (insightface's README); the landmarks of a "
    "face pack made with one come from them. This is said once."
)


@dataclass(frozen=True)
class CheckedPack:
    """A pack whose files are there and unchanged.

    Args:
        folder: absolute. sha256: file → hash found. trusted: files that only their own first use vouches for.
    """

    folder: Path
    sha256: Mapping[str, str]
    trusted: tuple[str, ...]


def find_pack(pack: str | os.PathLike[str] | None) -> Path:
    """Folder of a pack, which need not be whole.

    Args:
        pack: a folder, or a name in ``INSIGHTFACE_HOME/models`` (``~/.insightface/models`` without that
            variable); None: the first of ``KNOWN_PACKS`` there.

    Raises:
        WeightsError: there is no such folder; the message tells how to get one.
    """
    models = Path(os.environ.get("INSIGHTFACE_HOME") or "~/.insightface").expanduser() / "models"
    if pack is None:
        for name in KNOWN_PACKS:
            if (models / name).is_dir():
                return (models / name).absolute()
        raise WeightsError(
            f"no model pack of insightface in {models}; {_how_to_fetch(models / next(iter(KNOWN_PACKS)))}"
        )
    for folder in (Path(pack).expanduser(), models / pack):
        if folder.is_dir():
            return folder.absolute()
    name = Path(pack).name
    known = "" if name in KNOWN_PACKS else f" (known packs: {', '.join(KNOWN_PACKS)})"
    how = f"; {_how_to_fetch(models / name)}" if name in KNOWN_PACKS else ""
    raise WeightsError(f"there is no model pack {os.fspath(pack)!r}, neither as a folder nor in {models}{known}{how}")


def check_pack(folder: Path) -> CheckedPack:
    """Check the files of a pack against the hashes this package knows, and those of its first use here.

    Raises:
        WeightsError: files are missing, empty, or have changed.
    """
    known = KNOWN_PACKS.get(folder.name, {})
    found = {path.name: path for path in sorted(folder.glob("*.onnx"))}
    bad = [f"{name} is missing" for name in known if name not in found]
    bad += [f"{name} is empty" for name, path in found.items() if not path.stat().st_size]
    deeper = folder / folder.name
    if len(bad) and any(deeper.glob("*.onnx")):
        raise WeightsError(
            f"{folder}: its files lie one folder deeper, in {deeper}; move them up, or name that folder as the pack"
        )
    if bad or not found:
        raise WeightsError(f"{folder} is not whole: {', '.join(bad) or 'no .onnx file in it'}; {_how_to_fetch(folder)}")
    first = _read_memory()["packs"].get(str(folder), {})
    sha256, trusted = {}, []
    for name, path in found.items():
        sha256[name] = _sha256(path)
        expected = known.get(name)
        if expected is None:
            trusted.append(name)
            expected = first.get(name, sha256[name])
        if sha256[name] != expected:
            whose = "the one of its first use here" if name in trusted else "that of the published file"
            forget = f", or delete {_memory_path()} if you replaced it yourself" if name in trusted else ""
            raise WeightsError(
                f"{path} is truncated, damaged or another file: its sha256 is {sha256[name]}, {whose} {expected}; "
                f"{_how_to_fetch(folder)}{forget}"
            )
    return CheckedPack(folder, sha256, tuple(trusted))


def remember_pack(pack: CheckedPack) -> None:
    """Keep the hashes of trusted files, so that a later change is seen; call it once the files have worked."""
    memory = _read_memory()
    kept = memory["packs"].setdefault(str(pack.folder), {})
    new = {name: pack.sha256[name] for name in pack.trusted if name not in kept}
    if new:
        kept.update(new)
        _write_memory(memory)


def first_use_note(folder: Path) -> str | None:
    """The terms of model packs, told once for each pack on this machine; None: told before."""
    memory = _read_memory()
    if folder.name in memory["licence_told"]:
        return None
    memory["licence_told"].append(folder.name)
    _write_memory(memory)
    return _LICENCE


def _how_to_fetch(folder: Path) -> str:
    if folder.name not in KNOWN_PACKS:
        return "copy the whole pack again"
    return f"nothing is downloaded here: fetch {_URL.format(folder.name)} and unpack its .onnx files into {folder}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _memory_path() -> Path:
    cache = os.environ.get("LSSL_AUGMENT_CACHE")
    if not cache:
        cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "lssl_augment")
    return Path(cache).expanduser() / "insightface.json"


def _read_memory() -> dict[str, Any]:
    empty: dict[str, Any] = {"packs": {}, "licence_told": []}
    try:
        memory = json.loads(_memory_path().read_text(encoding="utf-8"))
        hashes = [text for files in memory["packs"].values() for text in files.values()]
        whole = all(isinstance(text, str) for text in [*hashes, *memory["licence_told"]])
    except FileNotFoundError:
        return empty
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise WeightsError(f"{_memory_path()} cannot be read ({error}); delete it to start anew") from error
    if not whole:
        raise WeightsError(f"{_memory_path()} holds something else than hashes; delete it to start anew")
    return {key: memory[key] for key in empty}


def _write_memory(memory: dict[str, Any]) -> None:
    """Best effort: where nothing can be written, everything stays a first use."""
    path = _memory_path()
    try:
        write_text(path, json.dumps(memory, indent=1, sort_keys=True) + "\n")
    except OSError:
        return
