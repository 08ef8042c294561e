"""Reading a portrait: whatever people upload, as upright 8-bit sRGB pixels, or one sentence why not.

Sizes are checked before anything is decoded, colours are converted to sRGB, transparency is laid over soft grey.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Union

import numpy as np

from pipeline.errors import PortraitError

if TYPE_CHECKING:
    from PIL import Image

ImageSource = Union[str, "os.PathLike[str]", bytes, bytearray, np.ndarray, "Image.Image"]

MAX_PIXELS = 64_000_000  # more is refused before it is decoded
MAX_SIDE = 4096  # larger pictures are reduced to this
BACKDROP = (200, 200, 200)  # behind transparent pictures: soft grey makes neither dark nor light hair glow
_KEPT_WHEN_CUT = 0.75  # a file cut short is used if this share of its rows came through
# Formats whose readers start other programs (EPS), or that hold no pixels of their own (WMF), are left out.
_FORMATS = "JPEG PNG WEBP AVIF GIF BMP DIB TIFF JPEG2000 PPM TGA ICO QOI PCX SGI PSD".split()
_DAMAGED = "is damaged or cut short; copy or download it again"
_VIDEO = "is a video, not a picture; take a still from it, or use it as the driving video"
_ADVICE = "save it as PNG or JPEG and try again"


@dataclass(frozen=True)
class Picture:
    """A picture as read.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, neither side above `MAX_SIDE`.
        warnings: sentences about what was changed or lost on the way.
    """

    pixels: np.ndarray
    warnings: list[str] = field(default_factory=list)


def read_image(source: ImageSource) -> np.ndarray:
    """Pixels (H, W, 3) uint8 RGB of a picture; see `read_picture`, which also tells what was changed."""
    return read_picture(source).pixels


def read_picture(source: ImageSource) -> Picture:
    """Read a picture from a path, the bytes of a file, a PIL image or an array.

    EXIF rotation is applied, an embedded colour profile converted to sRGB, transparency composited over
    `BACKDROP`, 16-bit and float data brought to 8 bits; of an animation the first frame is taken, and pictures
    larger than `MAX_SIDE` are reduced.

    Args:
        source: an array is (H, W), (H, W, 1), (H, W, 3) or (H, W, 4): uint8, uint16, bool, or floats in 0 to 1.

    Raises:
        PortraitError: if it is no picture, damaged, cut short or too large; the message says which.
    """
    from PIL import Image

    if isinstance(source, np.ndarray):
        name, notes = "The picture", []
        _check_size(name, source.shape[1] if source.ndim > 1 else 0, source.shape[0] if source.ndim else 0)
        return _finished(name, _image_of(source), notes, decoded_from=max(source.shape[:2]))
    if isinstance(source, Image.Image):
        _check_size("The picture", *source.size)
        return _decoded("The picture", source)
    if isinstance(source, (bytes, bytearray)):
        return _read_file("The picture", io.BytesIO(source), len(source))
    if not isinstance(source, (str, os.PathLike)):
        raise PortraitError(f"A picture is a path, bytes, a PIL image or an array, not {type(source).__name__}.")
    path = Path(source)
    if path.is_dir():
        raise PortraitError(f"'{path.name}' is a folder; choose a picture in it.")
    try:
        with open(path, "rb") as file:
            return _read_file(f"'{path.name}'", file, os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        raise PortraitError(f"There is no file '{source}'; check its path.") from None
    except OSError as error:
        raise PortraitError(f"'{path.name}' cannot be opened: {error.strerror or error}.") from error


def _read_file(name: str, file: BinaryIO, size: int) -> Picture:
    from PIL import Image, UnidentifiedImageError

    if size == 0:
        raise PortraitError(f"{name} is empty (0 bytes); copy or download it again.")
    head = file.read(64)
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL warns of sizes that the check below refuses
            image = Image.open(file, formats=_FORMATS)
    except Image.DecompressionBombError:
        raise PortraitError(f"{name} has far too many pixels; reduce it to {MAX_SIDE} pixels a side.") from None
    except UnidentifiedImageError:
        raise PortraitError(f"{name} {_what_instead(head)}.") from None
    except Exception as error:  # readers of damaged files raise anything from SyntaxError to struct.error
        raise PortraitError(f"{name} {_DAMAGED}.") from error
    with image:
        return _decoded(name, image)


def _decoded(name: str, image: Image.Image) -> Picture:
    """Decode, turn upright, convert to sRGB and composite."""
    from PIL import ImageOps

    notes: list[str] = []
    _check_size(name, *image.size)
    original = image.size
    if getattr(image, "n_frames", 1) > 1 and image.format not in ("MPO", "PSD"):
        notes.append(f"{name} has several frames; the first is used.")
    image = _loaded(name, image, notes)
    with contextlib.suppress(Exception):  # a damaged EXIF block is no reason to refuse its picture
        image = ImageOps.exif_transpose(image)
    picture = _finished(name, _in_srgb(image), notes, decoded_from=max(original))
    return picture


def _loaded(name: str, image: Image.Image, notes: list[str]) -> Image.Image:
    """`image` with its pixels in memory; of a file cut short the rows that came through, if most did."""
    image.draft(None, (MAX_SIDE, MAX_SIDE))  # JPEG decodes straight to a half or a quarter
    try:
        image.load()
        return image
    except Exception as error:
        refusal = PortraitError(f"{name} {_DAMAGED}.")
        refusal.__cause__ = error
        if "truncated" not in str(error):
            raise refusal from error
    try:
        with _cut_files_allowed():
            image.load()
    except Exception:
        raise refusal from None
    rows = _rows_there(np.asarray(image))
    if rows < _KEPT_WHEN_CUT * image.height:
        share = round(100 * rows / image.height)
        raise PortraitError(f"{name} is cut short: only {share} % of it is there; copy or download it again.")
    if rows == image.height:  # progressive files come in whole, coarse at first
        notes.append(f"{name} is cut short, so it may be coarser than it was.")
        return image
    notes.append(f"{name} is cut short; what is missing at its edge was left out.")
    return image.crop((0, 0, image.width, rows))


def _rows_there(pixels: np.ndarray) -> int:
    """How many rows a decoder filled before the data ended: it leaves the rest in one flat colour."""
    flat = (pixels == pixels[-1, -1]).reshape(len(pixels), -1).all(1)
    if flat.all():
        return 0
    filled = int(np.flatnonzero(~flat)[-1]) + 1
    if filled == len(pixels) and (pixels[-1, -16:] != pixels[-1, -1]).any():
        return filled
    return max(0, filled - 2) // 16 * 16  # JPEG's last row of blocks is filled in part, and bleeds into the next


def _in_srgb(image: Image.Image) -> Image.Image:
    """Colours of an embedded profile (phones write Display P3, printers CMYK) in sRGB."""
    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "CMYK"):
        return image
    with contextlib.suppress(Exception):  # a damaged profile: take the numbers as they are
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" not in ImageCms.getProfileDescription(source):
            return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB") or image
    return image


def _finished(name: str, image: Image.Image, notes: list[str], decoded_from: int = 0) -> Picture:
    """Composite, bring to 8-bit RGB, reduce."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        image = _image_of(_eight_bits(np.asarray(image)))
    transparent = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    if max(image.size) > MAX_SIDE:
        scale = MAX_SIDE / max(image.size)
        size = tuple(max(1, round(side * scale)) for side in image.size)
        image = image.convert("RGBA" if transparent else "RGB").resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    if decoded_from > MAX_SIDE:
        notes.append(f"{name} was reduced to {image.width} x {image.height} pixels.")
    if not transparent:
        return Picture(np.array(image.convert("RGB")), notes)
    image = image.convert("RGBA")
    if image.getextrema()[3][1] == 0:
        raise PortraitError(f"{name} is transparent all over; {_ADVICE} without transparency.")
    backdrop = Image.new("RGBA", image.size, (*BACKDROP, 255))
    return Picture(np.array(Image.alpha_composite(backdrop, image).convert("RGB")), notes)


