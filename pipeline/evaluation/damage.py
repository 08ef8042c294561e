"""Good files of every kind that is read, and ways to damage them; `pipeline.evaluation.mutations` reads the outcome."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


# --- what is damaged ------------------------------------------------------------------------------------------------


def sources(folder: Path) -> dict[str, list[Path]]:
    """Good files for each reader, written to `folder`: small ones, in many formats."""
    import av
    import numpy as np
    import soundfile
    from PIL import Image

    from pipeline.audio.reading import read_audio
    from pipeline.coefficients import Coefficients
    from pipeline.evaluation.tampering import write_clip

    picture = Image.open(_ROOT / "examples" / "portraits" / "man_beard.jpg").convert("RGB").resize((160, 160))
    pictures = []
    formats = {"jpg": {}, "png": {}, "webp": {}, "gif": {}, "tif": {"compression": "tiff_lzw"}, "bmp": {}, "jp2": {}}
    for suffix, options in formats.items():
        pictures.append(folder / f"picture.{suffix}")
        picture.save(pictures[-1], **options)
    picture.convert("RGBA").save(folder / "alpha.png")
    progressive = folder / "progressive.jpg"
    picture.save(progressive, progressive=True, exif=Image.Exif().tobytes() or b"", icc_profile=b"\0" * 128)
    samples = read_audio(_ROOT / "examples" / "speech" / "hello_slt.wav")[:16000]
    sounds = [folder / f"sound.{suffix}" for suffix in ("wav", "flac", "ogg", "mp3", "aiff", "au")]
    for sound in sounds:
        soundfile.write(sound, samples, 16000)
    write_clip(folder / "clip.mp4", 0.6, 96)
    videos = [folder / "clip.mp4"]
    for suffix in ("mkv", "mov"):
        with av.open(str(folder / "clip.mp4")) as source, av.open(str(folder / f"clip.{suffix}"), "w") as target:
            copies = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = copies[packet.stream.index]
                    target.mux(packet)
        videos.append(folder / f"clip.{suffix}")
    with av.open(str(folder / "clip.webm"), "w") as target:
        stream = target.add_stream("libvpx", rate=25, options={"deadline": "realtime"})
        stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
        small = np.asarray(picture.resize((96, 96)))
        for shift in range(8):
            target.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(small, shift, 1), format="rgb24")))
        target.mux(stream.encode(None))
    videos.append(folder / "clip.webm")
    rows = np.random.default_rng(0).normal(size=(5, 73)).astype(np.float32)
    Coefficients(rows[:, :64], rows[:, 64:70], rows[:, 70:]).save(folder / "c.safetensors")
    table = folder / "batch.csv"
    table.write_text(
        "mode,portrait,audio,video,seed,size,visible_tag,output\n"
        "talk,picture.jpg,sound.wav,,3,128,true,a.mp4\n"
        "reenact,picture.png,,clip.mp4,,64,,b/c.mp4\n"
        'listen,"picture.png",sound.ogg,,,,,\n'
    )
    lines = folder / "batch.jsonl"
    row = {"mode": "talk", "portrait": "picture.jpg", "audio": "sound.wav", "expression_scale": 1.5, "size": 128}
    lines.write_text("".join(json.dumps({**row, "seed": seed, "visible_tag": True}) + "\n" for seed in range(3)))
    bad = sorted((_ROOT.parent / "shared" / "corpus" / "bad_inputs").glob("*"))
    small = [path for path in bad if 0 < path.stat().st_size < 60_000 and path.suffix in (".jpg", ".png")]
    return {
        "picture": [*pictures, folder / "alpha.png", progressive, *small],
        "sound": [*sounds, folder / "clip.mp4"],
        "video": videos,
        "mark": [folder / "clip.mp4"],
        "manifest": [table, lines],
        "coefficients": [folder / "c.safetensors"],
    }


# --- how it is damaged ----------------------------------------------------------------------------------------------


def _flip_bits(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice((1, 2, 8, 64))):
        position = rng.randrange(len(data))
        data[position] ^= 1 << rng.randrange(8)
    return data


def _overwrite(data: bytearray, rng: random.Random) -> bytearray:
    start, length = rng.randrange(len(data)), rng.choice((1, 4, 16, 256))
    data[start : start + length] = rng.randbytes(len(data[start : start + length]))
    return data


def _truncate(data: bytearray, rng: random.Random) -> bytearray:
    return data[: rng.randrange(len(data))]


def _swap(data: bytearray, rng: random.Random) -> bytearray:
    length = max(1, min(rng.choice((4, 64, 1024)), len(data) // 2))
    a, b = (rng.randrange(len(data) - length + 1) for _ in range(2))
    data[a : a + length], data[b : b + length] = data[b : b + length], data[a : a + length]
    return data


def _delete(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(data))
    del data[start : start + rng.choice((1, 4, 64, 1024))]
    return data


def _repeat(data: bytearray, rng: random.Random) -> bytearray:
    start, length = rng.randrange(len(data)), rng.choice((1, 8, 512, 4096))
    data[start:start] = data[start : start + length] * rng.choice((1, 2, 8))
    return data


def _insert(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(data))
    data[start:start] = rng.randbytes(rng.choice((1, 4, 64, 1024)))
    return data


def _head_field(data: bytearray, rng: random.Random) -> bytearray:
    """A number near the file's start becomes an extreme one: sizes, rates, counts, offsets."""
    width = rng.choice((1, 2, 4))
    start = rng.randrange(min(len(data), rng.choice((32, 128, 1024))))
    value = rng.choice(_EXTREMES) & ((1 << 8 * width) - 1)
    data[start : start + width] = value.to_bytes(width, rng.choice(("big", "little")))
    return data


