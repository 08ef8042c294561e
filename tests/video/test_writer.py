"""Writing: right colours and times, marked, playable."""

from __future__ import annotations

import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import soundfile
from videos import grey, levels, solid, write_source

from pipeline.audio.reading import probe_audio, read_audio
from pipeline.clock import FPS, SAMPLE_RATE
from pipeline.errors import VideoError
from pipeline.evaluation.tampering import without_manifest
from pipeline.provenance import DIGITAL_SOURCE_TYPE, read_mark
from pipeline.video import VideoReader, VideoWriter


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
    first, second = ((tmp_path / name).read_bytes() for name in ("a.mp4", "b.mp4"))
    assert first != second  # each manifest has a number and a signature of its own; all else is the same, in its place
    assert without_manifest(first) == without_manifest(second)
