"""Reading sound: what comes out is the sound that went in, whatever its file; what is no sound is one sentence."""

from __future__ import annotations

import tracemalloc
import wave
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from pipeline.audio.reading import decode_audio, is_silent, probe_audio, read_audio, stream_audio
from pipeline.clock import SAMPLE_RATE, frame_count
from pipeline.errors import AudioError


def tone(seconds: float, rate: int, hertz: float = 440.0, amplitude: float = 0.3) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def assert_same_sound(got: np.ndarray, expected: np.ndarray, loss: float = 1e-3) -> None:
    """Aside from the resampler's settling at both ends."""
    assert abs(len(got) - len(expected)) <= 1
    inner = slice(400, min(len(got), len(expected)) - 400)
    assert np.abs(got[inner] - expected[inner]).max() < loss


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"),
    [
        (8000, 1, "PCM_16"),
        (8000, 1, "ULAW"),
        (11025, 2, "PCM_U8"),
        (16000, 1, "FLOAT"),
        (44100, 2, "PCM_16"),
        (48000, 6, "PCM_24"),
        (96000, 2, "DOUBLE"),
    ],
)
def test_any_rate_and_channels(tmp_path: Path, rate: int, channels: int, subtype: str) -> None:
    path = tmp_path / "tone.wav"
    sound = np.repeat(tone(1.3, rate)[:, None], channels, axis=1)
    soundfile.write(path, sound, rate, subtype=subtype)

    info = probe_audio(path)
    got = read_audio(path)

    assert (info.rate, info.channels) == (rate, channels)
    assert info.seconds == pytest.approx(1.3, abs=0.01)
    assert got.dtype == np.float32
    expected = tone(1.3, SAMPLE_RATE)
    inner = slice(400, -400)
    scale = float(got[inner] @ expected[: len(got)][inner] / (expected[inner] @ expected[inner]))
    assert scale == pytest.approx(1, abs=0.02) or channels == 6  # surround may be louder, and is then cut off
    assert_same_sound(got / scale, expected, 0.012 if subtype in ("PCM_U8", "ULAW") else 2e-3)


@pytest.mark.parametrize("name", ["tone.mp3", "tone.m4a", "tone.opus", "tone.webm", "tone.ogg", "tone.flac"])
def test_compressed_sound_is_not_shifted(tmp_path: Path, name: str) -> None:
    rate = 48000
    sound = tone(2.0, rate, 300) * np.repeat(np.random.default_rng(0).random(20), rate // 10).astype(np.float32)
    codec = {"mp3": "libmp3lame", "m4a": "aac", "opus": "libopus", "webm": "libopus"}.get(name.split(".")[1])
    if codec is None:
        soundfile.write(tmp_path / name, sound, rate)
    else:
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream(codec, rate=rate, layout="mono")
            frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, 0
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))

    got = read_audio(tmp_path / name)

    expected = np.asarray(sound[::3])
    lags = range(-60, 61)
    middle = slice(100, 31000)
    matches = [got[100 + lag : 31000 + lag] @ expected[middle] for lag in lags]
    assert abs(lags[int(np.argmax(matches))]) <= 8  # half a millisecond
    assert len(got) == pytest.approx(len(expected), abs=1600)
    assert np.corrcoef(got[middle], expected[middle])[0, 1] > 0.99


def test_blocks_join_to_the_whole(repository: Path) -> None:
    path = repository / "examples" / "speech" / "bonjour_espeak.ogg"
    whole = read_audio(path)
    blocks = list(stream_audio(path, block_seconds=0.75))
    assert {len(block) for block in blocks[:-1]} == {12000}
    assert 0 < len(blocks[-1]) <= 12000
    assert np.array_equal(np.concatenate(blocks), whole)
    assert np.array_equal(read_audio(path), whole)


