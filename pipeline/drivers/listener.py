"""One listener: what it is told, how it moves, and how that looks on a portrait; the same from a file and live."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from pipeline.attitudes import ATTITUDES
from pipeline.coefficients import Coefficients
from pipeline.drivers.head_motion import head_room, within_room
from pipeline.drivers.knots import KNOT, to_frames, to_knots
from pipeline.drivers.listener_motion import ListenerMotion
from pipeline.drivers.listening_eyes import ListenerEyes
from pipeline.drivers.listening_flow import NEUTRAL, STEPS, FrameNoise, generate, guidance, guides
from pipeline.drivers.listening_networks import SPEAKER_DIM, Conditions, ListenerNet, Memory
from pipeline.drivers.liveliness import Liveliness
from pipeline.drivers.motion_space import MotionSpace, shutting
from pipeline.drivers.mouth import Mouth
from pipeline.drivers.resting_face import resting_face
from pipeline.drivers.turns import TURN_DIM, Backchannel, TurnTaker
from pipeline.face.morphable import MorphableModel
from pipeline.threads import one_thread

_EASE = 20  # frames in which the portrait's own look turns into the driven one
_REST = 35  # frames in which its expression becomes that of a listener
# Face heights to the side and upwards, and log size, that a head leans away at most: further, it would leave its neck.
_REACH = np.array([0.13, 0.09, 0.04])
_FREE, _MOST = 12.0, 20.0  # sizes of changes of β: up to which they are left as they are, and of any
_ROOM = np.array([1.5, 1.1, 1.1])  # against `head_motion.LIMITS`: nods are larger than what goes with speech


@dataclass(frozen=True)
class Finish:
    """What is given back to the network's answer: it moves less than the lessons it was taught.

    Chosen on held-out lessons (`pipeline.training.listening.choose_finish`).

    Attributes:
        gains: (M,) of what the generative head adds to the regression.
        shares: of the gestures' measured curves (`pipeline.drivers.listener_motion`) that are played on top, by kind;
            the rest of each gesture is the network's.
    """

    gains: np.ndarray
    shares: dict[str, float]


@dataclass(frozen=True)
class Parts:
    """What listeners share: network, space of motion, finish, the face model, and, unless None, the curves of gestures
    and the numbers of blinks and gaze."""

    net: ListenerNet
    space: MotionSpace
    finish: Finish
    model: MorphableModel
    gestures: ListenerMotion | None
    liveliness: Liveliness | None


@dataclass
class LiveMemory:
    """What the network keeps of the past, frame by frame: the trunk's, and one of each step of the integration."""

    trunk: Memory
    steps: list[Memory]

    @staticmethod
    def empty(steps: int) -> LiveMemory:
        return LiveMemory({}, [{} for _ in range(steps)])


