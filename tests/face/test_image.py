"""Every kind of file that people upload comes out as the same upright RGB pixels, or as one sentence."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from pipeline.errors import PortraitError
from pipeline.face.image import BACKDROP, MAX_SIDE, read_image, read_picture


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_of_claimed_size(width: int, height: int) -> bytes:
    """A PNG whose header promises more than its few bytes hold."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def differ(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape and a.dtype == b.dtype == np.uint8
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.fixture(scope="module")
def picture(astronaut) -> Image.Image:
    return Image.fromarray(astronaut).crop((60, 0, 460, 300))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "TGA", "WEBP", "JPEG2000"])
def test_lossless_kinds_give_the_pixels_back(picture, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    assert differ(read_image(encoded(picture, kind, **options)), np.array(picture)) == 0


@pytest.mark.parametrize("kind", ["JPEG", "AVIF"])
def test_lossy_kinds_come_close(picture, kind):
    assert differ(read_image(encoded(picture, kind, quality=90)), np.array(picture)) < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_phone_held_any_way_gives_the_upright_picture(picture, orientation):
    stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = picture if stored is None else picture.transpose(stored)
    assert differ(read_image(encoded(turned, "PNG", exif=exif)), np.array(picture)) == 0


def test_transparency_shows_soft_grey_and_keeps_the_rest(picture):
    alpha = np.full((300, 400), 255, np.uint8)
    alpha[:, :100], alpha[:, 100:200] = 0, 128
    with_alpha = picture.copy()
    with_alpha.putalpha(Image.fromarray(alpha))
    pixels = read_image(encoded(with_alpha, "PNG"))
    assert (pixels[:, :100] == BACKDROP).all()
    assert differ(pixels[:, 200:], np.array(picture)[:, 200:]) == 0
    half = (np.array(picture)[:, 100:200] * (128 / 255) + np.array(BACKDROP) * (127 / 255)).astype(np.uint8)
    assert differ(pixels[:, 100:200], half) < 1.5
    assert differ(read_image(np.array(with_alpha)), pixels) == 0


def test_grey_sixteen_bit_palette_and_cmyk(picture):
    grey = np.array(picture.convert("L"))
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    assert differ(read_image(encoded(picture.convert("L"), "PNG")), expected) == 0
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert differ(read_image(encoded(deep, "PNG")), expected) == 0
    assert differ(read_image(encoded(deep, "TIFF")), expected) == 0
    palette = picture.quantize(64)
    assert differ(read_image(encoded(palette, "PNG")), np.array(palette.convert("RGB"))) == 0
    assert differ(read_image(encoded(picture.convert("CMYK"), "JPEG", quality=95)), np.array(picture)) < 4
    assert differ(read_image(encoded(picture.convert("1"), "PNG")), np.array(picture.convert("1").convert("RGB"))) == 0


def test_an_embedded_profile_is_converted_to_srgb(picture):
    """A profile whose red and blue primaries are swapped must swap them back; a damaged one is passed over."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    plain = np.array(picture)
    assert differ(read_image(encoded(picture, "PNG", icc_profile=swapped)), plain[:, :, ::-1].copy()) < 2
    assert differ(read_image(encoded(picture, "PNG", icc_profile=srgb)), plain) == 0
    assert differ(read_image(encoded(picture, "PNG", icc_profile=swapped[:200])), plain) == 0


def test_the_first_frame_of_an_animation_is_taken_and_said(picture):
    frames = [picture.convert("P"), picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).convert("P")]
    read = read_picture(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert differ(read.pixels, np.array(frames[0].convert("RGB"))) == 0
    assert len(read.warnings) == 1 and "first" in read.warnings[0]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64", "int64"])
def test_arrays_of_any_number_type(picture, dtype):
    pixels = np.array(picture)
    array = {"uint16": pixels.astype(np.uint16) * 257, "float32": pixels / np.float32(255)}.get(dtype)
    array = pixels.astype(dtype) if array is None else array
    assert differ(read_image(array), pixels) == 0
    assert differ(read_image(array[:, :, 0]), np.repeat(pixels[:, :, :1], 3, axis=2)) == 0
    assert differ(read_image(array[:, :, :1]), np.repeat(pixels[:, :, :1], 3, axis=2)) == 0


def test_paths_pil_images_and_bytes_are_the_same(picture, tmp_path):
    path = tmp_path / "portrait.png"
    picture.save(path)
    for source in (path, str(path), path.read_bytes(), picture):
        assert differ(read_image(source), np.array(picture)) == 0


def test_large_pictures_are_reduced_and_said():
    pixels = np.zeros((2000, 6000, 3), np.uint8)
    pixels[:, 3000:] = 255
    for source in (pixels, encoded(Image.fromarray(pixels), "PNG"), encoded(Image.fromarray(pixels), "JPEG")):
        read = read_picture(source)
        assert max(read.pixels.shape) <= MAX_SIDE and min(read.pixels.shape[:2]) * 3 == pytest.approx(
            max(read.pixels.shape), abs=3
        )
        assert read.pixels[:, : read.pixels.shape[1] // 2 - 8].max() < 8
        assert any("reduced" in warning for warning in read.warnings)


def test_twelve_megapixels_are_kept():
    read = read_picture(Image.new("RGB", (4000, 3000), (10, 20, 30)))
    assert read.pixels.shape == (3000, 4000, 3) and not read.warnings


@pytest.mark.parametrize("size", [(12_000, 12_000), (60_000, 60_000), (64_000_001, 1)])
def test_an_image_bomb_is_refused_before_it_is_decoded(size, recwarn):
    with pytest.raises(PortraitError, match="pixels"):
        read_image(png_of_claimed_size(*size))
    assert not recwarn.list


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_file_cut_short_is_used_where_most_of_it_is_there(picture, kind):
    data = encoded(picture, kind)
    with pytest.raises(PortraitError, match="cut short"):
        read_image(data[: len(data) // 3])
    read = read_picture(data[: int(0.93 * len(data))])
    rows = len(read.pixels)
    assert 0.75 * 300 < rows <= 300 and any("cut short" in warning for warning in read.warnings)
    assert differ(read.pixels, np.array(picture)[:rows]) < 3


def test_turning_upright_still_works_on_a_file_cut_short(picture):
    exif = Image.Exif()
    exif[0x0112] = 3
    data = encoded(picture.transpose(Image.Transpose.ROTATE_180), "JPEG", exif=exif)
    pixels = read_image(data[: int(0.93 * len(data))])
    assert 220 < len(pixels) < 300
    assert differ(pixels, read_image(data)[300 - len(pixels) :]) < 0.5


REFUSED = {
    "empty.png": (b"", "empty"),
    "text.png": (b"This is a letter, not a picture.\n" * 20, "text"),
    "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", "SVG"),
    "phone.heic": (b"\0\0\0\x18ftypheic" + bytes(200), "HEIC"),
    "clip.png": (b"\0\0\0\x18ftypisom" + bytes(200), "video"),
    "paper.jpg": (b"%PDF-1.7\n" + bytes(range(256)), "PDF"),
    "noise.jpg": (bytes(range(256)) * 8, "not a picture"),
    "voice.png": (b"RIFF\x24\x08\0\0WAVEfmt " + bytes(2048), "is a sound"),
    "voice.jpg": (b"ID3\x04" + bytes(2048), "is a sound"),
    "film.png": (b"\x1aE\xdf\xa3" + bytes(2048), "is a video"),
    "header.jpg": (b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0", "damaged"),
    "header.png": (b"\x89PNG\r\n\x1a\n\0\0", "damaged"),
    "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "picture"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_is_refused_in_one_sentence(name, tmp_path):
    data, word = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(PortraitError, match=word) as refusal:
        read_image(path)
    sentence = str(refusal.value)
    assert sentence.startswith(f"'{name}'") and sentence.endswith(".") and "\n" not in sentence
    assert str(tmp_path) not in sentence  # a page's visitors need not know the server's folders


def test_other_things_that_are_no_picture(tmp_path):
    with pytest.raises(PortraitError, match="no file"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(PortraitError, match="folder"):
        read_image(tmp_path)
    with pytest.raises(PortraitError, match="not NoneType"):
        read_image(None)
    with pytest.raises(PortraitError, match="transparent"):
        read_image(Image.new("RGBA", (64, 64), (255, 0, 0, 0)))
    for array, word in (
        (np.zeros((0, 5, 3), np.uint8), "no pixels"),
        (np.zeros((9, 9, 5), np.uint8), r"\(9, 9, 5\)"),
        (np.zeros(9, np.uint8), "no pixels"),
        (np.full((9, 9), np.nan), "not finite"),
        (np.array([["a"] * 9] * 9), "uint8"),
    ):
        with pytest.raises(PortraitError, match=word):
            read_image(array)
