"""Reading photographs: every kind of file gives RGB uint8 or one clear ImageError."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lssl_augment.errors import ImageError
from lssl_augment.faces import images
from lssl_augment.faces.images import read_image


def picture(height: int = 20, width: int = 30) -> np.ndarray:
    """Red grows to the right, green downwards, blue is constant."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // (width - 1), y * 255 // (height - 1), np.full_like(x, 60)], axis=2).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG of that size as its header claims, without pixels."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF", "GIF", "JPEG", "WEBP"])
def test_kinds(kind: str, tmp_path: Path) -> None:
    expected = picture()
    path = tmp_path / "photo"  # the name tells nothing
    path.write_bytes(encoded(Image.fromarray(expected), kind))
    pixels = read_image(path)
    assert pixels.shape == expected.shape
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    # GIF has 256 colours, JPEG and WebP blur; none shifts the picture as a whole.
    tolerance = 0 if kind in ("PNG", "BMP", "PPM", "TIFF") else 12
    assert np.abs(pixels.astype(int) - expected).mean() <= tolerance
    assert np.array_equal(read_image(path.read_bytes()), pixels)
    assert np.array_equal(read_image(str(path)), pixels)


def test_grey_becomes_rgb() -> None:
    grey = picture()[..., 0]
    pixels = read_image(encoded(Image.fromarray(grey), "PNG"))
    assert np.array_equal(pixels, np.repeat(grey[..., None], 3, axis=2))


def test_black_and_white() -> None:
    bits = Image.fromarray(picture()[..., 0] > 99)
    assert set(np.unique(read_image(encoded(bits, "PNG")))) == {0, 255}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    deep = np.linspace(0, 65535, 600).round().astype(np.uint16).reshape(20, 30)
    pixels = read_image(encoded(Image.fromarray(deep), kind))
    assert np.array_equal(pixels[..., 0], np.round(deep / 257).astype(np.uint8))
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_32_bit_grey_is_refused_and_float_too() -> None:
    big = Image.fromarray(np.full((4, 4), 70000, np.int32))
    with pytest.raises(ImageError, match="32-bit grey pixels have no known range"):
        read_image(encoded(big, "TIFF"))
    with pytest.raises(ImageError, match="floating-point"):
        read_image(encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"))


@pytest.mark.parametrize(("ink", "colour"), [((0, 0, 0, 0), (255, 255, 255)), ((255, 0, 0, 255), (0, 0, 0))])
def test_cmyk(ink: tuple[int, ...], colour: tuple[int, ...]) -> None:
    pixels = read_image(encoded(Image.new("CMYK", (16, 16), ink), "JPEG", quality=95))
    assert pixels.shape == (16, 16, 3)
    assert np.abs(pixels.astype(int) - colour).max() <= 4


def test_palette() -> None:
    image = Image.new("P", (8, 8))
    image.putpalette([10, 20, 30, 200, 100, 50] + [0] * 762)
    image.putpixel((3, 2), 1)
    pixels = read_image(encoded(image, "PNG"))
    assert pixels[2, 3].tolist() == [200, 100, 50]
    assert pixels[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_is_laid_over_mid_grey(mode: str) -> None:
    image = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
    image.paste((255, 255, 255, 255), (4, 0, 8, 8))
    options = {"transparency": 0} if mode == "P" else {}
    if mode == "P":
        image = Image.new("P", (8, 8))
        image.putpalette([0, 0, 0, 255, 255, 255] + [0] * 762)
        image.paste(1, (4, 0, 8, 8))
    pixels = read_image(encoded(image.convert(mode), "PNG", **options))
    assert pixels[0, 0].tolist() == [128] * 3
    assert pixels[0, 7].tolist() == [255] * 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(orientation: int) -> None:
    upright = picture()
    # How a camera held that way stores the scene (EXIF 2.3, tag 0x0112).
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    assert np.array_equal(read_image(data), upright)


def test_damaged_exif_leaves_the_photo() -> None:
    good = picture()
    data = encoded(Image.fromarray(good), "JPEG", quality=95, exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xffgarbage")
    assert np.abs(read_image(data).astype(int) - good).mean() < 6


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((200, 0, 0), (0, 200, 0))]
    pixels = read_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert pixels[0, 0].tolist() == [200, 0, 0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "image: the file is empty"),
        (b"no picture at all", "not an image of a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image of a known format"),
        (png_header(10_000, 9_000), r"10000×9000 is more than 64,000,000 pixels"),
        (png_header(60_000, 60_000), "more pixels than the allowed"),
        (png_header(20, 20), "damaged or truncated"),
        (b"P6 0 0 255\n", "damaged or truncated|not an image"),
    ],
)
def test_refused(data: bytes, message: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nor a warning on the side
        with pytest.raises(ImageError, match=message) as caught:
            read_image(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP", "PPM"])
def test_truncated(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    with pytest.raises(ImageError):
        read_image(data[: len(data) // 2])


@given(st.integers(0, 10_000), st.integers(0, 255), st.sampled_from(["PNG", "JPEG", "GIF", "TIFF"]))
def test_a_damaged_byte_is_an_image_or_an_image_error(place: int, value: int, kind: str) -> None:
    data = bytearray(encoded(Image.fromarray(picture()), kind))
    data[place % len(data)] = value
    try:
        pixels = read_image(bytes(data))
    except ImageError:
        return
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.dtype == np.uint8


def test_paths_that_are_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageError, match=r"nothing\.jpg: cannot be read \(No such file"):
        read_image(tmp_path / "nothing.jpg")
    with pytest.raises(ImageError, match="not a file"):
        read_image(tmp_path)
    (tmp_path / "big.jpg").write_bytes(b"x" * 100)
    monkeypatch.setattr(images, "MAX_BYTES", 99)
    with pytest.raises(ImageError, match="shrink the image"):
        read_image(tmp_path / "big.jpg")
    with pytest.raises(TypeError, match="path or bytes; got ndarray"):
        read_image(np.zeros(3))  # type: ignore[arg-type]
