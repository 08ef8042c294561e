"""Voice activity: where somebody speaks, so that the mouth rests where nobody does.

Two clues, neither of which needs training: the speech band stands out above the noise that the last and next
seconds show, and voiced speech is periodic at the pitch of human voices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from pipeline.audio.streaming import stream_rows
from pipeline.clock import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, frame_count

_HOP = SAMPLE_RATE // 100
_HOPS_PER_FRAME = SAMPLES_PER_FRAME // _HOP
_WINDOW = 512  # 32 ms: two periods of a low voice
_N_FFT = 1024
_BAND = (200.0, 4000.0)  # Hz; hum lies below, hiss above
_PITCH = (70.0, 400.0)  # Hz
_FLOOR_SECONDS = 3.0  # on each side; longer than people speak without any pause
_QUIETEST_DB = -60.0  # of full scale; below it nothing counts as voice
_HOLD = 8  # hops: consonants beside a vowel, and the gaps of plosives

CONTEXT_FRAMES = int(_FLOOR_SECONDS * FPS) + 5
"""Rows on each side of a row that its value depends on."""


def voice_activity(samples: np.ndarray) -> np.ndarray:
    """How surely somebody speaks in each video frame.

    Args:
        samples: (N,) sound at 16 kHz, about -1 to 1.

    Returns:
        (ceil(N / 640),) float32, 0 (nobody) to 1; above 0.5 counts as speech.

    Raises:
        ValueError: if `samples` is not one-dimensional.
    """
    samples = np.asarray(samples, np.float32)
    if samples.ndim != 1:
        raise ValueError(f"samples must have shape (N,), not {samples.shape}.")
    frames = frame_count(len(samples))
    if frames == 0:
        return np.zeros(0, np.float32)

    from scipy.ndimage import maximum_filter1d, uniform_filter1d

    level, voicing = _measure(samples, frames * _HOPS_PER_FRAME)
    noise, loudest = _surroundings(level)
    stands_out = _sigmoid((level - noise - 9.0) / 1.5)
    voiced = _sigmoid((voicing - 0.6) / 0.05) * _sigmoid((level - noise - 2.5) / 0.7)
    voiced *= _sigmoid((level - loudest + 25.0) / 2.0)
    moving = _sigmoid((loudest - noise - 4.0) / 0.5)  # a level that never changes is a machine's
    audible = _sigmoid((level - _QUIETEST_DB) / 2.0)
    speech = audible * moving * (1 - (1 - stands_out) * (1 - voiced))
    # Clicks are shorter than any syllable: what lasts under 50 ms is averaged away, the rest held a little.
    speech = maximum_filter1d(uniform_filter1d(speech, 7), 2 * _HOLD + 1)
    speech = uniform_filter1d(speech, _HOLD + 1)
    return speech.reshape(frames, _HOPS_PER_FRAME).mean(1).astype(np.float32)


def stream_voice_activity(blocks: Iterable[np.ndarray], chunk_frames: int = 250) -> Iterator[np.ndarray]:
    """`voice_activity` of sound that comes in blocks: (chunk_frames,) at a time; see `stream_rows`."""
    return stream_rows(voice_activity, blocks, CONTEXT_FRAMES, chunk_frames)


def _measure(samples: np.ndarray, hops: int) -> tuple[np.ndarray, np.ndarray]:
    """Level of the speech band in dB of full scale and periodicity (0 to 1), each (hops,)."""
    before = (_WINDOW - _HOP) // 2
    padded = np.pad(samples, (before, hops * _HOP - len(samples) + _WINDOW))
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[: hops * _HOP : _HOP]
    hann = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    frequencies = np.fft.rfftfreq(_N_FFT, 1 / SAMPLE_RATE)
    band = ((frequencies >= _BAND[0]) & (frequencies <= _BAND[1])).astype(np.float32)
    shortest, longest = (int(SAMPLE_RATE / pitch) for pitch in _PITCH[::-1])
    own = np.fft.irfft(np.abs(np.fft.rfft(hann, _N_FFT)) ** 2)[shortest:longest]
    own /= (hann**2).sum()  # the window's own decay with the lag, taken out below (Boersma 1993, eq. 9)

    level, voicing = np.empty(hops), np.empty(hops)
    for start in range(0, hops, 1000):
        power = np.abs(np.fft.rfft(windows[start : start + 1000] * hann, _N_FFT)) ** 2 * band
        energy = power.sum(1)
        level[start : start + 1000] = energy * 2 / (_N_FFT * (hann**2).sum())
        correlation = np.fft.irfft(power)[:, shortest:longest] / own
        voicing[start : start + 1000] = correlation.max(1) * _N_FFT / (2 * energy + 1e-9)
    return 10 * np.log10(level + 1e-9), np.clip(voicing, 0, 1)


def _surroundings(level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Noise floor and loudest speech of the seconds around each hop, in dB, each (hops,)."""
    from scipy.ndimage import percentile_filter, uniform_filter1d

    size = 2 * int(_FLOOR_SECONDS * 100) + 1
    smooth = uniform_filter1d(level, 5)
    return tuple(percentile_filter(smooth, rank, size=size, mode="reflect") for rank in (10, 95))


def _sigmoid(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(value, -30, 30)))
