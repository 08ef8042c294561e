"""Everything of a talking head that isn't lips: blinks, gaze, brows and head motion, seeded, moved by the voice.

Nothing here predicts what a face must do; it plays one of the many things it might. Numbers come from the corpus's
talk clips (`python -m pipeline.training.liveliness`) and sit in `weights/liveliness`. Random numbers belong to
frames, not to calls, and work is done in blocks of fixed size: the same seed and sound give the same bytes however
the sound arrives.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from pipeline.coefficients import CROP_DIM, EXPRESSION_DIM, POSE_DIM, Coefficients
from pipeline.drivers.eyes import Blinks, Gaze, iris_shift
from pipeline.drivers.head_motion import AFTER, BEFORE, HeadMotion
from pipeline.drivers.prosody import BLOCK, PROSODY_DIM, STRESS, ProsodyStream
from pipeline.drivers.upper_face import UpperFace
from pipeline.face.morphable import MorphableModel
from pipeline.hub_share import HubComponent
from pipeline.network_files import load_arrays, save_arrays

_NORMALS, _CHANCES = 14, 6  # random numbers a frame
_BLINK_WITH_GAZE = 0.4  # seconds by which a shift of 10° brings a blink nearer
_TEN_DEGREES = np.radians(10)


@dataclass(frozen=True)
class LivelinessFrames:
    """Offsets from the portrait's coefficients, for T frames.

    Attributes:
        expression: (T, 64), zero beyond the upper-face coefficients.
        pose: (T, 6) radians, face heights and log size.
        crop: (T, 3), zeros: the portrait stays where it is.
        closure: (T,) of the lids, 0 at the portrait's own opening to 1 shut.
    """

    expression: np.ndarray
    pose: np.ndarray
    crop: np.ndarray
    closure: np.ndarray

    def __len__(self) -> int:
        return len(self.closure)

    @staticmethod
    def concatenate(parts: list[LivelinessFrames]) -> LivelinessFrames:
        """Join pieces in order."""
        return LivelinessFrames(
            *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(LivelinessFrames))
        )


@dataclass(frozen=True)
class Liveliness(HubComponent):
    """The manner of an upper face and a head.

    Attributes:
        head: the learned model of head motion.
        blink_curve: (P,) closure of the lids in steps of 20 ms, measured on the corpus.
        config: rates, sizes and times, see `weights/liveliness/config.json`.
    """

    component = "liveliness"

    head: HeadMotion
    blink_curve: np.ndarray
    config: dict

    def start(
        self,
        reference: Coefficients,
        model: MorphableModel,
        identity: np.ndarray | None = None,
        seed: int = 0,
        motion_scale: float = 1.0,
        expression_scale: float = 1.0,
    ) -> LivelinessStream:
        """Begin a clip.

        Args:
            reference: the portrait's coefficients; its first frame counts.
            model: the morphable model.
            identity: (K,) the portrait's α; lids close exactly only with it.
            seed: chooses among all that might happen; 0 or more.
            motion_scale: multiplies head motion; 0 keeps the head still.
            expression_scale: multiplies brows; blinks close the lids whatever it is.

        Raises:
            ValueError: if the seed or a scale is negative or not finite, or the reference has no frame.
        """
        if len(reference) == 0:
            raise ValueError("The reference needs at least one frame.")
        if not (0 <= motion_scale < np.inf and 0 <= expression_scale < np.inf):
            raise ValueError("motion_scale and expression_scale must be 0 or more.")
        if seed < 0:
            raise ValueError("seed must be 0 or more.")
        face = UpperFace.of(model, identity, reference.expression[0])
        return LivelinessStream(self, face, reference.pose[0], int(seed), motion_scale, expression_scale)

    def save(self, folder: str | Path) -> None:
        """Write `model.safetensors` and `config.json` into `folder`."""
        arrays = {f"head.{name}": array for name, array in self.head.arrays().items()}
        save_arrays(folder, "Liveliness", {**arrays, "blink_curve": self.blink_curve}, self.config)

    @classmethod
    def load(cls, folder: str | Path) -> Liveliness:
        """Read what `save` wrote.

        Raises:
            WeightsError: if files are missing or damaged.
        """

        def build(arrays: dict[str, np.ndarray], config: dict) -> Liveliness:
            head = HeadMotion.from_arrays({name.removeprefix("head."): array for name, array in arrays.items()})
            return cls(head, arrays["blink_curve"], config)

        return load_arrays(folder, "Liveliness", build, "The liveliness weights")


class LivelinessStream:
    """One clip's upper face and head, as its sound comes in. Made by `Liveliness.start`.

    Frames come out up to `prosody.AHEAD + AFTER + BLOCK` = 40 frames after the features that they belong to; with
    `last=True` all that are left do. In all there is one frame a feature row.
    """

    def __init__(
        self,
        liveliness: Liveliness,
        face: UpperFace,
        pose: np.ndarray,
        seed: int,
        motion_scale: float,
        expression_scale: float,
    ) -> None:
        config = liveliness.config
        self._face = face
        self._seed = seed
        self._motion_scale, self._expression_scale = motion_scale, expression_scale
        self._voice = ProsodyStream()
        self._prosody = np.zeros((BEFORE, PROSODY_DIM))
        self._block = 0
        self._head = liveliness.head.start(pose)
        self._blinks = Blinks(
            liveliness.blink_curve,
            (config["blink_median"], config["blink_spread"], config["blink_least"]),
            config["blink_eagerness"],
        )
        self._gaze = Gaze(
            (config["fixation_viewer"], config["fixation_aside"], config["fixation_spread"]),
            (config["glance_degrees"], config["small_degrees"]),
        )
        self._brows = _Brows(config["brow_rise"], config["brow_drift"])

    def __call__(self, features: np.ndarray, last: bool = False) -> LivelinessFrames:
        """Add sound and take out the frames that are settled.

        Args:
            features: (n, 45) the next rows, see `pipeline.audio.features`.
            last: nothing follows.

        Returns:
            m frames, m from 0.

        Raises:
            ValueError: if the shape is wrong.
        """
        self._prosody = np.concatenate([self._prosody, self._voice.push(features, last)])
        left = len(self._prosody) - BEFORE  # with `last`, the frames that must come out
        if last:
            padding = np.zeros((BLOCK + AFTER, PROSODY_DIM))
            self._prosody = np.concatenate([self._prosody, padding])
        parts = [_empty()]
        done = 0
        while len(self._prosody) - done >= BEFORE + BLOCK + AFTER and not (last and done >= left):
            parts.append(self._next(self._prosody[done : done + BEFORE + BLOCK + AFTER]))
            done += BLOCK
        self._prosody = self._prosody[done:]
        frames = LivelinessFrames.concatenate(parts)
        if last and len(frames) > left:
            frames = LivelinessFrames(*(getattr(frames, field.name)[:left] for field in fields(LivelinessFrames)))
        return frames

    def _next(self, around: np.ndarray) -> LivelinessFrames:
        normal, chance = _random(self._seed, self._block)
        self._block += 1
        prosody = around[BEFORE : BEFORE + BLOCK]
        pose = self._head(around, normal[:, :7], chance[:, 5]) * self._motion_scale
        angles, shifts = self._gaze(prosody, normal[:, 7:9], chance[:, :4])
        closure = self._blinks(prosody, normal[:, 9:12], _BLINK_WITH_GAZE * (shifts / _TEN_DEGREES))
        brows = self._brows(around[BEFORE + _Brows.LEAD : BEFORE + _Brows.LEAD + BLOCK], normal[:, 12:14], chance[:, 4])
        open_part = (1 - closure)[:, None]
        face = self._face
        iris = iris_shift(angles, pose[:, :2])
        expression = (
            closure[:, None] * face.blink
            + open_part * (iris @ face.gaze)
            + open_part * self._expression_scale * (brows @ face.brows)
        )
        return LivelinessFrames(
            expression.astype(np.float32),
            pose.astype(np.float32),
            np.zeros((BLOCK, CROP_DIM), np.float32),
            closure.astype(np.float32),
        )


class _Brows:
    """Rises (T, 2) of whole brows and of their inner ends, in face heights.

    Some stresses lift the brows, the stronger the likelier; beneath is a slow drift. A rise begins before the stress
    that it belongs to and is highest at it (on the corpus, loudness correlates most with the brows of 0 to 8 frames
    before).
    """

    LEAD = 8  # frames from the start of a rise to the fall of the stress

    _FAST, _SLOW = 0.62, 0.90  # what is left of a rise's speed and height after a frame
    _DRIFT_KEPT = 0.985

    def __init__(self, rise: float, drift: float) -> None:
        self._rise, self._drift_size = rise, drift
        self._target = self._height = 0.0
        self._drift = np.zeros(2)
        self._last = 0.0
        self._rising = False

    def __call__(self, prosody: np.ndarray, noise: np.ndarray, chance: np.ndarray) -> np.ndarray:
        """The next T frames from prosody (T, 4) of `LEAD` frames later, noise (T, 2) and uniform chance (T,)."""
        out = np.empty((len(prosody), 2))
        shock = np.sqrt(1 - self._DRIFT_KEPT**2) * self._drift_size
        for t, stress in enumerate(prosody[:, STRESS]):
            rising = stress > self._last
            if self._rising and not rising and chance[t] < 1.2 * (self._last - 0.2):
                self._target = max(self._target, self._rise * min(self._last / 0.4, 1.6) * np.exp(0.3 * noise[t, 0]))
            self._rising, self._last = rising, stress
            self._target *= self._SLOW
            self._height += (1 - self._FAST) * (self._target - self._height)
            self._drift = self._DRIFT_KEPT * self._drift + shock * noise[t]
            out[t] = self._height + self._drift[0], 0.5 * self._drift[1]
        return out


def _random(seed: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """A block's own normal (BLOCK, 14) and uniform (BLOCK, 6) numbers."""
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, block])))
    return generator.standard_normal((BLOCK, _NORMALS)), generator.random((BLOCK, _CHANCES))


def _empty() -> LivelinessFrames:
    widths = (EXPRESSION_DIM, POSE_DIM, CROP_DIM)
    return LivelinessFrames(*(np.zeros((0, width), np.float32) for width in widths), np.zeros(0, np.float32))
