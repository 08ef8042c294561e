"""Nods: when a head nods, and whether it does so where the speaker would expect it.

The detector looks at the tracked pitch alone; phrase ends and silence are found from the sound by voice activity over
the whole clip, so nothing here knows what a driver planned.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipeline.audio.voice import voice_activity
from pipeline.clock import FPS

LEAST_DEPTH = np.radians(1.5)
"""A swing must be deeper than the tracker trembles (under 0.5° on still heads) and than talk sways the head."""

REACTION = 1.0  # seconds after a phrase's end that belong to it
PAUSE = 0.2  # seconds of quiet that end a phrase
_LEAST_PHRASE = 0.5  # seconds of speech that make one
_LONGEST_SWING = 0.48  # seconds from the turning point to either side; slower is a change of posture
_WHOLE = 0.5  # least share of the swing's depth over twice that time
_JOINED = 0.5  # seconds between the swings of one nodding
_SPEECH = 0.5  # of `voice_activity`


@dataclass(frozen=True)
class Nod:
    """One nodding of one or more swings: frames `start` (where the head leaves its place) to `end`, the deepest
    swing's `depth` in radians, and how many `swings`."""

    start: int
    end: int
    depth: float
    swings: int


def nods(pose: np.ndarray) -> list[Nod]:
    """The nods in a pose (T, 6) at 25 frames/s.

    A swing is a turning point of the pitch, nose down, from which the head comes back: on both sides, within 0.48 s,
    the pitch is at least 1.5° higher, and at least half as much higher as within twice that time (else the head
    bows), and it changes more than the yaw does meanwhile. That takes 0.2 to 1 s a swing, as nods last: Hadar, Steiner
    & Rose 1985, "Head movement during listening turns in conversation", find ordinary movements of listeners at 1.8
    to 3.7 Hz and wider ones slower. Swings less than 0.5 s apart are one nodding, as nods are counted by hand.

    Raises:
        ValueError: unless the pose is (T, 6).
    """
    if pose.ndim != 2 or pose.shape[1] != 6:
        raise ValueError(f"pose must have shape (T, 6), not {pose.shape}.")
    if len(pose) < 5:
        return []
    pitch, yaw = (_smooth(pose[:, axis].astype(np.float64)) for axis in (0, 1))
    reach = round(_LONGEST_SWING * FPS)
    swings: list[Nod] = []
    for t in range(2, len(pitch) - 2):
        if not (pitch[t] >= pitch[t - 1] and pitch[t] > pitch[t + 1]):
            continue
        before, after = pitch[max(0, t - reach) : t + 1][::-1], pitch[t : t + reach + 1]
        depth = pitch[t] - max(before.min(), after.min())
        whole = pitch[t] - max(pitch[max(0, t - 2 * reach) : t + 1].min(), pitch[t : t + 2 * reach + 1].min())
        start, end = t - _arrival(before, depth), t + _arrival(after, depth)
        if depth < LEAST_DEPTH or depth < _WHOLE * whole or np.ptp(yaw[start : end + 1]) > depth:
            continue
        swings.append(Nod(start, end, float(depth), 1))
    joined: list[Nod] = []
    for swing in swings:
        last = joined[-1] if joined else None
        if last is not None and swing.start - last.end <= _JOINED * FPS:
            joined[-1] = Nod(last.start, swing.end, max(last.depth, swing.depth), last.swings + 1)
        else:
            joined.append(swing)
    return joined