def _any_field(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(data))
    data[start : start + 4] = rng.choice(_EXTREMES).to_bytes(4, rng.choice(("big", "little")))
    return data


def _huge(data: bytearray, rng: random.Random) -> bytearray:
    """The picture's or the track's size becomes huge, with the checksum that belongs to it."""
    side = rng.choice((0, 1, 4097, 16384, 30000, 65535, 0x7FFFFFFF)).to_bytes(4, "big")
    if data[:4] == b"\x89PNG":
        at = rng.choice((16, 20))
        data[at : at + 4] = side
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
        return data
    for marker in (b"\xff\xc0", b"\xff\xc2"):  # JPEG's frame: height and width, two bytes each
        if data[:2] == b"\xff\xd8" and (found := data.find(marker)) > 0:
            at = found + rng.choice((5, 7))
            data[at : at + 2] = side[2:]
            return data
    for box, shift in ((b"avc1", 28), (b"tkhd", 80), (b"mvhd", 16), (b"stts", 12), (b"stsz", 12)):
        if rng.random() < 0.5 and (found := data.find(box)) > 0:
            data[found + shift : found + shift + 4] = side
            return data
    return _head_field(data, rng)


def _words(data: bytearray, rng: random.Random) -> bytearray:
    """Text that programs trip over, in place of some byte."""
    words = (b"\0", b"..", b"/", b"\n", b'"', b"-1", b"1e999", b"NaN", b"[" * 5000, b"\xff\xfe", b"9" * 400, b"{}")
    start = rng.randrange(len(data))
    data[start : start + rng.choice((0, 1, 4))] = rng.choice(words)
    return data


def _noise(data: bytearray, rng: random.Random) -> bytearray:
    keep = rng.choice((0, 4, 16, 64))
    return data[:keep] + bytearray(rng.randbytes(rng.choice((1, 64, 4096))))


_MUTATORS: tuple[Callable[[bytearray, random.Random], bytearray], ...] = (
    _flip_bits, _overwrite, _truncate, _swap, _delete, _repeat, _insert, _head_field, _any_field, _huge, _words, _noise,
)  # fmt: skip


def mutate(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    """A damaged copy, and the names of what was done to it."""
    names = []
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not data:
            break
        mutator = rng.choice(_MUTATORS)
        data = bytes(mutator(bytearray(data), rng))
        names.append(mutator.__name__.strip("_"))
    return data, "+".join(names)
