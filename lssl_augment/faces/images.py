"""Photo file → RGB pixels, or one clear error; never a guess and never a traceback."""

from __future__ import annotations

import io
import os
import threading
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from lssl_augment.errors import ImageError

__all__ = ["IMAGE_SUFFIXES", "MAX_BYTES", "MAX_PIXELS", "read_image"]

#: Photos with more pixels are refused before they are decoded.
MAX_PIXELS = 64_000_000
#: Larger files are refused before they are read.
MAX_BYTES = 512 << 20
#: What counts as an image file when a folder is listed.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})

# Only decoders of plain pictures: Pillow's list also has some that start other programs.
_FORMATS = ("BMP", "GIF", "JPEG", "MPO", "PNG", "PPM", "TIFF", "WEBP")
_GREY = 128
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_warnings_lock = threading.Lock()


def read_image(source: str | os.PathLike[str] | bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a photo.

    Grey, palette, CMYK and YCbCr become RGB; 16-bit grey is scaled by 255/65535; what is transparent is
    laid over mid grey (128); the EXIF rotation is applied, a damaged one ignored; of an animation the first
    frame is read. Colour profiles are not applied.

    Args:
        source: a path, or the bytes of a file. max_pixels: refuse larger photos, before decoding them.

    Returns:
        Pixels, shape ``(H, W, 3)`` uint8.

    Raises:
        ImageError: missing, empty, truncated, too large, or not an image of a known format. The message
            starts with the file's name when a path was given.
        TypeError: neither a path nor bytes.
    """
    if isinstance(source, bytes):
        return _decode(source, "image", max_pixels)
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"source must be a path or bytes; got {type(source).__name__}")
    path = Path(source)
    if path.exists() and not path.is_file():
        raise ImageError(f"{path}: not a file")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ImageError(f"{path}: a file of more than {MAX_BYTES >> 20} MB; shrink the image first")
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from error
    return _decode(data, str(path), max_pixels)


def _decode(data: bytes, name: str, max_pixels: int) -> np.ndarray:
    if not data:
        raise ImageError(f"{name}: the file is empty")
    try:
        with _open(data) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise ImageError(f"{name}: {width}×{height} is more than {max_pixels:,} pixels; shrink it first")
            if not width * height:
                raise ImageError(f"{name}: the image has no pixels ({width}×{height})")
            image.load()
            pixels = _rgb(_upright(image), name)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: more pixels than the allowed {max_pixels:,}; shrink it first") from error
    except UnidentifiedImageError as error:
        known = ", ".join(_FORMATS)
        raise ImageError(f"{name}: not an image of a known format ({known})") from error
    except MemoryError as error:
        raise ImageError(f"{name}: too large for the memory of this machine") from error
    except Exception as error:
        # What decoders raise on damaged bytes has no common base: OSError, SyntaxError, struct.error,
        # IndexError …
        raise ImageError(f"{name}: damaged or truncated ({error})") from error
    return pixels


def _open(data: bytes) -> Image.Image:
    Image.init()
    formats = [name for name in _FORMATS if name in Image.OPEN]
    # Pillow warns of large images; they are refused by an error of our own. The lock: filters are global.
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(io.BytesIO(data), formats=formats)


def _upright(image: Image.Image) -> Image.Image:
    try:
        with _warnings_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # the pixels are whole, only the note about them is not
        turn = None
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image, name: str) -> np.ndarray:
    mode = image.mode
    if mode.startswith("I"):
        return _from_16_bit(np.asarray(image), name)
    if mode == "F":
        raise ImageError(f"{name}: floating-point pixels have no known range; save it with 8 or 16 bits")
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (_GREY, _GREY, _GREY, 255))
        image = Image.alpha_composite(ground, image)
    return np.ascontiguousarray(np.asarray(image.convert("RGB")))


def _from_16_bit(values: np.ndarray, name: str) -> np.ndarray:
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(f"{name}: 32-bit grey pixels have no known range; save it with 8 or 16 bits")
    grey = np.round(values.astype(np.float64) * (255 / 65535)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
