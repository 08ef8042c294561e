"""What head, brows and lids follow in the voice: who speaks when, how loudly, where the stress and the pauses are.

Everything is taken from the loudness alone. The pitch of the voice was tried as well: on the corpus it correlates
with head and brow motion less than loudness does (at most 0.11 against 0.15) and says little besides.
"""

from __future__ import annotations

import numpy as np

from pipeline.audio.features import FEATURE_DIM, LOUDNESS

ACTIVITY, LEVEL, STRESS, PHRASE_END = range(4)
PROSODY_DIM = 4

BLOCK = 10
"""Frames that are worked on at once, however the sound was cut: that makes results the same to the byte."""

AHEAD = 12
"""Frames of sound after a frame that its prosody depends on."""

_MEMORY = 250  # frames behind over which loudness is judged: 10 s
_SILENCE = -70.0  # dB, the floor of the loudness feature
_PEAK_FALL = 0.02  # dB a frame: how fast a loud passage is forgotten in a long silence


class ProsodyStream:
    """Turns feature rows into prosody rows, `AHEAD` rows late, in whole blocks of `BLOCK` rows."""

    def __init__(self) -> None:
        self._loudness = np.full(_MEMORY, _SILENCE)  # what lies before the sound is silence
        self._unheard = _MEMORY  # values of that silence still in memory: a noise must not stand out against it
        self._done = _MEMORY
        self._peak = _SILENCE

    def push(self, features: np.ndarray, last: bool = False) -> np.ndarray:
        """Add rows and take out those that are settled.

        Args:
            features: (n, 45), see `pipeline.audio.features`.
            last: nothing follows; what is left comes out, as if silence followed.

        Returns:
            (m, 4) voice activity (0 to 1), level against the speaker's usual one (about -1.5 to 1.5, 0 in silence),
            stress (the level above that of its half second on each side), and phrase end (0 to 1).

        Raises:
            ValueError: if the shape is wrong.
        """
        if features.ndim != 2 or features.shape[1] != FEATURE_DIM:
            raise ValueError(f"features must have shape (n, {FEATURE_DIM}), not {features.shape}.")
        new = np.nan_to_num(features[:, LOUDNESS].astype(np.float64), nan=_SILENCE)
        self._loudness = np.concatenate([self._loudness, new.clip(_SILENCE, 6.0)])
        end = len(self._loudness)
        if last:
            padded = -(-(end - self._done) // BLOCK) * BLOCK + self._done + AHEAD
            self._loudness = np.concatenate([self._loudness, np.full(padded - end, _SILENCE)])
        parts = []
        while self._done + BLOCK + AHEAD <= len(self._loudness):
            parts.append(self._block())
        rows = np.concatenate(parts) if parts else np.zeros((0, PROSODY_DIM))
        if last:
            rows = rows[: len(rows) - (self._done - end)]
        surplus = self._done - _MEMORY
        self._loudness, self._done = self._loudness[surplus:], _MEMORY
        self._unheard = max(0, self._unheard - surplus)
        return rows

    def _block(self) -> np.ndarray:
        start = self._done
        window = self._loudness[max(start - _MEMORY, self._unheard) : start + BLOCK + AHEAD]
        heard = window[window > _SILENCE + 1]
        top = np.quantile(window, 0.95) if len(heard) > 100 else (np.quantile(heard, 0.9) if len(heard) else _SILENCE)
        self._peak = max(top, self._peak - _PEAK_FALL * BLOCK)
        floor = np.quantile(window, 0.05)
        threshold = max(self._peak - 22.0, floor + 0.35 * (self._peak - floor), -58.0)
        # A hum or a noise is steady; speech is not.
        lively = np.clip((self._peak - floor - 6.0) / 6.0, 0.0, 1.0)
        voiced = window > threshold
        usual = window[voiced].mean() if voiced.any() else self._peak - 6.0

        near = self._loudness[start - 2 * AHEAD : start + BLOCK + AHEAD]
        active = _smooth(lively / (1 + np.exp(-np.clip((near - threshold) / 2.5, -30, 30))), 2)
        level = np.clip((near - usual) / 10.0, -1.5, 1.5) * active
        quick, slow = _smooth(level, 2), _smooth(level, AHEAD)
        cut = slice(2 * AHEAD, 2 * AHEAD + BLOCK)
        sums = np.concatenate([[0.0], np.cumsum(active)])
        at = np.arange(2 * AHEAD, 2 * AHEAD + BLOCK)
        before, after = (sums[at + 1] - sums[at - 7]) / 8, (sums[at + 9] - sums[at + 1]) / 8
        self._done = start + BLOCK
        return np.stack([active[cut], quick[cut], (quick - slow)[cut], np.clip(before - after, 0, 1)], -1)


def prosody(features: np.ndarray) -> np.ndarray:
    """(T, 4) prosody of a whole sound's features (T, 45); the same rows as `ProsodyStream` gives piece by piece."""
    return ProsodyStream().push(features, last=True)


def _smooth(values: np.ndarray, half: int) -> np.ndarray:
    """Raised-cosine mean over `half` values on each side; ends are held."""
    kernel = np.hanning(2 * half + 3)[1:-1]
    return np.convolve(np.pad(values, half, mode="edge"), kernel / kernel.sum(), "valid")