@dataclass(frozen=True)
class Speech:
    """What the measures know of the speaker's sound.

    Attributes:
        phrase_ends: (P,) int, the first frame without speech after each phrase.
        quiet: (T,) bool, frames where nobody has spoken for longer than a reaction takes.
    """

    phrase_ends: np.ndarray
    quiet: np.ndarray

    def __len__(self) -> int:
        return len(self.quiet)

    @staticmethod
    def of(samples: np.ndarray) -> Speech:
        """Of sound (N,) at 16 kHz: a phrase is speech of 0.5 s or more, and ends in a pause of 0.2 s or more."""
        spoken = voice_activity(samples) > _SPEECH
        ends, quiet = [], np.zeros(len(spoken), bool)
        speech = 0  # frames of speech since the last pause
        for first, stop, talking in _runs(spoken):
            if talking:
                speech += stop - first
                continue
            if (stop - first) / FPS >= PAUSE:
                if speech / FPS >= _LEAST_PHRASE:
                    ends.append(first)
                speech = 0
            # The clip's first quiet follows no speech; all others follow some, that may still be answered.
            quiet[first if first == 0 else min(stop, first + round(1.5 * REACTION * FPS)) : stop] = True
        return Speech(np.array(ends, int), quiet)

    @property
    def after_ends(self) -> np.ndarray:
        """(T,) bool: frames within a reaction's time after a phrase's end."""
        near = np.zeros(len(self), bool)
        for end in self.phrase_ends:
            near[end : end + round(REACTION * FPS)] = True
        return near


@dataclass(frozen=True)
class Timing:
    """Nods against phrase ends, summed over clips.

    Attributes:
        nods: in all.
        hits: those that begin within a second after a phrase's end.
        chance: how many would if each nod began at any frame of its clip alike.
        quiet_nods: those that begin in silence.
        quiet_seconds: how much silence there was.
    """

    nods: int = 0
    hits: int = 0
    chance: float = 0.0
    quiet_nods: int = 0
    quiet_seconds: float = 0.0

    def __add__(self, other: Timing) -> Timing:
        return Timing(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    @property
    def ratio(self) -> float:
        """Times as often as chance; NaN where there is neither."""
        return self.hits / self.chance if self.chance else float("nan")

    @property
    def quiet_rate(self) -> float:
        """Nods per second of silence; NaN without silence."""
        return self.quiet_nods / self.quiet_seconds if self.quiet_seconds else float("nan")

    @staticmethod
    def of(found: list[Nod], speech: Speech) -> Timing:
        """Of one clip; where the motion is longer than the sound, the rest is silence that is not counted.

        The chance of a hit is that of a nod put anywhere in the clip: what shuffling the nods in time would give on
        average (the permutation test's mean, which needs no drawing of lots).
        """
        near = speech.after_ends
        starts = np.array([nod.start for nod in found if nod.start < len(speech)], int)
        return Timing(
            len(starts),
            int(near[starts].sum()),
            float(len(starts) * near.mean()) if len(near) else 0.0,
            int(speech.quiet[starts].sum()),
            float(speech.quiet.sum() / FPS),
        )


def shuffled_chance(found: list[Nod], speech: Speech, rounds: int = 2000, seed: int = 0) -> np.ndarray:
    """(rounds,) hits when the same nods begin at frames drawn by lot: the distribution behind `Timing.chance`.

    The share of rounds with at least as many hits as counted is the p-value of a permutation test (Good 2005).
    """
    count = sum(nod.start < len(speech) for nod in found)
    drawn = np.random.default_rng(seed).integers(0, max(1, len(speech)), (rounds, count))
    return speech.after_ends[drawn].sum(1) if len(speech) else np.zeros(rounds, int)


def _smooth(series: np.ndarray) -> np.ndarray:
    """Under a window of three frames, ends held."""
    return np.convolve(np.pad(series, 1, mode="edge"), (0.25, 0.5, 0.25), "valid")


def _arrival(way: np.ndarray, depth: float) -> int:
    """Frames from a turning point, of which `way` leads away, until the swing is as good as over."""
    return int(np.argmax(way <= max(way.min(), way[0] - depth) + 0.15 * depth))


def _runs(flags: np.ndarray) -> list[tuple[int, int, bool]]:
    """First frame, end and value of each run of equal flags (T,)."""
    edges = np.flatnonzero(np.diff(flags.astype(int))) + 1
    borders = [0, *edges.tolist(), len(flags)]
    return [(a, b, bool(flags[a])) for a, b in pairwise(borders) if b > a]
