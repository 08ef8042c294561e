"""Whose turn it is, and when a listener answers: the rules that hold a conversation together, causal and seeded.

The speaker's voice drives four states: they are heard, they pause, the listener answers (a back-channel), or nobody
has spoken for long. Answers are placed by what is known of people:

- Most follow the end of a phrase: a pause of more than 200 ms (Dittmann and Llewellyn 1968; Gravano and Hirschberg
  2011), and begin 0.25 to 0.6 s after the voice stopped; longer phrases and low pitch at the end invite more.
- While speech goes on, a region of low pitch (below the speaker's 26th percentile) of at least 110 ms, after at
  least 0.7 s of speech, invites one 0.7 s later, if none came in the last 0.8 s (Ward and Tsukahara 2000); rarely,
  since most such regions end a phrase anyway.
- Listeners differ from each other by more than occasions do (Blomsma 2024): the seed draws how active this one is.
- Nobody nods to nobody: in a long silence no head gesture begins.

How many answers there are and of which kind depends on the attitude; those shares are a rule of ours: friendly
listeners nod and smile more, unfriendly ones nod little, tilt or shake their heads and frown (Heylen 2006 lists
which signals are taken for agreeing and for disagreeing).

Random numbers belong to frames: the same seed gives the same plan however the sound arrives.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pipeline.attitudes import ATTITUDES
from pipeline.clock import FPS
from pipeline.drivers.turn_cues import CUE_DIM, TurnCues, VoiceCue

HEARING, PAUSE, BACKCHANNEL, IDLE = range(4)
STATES = ("hearing", "pause", "backchannel", "idle")

KINDS = ("nod", "nods", "smile", "brow", "shake", "tilt")
"""What a back-channel can be. "brow" raises the brows of a friendly or neutral listener and lowers (frowns) those of
an unfriendly one; "nods" is several in a row."""
HEAD_KINDS = ("nod", "nods", "shake", "tilt")

PAUSE_FRAMES = 7
"""Frames without voice after which a phrase is known to have ended: 280 ms, since the causal voice cue misses weak
consonants; with 200 ms a third more "ends" were inside phrases (on the corpus's speech)."""
IDLE_FRAMES = 75
"""Frames without voice after which the speaker is taken to have stopped: 3 s."""

TURN_DIM = 18
"""Columns of `TurnPlan.conditions`: 0-3 state, one of four; 4 voice; 5 exp(-seconds since the phrase end);
6 seconds of this phrase so far / 5, at most 1; 7 how long silence has lasted, 1 - exp(-s / 3); 8-13 strength of
each of `KINDS` while it lasts; 14 a ramp to 1 over the frames before a decided gesture begins; 15, 16 how much of
the running head and face gesture is over, 0 to 1; 17 repetitions of the head gesture / 4."""

_LEAST_PHRASE = 10  # frames of voice that make a phrase: shorter is a noise or a sound of assent
_DELAY = 8  # a gesture begins 0 to 7 frames after the phrase end is known
_LOW_PITCH_WAIT = 18 - 3  # 0.7 s after the low region began, of which 3 frames were needed to see it
_LOW_PITCH_SPEECH = 18
_RAMP = 12
_REST_AFTER = {True: 20, False: 12}  # frames between head gestures, and between faces
_NOTICE = 6  # frames ahead of which a gesture that was given, not decided, shows in the ramp
_CHANCES, _NORMALS, _BLOCK = 8, 3, 50
_IDLE_SMILES = 1.5 / 60 / FPS  # of a friendly listener, a frame


@dataclass(frozen=True)
class Manner:
    """How a listener of one attitude answers.

    Attributes:
        head, face: chance of a head and of a face gesture at the end of a phrase.
        low_pitch: chance of a head gesture at a low-pitch region within speech.
        heads, faces: odds of each of `KINDS`.
    """

    head: float
    face: float
    low_pitch: float
    heads: dict[str, float]
    faces: dict[str, float]


MANNERS = {
    "positive": Manner(0.78, 0.75, 0.22, {"nod": 0.50, "nods": 0.44, "tilt": 0.06}, {"smile": 0.78, "brow": 0.22}),
    "neutral": Manner(0.55, 0.16, 0.14, {"nod": 0.66, "nods": 0.24, "tilt": 0.10}, {"smile": 0.30, "brow": 0.70}),
    "negative": Manner(0.44, 0.50, 0.07, {"nod": 0.22, "shake": 0.44, "tilt": 0.34}, {"brow": 1.0}),
}

# Seconds of one repetition (median) and the spread of its logarithm. Nods are as measured on the corpus's listeners,
# within the 1.8 to 3.7 a second of Hadar 1985; shakes are somewhat quicker than those of people who talk (0.9 s); how
# long smiles, brows and tilts stay is a rule.
_SECONDS = {
    "nod": (0.52, 0.18),
    "nods": (0.42, 0.15),
    "smile": (3.2, 0.30),
    "brow": (1.2, 0.30),
    "shake": (0.62, 0.15),
    "tilt": (2.4, 0.25),
}


@dataclass(frozen=True)
class Backchannel:
    """One answer of the listener.

    Attributes:
        frame: at which its motion begins.
        kind: one of `KINDS`.
        strength: its size against the usual, about 0.5 to 1.8.
        count: repetitions, 1 for what has none.
        seconds: from its beginning to its end.
        side: -1 or 1, to which a tilt or a shake goes first.
    """

    frame: int
    kind: str
    strength: float
    count: int
    seconds: float
    side: int = 1

    @property
    def frames(self) -> int:
        """Length in frames, at least 1."""
        return max(1, round(self.seconds * FPS))

    @property
    def end(self) -> int:
        return self.frame + self.frames


@dataclass
class TurnPlan:
    """What T frames of a listener are to be, and why.

    Attributes:
        states: (T,) int8, HEARING, PAUSE, BACKCHANNEL or IDLE.
        since_phrase_end: (T,) seconds since the speaker's last phrase ended, infinite before the first.
        phrase_ends: frames in which a phrase had ended (the first without voice), counted from the clip's begin.
        backchannels: decided in these frames, in order of decision; they may begin up to 0.6 s later.
        voice: (T,) bool, whether somebody speaks.
        rows: (T, TURN_DIM) float32, see `conditions`.
        start: the first frame's number, 0 but for pieces of a clip.
    """

    states: np.ndarray
    since_phrase_end: np.ndarray
    phrase_ends: list[int]
    backchannels: list[Backchannel]
    voice: np.ndarray = field(repr=False)
    rows: np.ndarray = field(repr=False)
    start: int = 0

    def __len__(self) -> int:
        return len(self.states)

    def conditions(self) -> np.ndarray:
        """(T, TURN_DIM) float32, 0 to about 2: what a driver is told. Row t knows nothing later than t."""
        return self.rows

    @staticmethod
    def concatenate(parts: list[TurnPlan]) -> TurnPlan:
        """Join pieces that follow each other.

        Raises:
            ValueError: if there is none.
        """
        if not parts:
            raise ValueError("There is nothing to concatenate.")
        arrays = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("states", "since_phrase_end", "voice", "rows")
        }
        return TurnPlan(
            phrase_ends=[frame for part in parts for frame in part.phrase_ends],
            backchannels=[one for part in parts for one in part.backchannels],
            start=parts[0].start,
            **arrays,
        )


