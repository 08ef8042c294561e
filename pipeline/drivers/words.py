"""What the speaker says, word by word on the clip's clock, as vectors of meaning where there are any."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pipeline.drivers.phonetics import PAUSE, PHONES, STEPS_PER_FRAME, VISEMES

_VOWELS = (*VISEMES["open"], *VISEMES["mid"], *VISEMES["front"], "ih", "iy", "ow", "oy", "uh", "uw", "er")
# How letters sound, longest first: rough, over several languages. What is not listed may be any sound.
_SOUNDS: dict[str, tuple[str, ...]] = {
    "tsch": ("ch",), "sch": ("sh", "s"), "tch": ("ch",), "igh": _VOWELS, "ch": ("ch", "k", "sh", "hh"), "sh": ("sh",),
    "th": ("th", "dh", "t"), "ph": ("f",), "ck": ("k",), "ng": ("ng", "n", "g"), "gh": ("g", "f", "hh"),
    "wh": ("w", "hh"), "qu": ("k", "w", "v"), "kn": ("n", "k"), "wr": ("r", "er"), "gn": ("n", "ng"), "ll": ("l", "y"),
    "b": ("b", "p"), "c": ("k", "s", "ch", "sh", "z"), "ç": ("s",), "d": ("d", "t", "dh"), "f": ("f", "v"),
    "g": ("g", "jh", "k", "zh"), "h": ("hh",), "j": ("jh", "y", "zh", "hh", "k"), "k": ("k", "g"), "l": ("l",),
    "m": ("m",), "n": ("n", "ng"), "ñ": ("n", "y"), "p": ("p", "b"), "q": ("k",), "r": ("r", "er"),
    "s": ("s", "z", "sh", "zh"), "ß": ("s",), "t": ("t", "d", "ch", "sh", "dh"), "v": ("v", "f", "b"),
    "w": ("w", "v"), "x": ("k", "s", "z", "g"), "z": ("z", "s", "t", "th"),
}  # fmt: skip
_VOWEL_LETTERS = frozenset("aeiouyäöüàáâãåæèéêëìíîïòóôõøœùúûý")
_UNSURE = 0.02  # probability left to a sound that the recogniser rules out
_SILENT_LETTER = -2.0  # log probability of a letter that is not heard
_BAND = 500  # states that are followed at once: some 40 s of speech


@dataclass(frozen=True)
class Word:
    """A word, from the frame in which it begins to the one in which it has ended."""

    text: str
    start: int
    stop: int


@dataclass(frozen=True)
class WordTrack:
    """Words in order and, where a language model gave them, their vectors.

    Attributes:
        words: in order of time; they don't overlap.
        vectors: (len(words), D) float32, or None: then the words' meaning is masked.
    """

    words: tuple[Word, ...] = ()
    vectors: np.ndarray | None = None

    @staticmethod
    def nothing() -> WordTrack:
        """No words known: everything is masked."""
        return WordTrack()

    def rows(self, start: int, stop: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
        """Vectors (stop - start, dim) float32 of the words said in frames `start` to `stop`, and where (T,) they hold.

        Raises:
            ValueError: if the vectors have another length than `dim`.
        """
        vectors, mask = np.zeros((stop - start, dim), np.float32), np.zeros(stop - start, bool)
        if self.vectors is None:
            return vectors, mask
        if self.vectors.shape != (len(self.words), dim):
            raise ValueError(f"The words' vectors must be ({len(self.words)}, {dim}), not {self.vectors.shape}.")
        for word, vector in zip(self.words, self.vectors, strict=True):
            span = slice(max(word.start, start) - start, max(min(word.stop, stop) - start, 0))
            vectors[span], mask[span] = vector, True
        return vectors, mask


def align(text: str, phones: np.ndarray) -> tuple[Word, ...]:
    """Place a transcript's words on the sounds that a phone recogniser heard.

    The most probable way (Viterbi 1967) through the letters, each of which may sound in few ways or not at all, with a
    pause allowed between words. Rough next to a dictionary, but it needs none.

    Args:
        text: what is said, in Latin letters mostly; signs that are no letters are left out.
        phones: (2 T, 41) probabilities of `pipeline.drivers.phonetics.PHONES`, 50 a second.

    Returns:
        the words in order, none overlapping, each at least one frame long as far as there are frames.
    """
    words = [word for word in text.split() if any(c.isalnum() for c in word)]
    steps = len(phones)
    if not words or steps < STEPS_PER_FRAME:
        return ()
    owners, groups = [-1], [(PAUSE,)]
    for index, word in enumerate(words):
        sounds = _sounds(word)
        owners += [index] * len(sounds) + [-1]
        groups += [*sounds, (PAUSE,)]
    names = sorted(set(groups))
    allowed = np.zeros((len(names), len(PHONES)), np.float32)
    for row, group in enumerate(names):
        for phone in group:
            allowed[row, PHONES.index(phone)] = 1
    sounding = np.log(phones @ allowed.T + _UNSURE)
    kind = np.array([names.index(group) for group in groups])
    path = _way(sounding, kind, np.array(owners) >= 0, phones[:, PHONES.index(PAUSE)])
    owner = np.array(owners)[path]
    found: list[Word] = []
    for index, word in enumerate(words):
        own = np.flatnonzero(owner == index)
        last = found[-1].stop if found else 0
        start, stop = (own[0], own[-1] + 1) if len(own) else (last * STEPS_PER_FRAME, last * STEPS_PER_FRAME)
        start = max(round(start / STEPS_PER_FRAME), last)
        found.append(Word(word, start, max(round(stop / STEPS_PER_FRAME), start + 1)))
    frames = steps // STEPS_PER_FRAME
    return tuple(word for word in found if word.stop <= frames)


def _way(sounding: np.ndarray, kind: np.ndarray, letters: np.ndarray, silence: np.ndarray) -> np.ndarray:
    """State (steps,) at each step on the best way from the first state to the last.

    Args:
        sounding: (steps, kinds) log probability of each kind of state.
        kind: (states,) of `sounding`.
        letters: (states,) whether a state is a letter; others are pauses, skipped at no cost.
        silence: (steps,) probability of a pause; states are followed about where the speech so far should have come.
    """
    steps, states = len(sounding), len(kind)
    band = min(_BAND, states)
    spoken = np.cumsum(1 - silence)
    middle = spoken / max(spoken[-1], 1e-6) * states
    first = np.clip(np.round(middle - band / 2), 0, states - band).astype(int)
    skip = np.where(letters, _SILENT_LETTER, 0.0)
    score = np.full(states + 2, -np.inf)  # two ahead of the first state, so that steps forward need no edges
    score[2:4] = 0, 0
    moves = np.zeros((steps, band), np.int8)
    for step in range(steps):
        low = first[step]
        span = slice(low + 2, low + band + 2)
        over = np.full(band, -np.inf)  # from two states before, past a letter that is silent or a pause
        over[max(0, 1 - low) :] = skip[max(0, low - 1) : low + band - 1]
        ways = np.stack([score[span], score[low + 1 : low + band + 1], score[low : low + band] + over])
        move = ways.argmax(0)
        best = ways.max(0) + sounding[step, kind[low : low + band]]
        score[:] = -np.inf
        score[span] = best
        moves[step] = move
    path = np.empty(steps, int)
    state = states - 1 if score[-1] >= score[-2] else states - 2
    if not np.isfinite(score[state + 2]):
        state = int(score.argmax()) - 2
    for step in range(steps - 1, -1, -1):
        path[step] = state
        state -= moves[step, state - first[step]]
    return path


@lru_cache(maxsize=4096)
def _sounds(word: str) -> tuple[tuple[str, ...], ...]:
    """The ways in which each letter or group of letters of a word may sound."""
    letters = [c for c in word.lower() if c.isalnum()]
    found: list[tuple[str, ...]] = []
    at = 0
    while at < len(letters):
        if letters[at] in _VOWEL_LETTERS:
            start = at
            while at < len(letters) and letters[at] in _VOWEL_LETTERS:
                at += 1
            silent = at == len(letters) and start > 0 and "".join(letters[start:]) == "e" and _VOWELS in found
            if not silent:
                found.append(_VOWELS if letters[start] not in "uy" else (*_VOWELS, "y"))
            continue
        for length in (4, 3, 2, 1):
            group = "".join(letters[at : at + length])
            if group in _SOUNDS:
                if not found or found[-1] != _SOUNDS[group]:
                    found.append(_SOUNDS[group])
                break
        else:
            found.append(tuple(phone for phone in PHONES if phone != PAUSE))
            group = letters[at]
        at += len(group)
    return tuple(found)
