"""Video in and out: right colours, right times, whole files or none, and one sentence for what is no video."""

from __future__ import annotations

import gc
import os
import resource
import struct
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import soundfile

from pipeline.audio.reading import probe_audio, read_audio
from pipeline.clock import FPS, SAMPLE_RATE
from pipeline.errors import AudioError, Cancelled, OutputError, VideoError
from pipeline.provenance import DIGITAL_SOURCE_TYPE, read_mark
from pipeline.video import VideoReader, VideoWriter, writer


def solid(colour: tuple[int, int, int], size: tuple[int, int] = (64, 48)) -> np.ndarray:
    return np.full((size[1], size[0], 3), colour, np.uint8)


def grey(level: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    return solid((level, level, level), size)


def write_source(
    path: Path, frames: list[np.ndarray], rate: int = 25, times: list[Fraction] | None = None, **options: object
) -> Path:
    """A video made by other means than the writer under test, with frames at `times` seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "8"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if "aspect" in options:
            stream.codec_context.sample_aspect_ratio = options["aspect"]
        base = Fraction(1, 90000) if times else Fraction(1, rate)
        stream.time_base = stream.codec_context.time_base = base
        for index, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts = round(times[index] / base) if times else index
            frame.time_base = base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def levels(path: Path) -> list[int]:
    return [round(float(frame.mean())) for frame in VideoReader(path)]


# --- writing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "colour",
    [
        (0, 0, 0), (255, 255, 255), (128, 128, 128), (200, 30, 40), (30, 180, 60),
        (40, 60, 210), (224, 172, 105), (141, 85, 36), (255, 220, 200), (10, 200, 220),
    ],
)  # fmt: skip
def test_colours_survive(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    with VideoWriter(tmp_path / "colour.mp4", (64, 48)) as video:
        for _ in range(3):
            video.write(solid(colour))
    for frame in VideoReader(tmp_path / "colour.mp4"):
        assert np.abs(frame.reshape(-1, 3).mean(0) - colour).max() <= 2
    with av.open(str(tmp_path / "colour.mp4")) as container:  # and a decoder that knows nothing of us agrees
        frame = next(container.decode(video=0)).reformat(format="yuv444p", dst_colorspace="ITU709")
        red, green, blue = (value / 255 for value in colour)
        luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        expected = 16 + 219 * luma, 128 + 224 * (blue - luma) / 1.8556, 128 + 224 * (red - luma) / 1.5748
        assert np.abs(frame.to_ndarray().reshape(3, -1).mean(1) - expected).max() <= 1


def test_pictures_are_neither_darker_nor_lighter(tmp_path: Path, repository: Path) -> None:
    """Rounding is even-handed on a real picture, in writing and in reading."""
    portrait = cv2.imread(str(repository / "examples" / "portraits" / "astronaut.png"))
    picture = cv2.cvtColor(cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
    with VideoWriter(tmp_path / "portrait.mp4", (256, 256), crf=1) as video:
        video.write(picture)
    (frame,) = VideoReader(tmp_path / "portrait.mp4")
    difference = frame.astype(float) - picture
    assert np.abs(difference.mean((0, 1))).max() < 0.25
    assert 10 * np.log10(255**2 / (difference**2).mean()) > 36


def test_file_is_what_players_expect(tmp_path: Path, repository: Path) -> None:
    sound = repository / "examples" / "speech" / "hello_slt.wav"
    with VideoWriter(tmp_path / "clip.mp4", (64, 48), audio=sound) as video:
        for _ in range(50):
            video.write(grey(90))
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream, audio = container.streams.video[0], container.streams.audio[0]
        codec = stream.codec_context
        assert (codec.name, codec.pix_fmt, stream.average_rate, stream.frames) == ("h264", "yuv420p", FPS, 50)
        assert [codec.color_range, codec.colorspace, codec.color_primaries, codec.color_trc] == [1, 1, 1, 1]
        assert (audio.codec_context.name, audio.rate, audio.channels) == ("aac", 16000, 1)
        assert stream.duration * stream.time_base == audio.duration * audio.time_base == 2
    content = (tmp_path / "clip.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")  # faststart
    assert (tmp_path / "clip.mp4").stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_clip_is_marked(tmp_path: Path) -> None:
    settings = {"renderer": "mesh", "seed": 3, "portrait": Path("Zoë.jpg")}
    with VideoWriter(tmp_path / "made.mp4", (64, 48), settings=settings) as video:
        video.write(grey(9))
    mark = read_mark(tmp_path / "made.mp4")
    assert mark is not None
    assert mark.text.startswith("AI-generated with Tête-à-tête") and DIGITAL_SOURCE_TYPE in mark.text
    assert mark.settings == {"renderer": "mesh", "seed": 3, "portrait": "Zoë.jpg"}
    assert read_mark(write_source(tmp_path / "other.mp4", [grey(9)])) is None
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(VideoError):
        read_mark(tmp_path / "text.mp4")


@pytest.mark.parametrize(("rate", "channels", "kept"), [(8000, 1, 8000), (44100, 2, 44100), (11000, 1, 48000)])
def test_sound_keeps_its_timing(tmp_path: Path, rate: int, channels: int, kept: int) -> None:
    """White flashes and beeps at the same instants are found at the same instants, up to the end of a minute."""
    instants = [0.4, 7.2, 29.96, 59.4]
    sound = np.zeros((60 * rate, channels), np.float32)
    beep = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate // 25) / rate)
    for instant in instants:
        start = round(instant * rate)
        sound[start : start + len(beep)] = beep[:, None]
    soundfile.write(tmp_path / "beeps.wav", sound, rate)
    flashes = {round(instant * FPS) for instant in instants}

    with VideoWriter(tmp_path / "clip.mp4", (32, 32), audio=tmp_path / "beeps.wav") as video:
        for index in range(60 * FPS):
            video.write(grey(255 if index in flashes else 0, (32, 32)))

    info = probe_audio(tmp_path / "clip.mp4")
    assert (info.rate, info.channels) == (kept, channels)
    assert info.seconds == pytest.approx(60, abs=0.001)
    seen = [index for index, level in enumerate(levels(tmp_path / "clip.mp4")) if level > 128]
    heard = np.abs(read_audio(tmp_path / "clip.mp4"))
    for instant, frame in zip(instants, seen, strict=True):
        around = heard[round((instant - 0.2) * SAMPLE_RATE) : round((instant + 0.2) * SAMPLE_RATE)]
        onset = instant - 0.2 + float(np.argmax(around > 0.1)) / SAMPLE_RATE
        assert frame / FPS == pytest.approx(instant, abs=1e-6)
        assert onset == pytest.approx(instant, abs=0.004)


def test_sound_ends_with_the_pictures(tmp_path: Path, repository: Path) -> None:
    with VideoWriter(tmp_path / "short.mp4", (32, 32), audio=repository / "examples/speech/question_slt.flac") as video:
        for _ in range(30):
            video.write(grey(5, (32, 32)))
    assert probe_audio(tmp_path / "short.mp4").seconds == pytest.approx(1.2, abs=0.001)


def test_sound_of_a_video_is_taken(tmp_path: Path, repository: Path) -> None:
    sound = repository / "examples" / "speech" / "hello_slt.wav"
    for source, target in [(sound, "first.mp4"), (tmp_path / "first.mp4", "second.mp4")]:
        with VideoWriter(tmp_path / target, (32, 32), audio=source) as video:
            for _ in range(75):
                video.write(grey(5, (32, 32)))
    original, copied = read_audio(sound)[: 3 * SAMPLE_RATE], read_audio(tmp_path / "second.mp4")[: 3 * SAMPLE_RATE]
    assert np.corrcoef(original, copied)[0, 1] > 0.98


@pytest.mark.parametrize("size", [(51, 35), (16, 17), (65, 48)])
def test_odd_sizes_gain_an_edge(tmp_path: Path, size: tuple[int, int]) -> None:
    picture = np.tile(np.linspace(20, 230, size[0]).astype(np.uint8)[None, :, None], (size[1], 1, 3))
    with VideoWriter(tmp_path / "odd.mp4", size, crf=1) as video:
        video.write(picture)
    (frame,) = VideoReader(tmp_path / "odd.mp4")
    assert frame.shape[:2] == (size[1] + size[1] % 2, size[0] + size[0] % 2)
    assert np.abs(frame[: size[1], : size[0]].astype(int) - picture).mean() < 3
    assert abs(int(frame[0, -1, 0]) - 230) < 8


def test_caller_may_reuse_its_frame(tmp_path: Path) -> None:
    frame = grey(0)
    with VideoWriter(tmp_path / "ramp.mp4", (64, 48)) as video:
        for level in range(0, 250, 10):
            frame[:] = level
            video.write(frame)
    assert levels(tmp_path / "ramp.mp4") == pytest.approx(list(range(0, 250, 10)), abs=3)


def test_same_frames_same_bytes(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    frames = [generator.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(20)]
    for name in ("a.mp4", "b.mp4"):
        with VideoWriter(tmp_path / name, (64, 48)) as video:
            for frame in frames:
                video.write(frame)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


# --- whole or nothing --------------------------------------------------------------------------------------


def open_files() -> int:
    gc.collect()  # what an exception's traceback held
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("error", [Cancelled(), KeyboardInterrupt(), RuntimeError("renderer")])
def test_nothing_is_left_when_the_caller_fails(tmp_path: Path, repository: Path, error: BaseException) -> None:
    before, threads = open_files(), threading.active_count()
    with (
        pytest.raises(type(error)),
        VideoWriter(tmp_path / "clip.mp4", (64, 48), audio=repository / "examples/speech/hello_slt.wav") as video,
    ):
        for _ in range(40):
            video.write(grey(7))
        raise error
    assert os.listdir(tmp_path) == []
    assert (open_files(), threading.active_count()) == (before, threads)


def test_file_appears_only_when_whole_and_an_older_one_survives_failure(tmp_path: Path) -> None:
    target = tmp_path / "clip.mp4"
    target.write_text("older")
    with pytest.raises(Cancelled), VideoWriter(target, (64, 48)) as video:
        video.write(grey(7))
        raise Cancelled
    assert target.read_text() == "older" and os.listdir(tmp_path) == ["clip.mp4"]
    with VideoWriter(target, (64, 48)) as video:
        video.write(grey(7))
        assert target.read_text() == "older"
    assert VideoReader(target).size == (64, 48) and os.listdir(tmp_path) == ["clip.mp4"]


def test_failure_of_the_encoder_reaches_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(writer, "_yuv_frame", fail)
    with pytest.raises(MemoryError, match="no room"), VideoWriter(tmp_path / "clip.mp4", (64, 48)) as video:
        for _ in range(100):
            video.write(grey(7))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("room", [0, 30_000, 200_000])
def test_full_disk_is_one_sentence(tmp_path: Path, room: int) -> None:
    """A limit on the size of files stands for the disk's: the system refuses to write on in the same way."""
    generator = np.random.default_rng(0)
    before = open_files()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with (
            pytest.raises(OutputError, match=r"full; free some space .*\.$"),
            VideoWriter(tmp_path / "clip.mp4", (128, 128), crf=1) as video,
        ):
            for _ in range(12):
                video.write(generator.integers(0, 255, (128, 128, 3), dtype=np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == [] and open_files() == before


def test_places_that_cannot_be_written_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "locked").mkdir(mode=0o555)
    cases = {
        tmp_path / "folder.mp4": "is a folder",
        tmp_path / "no" / "such" / "clip.mp4": "no folder",
        tmp_path / "clip.avi": "must end in .mp4",
        tmp_path / "clip": "must end in .mp4",
        Path("/proc/clip.mp4"): "cannot be written",
    }
    if os.geteuid():  # root may write anywhere
        cases[tmp_path / "locked" / "clip.mp4"] = "cannot be written"
    for path, says in cases.items():
        with pytest.raises(OutputError, match=says) as caught:
            VideoWriter(path, (64, 48))
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["folder.mp4", "locked"]


def test_no_frame_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no frame"), VideoWriter(tmp_path / "clip.mp4", (64, 48)):
        pass
    assert os.listdir(tmp_path) == []


def test_bad_sound_is_told_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(AudioError, match=r"text\.wav"):
        VideoWriter(tmp_path / "clip.mp4", (64, 48), audio=tmp_path / "text.wav")
    assert os.listdir(tmp_path) == ["text.wav"]


def test_wrong_frames_are_refused(tmp_path: Path) -> None:
    for frame in (grey(1, (48, 64)), grey(1)[..., 0], grey(1).astype(np.float32)):
        with pytest.raises(ValueError, match=r"\(48, 64, 3\)"), VideoWriter(tmp_path / "c.mp4", (64, 48)) as video:
            video.write(frame)
    with pytest.raises(ValueError, match="16"):
        VideoWriter(tmp_path / "c.mp4", (8, 8))
    assert os.listdir(tmp_path) == []


def test_encoding_goes_on_beside_rendering_but_not_without_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, waiting = writer._yuv_frame, []

    def slow(*arguments: object) -> object:
        time.sleep(0.005)
        waiting.append(video._frames.qsize())
        return real(*arguments)

    monkeypatch.setattr(writer, "_yuv_frame", slow)
    with VideoWriter(tmp_path / "clip.mp4", (64, 48)) as video:
        begun = time.perf_counter()
        video.write(grey(0))
        assert time.perf_counter() - begun < 0.005
        for _ in range(60):
            video.write(grey(0))
    assert len(waiting) == 61 and 2 <= max(waiting) <= 16


# --- reading -----------------------------------------------------------------------------------------------


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
