"""How a head moves while it talks: a small generative model of pose, learned from talk clips.

Heads hold a posture, shift to another in a third of a second, and nod on what they say. So the pose is drawn knot by
knot, 6.25 times a second: a mixture density network (Bishop 1994) sees where the head is, how it came there and the
voice around, and gives a mixture of normal distributions for the next move, of which one is drawn. Monotone cubics
(Fritsch and Carlson 1980) join the knots: a hold stays a hold. Moves are made of rotations r and of the part s of
the shift that they don't explain; shifts follow rotations about the neck, `shift = s + r @ coupling`.

Chen 2020 §3.3 predicts head motion from sound and a few seconds of the person; here the manner is the corpus's, and
a network that draws rather than predicts does not average the possible moves into none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.drivers.prosody import ACTIVITY, PROSODY_DIM

AXES = 6
KNOT = 3
"""Frames between knots."""

MOVES = 8
"""Moves behind that the next one depends on: about a second."""

SOUND_BEFORE, SOUND_AFTER, SOUND_STEP = 16, 12, 4
"""Frames of prosody around a knot that its next move depends on, every fourth of them."""

BEFORE, AFTER = SOUND_BEFORE, SOUND_AFTER + 2 * KNOT
"""Frames of prosody before and after a frame that its pose depends on."""

INPUTS = AXES * (1 + MOVES) + PROSODY_DIM * ((SOUND_BEFORE + SOUND_AFTER) // SOUND_STEP + 1)

_CALMING = 40.0  # frames of silence in which the head comes to rest, by a factor e
_REST = 0.5  # how large moves are in a long silence, against those in speech
_HOMING, _HOMING_SPEECH = 0.03, 0.012  # share of the way back to the portrait's pose that a knot brings
_REACH = 6.0  # how far, in units of `spread`, the network is told that the head is
_QUICKEST = np.radians([5.5, 5.5, 4.0])  # a knot: nearly all of the corpus's moves; a twitch looks like an error
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
        weights, biases: of three layers with tanh between: INPUTS → H → H → M · 13.
        spread: (6,) standard deviation of positions and of moves, (2, 6), in units of `scale`.
        scale: (6,) radians and face heights of one unit.
        coupling: (3, 3) shift right, shift down and log size a radian of pitch, yaw and roll.
    """

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    spread: np.ndarray
    scale: np.ndarray
    coupling: np.ndarray

    def start(self, reference_pose: np.ndarray | None = None) -> HeadMotionStream:
        """Begin at rest in the pose (6,) of the portrait."""
        return HeadMotionStream(self, np.zeros(AXES) if reference_pose is None else np.asarray(reference_pose))

    def arrays(self) -> dict[str, np.ndarray]:
        """What `from_arrays` takes back."""
        layers = {f"{kind}.{i}": a for kind in ("weights", "biases") for i, a in enumerate(getattr(self, kind))}
        return layers | {name: getattr(self, name) for name in ("spread", "scale", "coupling")}

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray]) -> HeadMotion:
        """Build from named arrays.

        Raises:
            KeyError: if one is missing.
        """
        weights, biases = (tuple(arrays[f"{kind}.{i}"] for i in range(3)) for kind in ("weights", "biases"))
        return HeadMotion(weights, biases, arrays["spread"], arrays["scale"], arrays["coupling"])


