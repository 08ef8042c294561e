"""Loudness made even before anything listens: a whisper and a shout should move the lips alike."""

from __future__ import annotations

import numpy as np

from pipeline.clock import SAMPLE_RATE

TARGET_LEVEL = -23.0  # dB of full scale, of speech while somebody speaks
QUIETEST = -52.0  # what is below is taken for a quiet room, not for quiet speech, and not raised further
_STEP = SAMPLE_RATE // 50


def speech_level(samples: np.ndarray) -> float:
    """Level of the loud parts of sound (N,) at 16 kHz in dB of full scale; at least `QUIETEST`.

    The mean power of the 20 ms steps within 20 dB of the 95th percentile, so that pauses don't count.
    """
    steps = len(samples) // _STEP
    if steps == 0:
        return QUIETEST
    power = np.square(samples[: steps * _STEP].astype(np.float64)).reshape(steps, _STEP).mean(1)
    top = np.quantile(power, 0.95)
    loud = power[power >= top * 1e-2]
    return float(max(10 * np.log10(loud.mean() + 1e-12), QUIETEST))


def normalised(samples: np.ndarray, level: float | None = None) -> np.ndarray:
    """Sound (N,) brought to `TARGET_LEVEL`, from its own level or a given one in dB."""
    level = speech_level(samples) if level is None else level
    return samples.astype(np.float32) * np.float32(10 ** ((TARGET_LEVEL - level) / 20))
