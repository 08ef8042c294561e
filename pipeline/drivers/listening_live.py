"""Listening to somebody who speaks now: one frame of sound in, one frame of the listener out."""

from __future__ import annotations

from collections import deque

import numpy as np

from pipeline.coefficients import Coefficients
from pipeline.drivers.audio_encoder import LOOKAHEAD_FRAMES, LiveEncoder
from pipeline.drivers.knots import KNOT, behind, to_knots
from pipeline.drivers.listener import Listener, LiveMemory

DELAY_FRAMES = LOOKAHEAD_FRAMES + KNOT
"""Frames by which the listener is behind the sound: as far as the encoder looks, and a knot; 200 ms. No other sound
from the future is known."""

STEPS = 6  # of the integration, fewer than for files


class LiveListener:
    """Made by `ListeningDriver.live`; not for several threads at once."""

    def __init__(self, listener: Listener, encoder: LiveEncoder, reference: Coefficients) -> None:
        self._listener, self._encoder, self._reference = listener, encoder, reference[0]
        self._waiting: deque[tuple[np.ndarray, Coefficients | None]] = deque()  # turn and face, not encoded yet
        self._rows: deque[np.ndarray] = deque()  # not shown yet
        self._heard = 0  # rows so far
        self._knots: deque[np.ndarray] = deque(maxlen=3)
        self._newest: np.ndarray | None = None
        self._memory = LiveMemory.empty(STEPS)

    def step(self, samples: np.ndarray, speaker: Coefficients | None = None) -> Coefficients:
        """Hear one frame more, and move.

        Args:
            samples: (640,) sound at 16 kHz.
            speaker: one frame of the speaker's face, if it is seen.

        Returns:
            the listener's frame for the sound `DELAY_FRAMES` frames ago; before there was any, the portrait's own.

        Raises:
            ValueError: if `samples` is not one frame.
        """
        sound = self._encoder.step(samples)
        self._waiting.append((self._listener.hear(samples), speaker))
        if sound is None:
            return self._reference
        turn, face = self._waiting.popleft()
        self._rows.append(self._listener.rows(sound[None], turn, face))
        self._heard += 1
        if self._heard % KNOT == 0:
            self._draw_knot()
        if self._heard <= KNOT:
            return self._reference
        # The frame before the newest knot, at a quarter or three quarters of the way from the knot before.
        part = 0.25 if self._heard % KNOT == 0 else 0.75
        return self._listener.show(behind(np.stack(self._knots), part)[None], self._rows.popleft())

    def _draw_knot(self) -> None:
        pair = np.concatenate([self._rows[-KNOT + at] for at in range(KNOT)])
        noise = pair[:1, -self._listener.size :]
        knot = self._listener.knots(to_knots(pair), noise, memory=self._memory)[0]
        # As for files, noise that is left from knot to knot is averaged away; before the first there was the same.
        before = knot if self._newest is None else self._newest
        self._newest = knot
        self._knots.extend([(before + knot) / 2] * (1 if self._knots else 3))
