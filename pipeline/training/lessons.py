"""What the talking driver learns from: clips heard several times over, speech without pictures, and silence."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.audio.reading import read_audio
from pipeline.drivers.hearing import rows_of, sense
from pipeline.drivers.level import normalised
from pipeline.drivers.mouth import Mouth
from pipeline.drivers.talking import reference_row
from pipeline.face.morphable import MorphableModel
from pipeline.training.augmentation import augment, revoice, stretch
from pipeline.training.corpus import TrackedClip, check_found
from pipeline.training.pieces import Piece

_REFERENCES = 12  # frames of a clip that are fitted alone, to stand for a portrait of the person
LEAST_SYNC, GOOD_SYNC = 0.2, 0.35
_MOST_SECONDS = 20.0  # of one person; more does not make them count more


@dataclass
class Lesson:
    """A clip as the network learns it.

    Attributes:
        name, speaker: from the manifest.
        weight: how often it is drawn, relative to others.
        sound: for each reading (T, D) float16, what is heard of it; the first is the sound as it is.
        expression: for each reading β (T, 64) under the clip's own α, in step with the sound.
        pose: for each reading p (T, 6).
        references: (R, REFERENCE_DIM) what the driver is told of the portrait.
        bases: (R, 64) the same frames' β under the clip's α, mouth closed: what the residual is added to.
        poses: (R, 6) their p in the clip's frame of reference.
        rest: (64,) the person's β with the mouth at rest.
        identity: α.
    """

    name: str
    speaker: str
    weight: float
    identity: np.ndarray = field(repr=False)
    references: np.ndarray = field(repr=False)
    bases: np.ndarray = field(repr=False)
    poses: np.ndarray = field(repr=False)
    rest: np.ndarray = field(repr=False)
    sound: list[np.ndarray] = field(default_factory=list, repr=False)
    expression: list[np.ndarray] = field(default_factory=list, repr=False)
    pose: list[np.ndarray] = field(default_factory=list, repr=False)


def make_lesson(clip: TrackedClip, model: MorphableModel, mouth: Mouth) -> Lesson:
    """References, bases and rest of a clip; its sound is added by `add_reading`."""
    beta, identity = clip.coefficients.expression, clip.identity
    frames = np.linspace(0, len(beta) - 1, _REFERENCES).round().astype(int)
    references = np.stack([reference_of(clip, int(frame), model, mouth) for frame in frames])
    opening = mouth.geometry(identity, beta)[:, 0]
    rest = beta[opening <= np.quantile(opening, 0.15)].mean(0)
    rest_opening = mouth.geometry(identity, rest)[0]
    return Lesson(
        clip.file.name,
        clip.file.speaker,
        1.0,
        identity,
        references,
        mouth.opened(beta[frames], -opening[frames]),
        clip.coefficients.pose[frames],
        mouth.opened(rest[None], -rest_opening[None])[0],
    )


def reference_of(clip: TrackedClip, frame: int, model: MorphableModel, mouth: Mouth) -> np.ndarray:
    """(REFERENCE_DIM,) what the driver would be told if this frame were the portrait: fitted on its own."""
    one = clip.coefficients[frame]
    size = (512, 512)
    seen = model.project(model.shape(clip.identity, one.expression), one.pose, one.crop, size)
    identity, alone = model.fit(seen, size)
    return reference_row(alone, mouth.geometry(identity, alone.expression)[0])


Listen = Callable[[np.ndarray], np.ndarray]
"""Sound (N,) at its usual level to (T, D), what is heard of it: `hearing.sense`, or more."""


def add_reading(
    lesson: Lesson,
    clip: TrackedClip,
    samples: np.ndarray,
    listen: Listen,
    rng: np.random.Generator | None = None,
    babble: list[np.ndarray] | None = None,
) -> None:
    """Let the clip be heard once more: as it is without `rng`, changed with it. Picture follows the sound's lag."""
    speed = 1.0 if rng is None else float(np.exp(rng.uniform(np.log(0.85), np.log(1.18))))
    sound = normalised(samples)
    if rng is not None:
        sound = stretch(sound, speed)
        if rng.random() < 0.6:
            sound = np.resize(revoice(sound, float(np.exp(rng.uniform(-0.26, 0.26)))), len(sound))
        sound = augment(sound, rng, babble)
    rows = listen(sound).astype(np.float16)
    times = (np.arange(len(rows)) + 0.5) * speed - 0.5 + clip.file.lag
    inside = (times >= 0) & (times <= len(clip.coefficients) - 1)
    lesson.sound.append(rows[inside])
    lesson.expression.append(_at(clip.coefficients.expression, times[inside]))
    lesson.pose.append(_at(clip.coefficients.pose, times[inside]))


def _at(rows: np.ndarray, times: np.ndarray) -> np.ndarray:
    low = np.floor(times).astype(int)
    high = np.minimum(low + 1, len(rows) - 1)
    part = (times - low)[:, None]
    return (rows[low] * (1 - part) + rows[high] * part).astype(np.float32)