class TurnTaker:
    """One listener's turn-taking, as sound comes in.

    Args:
        seed: chooses among all that might happen; 0 or more.
        attitude: one of `ATTITUDES`.
        given: gestures to be taken as they are, and none decided: for real listeners, whose gestures are known.

    Raises:
        ValueError: if the attitude is none of them or the seed is negative.
    """

    def __init__(self, seed: int, attitude: str, given: list[Backchannel] | None = None) -> None:
        if attitude not in ATTITUDES:
            raise ValueError(f"attitude must be one of {', '.join(ATTITUDES)}, not {attitude!r}.")
        if seed < 0:
            raise ValueError("seed must be 0 or more.")
        self._seed, self._attitude, self._manner = int(seed), attitude, MANNERS[attitude]
        self._cues, self._voice = TurnCues(), VoiceCue()
        self._given = None if given is None else sorted(given, key=lambda one: one.frame)
        self._generated: tuple[int, np.ndarray, np.ndarray] = (-1, np.zeros(0), np.zeros(0))
        person = np.random.default_rng(np.random.SeedSequence([self._seed, 77]))
        self._activity = float(np.exp(np.clip(0.25 * person.standard_normal(), -0.45, 0.45)))
        self._frame = 0
        self._spoken = 0  # frames of voice in this phrase
        self._silent = IDLE_FRAMES
        self._ended: int | None = None  # the last phrase end
        self._low_at = -IDLE_FRAMES  # frame at which the last low-pitch region was seen
        self._invited: int | None = None  # frame at which such a region asks for an answer
        self._running: list[Backchannel] = []  # decided and not over
        self._free = {True: 0, False: 0}  # frame from which a head gesture, and a face, may begin

    @property
    def running(self) -> tuple[Backchannel, ...]:
        """Gestures that were decided and are not over at the last frame given out."""
        return tuple(self._running)

    def hear(self, samples: np.ndarray) -> TurnPlan:
        """The next frames from sound (n * 640,) at 16 kHz; the clip's last block may be any length.

        Raises:
            ValueError: if the sound is not one-dimensional.
        """
        return self.step(self._cues.push(samples))

    def step(self, rows: np.ndarray) -> TurnPlan:
        """The next n frames from their cues (n, CUE_DIM), see `pipeline.drivers.turn_cues`.

        Raises:
            ValueError: if the shape is wrong.
        """
        if rows.ndim != 2 or rows.shape[1] != CUE_DIM:
            raise ValueError(f"rows must have shape (n, {CUE_DIM}), not {rows.shape}.")
        count = len(rows)
        plan = TurnPlan(
            np.zeros(count, np.int8),
            np.full(count, np.inf),
            [],
            [],
            np.zeros(count, bool),
            np.zeros((count, TURN_DIM), np.float32),
            self._frame,
        )
        for index, row in enumerate(rows):
            self._next(index, row, plan)
        return plan

    def _next(self, index: int, row: np.ndarray, plan: TurnPlan) -> None:
        now = self._frame
        chance, normal = self._random(now)
        voice, low = self._voice.step(row)
        before = len(plan.backchannels)
        if voice:
            self._silent = 0
            self._spoken += 1
        else:
            self._silent += 1
        if low:
            self._low_at = now
            if self._spoken >= _LOW_PITCH_SPEECH and self._invited is None:
                self._invited = now + _LOW_PITCH_WAIT
        if self._silent == PAUSE_FRAMES:
            if self._spoken >= _LEAST_PHRASE:
                self._ended = now - PAUSE_FRAMES + 1
                plan.phrase_ends.append(self._ended)
                self._answer_phrase(chance, normal, plan)
                self._invited = None
            self._spoken = 0
        if self._invited == now:
            self._invited = None
            if self._silent == 0 and chance[6] < self._manner.low_pitch * self._activity:
                self._decide(self._manner.heads, 0, chance, normal, plan)
        idle = self._silent >= IDLE_FRAMES
        if idle and self._attitude == "positive" and chance[7] < _IDLE_SMILES:
            self._decide({"smile": 1.0}, 0, chance, normal, plan)
        if self._given is not None:
            del plan.backchannels[before:]
            while self._given and self._given[0].frame <= now + _NOTICE:
                plan.backchannels.append(self._given.pop(0))
        self._running = [one for one in [*self._running, *plan.backchannels[before:]] if one.end > now]
        self._describe(index, now, voice, idle, plan)
        self._frame += 1

    def _answer_phrase(self, chance: np.ndarray, normal: np.ndarray, plan: TurnPlan) -> None:
        length = min(1.0, 0.45 + self._spoken / FPS / 3)
        falling = 1.2 if self._frame - self._low_at <= PAUSE_FRAMES + 8 else 0.95
        delay = int(_DELAY * chance[2])
        if chance[0] < self._manner.head * length * falling * self._activity:
            self._decide(self._manner.heads, delay, chance, normal, plan)
        if chance[1] < self._manner.face * length * self._activity:
            self._decide(self._manner.faces, delay, chance[::-1], normal[::-1], plan)

    def _decide(
        self, odds: dict[str, float], delay: int, chance: np.ndarray, normal: np.ndarray, plan: TurnPlan
    ) -> None:
        """Let a gesture of drawn kind and size begin in `delay` frames, unless one like it is still running."""
        kind = _draw(odds, chance[3])
        first = self._frame + delay
        head = kind in HEAD_KINDS
        if first < self._free[head]:
            return
        noise = np.clip(normal, -2, 2)
        median, spread = _SECONDS[kind]
        count = 1
        if kind == "nods":
            count = 2 + int(chance[4] > 0.55) + int(chance[4] > 0.88)
        elif kind == "shake":
            count = 2 + int(chance[4] > 0.7)
        seconds = median * float(np.exp(spread * noise[0])) * count
        strength = float(np.exp(0.25 * noise[1]))
        one = Backchannel(first, kind, strength, count, seconds, 1 if chance[5] < 0.5 else -1)
        plan.backchannels.append(one)
        self._free[head] = one.end + _REST_AFTER[head]

    def _describe(self, index: int, now: int, voice: bool, idle: bool, plan: TurnPlan) -> None:
        row = plan.rows[index]
        answering = False
        for one in self._running:
            if now < one.frame:
                row[14] = max(row[14], 1 - (one.frame - now) / _RAMP)
                continue
            head = one.kind in HEAD_KINDS
            row[8 + KINDS.index(one.kind)] = one.strength
            row[15 if head else 16] = (now - one.frame + 0.5) / one.frames
            if head:
                row[17] = one.count / 4
            answering |= now - one.frame < 1.2 * FPS
        state = IDLE if idle else BACKCHANNEL if answering else PAUSE if self._silent >= PAUSE_FRAMES else HEARING
        plan.states[index], plan.voice[index] = state, voice
        row[state], row[4] = 1, voice
        if self._ended is not None:
            plan.since_phrase_end[index] = (now - self._ended) / FPS
            row[5] = np.exp(-plan.since_phrase_end[index])
        row[6] = min(1.0, self._spoken / FPS / 5)
        row[7] = 1 - np.exp(-self._silent / FPS / 3)

    def _random(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """A frame's own uniform (8,) and normal (3,) numbers."""
        block, offset = divmod(frame, _BLOCK)
        if self._generated[0] != block:
            generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([self._seed, block])))
            self._generated = (
                block,
                generator.random((_BLOCK, _CHANCES)),
                generator.standard_normal((_BLOCK, _NORMALS)),
            )
        return self._generated[1][offset], self._generated[2][offset]


def plan(samples: np.ndarray, seed: int, attitude: str, given: list[Backchannel] | None = None) -> TurnPlan:
    """The plan of a whole sound (N,) at 16 kHz: ceil(N / 640) frames, the same as `TurnTaker.hear` gives in pieces.

    Raises:
        ValueError: as `TurnTaker` does.
    """
    return TurnTaker(seed, attitude, given).hear(samples)


def _draw(odds: dict[str, float], chance: float) -> str:
    kinds, weights = list(odds), np.cumsum(list(odds.values()))
    return kinds[min(int(np.searchsorted(weights / weights[-1], chance, side="right")), len(kinds) - 1)]
