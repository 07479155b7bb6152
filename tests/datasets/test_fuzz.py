"""Two hundred files that are not what they seem: every one is counted with its reason, and none stops the work."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lssl_augment.datasets.prepare import PrepareConfig, PrepareReport, prepare
from lssl_augment.faces.align import template68
from lssl_augment.faces.landmarks import SPARSE_FROM_DENSE
from lssl_augment.faces.pack import FacePack

#: What every file is, read or not: name → (what to write, whether a face comes of it or why none does).
Case = tuple[bytes | Callable[[Path], None], str | None]

GOOD = None
UNREADABLE, MISSING, BLANK = "unreadable image", "file missing", "blank image"


def picture(seed: int = 0, mode: str = "RGB", size: tuple[int, int] = (160, 160)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)  # type: ignore[arg-type]
    return data.getvalue()


def huge_png(width: int, height: int) -> bytes:
    """A PNG whose header promises more pixels than memory has."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = b""
    for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")):
        chunks += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return b"\x89PNG\r\n\x1a\n" + chunks


def sixteen_bits() -> bytes:
    grey = np.asarray(picture(3, "L"), np.uint16) * 257
    return encoded(Image.fromarray(grey), "PNG")


def with_exif(turn: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = turn
    return encoded(picture(turn), "JPEG", exif=exif, quality=95)


def animated(kind: str) -> bytes:
    return encoded(picture(1), kind, save_all=True, append_images=[picture(2), picture(3)])


def cases() -> Iterator[tuple[str, Case]]:
    """About two hundred files, the same ones at every run."""
    jpeg, png = encoded(picture(1), "JPEG", quality=95), encoded(picture(2), "PNG")
    rng = np.random.default_rng(0)
    for i, keep in enumerate(np.linspace(0.0, 0.95, 40)):
        # Too early an end leaves nothing to see; the decoder refuses the rest too.
        yield f"cut_{i:02d}.jpg", (jpeg[: int(len(jpeg) * keep)], UNREADABLE)
        yield f"cut_{i:02d}.png", (png[: int(len(png) * keep)], UNREADABLE)
    for i in range(30):
        yield f"noise_{i:02d}.jpg", (rng.bytes(int(rng.integers(1, 4000))), UNREADABLE)
        # A true beginning, then noise.
        yield f"noisy_{i:02d}.png", (png[:60] + rng.bytes(900), UNREADABLE)
    for suffix in ("jpg", "png", "bmp", "tiff", "webp"):
        yield f"empty.{suffix}", (b"", UNREADABLE)
        yield f"text.{suffix}", ("not a picture, but letters: é\n".encode() * 20, UNREADABLE)
        yield f"page.{suffix}", (b"<!DOCTYPE html><html><body>404</body></html>", UNREADABLE)
        yield f"zeros.{suffix}", (bytes(5000), UNREADABLE)
    for i, (width, height) in enumerate([(60_000, 60_000), (2**31 - 1, 1), (1, 2**31 - 1), (0, 100), (100, 0)]):
        yield f"huge_{i}.png", (huge_png(width, height), UNREADABLE)
    yield "header_only.png", (huge_png(160, 160), UNREADABLE)
    for mode in ("RGB", "L", "CMYK", "YCbCr"):
        yield f"mode_{mode}.jpg", (encoded(picture(4, mode), "JPEG", quality=95), GOOD)
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1"):
        yield f"mode_{mode}.png", (encoded(picture(5, mode), "PNG"), GOOD)
    yield "sixteen.png", (sixteen_bits(), GOOD)
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        yield f"animated.{kind.lower()}", (animated(kind), GOOD)
    for turn in (*range(1, 9), 0, 9, 255):
        yield f"exif_{turn}.jpg", (with_exif(turn), GOOD)
    # A suffix is a name and no more.
    yield "jpeg_called.png", (jpeg, GOOD)
    yield "png_called.jpg", (png, GOOD)
    yield "loud.JPG", (jpeg, GOOD)
    yield "tail.jpg", (jpeg + rng.bytes(500), GOOD)
    for i, value in enumerate((0, 128, 255)):
        yield f"blank_{i}.png", (encoded(Image.new("RGB", (160, 160), (value,) * 3), "PNG"), BLANK)
    yield "dot.png", (encoded(picture(1, size=(1, 1)), "PNG"), BLANK)
    yield "missing.jpg", (lambda path: None, MISSING)
    yield "folder.jpg", (lambda path: path.mkdir(), UNREADABLE)
    yield "broken_link.jpg", (lambda path: path.symlink_to("nowhere.jpg"), MISSING)
    yield "loop.jpg", (lambda path: path.symlink_to(path.name), UNREADABLE)
    yield "link.jpg", (lambda path: path.symlink_to("loud.JPG"), GOOD)
    yield "pipe.jpg", (lambda path: os.mkfifo(path), UNREADABLE)
    yield "locked.jpg", (locked, UNREADABLE if os.geteuid() else GOOD)  # the superuser reads all


def locked(path: Path) -> None:
    path.write_bytes(encoded(picture(6), "JPEG", quality=95))
    path.chmod(0)


#: Landmarks of otherwise good photographs, and what comes of them.
LANDMARKS: dict[str, tuple[np.ndarray, str | None]] = {
    "nan.jpg": (np.full((478, 3), np.nan), "landmarks not finite"),
    "infinite.jpg": (np.full((478, 3), np.inf), "landmarks not finite"),
    "point.jpg": (np.full((478, 3), 80.0), "face too small"),
    "tiny.jpg": (np.random.default_rng(0).uniform(80, 84, (478, 3)), "face too small"),
    "far.jpg": (np.random.default_rng(1).uniform(900, 1000, (478, 3)), "face mostly outside the image"),
    "vast.jpg": (np.full((478, 3), 3e38), "face mostly outside the image"),
}


def face_points() -> np.ndarray:
    dense = np.random.default_rng(5).uniform(20, 140, (478, 3))
    dense[SPARSE_FROM_DENSE, :2] = template68() + 16
    return dense


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    root.mkdir()
    for name, (what, _) in cases():
        if callable(what):
            what(root / name)
        else:
            (root / name).write_bytes(what)
    for name in LANDMARKS:
        (root / name).write_bytes(encoded(picture(8), "JPEG", quality=95))
    names = [*(name for name, _ in cases()), *LANDMARKS]
    (root / "list.csv").write_text("file,expression\n" + "".join(f"{name},happiness\n" for name in names))
    points = np.stack([face_points(), *(points for points, _ in LANDMARKS.values())])
    rows = [list(LANDMARKS).index(name) + 1 if name in LANDMARKS else 0 for name in names]
    np.savez(root / "landmarks.npz", files=np.array(names), points478=points[rows].astype(np.float32))
    return root


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes and links")
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_every_file_is_counted_with_its_reason(tree: Path, tmp_path: Path) -> None:
    def made(name: str, workers: int) -> PrepareReport:
        config = PrepareConfig(tmp_path / name, landmarks="precomputed", workers=workers)
        return prepare("csv", tree, config)

    expected = {name: why for name, (_, why) in cases()} | {name: why for name, (_, why) in LANDMARKS.items()}
    assert len(expected) >= 200
    report = made("one.h5", 1)
    pack = FacePack.open(tmp_path / "one.h5")
    stored = pack.images.file["skipped"]
    reasons = dict(zip(*(stored[c].asstr()[:].tolist() for c in ("files", "reasons")), strict=True))
    found = {name: reasons[name].partition(": ")[0] if name in reasons else None for name in expected}
    assert {n: (found[n], expected[n]) for n in expected if found[n] != expected[n]} == {}
    assert set(pack.files) == {name for name, why in expected.items() if why is GOOD}
    assert report.skipped == dict(Counter(why for why in expected.values() if why is not GOOD))
    assert report.faces + sum(report.skipped.values()) == len(expected)
    for name in reasons:
        assert "\n" not in reasons[name]
        if reasons[name].startswith(UNREADABLE):
            assert len(reasons[name].partition(": ")[2]) > 5, name  # it says what is wrong with it
    made("three.h5", 3)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "three.h5").read_bytes()


def test_a_turned_photo_is_put_upright(tree: Path, tmp_path: Path) -> None:
    """Landmarks belong to the photograph as it is seen, its EXIF rotation applied."""
    prepare("csv", tree, PrepareConfig(tmp_path / "a.h5", landmarks="precomputed"))
    pack = FacePack.open(tmp_path / "a.h5")
    upright = np.asarray(picture(6).transpose(Image.Transpose.ROTATE_270))[16:144, 16:144]
    face = pack.images[pack.files.tolist().index("exif_6.jpg")]
    assert np.abs(face.astype(int) - upright).mean() < 3
