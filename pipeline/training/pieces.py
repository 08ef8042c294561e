"""Pieces of speech of every kind, as the ears learn it: what they hear, made worse, and what their teacher hears."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.audio.reading import read_audio
from pipeline.clock import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from pipeline.drivers.level import normalised
from pipeline.drivers.phonetics import MEL_BANDS, MELS_PER_FRAME, STEPS_PER_FRAME, log_mel
from pipeline.errors import AudioError
from pipeline.training.augmentation import augment, revoice, stretch
from pipeline.training.corpus import CorpusFile
from pipeline.training.speech_teacher import Axes, SpeechTeacher
from pipeline.training.synthesis import synthesise

_SECONDS = 11  # of a piece, before its speed is changed
_LEAST_FRAMES = 50
_SYNTHETIC = 300  # sentences
_SYNTHETIC_SHARE, _OTHER_SHARE = 0.13, 0.29  # of pieces; the rest is the corpus's
_CLEAN, _TWICE = 0.2, 0.4  # shares heard as they are, and heard in two ways


@dataclass(frozen=True)
class Piece:
    """Some seconds of speech.

    Attributes:
        mel: (4 T, 64) float16, `phonetics.log_mel` of it in noise, in a room, through a telephone.
        taught: (2 T, K) float16, what the teacher made of it as it was.
    """

    mel: np.ndarray = field(repr=False)
    taught: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.taught) // STEPS_PER_FRAME


def corpus_speech(files: Sequence[CorpusFile]) -> list[np.ndarray]:
    """Sound (N,) at its usual level of all files that have any, a second or more."""
    sounds = []
    for file in files:
        try:
            sound = read_audio(file.path)
        except AudioError:
            continue
        if len(sound) > SAMPLE_RATE and np.abs(sound).max() > 0.01:
            sounds.append(normalised(sound))
    return sounds


def fit_axes(sounds: Sequence[np.ndarray], teacher: SpeechTeacher) -> Axes:
    """The principal directions of what the teacher makes of every fourth sound."""
    return Axes.of(np.concatenate([teacher(sound)[::3] for sound in sounds[::4]]))


def make_pieces(
    corpus: list[np.ndarray],
    others: Sequence[Path],
    teacher: SpeechTeacher,
    axes: Axes,
    hours: float = 8.0,
    seed: int = 1,
    log: Callable[[str], None] = print,
) -> list[Piece]:
    """Pieces of the corpus's speech, of other recordings and of synthesisers, `hours` in all.

    Args:
        corpus: sounds, see `corpus_speech`.
        others: files of anybody's speech; those that cannot be read are left out.
        teacher, axes: what they are taught with.
        hours: how much.
        seed: of all chance.
        log: told how it goes.
    """
    rng = np.random.default_rng(seed)
    spoken = [utterance.samples.astype(np.float32) / 32768 for utterance in synthesise(_SYNTHETIC, seed + 50, 0.5)]
    babble = corpus[::7]

    def other() -> np.ndarray:
        parts: list[np.ndarray] = []
        for _ in range(200):  # short prompts, in a row
            try:
                parts.append(read_audio(others[int(rng.integers(len(others)))]))
            except AudioError:
                continue
            parts.append(np.zeros(int(rng.integers(0, SAMPLE_RATE // 2)), np.float32))
            if sum(map(len, parts)) > _SECONDS * SAMPLE_RATE:
                break
        return normalised(np.concatenate(parts)) if parts else corpus[int(rng.integers(len(corpus)))]

    def anything() -> np.ndarray:
        kind = rng.random()
        if kind < _SYNTHETIC_SHARE:
            return normalised(np.concatenate([spoken[int(rng.integers(len(spoken)))] for _ in range(3)]))
        if kind < _SYNTHETIC_SHARE + _OTHER_SHARE and others:
            return other()
        return corpus[int(rng.integers(len(corpus)))]

    pieces: list[Piece] = []
    frames, wanted, started = 0, int(hours * 3600 * FPS), time.monotonic()
    while frames < wanted:
        sound = anything()
        start = int(rng.integers(max(1, len(sound) - _SECONDS * SAMPLE_RATE)))
        sound = sound[start : start + _SECONDS * SAMPLE_RATE]
        sound = stretch(sound, float(np.exp(rng.uniform(np.log(0.85), np.log(1.18)))))
        if rng.random() < 0.5:
            sound = np.resize(revoice(sound, float(np.exp(rng.uniform(-0.26, 0.26)))), len(sound))
        count = len(sound) // SAMPLES_PER_FRAME
        if count < _LEAST_FRAMES:
            continue
        sound = sound[: count * SAMPLES_PER_FRAME]
        taught = axes(teacher(sound))
        for _ in range(2 if rng.random() < _TWICE else 1):
            heard = sound if rng.random() < _CLEAN else augment(sound, rng, babble)
            pieces.append(Piece(log_mel(heard).numpy().astype(np.float16), taught))
            frames += count
        if len(pieces) % 500 == 0:
            log(f"{frames / FPS / 3600:.1f} of {hours:.1f} h of speech in {time.monotonic() - started:.0f} s")
    return pieces


def batch(pieces: Sequence[Piece], frames: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cuts of `frames` frames: mel (B, 4 F, 64), taught (B, 2 F, K), and 1 where there is sound (B, 2 F); float32."""
    mel = np.zeros((len(pieces), MELS_PER_FRAME * frames, MEL_BANDS), np.float32)
    taught = np.zeros((len(pieces), STEPS_PER_FRAME * frames, pieces[0].taught.shape[1]), np.float32)
    there = np.zeros(taught.shape[:2], np.float32)
    for row, piece in enumerate(pieces):
        start = int(rng.integers(max(1, len(piece) - frames + 1)))
        count = min(frames, len(piece))
        mel[row, : MELS_PER_FRAME * count] = piece.mel[MELS_PER_FRAME * start :][: MELS_PER_FRAME * count]
        taught[row, : STEPS_PER_FRAME * count] = piece.taught[STEPS_PER_FRAME * start :][: STEPS_PER_FRAME * count]
        there[row, : STEPS_PER_FRAME * count] = 1
    return mel, taught, there