def test_dialogue_in_the_centre_of_surround_stays_loud(tmp_path: Path) -> None:
    sound = np.zeros((SAMPLE_RATE, 6), np.float32)
    sound[:, 2] = tone(1, SAMPLE_RATE)
    sound[:, 3] = tone(1, SAMPLE_RATE, 40, 0.9)  # the bass channel is no voice
    path = tmp_path / "film.wav"
    _write_surround(path, sound)
    loudness = read_audio(path).std() / tone(1, SAMPLE_RATE).std()
    assert 0.6 < loudness < 1.1


def _write_surround(path: Path, sound: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="5.1")
        samples = (sound * 32767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="5.1")
        frame.sample_rate, frame.pts = SAMPLE_RATE, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_samples_that_are_no_numbers_become_silence(tmp_path: Path) -> None:
    sound = tone(1, 48000)
    sound[10000:10100] = np.nan
    sound[20000] = np.inf
    sound[30000] = -np.inf
    sound[40000] = 1e30
    soundfile.write(tmp_path / "holes.wav", sound, 48000, subtype="FLOAT")
    got = read_audio(tmp_path / "holes.wav")
    assert np.isfinite(got).all() and np.abs(got).max() <= 1
    expected = tone(1, SAMPLE_RATE)
    for start, end in [(400, 3200), (3500, 6500), (7000, 9800), (14000, 15500)]:
        assert np.abs(got[start:end] - expected[start:end]).max() < 0.01


@pytest.mark.parametrize("rate", [8000, 48000])
def test_tenth_of_a_second(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "short.wav", tone(0.1, rate), rate)
    got = read_audio(tmp_path / "short.wav")
    assert len(got) == 1600 and frame_count(len(got)) == 3


