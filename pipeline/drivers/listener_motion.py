"""The listener's gestures as curves: nods, shakes, tilts, smiles, brows up and down, in shapes measured on people.

`pipeline.drivers.turns` says when and of what kind; this says how. A driver may add these curves to its own motion,
or learn them from lessons in which they are contained (`pipeline.training.listening_lessons`). Shapes and sizes come
from the corpus (`python -m pipeline train listening_motion`, figures in `weights/listening/motion/config.json`); that
a nod's repetitions grow smaller, and how long smiles stay, are rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.clock import FPS
from pipeline.coefficients import EXPRESSION_DIM, POSE_DIM
from pipeline.drivers.turns import Backchannel
from pipeline.network_files import load_arrays, save_arrays

CURVE_POINTS = 33
_FADING = 0.82  # a repetition's size against the one before
_FACES = ("smile", "brow_raise", "frown", "positive", "negative")
_ARRAYS = ("nod", "shake", "coupling", *_FACES)


@dataclass(frozen=True)
class ListenerMotion:
    """Measured shapes, float32.

    Attributes:
        nod: (33,) course of one nod's pitch from start to end, 0 at both, 1 where the nose is lowest.
        shake: (33,) course of one shake's yaw (to one side, to the other, and back), largest value 1.
        coupling: (3, 3) shift right, shift down and log size a radian of pitch, yaw and roll: the neck.
        smile: (64,) the change of β of a usual smile with closed lips, cheeks and lids with it.
        brow_raise: (64,) of usually raised brows.
        frown: (64,) of brows lowered and drawn, lips pressed a little.
        positive, negative: (64,) what a friendly or an unfriendly listener's resting face adds to a neutral one's.
        config: sizes in degrees (`nod_degrees`, `shake_degrees`, `tilt_degrees`), times in seconds (`smile_onset`,
            `smile_offset`), and what was measured besides.
    """

    nod: np.ndarray
    shake: np.ndarray
    coupling: np.ndarray
    smile: np.ndarray
    brow_raise: np.ndarray
    frown: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    config: dict

    def attitude(self, name: str) -> np.ndarray:
        """(64,) what the resting face of an attitude adds to β; zeros for "neutral"."""
        return {"positive": self.positive, "negative": self.negative}.get(name, np.zeros(EXPRESSION_DIM, np.float32))

    def gestures(
        self, backchannels: Iterable[Backchannel], attitude: str, start: int, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """What gestures add to the frames `start` to `start + count`.

        Args:
            backchannels: any; those that lie outside add nothing.
            attitude: one of `ATTITUDES`: brows go up, but down for "negative".
            start, count: frames of the clip.

        Returns:
            Expression (count, 64) and pose (count, 6), float32; the same frame is the same in whatever piece.
        """
        expression = np.zeros((count, EXPRESSION_DIM), np.float32)
        rotation = np.zeros((count, 3))
        for one in backchannels:
            first, last = max(one.frame, start), min(one.end, start + count)
            if first >= last:
                continue
            seconds = (np.arange(first, last) - one.frame + 0.5) / FPS
            rows = slice(first - start, last - start)
            if one.kind in ("nod", "nods"):
                rotation[rows, 0] += self._cycles(self.nod, one, seconds) * np.radians(self.config["nod_degrees"])
            elif one.kind == "shake":
                size = one.side * np.radians(self.config["shake_degrees"])
                rotation[rows, 1] += self._cycles(self.shake, one, seconds) * size
            elif one.kind == "tilt":
                size = one.side * np.radians(self.config["tilt_degrees"])
                rotation[rows, 2] += one.strength * size * _held(seconds, one.seconds, 0.5, 0.7)
            else:
                shape, onset, offset = self._face(one.kind, attitude)
                course = one.strength * _held(seconds, one.seconds, onset, offset)
                expression[rows] += (course[:, None] * shape).astype(np.float32)
        pose = np.concatenate([rotation, rotation @ self.coupling], -1)
        return expression, pose.astype(np.float32)

    def _face(self, kind: str, attitude: str) -> tuple[np.ndarray, float, float]:
        if kind == "smile":
            return self.smile, self.config["smile_onset"], self.config["smile_offset"]
        return (self.frown, 0.4, 0.8) if attitude == "negative" else (self.brow_raise, 0.25, 0.45)

    def _cycles(self, curve: np.ndarray, one: Backchannel, seconds: np.ndarray) -> np.ndarray:
        cycles = np.clip(seconds / one.seconds, 0, 1) * one.count
        number = np.minimum(np.floor(cycles), one.count - 1)
        course = np.interp(cycles - number, np.linspace(0, 1, len(curve)), curve)
        return one.strength * _FADING**number * course

    def save(self, folder: str | Path) -> None:
        """Write `model.safetensors` and `config.json` into `folder`."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        save_arrays(folder, "ListenerMotion", arrays, self.config, "float16")

    @classmethod
    def load(cls, folder: str | Path) -> ListenerMotion:
        """Read what `save` wrote.

        Raises:
            WeightsError: if files are missing or damaged.
        """

        def build(arrays: dict[str, np.ndarray], config: dict) -> ListenerMotion:
            shapes = {name: arrays[name] for name in _ARRAYS}
            faces = all(shapes[name].shape == (EXPRESSION_DIM,) for name in _FACES)
            if not faces or shapes["coupling"].shape != (3, POSE_DIM - 3):
                raise ValueError("wrong shapes")
            return cls(**shapes, config=config)

        return load_arrays(folder, "ListenerMotion", build, "The listener's motion")


def _held(seconds: np.ndarray, length: float, onset: float, offset: float) -> np.ndarray:
    """From 0 up to 1 in `onset` seconds, held, and down to 0 in the last `offset`; both shorter if there is no room."""
    squeeze = min(1.0, length / (onset + offset))
    up = np.clip(seconds / (onset * squeeze), 0, 1)
    down = np.clip((length - seconds) / (offset * squeeze), 0, 1)
    return _ease(up) * _ease(down)


def _ease(part: np.ndarray) -> np.ndarray:
    return part**3 * (10 - 15 * part + 6 * part**2)
