"""Sound made worse on purpose, so that what learns from few voices and microphones copes with many."""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from pipeline.audio.compiled import load_librosa
from pipeline.clock import SAMPLE_RATE

SNR_STEPS = tuple(range(6, 31, 3))  # dB; Chen 2020 §3.2


def augment(samples: np.ndarray, rng: np.random.Generator, babble: list[np.ndarray] | None = None) -> np.ndarray:
    """Another microphone, room, level and background for the same speech; timing is untouched.

    Args:
        samples: (N,) sound at 16 kHz.
        rng: source of chance.
        babble: other people's speech, to be mixed in as one of the noises.

    Returns:
        (N,) float32.

    Source: noise at 6 to 30 dB in steps of 3 dB as Chen 2020 §3.2; equaliser, room, band limit and gain are ours.
    """
    sound = samples.astype(np.float32)
    if rng.random() < 0.35:
        sound = _room(sound, rng)
    if rng.random() < 0.7:
        sound = _equalise(sound, rng)
    if rng.random() < 0.6:
        sound = sound + _noise(sound, rng, babble)
    return sound * np.float32(10 ** (rng.normal(0, 3) / 20))


def stretch(samples: np.ndarray, factor: float) -> np.ndarray:
    """Play `factor` times as fast: pitch and formants rise, time shrinks. (N,) to (round(N / factor),)."""
    import soxr

    return soxr.resample(samples.astype(np.float32), SAMPLE_RATE * factor, SAMPLE_RATE, quality="LQ")


def revoice(samples: np.ndarray, factor: float) -> np.ndarray:
    """Somebody else's throat: pitch and formants `factor` times as high, at the same speed. (N,) to about (N,)."""
    return load_librosa().effects.time_stretch(stretch(samples, factor), rate=1 / factor, n_fft=512, hop_length=128)


def _equalise(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    size = next_fast_len(len(sound))
    spectrum = rfft(sound, size)
    hertz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    knots = np.geomspace(60, 8000, 8)
    gains = rng.normal(0, 4, 8) + rng.normal(0, 3) * np.linspace(-1, 1, 8)
    curve = np.interp(np.log(hertz + 1), np.log(knots), gains)
    if rng.random() < 0.25:  # telephone, cheap codec
        edge = rng.uniform(3000, 6500)
        curve -= np.clip((hertz - edge) / 500, 0, 1) * 40
    return irfft(spectrum * (10 ** (curve / 20)).astype(np.float32), size)[: len(sound)]


def _room(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    seconds = rng.uniform(0.08, 0.45)
    length = int(seconds * SAMPLE_RATE)
    decay = np.exp(-6.9 * np.arange(length) / length)
    tail = rng.normal(size=length) * decay
    tail *= 10 ** (-rng.uniform(2, 14) / 20) / np.sqrt((tail**2).sum())
    tail[0] = 1.0
    size = next_fast_len(len(sound) + length)
    return irfft(rfft(sound, size) * rfft(tail.astype(np.float32), size), size)[: len(sound)]


def _noise(sound: np.ndarray, rng: np.random.Generator, babble: list[np.ndarray] | None) -> np.ndarray:
    if babble and rng.random() < 0.3:
        noise = np.zeros(len(sound), np.float32)
        for _ in range(int(rng.integers(1, 4))):
            other = babble[int(rng.integers(len(babble)))]
            noise += np.resize(np.roll(other, int(rng.integers(len(other)))), len(sound))
    else:
        size = next_fast_len(len(sound))
        spectrum = rfft(rng.standard_normal(size, np.float32))
        slope = rng.uniform(0, 1)  # 0 white, 0.5 pink, 1 brown
        spectrum /= np.maximum(np.arange(len(spectrum), dtype=np.float32), 1) ** np.float32(slope)
        noise = irfft(spectrum, size)[: len(sound)]
    ratio = 10 ** (rng.choice(SNR_STEPS) / 20)
    level = np.sqrt(np.mean(sound.astype(np.float64) ** 2))
    own = np.sqrt(np.mean(np.asarray(noise, np.float64) ** 2))
    return (noise * (level / max(own, 1e-9) / ratio)).astype(np.float32)
