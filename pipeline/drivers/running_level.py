"""Loudness made even as sound comes, for what listens without knowing the whole of it.

`pipeline.drivers.level` takes one level of a whole window; here the level runs along with the sound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from pipeline.clock import SAMPLES_PER_FRAME, frame_count
from pipeline.drivers.level import QUIETEST, TARGET_LEVEL

FIRST_LEVEL = -40.0  # dB of full scale, before anything is heard
_ATTACK, _RELEASE = 0.2, 0.02  # shares a frame
_FORGETTING = 0.01  # dB a frame
_SPEECH_RANGE = 20.0  # dB below the level that still count as speech


class Leveller:
    """Brings sound to `TARGET_LEVEL` as it comes, by a level that rises with speech in a fifth of a second and
    falls with quieter speech in two seconds, in pauses hardly."""

    def __init__(self) -> None:
        self._level = FIRST_LEVEL

    def levels(self, samples: np.ndarray) -> np.ndarray:
        """Running level (ceil(n / 640),) in dB after each frame of the next samples (n,), whole frames but the last."""
        frames = frame_count(len(samples))
        whole = np.pad(samples.astype(np.float32), (0, frames * SAMPLES_PER_FRAME - len(samples)))
        own = 10 * np.log10(np.square(whole).reshape(frames, SAMPLES_PER_FRAME).mean(1) + 1e-12)
        levels = np.empty(frames, np.float32)
        for index, value in enumerate(own.tolist()):
            above = value - self._level
            if above > 0:
                self._level += _ATTACK * above
            elif above > -_SPEECH_RANGE:
                self._level += _RELEASE * above
            else:
                self._level -= _FORGETTING
            self._level = max(self._level, QUIETEST)
            levels[index] = self._level
        return levels


def levelled(blocks: Iterable[np.ndarray], ahead: int = 0) -> Iterator[np.ndarray]:
    """Sound that comes in blocks, made even by a running level; the same however the blocks are cut.

    Args:
        blocks: (n,) pieces of one sound at 16 kHz, in order.
        ahead: frames of sound after a frame that its level knows; 0 is what live sound can have.

    Yields:
        (n,) float32.
    """
    leveller = Leveller()
    held, levels = np.zeros(0, np.float32), np.full(1, FIRST_LEVEL, np.float32)
    for block in _whole_frames(blocks):
        held, levels = np.concatenate([held, block]), np.concatenate([levels, leveller.levels(block)])
        settled = len(levels) - 1 - ahead
        if settled > 0:
            size = settled * SAMPLES_PER_FRAME
            yield raised(held[:size], levels[ahead : ahead + settled + 1])
            held, levels = held[size:], levels[settled:]
    if len(held):
        edges = np.pad(levels, (0, ahead), mode="edge")[ahead:]
        yield raised(held, edges[: 1 + frame_count(len(held))])


def raised(samples: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Samples (n,) with the gain that levels (1 + ceil(n / 640),) in dB ask for at the frames' edges."""
    gains = TARGET_LEVEL - levels
    part = (np.arange(SAMPLES_PER_FRAME, dtype=np.float32) + 1) / SAMPLES_PER_FRAME
    decibels = gains[:-1, None] + (gains[1:] - gains[:-1])[:, None] * part
    return samples * (10 ** (decibels.reshape(-1)[: len(samples)] / 20)).astype(np.float32)


def _whole_frames(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Blocks of whole frames, 10 s at most; the last may end anywhere."""
    size = 250 * SAMPLES_PER_FRAME
    held = np.zeros(0, np.float32)
    for block in blocks:
        block = np.asarray(block, np.float32)
        for start in range(0, len(block), size):
            held = np.concatenate([held, block[start : start + size]])
            whole = len(held) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
            if whole:
                yield held[:whole]
                held = held[whole:]
    if len(held):
        yield held
