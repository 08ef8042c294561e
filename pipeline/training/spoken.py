"""Speech with what can be known of it, row by row: voice, pitch, loudness, phrase ends; of synthesised speech phones
and words too. It teaches the audio encoder and measures it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.audio.compiled import load_librosa
from pipeline.audio.voice import voice_activity
from pipeline.clock import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, frame_count
from pipeline.drivers.level import speech_level
from pipeline.drivers.phonetics import PAUSE, PHONES, STEPS_PER_FRAME
from pipeline.drivers.words import Word, WordTrack, align
from pipeline.training.synthesis import Utterance

NEAR = 10  # frames before and after a phrase end that count as near it: 0.4 s
LOW_PITCH = 26.0  # percentile of a voice's pitch below which it is low: Ward & Tsukahara 2000
_LEAST_PHRASE, _LEAST_PAUSE = 10, 5  # frames: 0.4 s of speech, then at least 0.2 s without
_LOWEST, _HIGHEST = 65.0, 420.0  # Hz
_WINDOW = 1024
_PERIODIC = 0.5  # of a window and itself a period later; below it there is no pitch

VOICE, VOICED, PITCH, ENERGY, LOW, SOON, ENDED = range(7)
TARGET_DIM = 7
TARGETS = ("voice", "voiced", "pitch", "energy", "low pitch", "phrase ends soon", "phrase has ended")
BINARY = (VOICE, VOICED, LOW, SOON, ENDED)


@dataclass(frozen=True)
class Spoken:
    """Somebody's speech.

    Attributes:
        samples: (N,) int16 at 16 kHz.
        targets: (T, 7) in the order of `TARGETS`: 0 to 1, but pitch in octaves from 150 Hz (0 where unvoiced), energy
            in 10 dB from the level of speech (-4 to 1).
        phones: (2 T,) indices of `PHONES`, or None where nobody knows.
        words: on the same frames.
    """

    samples: np.ndarray = field(repr=False)
    targets: np.ndarray = field(repr=False)
    phones: np.ndarray | None = field(default=None, repr=False)
    words: WordTrack = field(default_factory=WordTrack)


def spoken(samples: np.ndarray) -> Spoken:
    """Find out about somebody's recorded speech (N,), -1 to 1 at 16 kHz, without noise."""
    return Spoken((samples * 32767).astype(np.int16), targets(samples))


def monologue(utterances: Sequence[Utterance], rng: np.random.Generator) -> Spoken:
    """Synthesised sentences one after another, with pauses of 0.1 to 1.5 s."""
    parts, phones = [], []
    words: list[Word] = []
    frames = 0
    for utterance in utterances:
        count = frame_count(len(utterance.samples))
        middles = (np.arange(count * STEPS_PER_FRAME) + 0.5) / (FPS * STEPS_PER_FRAME)
        labels = utterance.phones[np.searchsorted(utterance.ends, middles).clip(0, len(utterance.phones) - 1)]
        words += [
            Word(word.text, word.start + frames, word.stop + frames)
            for word in align(utterance.text, np.eye(len(PHONES), dtype=np.float32)[labels])
        ]
        pause = int(FPS * np.exp(rng.uniform(np.log(0.1), np.log(1.5))))
        parts.append(np.pad(utterance.samples, (0, (count + pause) * SAMPLES_PER_FRAME - len(utterance.samples))))
        phones.append(np.pad(labels, (0, pause * STEPS_PER_FRAME), constant_values=PHONES.index(PAUSE)))
        frames += count + pause
    samples = np.concatenate(parts)
    return Spoken(samples, targets(samples / 32768), np.concatenate(phones), WordTrack(tuple(words)))


def targets(samples: np.ndarray) -> np.ndarray:
    """(T, 7) in the order of `TARGETS`, of clean speech (N,) at 16 kHz."""
    samples = samples.astype(np.float32)
    frames = frame_count(len(samples))
    found = np.zeros((frames, TARGET_DIM), np.float32)
    if not frames:
        return found
    found[:, VOICE] = voice_activity(samples)
    hertz = pitch(samples)
    voiced = (hertz > 0) & (found[:, VOICE] > 0.5)
    found[:, VOICED] = voiced
    found[voiced, PITCH] = np.log2(hertz[voiced] / 150)
    whole = np.pad(samples, (0, frames * SAMPLES_PER_FRAME - len(samples))).reshape(frames, -1)
    decibels = 10 * np.log10(np.square(whole).mean(1) + 1e-12) - speech_level(samples)
    found[:, ENERGY] = np.clip(decibels / 10, -4, 1)
    if voiced.sum() > FPS // 2:
        found[:, LOW] = voiced & (hertz < np.percentile(hertz[voiced], LOW_PITCH))
    for end in phrase_ends(found[:, VOICE]):
        found[max(0, end - NEAR) : end, SOON] = 1
        found[end : end + NEAR, ENDED] = found[end : end + NEAR, VOICE] <= 0.5
    return found


def phrase_ends(voice: np.ndarray) -> list[int]:
    """Frames in which a phrase of at least 0.4 s has ended and 0.2 s or more without voice follow; voice is (T,)."""
    speech = np.concatenate([[False], voice > 0.5, [False]])
    edges = np.flatnonzero(np.diff(speech.astype(int)))
    starts, stops = edges[::2], edges[1::2]
    following = np.append(starts[1:], len(voice) + _LEAST_PAUSE)
    return [
        int(stop)
        for start, stop, after in zip(starts, stops, following, strict=True)
        if stop - start >= _LEAST_PHRASE and after - stop >= _LEAST_PAUSE and stop < len(voice)
    ]


def pitch(samples: np.ndarray) -> np.ndarray:
    """Pitch (T,) in Hz of sound (N,) at 16 kHz, 0 where it has none: YIN (de Cheveigné 2002) without octave leaps."""
    from scipy.ndimage import median_filter

    frames = frame_count(len(samples))
    before = (_WINDOW - SAMPLES_PER_FRAME) // 2
    padded = np.pad(samples.astype(np.float32), (before, frames * SAMPLES_PER_FRAME - len(samples) + _WINDOW))
    size = {"frame_length": _WINDOW, "hop_length": SAMPLES_PER_FRAME}
    hertz = load_librosa().yin(padded, fmin=_LOWEST, fmax=_HIGHEST, sr=SAMPLE_RATE, center=False, **size)[:frames]
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::SAMPLES_PER_FRAME][:frames]
    lags = np.round(SAMPLE_RATE / hertz).astype(int)
    same = np.array([_likeness(window, lag) for window, lag in zip(windows, lags, strict=True)])
    usual = median_filter(hertz, 5)
    steady = np.abs(np.log2(hertz / usual)) < 0.4
    return np.where((same > _PERIODIC) & steady, hertz, 0.0).astype(np.float32)


def _likeness(window: np.ndarray, lag: int) -> float:
    first, second = window[:-lag], window[lag:]
    return float(first @ second / (np.sqrt((first @ first) * (second @ second)) + 1e-6))