class Listener:
    """One portrait that listens, from its first frame on.

    Args: as for `ListeningDriver.__call__`.

    Raises:
        ValueError: see there.
    """

    def __init__(
        self,
        parts: Parts,
        reference: Coefficients,
        attitude: str,
        seed: int,
        attitude_scale: float,
        expression_scale: float,
        motion_scale: float,
        identity: np.ndarray | None,
    ) -> None:
        if len(reference) == 0:
            raise ValueError("The reference needs at least one frame.")
        if attitude not in ATTITUDES:
            raise ValueError(f"attitude must be one of {', '.join(ATTITUDES)}, not {attitude!r}.")
        if not all(0 <= scale < np.inf for scale in (attitude_scale, expression_scale, motion_scale)):
            raise ValueError("attitude_scale, expression_scale and motion_scale must be 0 or more.")
        if seed < 0:
            raise ValueError("seed must be 0 or more.")
        if attitude_scale == 0:
            attitude = ATTITUDES[NEUTRAL]
        self._parts, self._reference = parts, reference[0]
        self._expression_scale, self._motion_scale, self._guidance = (
            expression_scale,
            motion_scale,
            guidance(attitude_scale),
        )
        self._turns = TurnTaker(seed, attitude)
        self._attitude = attitude
        self._answers: list[Backchannel] = []  # not over yet
        asked = guides(ATTITUDES.index(attitude), self._guidance)
        self._attitudes = torch.tensor(asked)
        own = np.concatenate([reference.expression[0], reference.pose[0]])
        self._own = torch.from_numpy(own)[None].expand(len(asked), -1)
        self._noise = FrameNoise([seed, 11], parts.space.size)
        self._room = _ROOM * head_room(reference.pose[0])
        self._frame = 0
        self._shutting = shutting(parts.model).astype(np.float32)
        mouth = Mouth.of(parts.model)
        self._rest = resting_face(parts.model, mouth, identity, reference.expression[0], attitude)
        self._eyes = None
        if parts.liveliness is not None:
            self._eyes = ListenerEyes(parts.liveliness, parts.model, identity, reference.expression[0], seed, attitude)

    def hear(self, samples: np.ndarray) -> np.ndarray:
        """Whose turn it is in the next frames of sound, (n, TURN_DIM); see `TurnTaker.hear`."""
        plan = self._turns.hear(samples)
        self._answers += plan.backchannels
        return plan.conditions()

    @property
    def size(self) -> int:
        """Numbers that describe a frame's motion."""
        return self._parts.space.size

    def rows(self, sound: np.ndarray, turns: np.ndarray, seen: Coefficients | None) -> np.ndarray:
        """Columns of the next n frames: encoder row, turn row, the speaker's face, whether it is seen, and noise.

        Of the speaker's face `seen`, the first n frames are told; where it ends before, it is unseen.
        """
        count = len(sound)
        face = np.zeros((count, SPEAKER_DIM + 1), np.float32)
        if seen is not None:
            seen = seen[:count]
            face[: len(seen), :-1] = np.concatenate([seen.expression, seen.pose], -1)
            face[: len(seen), -1] = 1
        return np.concatenate([sound, turns, face, self._noise.take(count)], -1)

    def motion(self, rows: np.ndarray, generative: bool = True) -> np.ndarray:
        """Motion (n, M) of a window's rows (n, ...); the window begins with an even frame of the clip."""
        knots = self.knots(to_knots(rows), rows[::KNOT, -self.size :], generative)
        # What the integration leaves of the noise trembles from knot to knot.
        padded = np.concatenate([knots[:1], knots, knots[-1:]])
        return to_frames(0.25 * padded[:-2] + 0.5 * knots + 0.25 * padded[2:], len(rows))

    @torch.inference_mode()
    def knots(
        self, rows: np.ndarray, noise: np.ndarray, generative: bool = True, memory: LiveMemory | None = None
    ) -> np.ndarray:
        """Motion (k, M) at knots, of a window or following what `memory` knows.

        Args:
            rows: (k, ...) means of what the frames are told.
            noise: (k, M) of each knot's first frame.
            generative: False for the plain regression.
            memory: of what came before, where knots come one by one.
        """
        net = self._parts.net
        conditions = self._conditions(rows)
        trunk, layers = (None, [None] * STEPS) if memory is None else (memory.trunk, memory.steps)
        with one_thread():
            heard = net.hear(conditions, trunk)
            answer = net.regression(heard)
            if len(answer) == 2:
                answer = answer[:1] + self._guidance * (answer[1:] - answer[:1])
            usual = answer[0].numpy()
            if not generative:
                return usual
            drawn = torch.from_numpy(noise)[None]
            made = generate(net, heard, drawn, self._attitudes, self._guidance, layers).numpy()
        return usual + self._parts.finish.gains * (made - usual)

    def _conditions(self, rows: np.ndarray) -> Conditions:
        """What the network is told of rows (k, ...), once for each attitude that is asked."""
        config = self._parts.net.config
        widths = (config.sound_dim, TURN_DIM, SPEAKER_DIM, 1, self._parts.space.size)
        told = torch.from_numpy(rows)[None].expand(len(self._attitudes), -1, -1).split(widths, -1)
        return Conditions(*told[:-1], own=self._own, attitude=self._attitudes)

    def show(self, motion: np.ndarray, rows: np.ndarray, generative: bool = True) -> Coefficients:
        """The next n frames' coefficients from motion (n, M) and their rows; without gestures and eyes of the plain
        regression."""
        count = len(motion)
        pose, expression = self._parts.space.decode(motion)
        if generative and self._parts.gestures is not None:
            face, head = self._gestures(self._parts.gestures, count)
            pose, expression = pose + head, expression + face
        frames = self._frame + np.arange(1, count + 1)
        self._frame += count
        begun, rested = ease(frames / _EASE)[:, None], ease(frames / _REST)[:, None]
        pose, expression = begun * pose, begun * expression
        pose[:, :3] = within_room(pose[:, :3], self._room)
        shift = pose[:, 3:]
        pose[:, 3:] = np.sign(shift) * bent(np.abs(shift), 0.6 * _REACH, _REACH)
        pose, expression = self._motion_scale * pose, within_reach(self._expression_scale * expression)
        expression = expression + min(self._expression_scale, 1.0) * rested * self._rest
        if generative and self._eyes is not None:
            sound = self._parts.net.config.sound_dim
            expression = expression + self._eyes(rows[:, sound : sound + TURN_DIM], pose[:, :2], expression)
        own = self._reference
        return Coefficients(
            own.expression + expression, own.pose + pose.astype(np.float32), np.repeat(own.crop, count, 0)
        )

    def _gestures(self, curves: ListenerMotion, count: int) -> tuple[np.ndarray, np.ndarray]:
        """What the shares of running gestures add to expression (n, 64) and pose (n, 6) of the next frames."""
        shares = self._parts.finish.shares
        played = [replace(one, strength=one.strength * shares.get(one.kind, 0.0)) for one in self._answers]
        face, head = curves.gestures(played, self._attitude, self._frame, count)
        self._answers = [one for one in self._answers if one.end > self._frame + count]
        return face @ self._shutting, head


def within_reach(expression: np.ndarray) -> np.ndarray:
    """Changes of β (T, 64) no larger than faces make: what 99 of 100 frames of lessons keep to is bent below their
    extremes, in its direction, so that a doubled attitude stays a face."""
    size = np.linalg.norm(expression, axis=-1, keepdims=True)
    return expression * (bent(size, _FREE, _MOST) / np.maximum(size, 1e-6)).astype(np.float32)


def bent(size: np.ndarray, free: np.ndarray | float, most: np.ndarray | float) -> np.ndarray:
    """Sizes, 0 or more, as they are up to `free`, and softly kept below `most` beyond."""
    return np.where(size > free, free + (most - free) * np.tanh((size - free) / (most - free)), size)


def ease(part: np.ndarray) -> np.ndarray:
    """Half a cosine from 0 at 0 to 1 at 1."""
    return (0.5 - 0.5 * np.cos(np.pi * np.clip(part, 0, 1))).astype(np.float32)
