"""What the speaker says, word by word on the clip's clock, as vectors of meaning where there are any.

The words are the user's transcript, or what a `transformers` recogniser from the Hub heard; the vectors are BERT's,
from the Hub too (Chang 2023 §4.3). Both are asked for by name, never needed: without them the words are masked. Nothing
here stands in for BERT.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.audio.streaming import stream_rows
from pipeline.clock import FPS, SAMPLE_RATE, frame_count
from pipeline.drivers.phonetics import PAUSE, PHONES, STEPS_PER_FRAME, VISEMES, PhoneNet, log_mel
from pipeline.drivers.running_level import levelled
from pipeline.errors import InputError, WeightsError
from pipeline.hub import EMBEDDED
from pipeline.threads import one_thread

BERT = "google-bert/bert-base-uncased"
RECOGNISER = "openai/whisper-tiny"

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
_BERT_WORDS = 150  # at once; BERT takes 512 pieces of words
_CONTEXT_FRAMES, _CHUNK_FRAMES, _AHEAD_FRAMES = 14, 750, 75
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


def word_track(
    samples: np.ndarray,
    transcript: str | None = None,
    language_model: str | None = None,
    recogniser: str | None = None,
    phone_net: PhoneNet | None = None,
) -> WordTrack:
    """The words of speech (N,) at 16 kHz, placed in time.

    Args:
        transcript: what is said, as plain text; it is aligned to the sound. Goes before a recogniser.
        language_model: name or folder of a BERT that gives the words' vectors, such as `BERT`; without it they are
            masked.
        recogniser: name or folder of a speech recogniser, such as `RECOGNISER`, if there is no transcript.
        phone_net: places the transcript; the embedded one unless given.

    Returns:
        the words; none where there is neither transcript nor recogniser.

    Raises:
        InputError: if `transformers` is wanted and not installed.
        WeightsError: if a model cannot be fetched or read.
    """
    words: tuple[Word, ...] = ()
    if transcript and transcript.strip():
        words = align(transcript, heard_phones(samples, phone_net or embedded_phone_net()))
    elif recogniser is not None:
        words = recognised(samples, recogniser)
    if not words or language_model is None:
        return WordTrack(words)
    return WordTrack(words, embedded_words([word.text for word in words], language_model))


def recognised(samples: np.ndarray, model: str = RECOGNISER) -> tuple[Word, ...]:
    """Words and their times that a recogniser of the Hub hears in sound (N,) at 16 kHz. Raises as `word_track`."""
    pipeline = _from_hub(
        model,
        lambda hub: hub.pipeline(
            "automatic-speech-recognition", model=model, chunk_length_s=30, model_kwargs={"use_safetensors": True}
        ),
    )
    frames, found = frame_count(len(samples)), []
    sound = {"raw": np.asarray(samples, np.float32), "sampling_rate": SAMPLE_RATE}
    for chunk in pipeline(sound, return_timestamps="word").get("chunks", ()):
        begin, end = chunk["timestamp"]
        text = chunk["text"].strip()
        if not text or begin is None:
            continue
        start = max(round(begin * FPS), found[-1].stop if found else 0)
        stop = max(round((begin + 0.3 if end is None else end) * FPS), start + 1)
        if stop <= frames:
            found.append(Word(text, start, stop))
    return tuple(found)


def embedded_words(words: Sequence[str], model: str = BERT) -> np.ndarray:
    """BERT's last layer, averaged over each word's pieces: (len(words), 768) float32. Raises as `word_track`."""
    import torch

    tokenizer, bert = _from_hub(
        model,
        lambda hub: (
            hub.AutoTokenizer.from_pretrained(model),
            hub.AutoModel.from_pretrained(model, use_safetensors=True).eval(),
        ),
    )
    parts = []
    for start in range(0, len(words), _BERT_WORDS):
        some = list(words[start : start + _BERT_WORDS])
        pieces = tokenizer(some, is_split_into_words=True, return_tensors="pt", truncation=True)
        with torch.inference_mode():
            rows = bert(**pieces).last_hidden_state[0].float().numpy()
        owners = np.array([-1 if owner is None else owner for owner in pieces.word_ids(0)])
        vectors = np.zeros((len(some), rows.shape[1]), np.float32)
        for index in set(owners.tolist()) - {-1}:
            vectors[index] = rows[owners == index].mean(0)
        parts.append(vectors)
    return np.concatenate(parts)


def _from_hub(model: str, load: Callable[[Any], Any]) -> Any:
    try:
        hub = import_module("transformers")  # optional, so not among the requirements
    except ImportError as error:
        raise InputError(
            f"Words by {model!r} need the package transformers; install it with `pip install transformers`, or leave "
            "this out."
        ) from error
    try:
        return load(hub)
    except (OSError, ValueError, ImportError) as error:
        raise WeightsError(
            f"The model {model!r} could not be fetched from the Hub or read; check its name and the network, or leave "
            "it out."
        ) from error


def heard_phones(samples: np.ndarray, phone_net: PhoneNet) -> np.ndarray:
    """(2 T, 41) probabilities of `PHONES` in sound (N,) at 16 kHz, of any level and length."""
    import torch

    def rows(piece: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), one_thread():
            found = phone_net(log_mel(piece)[None])[0].softmax(-1).numpy()
        return found.reshape(-1, STEPS_PER_FRAME * len(PHONES))

    pieces = stream_rows(rows, levelled([samples], _AHEAD_FRAMES), _CONTEXT_FRAMES, _CHUNK_FRAMES)
    return np.concatenate([np.zeros((0, len(PHONES)), np.float32), *(p.reshape(-1, len(PHONES)) for p in pieces)])


@lru_cache(maxsize=1)
def embedded_phone_net(folder: Path = EMBEDDED / "talking") -> PhoneNet:
    """The recogniser that lies in the talking driver's weights.

    Raises:
        WeightsError: if they are missing or damaged.
    """
    import json

    from safetensors import SafetensorError, safe_open

    try:
        net = PhoneNet(**json.loads((folder / "config.json").read_text())["phonetics"])
        with safe_open(str(folder / "model.safetensors"), "pt") as file:
            names = [name for name in file.keys() if name.startswith("phonetics.")]  # noqa: SIM118
            net.load_state_dict({n.removeprefix("phonetics."): file.get_tensor(n).float() for n in names}, strict=False)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"The phone recogniser in {folder} cannot be read; install the weights again.") from error
    return net.eval()


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
