"""When eyes blink and where they look, as schedules of events over the voice.

Blinks: intervals are log-normal, and run faster where a phrase ends and a little slower in its middle (Nakano and
Kitazawa 2010 saw listeners and speakers blink at such pauses; Bentivoglio 1997 counts about 26 a minute in
conversation and 17 at rest). A blink closes in about 100 ms and opens in 200 with a slow end; its course was
measured on the corpus.

Gaze: fixations and saccades after Lee, Badler and Badler 2002 ("Eyes Alive"): a share of the time on the viewer,
short glances aside whose sizes are exponential and mostly along the axes, durations growing with size. Sizes are
those of a person who talks to a camera, smaller than in that paper. The eyes hold their aim when the head turns.
"""

from __future__ import annotations

import numpy as np

from pipeline.clock import FPS
from pipeline.drivers.prosody import ACTIVITY, PHRASE_END

BLINK_SECONDS_BEFORE, BLINK_SECONDS_AFTER = 0.24, 0.72  # what a blink's curve spans around its closure
_BLINK_STEP = 0.02
BLINK_CURVE_POINTS = round((BLINK_SECONDS_BEFORE + BLINK_SECONDS_AFTER) / _BLINK_STEP) + 1

_BESIDE = 0.25  # frames by which the moment of closure may miss a frame

_DEGREE = np.pi / 180
EYE_RADIUS = 0.057
"""Distance of the iris from the eyeball's centre in face heights: 10.5 of 185 mm."""

HOLD = 0.9
"""How much of the head's turn the eyes make good."""

REACH = np.array([0.016, 0.009])
"""How far irises go from the portrait's own gaze, right and down, in face heights."""


class Blinks:
    """Closure of the lids, frame after frame.

    Args:
        curve: (P,) closure from 0 to 1 in steps of 20 ms; sample `round(0.24 / 0.02)` is the moment of closure.
        interval: seconds between blinks (median), their spread (of the logarithm), and the least.
        eager: how many times faster time runs at the end of a phrase.
    """

    def __init__(self, curve: np.ndarray, interval: tuple[float, float, float], eager: float) -> None:
        self._curve = np.asarray(curve, np.float64)
        self._median, self._spread, self._least = interval
        self._eager = eager
        self._clock = 0.0
        self._wait: float | None = None
        self._frame = 0
        self._blinks: list[tuple[float, float]] = []  # moment of closure in seconds, stretch of time

    def __call__(self, prosody: np.ndarray, noise: np.ndarray, urge: np.ndarray) -> np.ndarray:
        """The next T frames.

        Args:
            prosody: (T, 4).
            noise: (T, 3) standard normal.
            urge: (T,) seconds by which a gaze shift brings the next blink nearer.

        Returns:
            (T,) closure, 0 open to 1 shut.
        """
        closure = np.empty(len(prosody))
        for t, row in enumerate(prosody):
            if self._wait is None:  # the first blink comes after part of an interval
                self._wait = self._least + 0.6 * self._interval(noise[t, 0])
            rate = 1 + (self._eager - 1) * min(1.0, 2 * row[PHRASE_END]) - 0.15 * row[ACTIVITY]
            self._clock += rate / FPS
            if self._clock > self._least:
                self._clock += urge[t]
            now = self._frame / FPS
            if self._clock >= self._wait:
                stretch = float(np.exp(np.clip(0.1 * noise[t, 2], -0.25, 0.25)))
                # Closure falls somewhat beside a frame, as a camera would catch it.
                beside = _BESIDE * np.tanh(noise[t, 1])
                frames = np.ceil(BLINK_SECONDS_BEFORE * stretch * FPS + 0.5) + beside
                self._blinks.append((now + float(frames) / FPS, stretch))
                self._clock, self._wait = 0.0, self._interval(noise[t, 0])
            closure[t] = max((self._closure(now, *blink) for blink in self._blinks), default=0.0)
            if self._blinks and now > self._blinks[0][0] + BLINK_SECONDS_AFTER * self._blinks[0][1]:
                self._blinks.pop(0)
            self._frame += 1
        return closure

    def _interval(self, noise: float) -> float:
        return self._least + self._median * float(np.exp(self._spread * np.clip(noise, -2.5, 2.5)))

    def _closure(self, now: float, moment: float, stretch: float) -> float:
        """Lids stay shut just long enough for a frame to see it in each blink."""
        since = now - moment
        hold = _BESIDE / FPS + 1e-6
        since = np.sign(since) * max(abs(since) - hold, 0.0) / stretch
        position = (since + BLINK_SECONDS_BEFORE) / _BLINK_STEP
        if not 0 <= position <= len(self._curve) - 1:
            return 0.0
        low = min(int(position), len(self._curve) - 2)
        return float(self._curve[low] + (position - low) * (self._curve[low + 1] - self._curve[low]))


