"""How a head moves while it talks: a small generative model of pose, learned from talk clips.

Rotations r and the part s of the shift that they don't explain follow an autoregression over the last frames,
`y[t] = Σ A[k] y[t-k] + Σ B[j] u[t+j] + e[t]`, with y = (r, s) and u the prosody around t. The innovations e come in
bursts, as people's do: their size is a log-normal process that grows with the voice (stochastic volatility), so the
head is quiet in pauses and lively on stress. Shifts follow rotations about the neck: `shift = s + r @ coupling`.
The autoregression is stable, so an hour of it wanders no further than a minute.

Chen 2020 §3.3 learns the same from a few seconds of one person with a network of many more parameters; here
the manner is the corpus's and the seed's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.drivers.prosody import ACTIVITY, LEVEL, PHRASE_END, STRESS

AXES = 6
BEFORE, AFTER = 12, 10
"""Frames of prosody before and after a frame that move its head."""

_LAGS = np.arange(-BEFORE, AFTER + 1, 2)
_DRIVES = (ACTIVITY, LEVEL, STRESS)
_CALMING = 40.0  # frames of silence in which the head comes to rest, by a factor e
_REST = 0.45  # how much of the liveliness is left in a long silence, beside the gain that was learned
_BREATH_PERIOD, _BREATH_KEPT = 105.0, 0.985  # frames; how regular breathing is
_BREATH = np.array([0.0035, 0.0, 0.0, 0.0, 0.0020, 0.0])  # standard deviations: pitch (rad) and shift (face heights)
LIMITS = np.radians([6.0, 8.0, 5.0])
"""How far the head turns from the portrait's pose at a motion scale of 1: pitch, yaw and roll."""

_FAR = np.radians([22.0, 26.0, 30.0])  # a portrait that is turned this far is not turned further
_LEAST = 0.3  # share of the limit that is left even then


@dataclass(frozen=True)
class HeadMotion:
    """The learned arrays, float32.

    Attributes:
        autoregression: (K, 6, 6) A.
        drive: (J, 3, 6) B, over the lags -12, -10 … 10 frames; sums to zero over lags, so that no steady voice or
            silence has a pose of its own.
        innovation: (6, 6) lower triangular, e = burst · innovation @ normal noise.
        gain: (4,) what activity, level, |stress| and phrase end add to the logarithm of a burst's size.
        volatility: (3,) mean, persistence a frame and standard deviation of that logarithm.
        scale: (6,) radians and face heights of one unit of y.
        coupling: (3, 3) shift right, shift down and log size a radian of pitch, yaw and roll.
    """

    autoregression: np.ndarray
    drive: np.ndarray
    innovation: np.ndarray
    gain: np.ndarray
    volatility: np.ndarray
    scale: np.ndarray
    coupling: np.ndarray

    def start(self, reference_pose: np.ndarray | None = None) -> HeadMotionStream:
        """Begin at rest in the pose (6,) of the portrait."""
        return HeadMotionStream(self, np.zeros(AXES) if reference_pose is None else np.asarray(reference_pose))


def lagged(prosody: np.ndarray) -> np.ndarray:
    """Rows of prosody (BEFORE + T + AFTER, 4) → (T, J, 3): what drives each of the T frames."""
    count = len(prosody) - BEFORE - AFTER
    at = np.arange(count)[:, None] + BEFORE + _LAGS
    return prosody[:, _DRIVES][at]


def burst_features(prosody: np.ndarray) -> np.ndarray:
    """(T, 4) what the size of bursts depends on."""
    return np.stack([prosody[:, ACTIVITY], prosody[:, LEVEL], np.abs(prosody[:, STRESS]), prosody[:, PHRASE_END]], -1)


class HeadMotionStream:
    """One head's motion, frame after frame."""

    def __init__(self, model: HeadMotion, reference_pose: np.ndarray) -> None:
        self.model = model
        order = len(model.autoregression)
        # [A1 … AK] as one matrix, oldest frame first, to match the history's layout.
        self._matrix = np.concatenate(model.autoregression[::-1].astype(np.float64), axis=1)
        self._history = np.zeros((order, AXES))
        self._volatility = 0.0
        self._calm = 0.0
        self._breath = np.zeros(2)
        turned = np.asarray(reference_pose[:3], np.float64)
        # Outward turns of a turned portrait show what its picture doesn't have.
        room = np.clip(1 - np.abs(turned) / _FAR, _LEAST, 1)
        self._limit_up = LIMITS * np.where(turned > 0, room, 1)
        self._limit_down = LIMITS * np.where(turned < 0, room, 1)

    def __call__(self, prosody: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """The next T frames.

        Args:
            prosody: (BEFORE + T + AFTER, 4), the frames' own and those around them.
            noise: (T, 8) standard normal.

        Returns:
            (T, 6) offsets from the portrait's pose, at a motion scale of 1.
        """
        model = self.model
        drive = np.einsum("tjd,jda->ta", lagged(prosody), model.drive.astype(np.float64))
        own = prosody[BEFORE : len(prosody) - AFTER]
        loud = burst_features(own) @ model.gain.astype(np.float64)
        mean, kept, spread = model.volatility.astype(np.float64)
        shocks = noise[:, :AXES] @ model.innovation.astype(np.float64).T
        out = np.empty((len(own), AXES))
        breath_poles = np.array([2 * _BREATH_KEPT * np.cos(2 * np.pi / _BREATH_PERIOD), -(_BREATH_KEPT**2)])
        breath_noise = noise[:, 7] * _breath_innovation(breath_poles)
        history, order = self._history, len(self._history)
        history = np.concatenate([history, np.zeros_like(out)])
        for t in range(len(out)):
            self._volatility = kept * self._volatility + np.sqrt(1 - kept**2) * spread * noise[t, 6]
            self._calm += (own[t, ACTIVITY] - self._calm) / _CALMING
            size = np.exp(mean + loud[t] + self._volatility) * (_REST + (1 - _REST) * self._calm)
            history[order + t] = (
                self._matrix @ history[t : t + order].ravel() + drive[t] * (0.3 + 0.7 * self._calm) + size * shocks[t]
            )
            breath = breath_poles @ self._breath + breath_noise[t]
            self._breath = np.array([breath, self._breath[0]])
            out[t] = history[order + t] * model.scale + breath * _BREATH
        self._history = history[len(out) :]
        return self._place(out)

    def _place(self, moves: np.ndarray) -> np.ndarray:
        """Keep rotations within what one picture can show, and let shifts follow them about the neck."""
        limit = np.where(moves[:, :3] > 0, self._limit_up, self._limit_down)
        rotation = limit * np.tanh(moves[:, :3] / limit)
        return np.concatenate([rotation, moves[:, 3:] + rotation @ self.model.coupling.astype(np.float64)], -1)


def _breath_innovation(poles: np.ndarray) -> float:
    """Standard deviation of the noise that gives a second-order autoregression unit variance."""
    a, b = poles
    return float(np.sqrt((1 + b) * ((1 - b) ** 2 - a**2) / (1 - b)))
