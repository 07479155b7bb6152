"""Export a synthetic file as an image folder, WebDataset shards or a CSV index.

Every form keeps the "AI-generated" mark: in the images themselves (XMP and PNG text), in every row of the
index, and in ``dataset.json`` with the generator's card and licence.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lssl_augment._version import __version__
from lssl_augment.errors import DataError
from lssl_augment.synthesis.dataset import SyntheticExpressionDataset
from lssl_augment.synthesis.marks import png_marks, xmp_packet

__all__ = ["FORMS", "ExportConfig", "export_synthetic"]

FORMS = ("folder", "webdataset", "csv")
_IMAGE_FORMATS = ("png", "jpg")

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ExportConfig:
    """What to export and how.

    Args:
        path: the synthetic file. out: folder to make (``folder``, ``webdataset``) or CSV file to write
            (``csv``).
        to: one of ``FORMS``. image_format: ``png`` (exact) or ``jpg`` (quality 95).
        min_score, accepted_only: as of :class:`~lssl_augment.synthesis.dataset.SyntheticExpressionDataset`.
        shard_size: images in a WebDataset shard.
        overwrite: replace what is at ``out``.
    """

    path: Path
    out: Path
    to: str = "folder"
    image_format: str = "png"
    min_score: float | None = None
    accepted_only: bool = True
    shard_size: int = 10_000
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.to not in FORMS:
            raise DataError(f"to must be one of {', '.join(FORMS)}; got {self.to!r}")
        if self.image_format not in _IMAGE_FORMATS:
            raise DataError(f"image format must be one of {', '.join(_IMAGE_FORMATS)}; got {self.image_format!r}")
        if self.shard_size < 1:
            raise DataError(f"shard size must be at least 1; got {self.shard_size}")
        if self.to == "csv" and self.out.suffix != ".csv":
            raise DataError(f"a CSV index is written to NAME.csv; got {self.out.name!r}")


def export_synthetic(config: ExportConfig, progress: Progress | None = None) -> int:
    """Write the export; returns the number of images (or index rows) written.

    The result appears under its name only when it is complete.

    Raises:
        DataError: something is at ``out`` already, or nothing passes the filters.
        SchemaError: the synthetic file cannot be read.
    """
    data = SyntheticExpressionDataset(
        config.path, min_score=config.min_score, accepted_only=config.accepted_only, as_tensor=False
    )
    if config.out.exists():
        if not config.overwrite:
            raise DataError(f"{config.out} exists already; choose another name, or replace it with --overwrite")
        if config.out.is_dir() and not (config.out / "dataset.json").is_file():
            raise DataError(f"{config.out} is a folder that no export made, so it is not replaced; choose another name")
    config.out.parent.mkdir(parents=True, exist_ok=True)
    fresh = config.out.with_name(config.out.name + ".partial")
    _remove(fresh)
    try:
        if config.to == "csv":
            _write_index(fresh, _rows(data, lambda item: config.path.name), progress, len(data))
        else:
            fresh.mkdir()
            (_write_folder if config.to == "folder" else _write_shards)(fresh, data, config, progress)
            (fresh / "dataset.json").write_text(_dataset_json(data), encoding="utf-8")
        _remove(config.out)
        os.replace(fresh, config.out)
        if config.to == "csv":
            config.out.with_suffix(".json").write_text(_dataset_json(data), encoding="utf-8")
    finally:
        _remove(fresh)
    return len(data)


def _write_folder(
    folder: Path, data: SyntheticExpressionDataset, config: ExportConfig, progress: Progress | None
) -> None:
    """``images/<class>/<row>.png``, which torchvision's ``ImageFolder`` reads, and ``index.csv``."""
    for name in data.classes:
        (folder / "images" / name).mkdir(parents=True)

    def place(item: int) -> str:
        return f"images/{data.classes[data.targets[item]]}/{data.rows[item]:08d}.{config.image_format}"

    for item in range(len(data)):
        (folder / place(item)).write_bytes(_encode(data, item, config.image_format))
        if progress is not None:
            progress(item + 1, len(data))
    _write_index(folder / "index.csv", _rows(data, place), None, len(data))


def _write_shards(
    folder: Path, data: SyntheticExpressionDataset, config: ExportConfig, progress: Progress | None
) -> None:
    """``shard-000000.tar`` …: ``<row>.png``, ``<row>.cls`` (label) and ``<row>.json`` of every image."""
    rows = _rows(data, lambda item: f"{data.rows[item]:08d}.{config.image_format}")
    for shard, first in enumerate(range(0, len(data), config.shard_size)):
        with tarfile.open(folder / f"shard-{shard:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for item in range(first, min(first + config.shard_size, len(data))):
                key = f"{data.rows[item]:08d}"
                row = json.dumps(next(rows), ensure_ascii=False)
                _add(tar, f"{key}.{config.image_format}", _encode(data, item, config.image_format))
                _add(tar, f"{key}.cls", str(data.targets[item]).encode())
                _add(tar, f"{key}.json", row.encode())
                if progress is not None:
                    progress(item + 1, len(data))


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # time, user and group stay zero: equal data make equal tars
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _encode(data: SyntheticExpressionDataset, item: int, image_format: str) -> bytes:
    image: Image.Image = data[item][0]
    mark, buffer = data.info.digital_source_type, io.BytesIO()
    if image_format == "png":
        image.save(buffer, format="PNG", pnginfo=png_marks(mark), compress_level=3)
    else:
        packet = b"http://ns.adobe.com/xap/1.0/\x00" + xmp_packet(mark).encode()
        # APP1 by hand: Pillow before 11 has no xmp argument.
        segment = b"\xff\xe1" + (len(packet) + 2).to_bytes(2, "big") + packet
        image.save(buffer, format="JPEG", quality=95, subsampling=0, extra=segment, comment="AI-generated")
    return buffer.getvalue()


def _rows(data: SyntheticExpressionDataset, place: Callable[[int], str]) -> Iterator[dict[str, Any]]:
    stored = data.info.vocabulary.names
    for item in range(len(data)):
        label, source_label = data.targets[item], int(data.source_labels[item])
        score, yaw = float(data.scores[item]), float(data.yaws[item])
        yield {
            "file": place(item),
            "row": int(data.rows[item]),
            "label": label,
            "expression": data.classes[label],
            "source_id": int(data.source_ids[item]),
            "source_expression": stored[source_label] if source_label >= 0 else "",
            "subject": str(data.subjects[item]),
            "fold": str(data.folds[item]),
            "intensity": round(float(data.intensities[item]), 6),
            "yaw_deg": None if np.isnan(yaw) else round(yaw, 3),
            "seed": int(data.seeds[item]),
            "score": None if np.isnan(score) else round(score, 6),
            "ai_generated": True,
            "digital_source_type": data.info.digital_source_type,
        }


def _write_index(path: Path, rows: Iterator[dict[str, Any]], progress: Progress | None, total: int) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        first = next(rows)
        writer = csv.DictWriter(file, list(first), lineterminator="\n")
        writer.writeheader()
        writer.writerow(first)
        for done, row in enumerate(rows, start=2):
            writer.writerow(row)
            if progress is not None:
                progress(done, total)


def _dataset_json(data: SyntheticExpressionDataset) -> str:
    info = asdict(data.info) | {"vocabulary": list(data.info.vocabulary.names)}
    whole = {"ai_generated": True, "class_names": data.classes, "images": len(data), **info}
    return json.dumps(whole | {"package_version": __version__}, indent=1, ensure_ascii=False) + "\n"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
