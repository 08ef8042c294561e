"""Suite `listen`: portraits that listen to the split's speakers, in each attitude, against people who listen.

Three sorts of rows. `portrait`: the driver's coefficients for two seeds, its plain regression beside them, and the
rendered MP4 of one speaker tracked again. `pair`: a real listener's first frame hears and sees that listener's own
speaker. `real`: all real listeners of the corpus, as what the others are held against. Nothing is asked of a driver's
plans: nods, blinks, silence and phrase ends are found in what comes out and in the sound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pipeline.attitudes import ATTITUDES
from pipeline.audio.reading import read_audio
from pipeline.clock import SAMPLE_RATE, SAMPLES_PER_FRAME
from pipeline.coefficients import Coefficients
from pipeline.errors import VideoError
from pipeline.evaluation.attitude import AttitudeClassifier
from pipeline.evaluation.corpus import Clip, select
from pipeline.evaluation.listener_metrics import Motion, blink_count, residual_correlation
from pipeline.evaluation.listener_table import Listened, listened_table
from pipeline.evaluation.nods import Speech, Timing, nods
from pipeline.evaluation.suites import SuiteOptions
from pipeline.evaluation.tables import Row, Table
from pipeline.evaluation.talking import rendered_track
from pipeline.evaluation.tracks import Track, track_video
from pipeline.face.morphable import MorphableModel
from pipeline.hub import EMBEDDED

if TYPE_CHECKING:
    from pipeline.conversation import ConversationalHeadPipeline

PORTRAITS = 6
SEEDS = 2
SPEAKERS = 2  # that each portrait hears, one after the other
PAUSE_SECONDS, SILENCE_SECONDS = 1.0, 8.0  # between them, and after the last
_LEAST_SECONDS = 8.0  # of a speaker, in which phrases can end
_RENDERED_SIZE = 512


@dataclass(frozen=True)
class Task:
    """One row: `kind` is portrait, pair or real; `face` is a picture, or the clip of a real listener."""

    kind: str
    face: Clip
    attitude: str = ""
    sounds: tuple[Clip, ...] = field(default=())

    @property
    def name(self) -> str:
        """Kind, file and attitude."""
        return " ".join(part for part in (f"{self.kind}/{self.face.path.stem}", self.attitude) if part)


def tasks(clips: list[Clip], options: SuiteOptions) -> list[Task]:
    """Portraits of the split by attitudes, the split's pairs of listener and speaker, and all real listeners."""
    speakers = [clip for clip in select(clips, ("talk",), options.split) if clip.seconds >= _LEAST_SECONDS]
    speakers = speakers or select(clips, ("talk",), options.split)
    found = []
    for index, portrait in enumerate(portraits_of(clips, options.split)):
        sounds = tuple(speakers[(SPEAKERS * index + n) % len(speakers)] for n in range(min(SPEAKERS, len(speakers))))
        found += [Task("portrait", portrait, attitude, sounds) for attitude in ATTITUDES]
    talking = {clip.path.stem: clip for clip in clips if clip.kind == "talk"}
    listeners = [clip for clip in clips if clip.kind == "listen"]
    for clip in listeners:
        speaker = talking.get(clip.path.stem.replace("_listener", "_speaker"))
        if speaker is not None and options.split in ("all", clip.split):
            found.append(Task("pair", clip, "", (speaker,)))
    return found + [Task("real", clip) for clip in listeners]


