"""Voice activity: speech yes, pauses and machines no, also in noise."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.audio.reading import read_audio
from pipeline.audio.voice import stream_voice_activity, voice_activity
from pipeline.clock import SAMPLE_RATE, SAMPLES_PER_FRAME, frame_count


@pytest.fixture(scope="module")
def speech(repository) -> np.ndarray:
    """Sentences with pauses of digital silence between them."""
    return read_audio(repository / "examples" / "speech" / "pause_awb.ogg")


@pytest.fixture(scope="module")
def truth(speech: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames that are surely speech, and frames at least 200 ms from any, by the level of the clean sound."""
    frames = frame_count(len(speech))
    power = (np.pad(speech, (0, frames * SAMPLES_PER_FRAME - len(speech))).reshape(frames, -1) ** 2).mean(1)
    level = 10 * np.log10(power + 1e-9)
    loud = level > -30
    near = np.convolve(level > -60, np.ones(11), "same") > 0
    return loud, ~near


def noise(kind: str, length: int) -> np.ndarray:
    """Noise of unit power."""
    generator = np.random.default_rng(1)
    times = np.arange(length) / SAMPLE_RATE
    if kind == "hum":
        sound = sum(np.sin(2 * np.pi * 50 * k * times) / k for k in (1, 2, 3, 5, 7))
    elif kind == "pink":
        spectrum = np.fft.rfft(generator.normal(size=length))
        sound = np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1), length)
    else:
        sound = generator.normal(size=length)
    return (sound / sound.std()).astype(np.float32)


def test_speech_and_pauses(speech: np.ndarray, truth: tuple[np.ndarray, np.ndarray]) -> None:
    loud, pause = truth
    voice = voice_activity(speech)
    assert voice.shape == (frame_count(len(speech)),) and voice.dtype == np.float32
    assert voice.min() >= 0 and voice.max() <= 1
    assert (voice[loud] > 0.5).all()
    assert pause.sum() > 20 and (voice[pause] < 0.1).all()


@pytest.mark.parametrize("kind", ["white", "pink", "hum"])
@pytest.mark.parametrize(("ratio", "hits"), [(20, 0.97), (10, 0.9)])
def test_speech_in_noise(
    speech: np.ndarray, truth: tuple[np.ndarray, np.ndarray], kind: str, ratio: float, hits: float
) -> None:
    loud, pause = truth
    level = np.sqrt((speech**2).mean()) * 10 ** (-ratio / 20)
    voice = voice_activity(speech + level * noise(kind, len(speech)))
    assert (voice[loud] > 0.5).mean() >= hits
    assert (voice[pause] > 0.5).mean() <= 0.02


@pytest.mark.parametrize("kind", ["white", "pink", "hum"])
@pytest.mark.parametrize("level", [0.001, 0.01, 0.1])
def test_noise_alone_is_nobody(kind: str, level: float) -> None:
    assert voice_activity(level * noise(kind, 5 * SAMPLE_RATE)).max() < 0.5


def test_loudness_of_the_recording_hardly_matters(speech: np.ndarray) -> None:
    loud, quiet = voice_activity(speech) > 0.5, voice_activity(speech * 0.05) > 0.5
    assert (loud == quiet).mean() > 0.95


@pytest.mark.parametrize("length", [0, 1, 640, 1600])
def test_silence_of_any_length(length: int) -> None:
    voice = voice_activity(np.zeros(length, np.float32))
    assert voice.shape == (frame_count(length),)
    assert (voice < 0.01).all()


def test_stream_equals_the_whole(speech: np.ndarray) -> None:
    long = np.tile(speech, 3)
    blocks = [long[start : start + 5000] for start in range(0, len(long), 5000)]
    got = np.concatenate(list(stream_voice_activity(blocks, chunk_frames=60)))
    assert np.abs(got - voice_activity(long)).max() < 1e-4


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(N,\)"):
        voice_activity(np.zeros((100, 2), np.float32))