def test_silent_file_is_read_and_told(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    assert is_silent(read_audio(tmp_path / "silent.wav"))
    assert is_silent(np.zeros(0, np.float32))
    assert not is_silent(tone(1, SAMPLE_RATE, amplitude=0.01))


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "long.wav"), "wb") as file:
        file.setparams((1, 1, 8000, 0, "NONE", ""))
        file.writeframes((128 + 100 * tone(600, 8000)).astype(np.uint8).tobytes())
    assert probe_audio(tmp_path / "long.wav").seconds == pytest.approx(600)
    tracemalloc.start()
    try:
        total = sum(len(block) for block in stream_audio(tmp_path / "long.wav"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert abs(total - 600 * SAMPLE_RATE) <= 1
    assert peak < 6e6  # all of it would be 38 MB


def test_gap_in_the_clock_is_filled(tmp_path: Path) -> None:
    """A recorder that dropped a second goes on at the right time."""
    path = tmp_path / "gap.mkv"
    _write_timed(path, [(0.0, tone(1, 16000)), (2.0, tone(1, 16000))])
    got = read_audio(path)
    assert len(got) == 48000
    assert np.abs(got[16500:31500]).max() == 0
    assert_same_sound(got[32000:], tone(1, 16000))


def test_sound_that_starts_after_the_picture_keeps_its_place(tmp_path: Path) -> None:
    path = tmp_path / "late.mkv"
    _write_timed(path, [(0.5, tone(1, 16000))], picture=True)
    got = read_audio(path)
    assert len(got) == 24000
    assert np.abs(got[:7990]).max() == 0
    assert_same_sound(got[8000:], tone(1, 16000))


def test_sound_alone_starts_at_its_first_sample(tmp_path: Path) -> None:
    path = tmp_path / "offset.mkv"
    _write_timed(path, [(5.0, tone(1, 16000))])
    assert_same_sound(read_audio(path), tone(1, 16000))


def _write_timed(path: Path, parts: list[tuple[float, np.ndarray]], picture: bool = False) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        video = container.add_stream("mpeg4", rate=25) if picture else None
        if video is not None:
            video.width = video.height = 32
            video.pix_fmt = "yuv420p"
            for index in range(40):
                frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                frame.pts = index
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        for start, sound in parts:
            for offset in range(0, len(sound), 1600):
                samples = (sound[offset : offset + 1600] * 32767).astype(np.int16)[None]
                frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
                frame.sample_rate = 16000
                frame.pts = round(start * 16000) + offset
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_file_cut_short_gives_what_is_there(tmp_path: Path, repository: Path) -> None:
    whole = (repository / "examples" / "speech" / "question_slt.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    expected = read_audio(repository / "examples" / "speech" / "question_slt.flac")
    got = read_audio(tmp_path / "cut.flac")
    assert 0.3 < len(got) / len(expected) < 0.7
    assert np.array_equal(got[: len(got) - 8192], expected[: len(got) - 8192])


def test_browser_recording_that_does_not_know_its_length(tmp_path: Path) -> None:
    """What a page's microphone gives: WebM written as it goes, without a length in its head."""

    class Pipe:
        def __init__(self) -> None:
            self.content = bytearray()

        def write(self, data: bytes) -> int:
            self.content += data
            return len(data)

    pipe = Pipe()
    with av.open(pipe, "w", format="webm") as container:
        stream = container.add_stream("libopus", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(2, 48000)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (tmp_path / "microphone.webm").write_bytes(pipe.content)
    assert probe_audio(tmp_path / "microphone.webm").seconds == pytest.approx(2, abs=0.05)
    assert len(read_audio(tmp_path / "microphone.webm")) == pytest.approx(32000, abs=800)


def test_two_channels_for_the_writer(tmp_path: Path) -> None:
    sound = np.stack([tone(0.5, 44100, 300), tone(0.5, 44100, 700)], 1)
    soundfile.write(tmp_path / "stereo.wav", sound, 44100, subtype="FLOAT")
    rates, blocks = zip(*decode_audio(tmp_path / "stereo.wav", 2), strict=True)
    assert set(rates) == {44100}
    assert np.array_equal(np.concatenate(blocks), sound)


def _bad_files(folder: Path) -> dict[str, Path]:
    files = {name: folder / name for name in ("empty.wav", "text.wav", "no_samples.wav", "nan.wav", "picture.jpg")}
    files["empty.wav"].touch()
    files["text.wav"].write_text("This is not sound.\n" * 100)
    soundfile.write(files["no_samples.wav"], np.zeros(0), SAMPLE_RATE)
    soundfile.write(files["nan.wav"], np.full(SAMPLE_RATE, np.nan), SAMPLE_RATE, subtype="FLOAT")
    with av.open(str(files["picture.jpg"]), "w", format="image2") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    files["silent_film.mkv"] = folder / "silent_film.mkv"
    with av.open(str(files["silent_film.mkv"]), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    files["playlist.m4a"] = folder / "playlist.m4a"
    soundfile.write(folder / "secret.wav", tone(1, SAMPLE_RATE), SAMPLE_RATE)
    files["playlist.m4a"].write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:{folder}/secret.wav\n#EXT-X-ENDLIST\n"
    )
    files["missing.wav"] = folder / "missing.wav"
    files["folder"] = folder / "folder"
    files["folder"].mkdir()
    return files


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("empty.wav", "is empty"),
        ("text.wav", "cannot be read as sound"),
        ("no_samples.wav", "holds no sound"),
        ("nan.wav", "not numbers"),
        ("picture.jpg", "cannot be read as sound"),
        ("silent_film.mkv", "has no sound"),
        ("playlist.m4a", "cannot be read as sound"),
        ("missing.wav", "no file"),
        ("folder", "is a folder"),
    ],
)
def test_what_is_no_sound_is_one_sentence(tmp_path: Path, name: str, says: str) -> None:
    path = _bad_files(tmp_path)[name]
    with pytest.raises(AudioError, match=says) as caught:
        read_audio(path)
    sentence = str(caught.value)
    assert name in sentence and sentence.endswith(".") and "\n" not in sentence and len(sentence) < 300
    if name != "nan.wav":  # which only its samples tell
        with pytest.raises(AudioError, match=says):
            probe_audio(path)


def test_addresses_are_never_opened() -> None:
    for address in ("http://127.0.0.1:9/a.wav", "concat:a.wav|b.wav", "lavfi:sine"):
        with pytest.raises(AudioError, match="no file"):
            read_audio(address)