def network_inputs(position: np.ndarray, moves: np.ndarray, sound: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """What the network sees at knots.

    Args:
        position: (..., 6) in units of `HeadMotion.scale`.
        moves: (..., MOVES, 6) the last moves, newest last.
        sound: (..., 8, 4) prosody at every fourth frame around the knot.
        spread: (2, 6).

    Returns:
        (..., INPUTS).
    """
    position = _REACH * np.tanh(position / spread[0] / _REACH)
    batch = position.shape[:-1]
    return np.concatenate([position, (moves / spread[1]).reshape(*batch, -1), sound.reshape(*batch, -1)], -1)


def split_outputs(outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(..., M * 13) → logits (..., M), means (..., M, 6) and logarithms of standard deviations (..., M, 6)."""
    parts = outputs.reshape(*outputs.shape[:-1], -1, 2 * AXES + 1)
    return parts[..., 0], parts[..., 1 : 1 + AXES], parts[..., 1 + AXES :]


def head_room(reference_pose: np.ndarray) -> np.ndarray:
    """(2, 3) radians of pitch, yaw and roll that a portrait in the pose (6,) may be turned back and forth.

    Outward turns of a turned portrait show what its picture doesn't have.
    """
    turned = np.asarray(reference_pose[:3], np.float64)
    room = np.clip(1 - np.abs(turned) / _FAR, _LEAST, 1)
    return LIMITS * np.where([turned < 0, turned > 0], room, 1)


def within_room(rotation: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Rotations (T, 3) bent so that they stay within `head_room`."""
    limit = np.where(rotation > 0, room[1], room[0])
    return limit * np.tanh(rotation / limit)


class HeadMotionStream:
    """One head's motion, block after block."""

    def __init__(self, model: HeadMotion, reference_pose: np.ndarray) -> None:
        self._layers = [
            (w.astype(np.float64), b.astype(np.float64)) for w, b in zip(model.weights, model.biases, strict=True)
        ]
        self._spread, self._scale = model.spread.astype(np.float64), model.scale.astype(np.float64)
        self._coupling = model.coupling.astype(np.float64)
        # Positions at knots; the last four are those before, at and after the segment that frames are in.
        self._knots = np.zeros((MOVES + 1, AXES))
        self._segment = _Segment(self._knots[-4:])
        self._frame = 0
        self._voiced = 0.0
        self._breath = np.zeros(2)
        self._room = head_room(reference_pose)

    def __call__(self, prosody: np.ndarray, noise: np.ndarray, chance: np.ndarray) -> np.ndarray:
        """The next T frames.

        Args:
            prosody: (BEFORE + T + AFTER, 4), the frames' own and those around them.
            noise: (T, 7) standard normal.
            chance: (T,) uniform.

        Returns:
            (T, 6) offsets from the portrait's pose, at a motion scale of 1.
        """
        moves = np.empty((len(noise), AXES))
        poles = np.array([2 * _BREATH_KEPT * np.cos(2 * np.pi / _BREATH_PERIOD), -(_BREATH_KEPT**2)])
        innovation = _innovation(poles)
        segment = self._segment
        for t in range(len(moves)):
            self._voiced += (prosody[BEFORE + t, ACTIVITY] - self._voiced) / _CALMING
            phase = self._frame % KNOT
            if phase == 0:
                # The knot after the next is drawn, since the slope at the next depends on it.
                centre = BEFORE + t + KNOT
                around = prosody[centre - SOUND_BEFORE : centre + SOUND_AFTER + 1 : SOUND_STEP]
                self._draw(around, noise[t, :AXES], chance[t])
                segment = self._segment = _Segment(self._knots[-4:])
            moves[t] = segment(phase / KNOT) * self._scale
            self._breath = np.array([poles @ self._breath + innovation * noise[t, AXES], self._breath[0]])
            moves[t] += self._breath[0] * _BREATH
            self._frame += 1
        return self._place(moves)

    def _draw(self, sound: np.ndarray, noise: np.ndarray, chance: float) -> None:
        knots = self._knots
        hidden = network_inputs(knots[-1], np.diff(knots, axis=0), sound, self._spread)
        for weight, bias in self._layers[:-1]:
            hidden = np.tanh(weight @ hidden + bias)
        logits, means, logs = split_outputs(self._layers[-1][0] @ hidden + self._layers[-1][1])
        odds = np.exp(logits - logits.max())
        chosen = min(int(np.searchsorted(np.cumsum(odds) / odds.sum(), chance)), len(odds) - 1)
        move = (means[chosen] + np.exp(logs[chosen]) * noise.clip(-2.5, 2.5)) * self._spread[1]
        home = _HOMING + (_HOMING_SPEECH - _HOMING) * self._voiced
        move = move * (_REST + (1 - _REST) * self._voiced) - home * knots[-1]
        quickest = _QUICKEST / self._scale[:3]
        move[:3] = quickest * np.tanh(move[:3] / quickest)
        self._knots = np.concatenate([knots[1:], [knots[-1] + move]])

    def _place(self, moves: np.ndarray) -> np.ndarray:
        """Keep rotations within what one picture can show, and let shifts follow them about the neck."""
        rotation = within_room(moves[:, :3], self._room)
        return np.concatenate([rotation, moves[:, 3:] + rotation @ self._coupling], -1)


class _Segment:
    """Between the second and the third of four knots (4, A): a cubic that never overshoots."""

    def __init__(self, knots: np.ndarray) -> None:
        before, here, after = np.diff(knots, axis=0)
        self._start, self._here = knots[1], here
        self._begin, self._end = _slope(before, here), _slope(here, after)

    def __call__(self, part: float) -> np.ndarray:
        """`part` of the way, from 0 to 1."""
        p, q = part, 1 - part
        return self._start + self._here * (p * p * (3 - 2 * p)) + self._begin * (p * q * q) - self._end * (p * p * q)


def _slope(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Harmonic mean of neighbouring moves, 0 where they turn back."""
    product = left * right
    return np.where(product > 0, 2 * product / np.where(product > 0, left + right, 1.0), 0.0)


def _innovation(poles: np.ndarray) -> float:
    """Standard deviation of the noise that gives a second-order autoregression unit variance."""
    a, b = poles
    return float(np.sqrt((1 + b) * ((1 - b) ** 2 - a**2) / (1 - b)))