def portraits_of(clips: list[Clip], split: str) -> list[Clip]:
    """`PORTRAITS` of the split's, spread over the manifest."""
    portraits = select(clips, ("portrait",), split)
    count = min(PORTRAITS, len(portraits))
    return [portraits[index * len(portraits) // count] for index in range(count)]


def measure(pipeline: ConversationalHeadPipeline, task: Task, options: SuiteOptions) -> Row:
    """One task; under the key "listened" its motion and counts, which `table` takes out again."""
    judge = AttitudeClassifier.load(EMBEDDED / "attitude")
    if task.kind == "portrait":
        return _portrait(pipeline, judge, task, options)
    if task.kind == "pair":
        return _pair(pipeline, judge, task, options)
    return _real(pipeline.model, judge, task, options)


def table(rows: list[Row], options: SuiteOptions) -> Table:
    """All rows, real and generated side by side, and what issue 3 asks of them."""
    return listened_table(rows, options)


def _portrait(
    pipeline: ConversationalHeadPipeline, judge: AttitudeClassifier, task: Task, options: SuiteOptions
) -> Row:
    scene = pipeline.portrait(str(task.face.path), size=_RENDERED_SIZE)
    speech = [read_audio(str(clip.path)) for clip in task.sounds]
    sound, spoken = joined(speech)
    heard = Speech.of(sound)
    asked = ATTITUDES.index(task.attitude)

    def listened(coefficients: Coefficients) -> Listened:
        seen = judge(coefficients[:spoken], pipeline.model, scene.identity, scene.coefficients)
        return _count(pipeline.model, scene.identity, coefficients, heard, None, spoken, seen, asked)

    given = {"attitude": task.attitude, "identity": scene.identity}
    results = {
        "driver": [
            listened(_whole(pipeline.listener(sound, scene.coefficients, seed=options.seed + n, **given)))
            for n in range(SEEDS)
        ],
        "regression": [
            listened(_whole(pipeline.listener.regression(sound, scene.coefficients, seed=options.seed, **given)))
        ],
    }
    row: Row = {"attitude": task.attitude, "lost": 0}
    if options.encode:
        shortest = min(range(len(speech)), key=lambda index: len(speech[index]))
        source = str(task.sounds[shortest].path)
        clip = pipeline.listen(scene, source, attitude=task.attitude, seed=options.seed, **options.pipeline)
        track = rendered_track(clip, True)
        coefficients = fitted(track, pipeline.model, scene.identity)
        seen = judge(coefficients, pipeline.model, scene.identity, scene.coefficients)
        results["MP4"] = [
            _count(pipeline.model, scene.identity, coefficients, Speech.of(speech[shortest]), None, None, seen, asked)
        ]
        row["lost"] = int((~track.found).sum())
    return row | {"listened": results}  # type: ignore[dict-item]


def _pair(pipeline: ConversationalHeadPipeline, judge: AttitudeClassifier, task: Task, options: SuiteOptions) -> Row:
    """The listener's first frame hears and sees its own speaker; the attitude is the one seen in the real clip."""
    model = pipeline.model
    real = track_video(task.face.path, options.cache)
    identity, truth = _fit(real, model)
    speaker = fitted(track_video(task.sounds[0].path, options.cache), model)
    sound = read_audio(str(task.sounds[0].path))
    heard = Speech.of(sound)
    attitude = ATTITUDES[int(judge(truth, model, identity).argmax())]
    reference = truth[0]
    given = {"attitude": attitude, "identity": identity, "speaker": speaker}
    results = {"listener": [_count(model, identity, truth, heard, reference)]}
    for name, call, count in (
        ("driver", pipeline.listener, SEEDS),
        ("regression", pipeline.listener.regression, 1),
    ):
        made = [_whole(call(sound, reference, seed=options.seed + n, **given)) for n in range(count)]
        results[name] = [_count(model, identity, coefficients, heard, reference) for coefficients in made]
    other = Motion.of(speaker)
    row: Row = {"attitude": attitude}
    for name in ("driver", "regression"):
        found = [residual_correlation(one.motion, results["listener"][0].motion, other) for one in results[name]]
        row[f"rpcc_expression_{name}"], row[f"rpcc_pose_{name}"] = (float(value) for value in np.mean(found, 0))
    return row | {"listened": results, "speaker": other}  # type: ignore[dict-item]


def _real(model: MorphableModel, judge: AttitudeClassifier, task: Task, options: SuiteOptions) -> Row:
    identity, truth = _fit(track_video(task.face.path, options.cache), model)
    heard = Speech.of(read_audio(str(task.face.path)))
    seen = judge(truth, model, identity)
    result = _count(model, identity, truth, heard, seen=seen)
    return {
        "attitude": f"({ATTITUDES[int(seen.argmax())]}?)",
        "split": task.face.split,
        "listened": {"real": [result]},  # type: ignore[dict-item]
    }


def _count(
    model: MorphableModel,
    identity: np.ndarray,
    coefficients: Coefficients,
    heard: Speech,
    reference: Coefficients | None = None,
    spoken: int | None = None,
    seen: np.ndarray | None = None,
    asked: int | None = None,
) -> Listened:
    """Everything counted in one clip; motion only of the first `spoken` frames, since real listeners hear speech."""
    found = nods(coefficients.pose)
    return Listened(
        motion=Motion.of(coefficients[:spoken], reference),
        frames=len(coefficients),
        nods=len(found),
        blinks=blink_count(coefficients, model, identity),
        timing=Timing.of(found, heard),
        seen=None if seen is None else int(seen.argmax()),
        asked=asked,
    )


def joined(sounds: list[np.ndarray]) -> tuple[np.ndarray, int]:
    """Sounds (N,) one after the other, pauses between, silence after; and the frames up to that silence."""
    pause = np.zeros(round(PAUSE_SECONDS * SAMPLE_RATE), np.float32)
    parts = [part for sound in sounds for part in (sound, pause)][:-1]
    spoken = sum(map(len, parts))
    silence = np.zeros(round(SILENCE_SECONDS * SAMPLE_RATE), np.float32)
    return np.concatenate([*parts, silence]).astype(np.float32), max(1, spoken // SAMPLES_PER_FRAME)


def fitted(track: Track, model: MorphableModel, identity: np.ndarray | None = None) -> Coefficients:
    """The coefficients of a track, a row a frame; frames without a face repeat their nearest neighbour with one.

    Raises:
        VideoError: if there is no face in any frame.
    """
    return _fit(track, model, identity)[1]


def _fit(track: Track, model: MorphableModel, identity: np.ndarray | None = None) -> tuple[np.ndarray, Coefficients]:
    if not track.found.any():
        raise VideoError("No face was found in the video; give one that shows a face.")
    alpha, found = model.fit(track.landmarks[track.found], track.size, identity)
    index = np.flatnonzero(track.found)
    nearest = np.abs(np.arange(len(track))[:, None] - index).argmin(1)
    return alpha, Coefficients(*(getattr(found, name)[nearest] for name in ("expression", "pose", "crop")))


def _whole(parts: Iterator[Coefficients]) -> Coefficients:
    return Coefficients.concatenate(list(parts))
