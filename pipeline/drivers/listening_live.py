"""Listening to somebody who speaks now: one frame of sound in, one frame of the listener out."""

from __future__ import annotations

from collections import deque

import numpy as np

from pipeline.coefficients import Coefficients
from pipeline.drivers.audio_encoder import LOOKAHEAD_FRAMES, LiveEncoder
from pipeline.drivers.listener import Listener, LiveMemory

DELAY_FRAMES = LOOKAHEAD_FRAMES
"""Frames by which the listener's frames are behind the sound: 120 ms. No other sound from the future is known."""

STEPS = 4  # of the integration, fewer than for files


class LiveListener:
    """Made by `ListeningDriver.live`; not for several threads at once."""

    def __init__(self, listener: Listener, encoder: LiveEncoder, reference: Coefficients) -> None:
        self._listener, self._encoder, self._reference = listener, encoder, reference[0]
        self._turns: deque[np.ndarray] = deque()
        self._faces: deque[Coefficients | None] = deque()
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
        self._turns.append(self._listener.turns.hear(samples).conditions())
        self._faces.append(speaker)
        if sound is None:
            return self._reference
        rows = self._listener.rows(sound[None], self._turns.popleft(), self._faces.popleft(), 0)
        return self._listener.show(self._listener.motion(rows, memory=self._memory), rows)
