"""Reading: upright frames at 25 a second by the file's clock, and one sentence for what is no video."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from videos import grey, levels, write_source

from pipeline.clock import FPS
from pipeline.errors import VideoError
from pipeline.video import VideoReader


@pytest.mark.parametrize(("rate", "count"), [(25, 50), (30, 60), (15, 30), (50, 100), (12, 24)])
def test_any_rate_becomes_25(tmp_path: Path, rate: int, count: int) -> None:
    """Brightness is time here: frame k must show what the source showed at k / 25 s."""
    path = write_source(tmp_path / "ramp.mp4", [grey(20 + round(200 * i / count)) for i in range(count)], rate)
    reader = VideoReader(path)
    got = levels(path)
    assert len(got) == reader.frames == 2 * FPS
    expected = [20 + 200 * (k / FPS) / (count / rate) for k in range(2 * FPS)]
    assert np.abs(np.array(got) - expected).max() <= 200 / count * 0.5 + 3


def test_uneven_times_are_followed(tmp_path: Path) -> None:
    times = [Fraction(0), Fraction(1, 30), Fraction(2), Fraction(21, 10), Fraction(3)]
    path = write_source(tmp_path / "uneven.mkv", [grey(level) for level in (20, 60, 100, 140, 180)], 30, times)
    got = levels(path)
    shown = [min((20, 60, 100, 140, 180), key=lambda level, value=value: abs(level - value)) for value in got]
    assert [shown.index(level) / FPS for level in (60, 100, 140, 180)] == pytest.approx([0.04, 2, 2.1, 3], abs=0.021)


def test_frames_are_read_again_and_lazily(tmp_path: Path) -> None:
    reader = VideoReader(write_source(tmp_path / "clip.mp4", [grey(level) for level in range(0, 200, 4)]))
    assert reader.size == (64, 48) and not reader.has_sound
    first = next(iter(reader))
    assert first.shape == (48, 64, 3) and first.dtype == np.uint8 and first.flags.c_contiguous
    assert len(list(reader)) == len(list(reader)) == 50


def _quadrants(size: tuple[int, int]) -> np.ndarray:
    """Red, green, blue and white: top left, top right, bottom left, bottom right."""
    width, height = size
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (220, 30, 30)
    picture[: height // 2, width // 2 :] = (30, 220, 30)
    picture[height // 2 :, : width // 2] = (30, 30, 220)
    picture[height // 2 :, width // 2 :] = (220, 220, 220)
    return picture


def _corners(frame: np.ndarray) -> str:
    names = {"r": (220, 30, 30), "g": (30, 220, 30), "b": (30, 30, 220), "w": (220, 220, 220)}
    height, width = frame.shape[:2]
    points = [frame[y, x].astype(int) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    return "".join(min(names, key=lambda name: np.abs(point - names[name]).sum()) for point in points)


@pytest.mark.parametrize(
    ("matrix", "corners", "size"),
    [
        ((1, 0, 0, 1), "rgbw", (64, 32)),
        ((0, 1, -1, 0), "brwg", (32, 64)),  # a telephone held upright: a quarter turn clockwise
        ((-1, 0, 0, -1), "wbgr", (64, 32)),
        ((0, -1, 1, 0), "gwrb", (32, 64)),
        ((-1, 0, 0, 1), "grwb", (64, 32)),  # mirrored
    ],
)
def test_rotation_in_the_file_is_applied(
    tmp_path: Path, matrix: tuple[int, int, int, int], corners: str, size: tuple[int, int]
) -> None:
    path = write_source(tmp_path / "turned.mp4", [_quadrants((64, 32))] * 3)
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40  # ISO 14496-12 §8.3.2: the matrix in a version 0 track header
    a, b, c, d = (value << 16 for value in matrix)
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    reader = VideoReader(path)
    frame = next(iter(reader))
    assert reader.size == size == frame.shape[1::-1]
    assert _corners(frame) == corners


def test_oblong_pixels_are_made_square(tmp_path: Path) -> None:
    path = write_source(tmp_path / "dv.mp4", [_quadrants((48, 48))] * 2, aspect=Fraction(4, 3))
    reader = VideoReader(path)
    assert reader.size == (64, 48) and _corners(next(iter(reader))) == "rgbw"


def test_one_frame_is_one_frame(tmp_path: Path) -> None:
    path = write_source(tmp_path / "one.mp4", [grey(77)])
    assert VideoReader(path).frames == 1
    assert levels(path) == pytest.approx([77], abs=2)


def test_picture_and_sound_share_their_zero(tmp_path: Path) -> None:
    """The picture starts half a second after the sound: its first frame stands until then."""
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = av.AudioFrame.from_ndarray(np.ones((1, 32000), np.int16), format="s16", layout="mono")
        sound.sample_rate, sound.pts = 16000, 0
        container.mux(audio.encode(sound))
        for index in range(30):
            frame = av.VideoFrame.from_ndarray(grey(50 if index == 0 else 200), format="rgb24")
            frame.pts, frame.time_base = index * 2 + 25, Fraction(1, 50)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    got = levels(path)
    assert next(k for k, level in enumerate(got) if level > 125) in (13, 14)  # 0.5 s and one frame
    assert len(got) == pytest.approx(0.5 * FPS + 30, abs=1)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_video_cut_short_gives_what_is_there(tmp_path: Path, share: float) -> None:
    generator = np.random.default_rng(0)
    frames = [generator.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(50)]
    content = write_source(tmp_path / "whole.mkv", frames).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: int(len(content) * share)])
    assert 0.5 * share * 50 < len(list(VideoReader(tmp_path / "cut.mkv"))) <= share * 50 + 2
    whole = write_source(tmp_path / "whole.mp4", frames).read_bytes()  # its index is at the end
    (tmp_path / "cut.mp4").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(VideoError, match=r"cut\.mp4 cannot be read as video"):
        VideoReader(tmp_path / "cut.mp4")


def test_what_is_no_video_is_one_sentence(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "text.mp4").write_text("This is not a film.\n" * 50)
    (tmp_path / "text.txt").write_text("Nor is this.\n" * 50)
    (tmp_path / "empty.mp4").touch()
    with av.open(str(tmp_path / "picture.png"), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(grey(3), format="rgb24")))
        container.mux(stream.encode(None))
    cases = {
        tmp_path / "text.mp4": "cannot be read as video",
        tmp_path / "text.txt": "cannot be read as video",
        tmp_path / "empty.mp4": "is empty",
        tmp_path / "picture.png": "cannot be read as video",
        tmp_path / "missing.mp4": "no file",
        tmp_path: "is a folder",
        repository / "examples" / "speech" / "hello_slt.wav": "only sound",
    }
    for path, says in cases.items():
        with pytest.raises(VideoError, match=says) as caught:
            VideoReader(path)
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_a_codec_that_nobody_knows_is_one_sentence(tmp_path: Path) -> None:
    path = write_source(tmp_path / "strange.mp4", [grey(9)] * 3)
    content = path.read_bytes()
    assert content.count(b"avc1") == 2  # in the list of brands, and as the name of the codec
    path.write_bytes(content.replace(b"avc1", b"qqqq"))
    with pytest.raises(VideoError, match=r"strange\.mp4 holds no picture; give a video file\."):
        VideoReader(path)
