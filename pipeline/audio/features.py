"""ViCo's 45 acoustic features, one row a video frame (Huang 2022 §4.2), computed with librosa.

Row t describes the samples [640 t, 640 (t + 1)); the spectrum's window of 64 ms is centred on them. Nothing
depends on the recording as a whole (no normalisation, no floor below its maximum), so a long sound may be cut
into pieces that overlap by `CONTEXT_FRAMES` rows; `stream_features` does that for sound of any length.

librosa is imported on first use: it takes about 1.3 s a process, and some 15 s once after an install while
numba compiles. `warm_up` does that in advance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np

from pipeline.audio.compiled import load_librosa
from pipeline.audio.streaming import stream_rows
from pipeline.clock import SAMPLE_RATE, SAMPLES_PER_FRAME, frame_count

N_MFCC = 14
FEATURE_DIM = 3 * N_MFCC + 3
ENERGY, LOUDNESS, ZERO_CROSSINGS = range(3 * N_MFCC, FEATURE_DIM)  # columns after MFCC, Δ and ΔΔ

_N_FFT = 1024
_MELS = 40
_DELTA_WIDTH = 9  # librosa's own; reaches four frames to each side
_FLOOR = 1e-7  # about white noise at -84 dB of full scale: digital silence and a quiet room look alike
_BEFORE = (_N_FFT - SAMPLES_PER_FRAME) // 2

CONTEXT_FRAMES = _DELTA_WIDTH // 2 + 1
"""Rows on each side of a row that its value depends on: four for Δ and ΔΔ, one for the window's overhang."""

_CHUNK_FRAMES = 250


def extract_features(samples: np.ndarray) -> np.ndarray:
    """MFCC (14), Δ (14), ΔΔ (14), energy, loudness and zero-crossing rate of each video frame.

    Beyond both ends the sound is taken to be silent, and Δ to go on level.

    Args:
        samples: (N,) sound at 16 kHz, about -1 to 1.

    Returns:
        (ceil(N / 640), 45) float32: columns 0-13 MFCC of 40 mel bands in dB, 14-27 their first and 28-41
        their second derivative a frame, 42 root mean square (0 to 1), 43 A-weighted loudness (dB, at least -70), 44
        the share of neighbouring samples between which the sign changes (0 to 1).

    Raises:
        ValueError: if `samples` is not one-dimensional or not finite.

    Source: Huang 2022 §4.2 (the ViCo baseline's features).
    """
    samples = np.asarray(samples, np.float32)
    if samples.ndim != 1:
        raise ValueError(f"samples must have shape (N,), not {samples.shape}.")
    if not np.isfinite(samples).all():
        raise ValueError("samples must be finite; `stream_audio` gives such.")
    frames = frame_count(len(samples))
    if frames == 0:
        return np.zeros((0, FEATURE_DIM), np.float32)

    librosa = load_librosa()
    feature, power_to_db = librosa.feature, librosa.power_to_db

    whole = np.pad(samples, (0, frames * SAMPLES_PER_FRAME - len(samples)))
    padded = np.pad(whole, (_BEFORE, _N_FFT - SAMPLES_PER_FRAME - _BEFORE))
    power = np.abs(librosa.stft(padded, n_fft=_N_FFT, hop_length=SAMPLES_PER_FRAME, center=False)) ** 2
    mel = feature.melspectrogram(S=power, sr=SAMPLE_RATE, n_fft=_N_FFT, n_mels=_MELS)
    mfcc = feature.mfcc(S=power_to_db(mel, amin=_FLOOR, top_db=None), n_mfcc=N_MFCC)
    delta, delta2 = (feature.delta(mfcc, width=_DELTA_WIDTH, order=order, mode="nearest") for order in (1, 2))
    one_frame = {"frame_length": SAMPLES_PER_FRAME, "hop_length": SAMPLES_PER_FRAME, "center": False}
    energy = feature.rms(y=whole, **one_frame)
    loudness = power_to_db(_a_weights() @ power, amin=_FLOOR, top_db=None)[None]
    # Signs are of the sound above the floor, so that dither in digital silence is not taken for a hiss.
    crossings = feature.zero_crossing_rate(np.where(np.abs(whole) < 1e-5, 0, whole), **one_frame)
    return np.concatenate([mfcc, delta, delta2, energy, loudness, crossings]).T.astype(np.float32)


def stream_features(blocks: Iterable[np.ndarray], chunk_frames: int = _CHUNK_FRAMES) -> Iterator[np.ndarray]:
    """`extract_features` of sound that comes in blocks of any length; memory does not grow with it.

    Args:
        blocks: (n,) pieces of one sound at 16 kHz, in order, as from `stream_audio`.
        chunk_frames: rows in each result but the last.

    Returns:
        iterator over (chunk_frames, 45) float32; together ceil(N / 640) rows.
    """
    return stream_rows(extract_features, blocks, CONTEXT_FRAMES, chunk_frames)


def warm_up() -> None:
    """Import librosa and load what numba compiled, so that the first real call is quick."""
    extract_features(np.zeros(SAMPLE_RATE, np.float32))


@lru_cache(maxsize=1)
def _a_weights() -> np.ndarray:
    """(513,) weights that turn a power spectrum into A-weighted mean power of the window."""
    librosa = load_librosa()
    frequencies = np.maximum(librosa.fft_frequencies(sr=SAMPLE_RATE, n_fft=_N_FFT), 1.0)
    gain = 10 ** (librosa.A_weighting(frequencies) / 10)
    hann_power = 3 / 8 * _N_FFT
    return (2 * gain / (_N_FFT * hann_power)).astype(np.float32)
