"""Suite `silence`: lips must rest when nobody speaks; ten seconds of silence, of faint noise and of speech."""

from __future__ import annotations

import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.clock import SAMPLE_RATE
from pipeline.errors import VideoError
from pipeline.evaluation.corpus import SYNC_R, Clip, select
from pipeline.evaluation.lips import spread_ratio
from pipeline.evaluation.suites import SuiteOptions
from pipeline.evaluation.tables import Check, Column, Row, Table
from pipeline.evaluation.talking import driver_opening, rendered_track

if TYPE_CHECKING:
    from pipeline.conversation import ConversationalHeadPipeline

SECONDS = 10
NOISE_DBFS = -50.0
PORTRAITS = 6

_COLUMNS = [
    Column("clip", "portrait", total=""),
    Column("speech", "speech, 1000 σ", 1),
    Column("silence", "silence", 1),
    Column("noise", "noise", 1),
    Column("silence_share", "silence / speech", 3),
    Column("noise_share", "noise / speech", 3),
    Column("driver_share", "driver's silence", 3),
    Column("lost", "lost", 0, "sum"),
]


@dataclass(frozen=True)
class Task:
    """A portrait, and the clip whose speech it speaks."""

    portrait: Clip
    speech: Clip

    @property
    def name(self) -> str:
        """The portrait's."""
        return self.portrait.name


def tasks(clips: list[Clip], options: SuiteOptions) -> list[Task]:
    """The split's portraits, `PORTRAITS` of them spread over the list, each with another clip's speech."""
    portraits = select(clips, ("portrait",), options.split)
    speech = select(clips, ("talk",), options.split, min_sync=SYNC_R)
    long_enough = [clip for clip in speech if clip.seconds >= SECONDS - 1] or speech
    count = len(portraits) if options.only else min(PORTRAITS, len(portraits))
    chosen = [portraits[index * len(portraits) // count] for index in range(count)]
    return [Task(portrait, long_enough[index % len(long_enough)]) for index, portrait in enumerate(chosen)]


def measure(pipeline: ConversationalHeadPipeline, task: Task, options: SuiteOptions) -> Row:
    """Spread of the lips in the three sounds: standard deviation of the inner-lip opening, per face height."""
    lost = 0
    openings: dict[str, np.ndarray] = {}
    driven: dict[str, np.ndarray | None] = {}
    with tempfile.TemporaryDirectory(prefix="tete-") as folder:
        sounds = {"silence": Path(folder) / "silence.wav", "noise": Path(folder) / "noise.wav"}
        write_noise(sounds["silence"], SECONDS, None)
        write_noise(sounds["noise"], SECONDS, NOISE_DBFS)
        sounds["speech"] = task.speech.path
        for key, sound in sounds.items():
            clip = pipeline.talk(str(task.portrait.path), str(sound), seed=options.seed, **options.pipeline)
            track = rendered_track(clip, options.encode)
            if not track.found.any():
                raise VideoError(f"No face was found in the video rendered for {key}.")
            lost += int((~track.found).sum())
            openings[key] = track.opening[track.found]
            driven[key] = driver_opening(clip, track.landmarks[np.argmax(track.found)], track.size)
    row: Row = {key: 1000 * float(np.std(opening)) for key, opening in openings.items()}
    row |= {f"{key}_share": spread_ratio(openings[key], openings["speech"]) for key in ("silence", "noise")}
    if driven["silence"] is not None and driven["speech"] is not None:
        row["driver_share"] = spread_ratio(driven["silence"], driven["speech"])
    return row | {"lost": lost}


def table(rows: list[Row], options: SuiteOptions) -> Table:
    """All portraits, and what issue 2 asks of them."""
    result = Table(f"silence: {SECONDS} s without speech against speech", _COLUMNS, rows)
    result.extra = {
        f"worst_{key}": float(result.values(key).max()) if len(result.values(key)) else None
        for key in ("silence_share", "noise_share")
    }
    result.checks = [
        Check("lip spread in silence / in speech", result.mean("silence_share"), high=0.10),
        Check(f"lip spread in noise at {NOISE_DBFS:g} dBFS / in speech", result.mean("noise_share"), high=0.10),
    ]
    result.notes = [
        "Spread: standard deviation of the inner-lip opening in thousandths of the face's height, on the rendered "
        "video; driver's silence: silence / speech of the coefficients before rendering, free of the tracker's jitter."
    ]
    return result


def write_noise(path: Path, seconds: float, dbfs: float | None) -> None:
    """Write a 16-bit mono WAV of white noise, always the same; `dbfs` is its root mean square, None is silence."""
    samples = np.zeros(round(seconds * SAMPLE_RATE))
    if dbfs is not None:
        samples = np.random.default_rng(0).normal(0, 10 ** (dbfs / 20), len(samples))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.clip(np.round(samples * 32767), -32768, 32767).astype("<i2").tobytes())