def make_lessons(
    clips: list[TrackedClip],
    model: MorphableModel,
    readings: int = 8,
    seed: int = 0,
    listen: Listen = sense,
    log: Callable[[str], None] = print,
) -> list[Lesson]:
    """All clips as lessons with `readings` changed readings each beside the sound as it is."""
    mouth = Mouth.of(model)
    rng = np.random.default_rng(seed)
    clips = [clip for clip in check_found(clips) if clip.file.sync >= LEAST_SYNC]
    sounds = [read_audio(clip.file.path) for clip in clips]
    babble = [sound for sound in sounds if len(sound) > 32_000][::3]
    lessons = []
    started = time.monotonic()
    for clip, sound in zip(clips, sounds, strict=True):
        lesson = make_lesson(clip, model, mouth)
        for reading in range(1 + readings):
            add_reading(lesson, clip, sound, listen, rng if reading else None, babble)
        seconds = len(lesson.sound[0]) / 25
        lesson.weight = seconds * (1.0 if clip.file.sync >= GOOD_SYNC else 0.5) * (0.7 if clip.file.generated else 1.0)
        lessons.append(lesson)
    by_speaker: dict[str, float] = {}
    for lesson in lessons:
        by_speaker[lesson.speaker] = by_speaker.get(lesson.speaker, 0) + len(lesson.sound[0]) / 25
    for lesson in lessons:
        lesson.weight *= min(1.0, _MOST_SECONDS / by_speaker[lesson.speaker])
    took = time.monotonic() - started
    log(f"{len(lessons)} clips of {len(by_speaker)} people heard {1 + readings} times in {took:.0f} s")
    return lessons


def silent_rows(listen: Listen = sense, seconds: float = 120.0, seed: int = 5) -> np.ndarray:
    """Rows (T, D) of rooms in which nobody speaks: nothing, hiss and hum at many levels, in turns of six seconds."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(int(seconds / 6)):
        spectrum = np.fft.rfft(rng.normal(size=6 * 16_000)) / np.maximum(np.arange(48_001), 1) ** rng.uniform(0, 1)
        noise = np.fft.irfft(spectrum)
        noise *= 10 ** (rng.uniform(-75, -33) / 20) / np.sqrt((noise**2).mean())
        parts.append(noise if rng.random() < 0.75 else noise * 0)
    return listen(np.concatenate(parts).astype(np.float32)).astype(np.float16)


def fold(lessons: list[Lesson], clips: list[TrackedClip], index: int, folds: int) -> tuple[list[Lesson], list[Lesson]]:
    """Lessons to learn from, and those of every so-manieth real speaker to choose by; no person is in both."""
    good = {c.file.name for c in clips if c.file.kind == "talk" and c.file.sync >= GOOD_SYNC}
    speakers = sorted({lesson.speaker for lesson in lessons if lesson.name in good})
    apart = set(speakers[index::folds])
    held = [lesson for lesson in lessons if lesson.speaker in apart and lesson.name in good]
    return [lesson for lesson in lessons if lesson.speaker not in apart], held


Answer = Callable[[np.ndarray, Lesson, int], np.ndarray]
"""A trained ensemble: what a teacher hears (T, D), a lesson and one of its references to β (T, 64)."""


def make_echoes(pieces: Sequence[Piece], donors: list[Lesson], answer: Answer, seed: int = 1) -> list[Lesson]:
    """Speech without pictures as lessons, whose weights sum up to those of the donors.

    An ensemble that hears with the teacher's ears says how the lips of somebody, drawn by lot, would move; it hears
    the sound as it is, and who learns from it hears it changed (a noisy student, Xie 2020).
    """
    rng = np.random.default_rng(seed)
    total = sum(lesson.weight for lesson in donors)
    chances = np.array([lesson.weight for lesson in donors]) / total
    weight = total / sum(map(len, pieces))
    lessons = []
    for piece in pieces:
        frames = len(piece)
        donor = donors[int(rng.choice(len(donors), p=chances))]
        portrait = int(rng.integers(len(donor.references)))
        one = slice(portrait, portrait + 1)
        beta = answer(piece.taught.reshape(frames, -1), donor, portrait)
        lessons.append(
            Lesson(
                "echo",
                donor.speaker,
                frames * weight,
                donor.identity,
                donor.references[one],
                donor.bases[one],
                donor.poses[one],
                donor.rest,
                [rows_of(piece.mel)],
                [beta.astype(np.float32)],
                [np.repeat(donor.poses[one], frames, 0)],
            )
        )
    return lessons


def refine_lags(lessons: list[Lesson], mouth: Mouth, spoken: Callable[[Lesson], np.ndarray]) -> list[Lesson]:
    """Move each picture by up to 1.5 frames to where it agrees best with predicted lips, and leave out those that
    agree nowhere. The manifest's lags are whole frames; half a frame is heard."""
    shifts = np.arange(-2, 2.01, 0.25)
    kept = []
    for lesson in lessons:
        made, true = (mouth.geometry(lesson.identity, beta)[:, 0] for beta in (spoken(lesson), lesson.expression[0]))
        inner = np.arange(3, len(true) - 3)
        frames = np.arange(len(true))
        r = np.array([np.corrcoef(made[inner], np.interp(inner + d, frames, true))[0, 1] for d in shifts])
        if r.max() < 0.2:
            continue
        kept.append(lesson)
        if r.max() > 0.3:
            _shift(lesson, float(np.clip(shifts[(r - 0.01 * np.abs(shifts)).argmax()], -1.5, 1.5)))
    return kept


def _shift(lesson: Lesson, frames: float) -> None:
    usual = len(lesson.expression[0])
    for rows in (lesson.expression, lesson.pose):
        for reading, row in enumerate(rows):
            times = np.arange(len(row)) + frames * len(row) / usual
            rows[reading] = _at(row, times.clip(0, len(row) - 1))