def _image_of(pixels: np.ndarray) -> Image.Image:
    """A PIL image of an array, in 8 bits."""
    from PIL import Image

    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim != 2 and not (pixels.ndim == 3 and pixels.shape[2] in (3, 4)):
        raise PortraitError(f"A picture's array is (H, W), (H, W, 3) or (H, W, 4), not {pixels.shape}.")
    return Image.fromarray(np.ascontiguousarray(_eight_bits(pixels)))


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    """Any numbers as uint8: floats are 0 to 1, or to 255 where larger ones occur; integers above 255 are 16-bit."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * 255
    if not (np.issubdtype(pixels.dtype, np.floating) or np.issubdtype(pixels.dtype, np.integer)):
        raise PortraitError(f"A picture's numbers are uint8, uint16 or floats, not {pixels.dtype}.")
    if not np.isfinite(pixels).all():
        raise PortraitError(f"The picture holds numbers that are not finite; {_ADVICE}.")
    largest = float(pixels.max())
    if np.issubdtype(pixels.dtype, np.floating):
        scale = 255.0 if largest <= 1.0 else 1.0 if largest <= 255.0 else 255.0 / largest
    else:
        scale = 1 / 257 if largest > 255 or pixels.dtype == np.uint16 else 1.0
        scale = 255.0 / largest if largest > 65535 else scale
    scaled = pixels.astype(np.float32)  # in place from here: large pictures fill memory quickly
    scaled *= scale
    np.rint(scaled, out=scaled)
    return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)


def _check_size(name: str, width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise PortraitError(f"{name} has no pixels; choose another one.")
    if width * height > MAX_PIXELS:
        raise PortraitError(
            f"{name} has {width} x {height} pixels, more than the {MAX_PIXELS // 1_000_000} megapixels that are read; "
            f"reduce it to {MAX_SIDE} pixels a side."
        )


def _what_instead(head: bytes) -> str:
    """What a file is that is not one of the formats read, as the end of a sentence."""
    if head[4:8] == b"ftyp":
        if head[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"):
            return f"is an HEIC picture, which cannot be read here; {_ADVICE}"
        if head[8:12] in (b"avif", b"avis"):
            return _DAMAGED
        return _VIDEO
    if head.startswith(b"\x1aE\xdf\xa3") or (head.startswith(b"RIFF") and head[8:12] == b"AVI "):
        return _VIDEO
    if head.startswith((b"ID3", b"OggS", b"fLaC", b"FORM")) or (head.startswith(b"RIFF") and head[8:12] == b"WAVE"):
        return "is a sound, not a picture; choose a PNG or JPEG file"
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"II*\0", b"MM\0*")):
        return _DAMAGED
    if head.startswith(b"%PDF"):
        return f"is a PDF, not a picture; {_ADVICE}"
    text = head.lstrip().lower()
    if text.startswith((b"<svg", b"<?xml")):
        return f"is a drawing in SVG, which cannot be read here; {_ADVICE}"
    if all(byte >= 32 or byte in b"\t\r\n" for byte in head):
        return "holds text, not a picture; choose a PNG or JPEG file"
    return "is not a picture in a format that can be read; choose a PNG or JPEG file"


_TRUNCATION = threading.Lock()


@contextlib.contextmanager
def _cut_files_allowed() -> Iterator[None]:
    """PIL's only switch for files cut short is global: hold it for one load."""
    from PIL import ImageFile

    with _TRUNCATION:
        before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before