class Gaze:
    """Where the irises are, frame after frame, against the portrait's own gaze.

    Args:
        fixation: seconds on the viewer (median) and aside (median), and the spread of their logarithm.
        glance: mean size in degrees of glances aside, and of the small moves about the viewer's face.
    """

    def __init__(self, fixation: tuple[float, float, float], glance: tuple[float, float]) -> None:
        self._on_viewer, self._aside, self._spread = fixation
        self._glance, self._small = glance
        self._from = self._to = np.zeros(2)
        self._begun, self._lasts, self._next = 0.0, 0.03, None
        self._away = False
        self._frame = 0

    def __call__(self, prosody: np.ndarray, noise: np.ndarray, chance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The next T frames.

        Args:
            prosody: (T, 4).
            noise: (T, 2) standard normal.
            chance: (T, 4) uniform.

        Returns:
            (T, 2) angles in radians to the right and down, and (T,) the size in radians of a shift that starts there.
        """
        angles, shifts = np.empty((len(prosody), 2)), np.zeros(len(prosody))
        for t, row in enumerate(prosody):
            now = self._frame / FPS
            if self._next is None:
                self._next = self._duration(noise[t, 0])
            if now >= self._next:
                self._from = self._to
                self._to = self._aim(row, noise[t], chance[t])
                shifts[t] = float(np.linalg.norm(self._to - self._from))
                self._begun, self._lasts = now, 0.025 + 0.0024 * shifts[t] / _DEGREE
                self._next = now + self._duration(noise[t, 0])
            part = np.clip((now + 0.5 / FPS - self._begun) / max(self._lasts, 0.5 / FPS), 0, 1)
            angles[t] = self._from + (3 * part**2 - 2 * part**3) * (self._to - self._from)
            self._frame += 1
        return angles, shifts

    def _duration(self, noise: float) -> float:
        median = self._aside if self._away else self._on_viewer
        return 0.16 + median * float(np.exp(self._spread * np.clip(noise, -2.5, 2.5)))

    def _aim(self, row: np.ndarray, noise: np.ndarray, chance: np.ndarray) -> np.ndarray:
        # One looks away sooner while thinking of what comes next than while one speaks.
        leave = 0.30 + 0.20 * min(1.0, 2 * row[PHRASE_END]) + 0.06 * (1 - row[ACTIVITY])
        self._away = bool(not self._away and chance[0] < leave)
        size = -np.log(1 - 0.98 * chance[1]) * (self._glance if self._away else self._small) * _DEGREE
        # Four fifths along the axes, and more to the sides than up or down.
        angle = np.floor(4 * chance[2]) * np.pi / 2 + 0.35 * noise[1]
        direction = np.array([np.cos(angle), 0.7 * np.sin(angle)])
        return np.minimum(size, 14 * _DEGREE) * direction


def iris_shift(angles: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Angles (T, 2) of gaze and the head's own turn (T, 2) in pitch and yaw → iris shift (T, 2) right and down.

    Yaw > 0 turns the nose to the image's left, so the eyes go right to stay on the viewer; pitch > 0 lowers the
    nose, so they go up.
    """
    held = angles + HOLD * np.stack([head[:, 1], -head[:, 0]], -1)
    shift = EYE_RADIUS * np.sin(held)
    return REACH * np.tanh(shift / REACH)
