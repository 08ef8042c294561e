"""What the listening driver learns from: the corpus's few listeners, and an hour and a half of composed ones.

    lessons = make_lessons("../shared/corpus", "cache", seed=0)       # composed once, then read from the cache

A composed lesson is heard by three listeners, one of each attitude, so that nothing in a sound tells the attitude.
`python -m pipeline.training.listening_figures CORPUS CACHE` composes them and prints their figures beside those of the
real listeners; `pipeline.training.vico.read_vico` reads data in ViCo's layout in the same form.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from pipeline.attitudes import ATTITUDES
from pipeline.audio.reading import read_audio
from pipeline.clock import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, frame_count
from pipeline.coefficients import Coefficients
from pipeline.drivers import turns
from pipeline.drivers.level import normalised
from pipeline.drivers.mouth import Mouth
from pipeline.drivers.turns import Backchannel, TurnPlan
from pipeline.face.morphable import MorphableModel
from pipeline.training.corpus import CorpusFile, TrackedClip, read_manifest, tracked_clips
from pipeline.training.listener_composition import Composer
from pipeline.training.listening_motion import SMILE, fit_listener_motion, groups, nods
from pipeline.training.quiet_faces import face_measures, runs, smooth, without_eyes

SOUND_MINUTES = 32.0
"""Of sound; each is heard by three listeners."""

_IDLE_SHARE, _NOISY_SHARE = 0.08, 0.3
_BOTH_PEOPLE = ("talk__arig_user", "talk__l2l_")  # clips whose sound holds both people of a conversation
_PER_SPEAKER = 60.0  # seconds of one person's voice at most
_SMILING, _FROWNING = 0.006, -0.006  # corners' raise in face heights


@dataclass
class ListeningLesson:
    """A listener and what they hear.

    Attributes:
        name: of the clip, or the composed lesson's.
        sound: (N,) float32 at 16 kHz, the speaker's voice.
        reference: one frame, the listener as a portrait: neutral, lips closed.
        identity: α (K,) of the listener.
        expression: β (T, 64), T = ceil(N / 640), no blinks, irises still, lips closed.
        pose: p (T, 6).
        attitude: index into `ATTITUDES`.
        speaker: the speaker's coefficients of T frames, or None where they are not seen.
        source: "real" or "composed".
        plan: when the listener answers; of real listeners, what they were seen to do.
    """

    name: str
    sound: np.ndarray = field(repr=False)
    reference: Coefficients = field(repr=False)
    identity: np.ndarray = field(repr=False)
    expression: np.ndarray = field(repr=False)
    pose: np.ndarray = field(repr=False)
    attitude: int
    speaker: Coefficients | None = field(repr=False)
    source: str
    plan: TurnPlan = field(repr=False)

    def __len__(self) -> int:
        return len(self.expression)


def make_lessons(
    corpus: str | Path,
    cache: str | Path,
    seed: int = 0,
    log: Callable[[str], None] = print,
    minutes: float = SOUND_MINUTES,
) -> list[ListeningLesson]:
    """Real and composed lessons of `split=train`; of a folder in ViCo's layout its listeners, and none composed.

    They are kept in `cache`/listening_lessons_<seed>.npz and read from there the next time (`load_lessons` reads such
    a file, in about two seconds). Tracked clips are looked for in `cache` too, or in `cache`/coefficients.

    Args:
        corpus: the folder with MANIFEST.csv, or ViCo.
        cache: where tracks are and lessons are kept.
        seed: chooses everything that is drawn.
        log: told of progress.
        minutes: of sound to compose with.

    Raises:
        InputError: if there is no corpus.
    """
    from pipeline.training.vico import is_vico, read_vico

    if is_vico(corpus):
        return read_vico(corpus, cache, log=log)
    kept = Path(cache) / f"listening_lessons_{seed}.npz"
    if kept.exists():
        return load_lessons(kept)
    tracks = Path(cache) / "coefficients"
    model = embedded_model()
    clips = tracked_clips(corpus, ["silent", "listen", "talk"], "train", tracks, model, log)
    motion = fit_listener_motion(clips, model, lambda line: None)
    lessons = real_lessons(clips, model)
    log(f"{len(lessons)} real listeners")
    lessons += compose_lessons(read_manifest(corpus), clips, Composer(clips, model, motion), seed, minutes)
    log(f"{sum(map(len, lessons)) / FPS / 60:.1f} min of lessons")
    save_lessons(lessons, kept)
    return lessons


def compose_lessons(
    files: list[CorpusFile], clips: list[TrackedClip], composer: Composer, seed: int, minutes: float
) -> list[ListeningLesson]:
    """`minutes` of sound from the corpus's speech, each heard by a listener of each attitude."""
    rng = np.random.default_rng([seed, 3])
    tracks = {clip.file.name: clip for clip in clips}
    voices = [
        file
        for file in files
        if file.kind in ("talk", "speech") and file.split != "val" and not file.name.startswith(_BOTH_PEOPLE)
    ]
    voices = _no_more_of_one(voices, rng)
    lessons: list[ListeningLesson] = []
    left, number = minutes * 60, 0
    while left > 0:
        if rng.random() < _IDLE_SHARE or not voices:
            sound, speaker = _room(rng.uniform(12, 30), rng), None
        else:
            sound, speaker = _conversation(voices, tracks, rng)
        left -= len(sound) / SAMPLE_RATE
        for index, attitude in enumerate(ATTITUDES):
            plan = turns.plan(sound, int(rng.integers(2**31)), attitude)
            made = composer.compose(plan, attitude, rng)
            reference = Coefficients(
                made.donor.rest[None], np.median(made.donor.pose, axis=0)[None], made.donor.crop[None]
            )
            lessons.append(
                ListeningLesson(
                    f"composed_{number:04d}_{attitude}",
                    sound,
                    reference,
                    made.donor.identity,
                    made.expression,
                    reference.pose + made.pose,
                    index,
                    speaker,
                    "composed",
                    plan,
                )
            )
        number += 1
    return lessons


def real_lessons(clips: list[TrackedClip], model: MorphableModel) -> list[ListeningLesson]:
    """The corpus's `listen` clips, with their speakers' tracks where the names pair.

    Nobody labelled their attitudes: who smiles is taken for positive, whose lip corners fall for negative.
    """
    mouth = Mouth.of(model)
    by_name = {clip.file.name: clip for clip in clips}
    lessons = []
    for clip in clips:
        if clip.file.kind != "listen" or clip.found.mean() < 0.9:
            continue
        partner = by_name.get("talk__" + clip.file.path.stem.replace("_listener", "_speaker"))
        lesson = real_lesson(clip, partner, read_audio(clip.file.path), None, model, mouth)
        if lesson is not None:
            lessons.append(lesson)
    return lessons


def real_lesson(
    clip: TrackedClip,
    partner: TrackedClip | None,
    sound: np.ndarray,
    attitude: int | None,
    model: MorphableModel,
    mouth: Mouth,
) -> ListeningLesson | None:
    """A tracked listener with the sound that they hear; None if there is no second of both.

    Args:
        clip: the listener.
        partner: the speaker.
        sound: (N,) the speaker's voice.
        attitude: index into `ATTITUDES`; judged from the lip corners if None.
        model: the morphable model.
        mouth: its mouth.
    """
    frames = min(len(clip.coefficients), frame_count(len(sound)))
    if frames < FPS:
        return None
    expression = without_eyes(clip, model)[:frames]
    pose = smooth(clip.coefficients.pose[:frames].astype(np.float64), 1.0)
    opening = mouth.geometry(clip.identity, expression)[:, 0]
    expression = mouth.opened(expression, np.clip(opening, -0.0015, 0.0035) - opening)
    smile = face_measures(model, mouth, clip.identity, expression)[:, SMILE]
    usual = float(np.quantile(smile, 0.3))
    calm = smile <= np.quantile(smile, 0.5)
    if attitude is None:
        attitude = 0 if usual > _SMILING or (smile > usual + 0.008).mean() > 0.25 else 2 if usual < _FROWNING else 1
    seen = _seen_gestures(pose, smile - usual)
    sound = sound[: frames * SAMPLES_PER_FRAME].astype(np.float32)
    plan = turns.plan(sound, 0, ATTITUDES[attitude], seen)
    reference = Coefficients(
        np.median(expression[calm], axis=0)[None], np.median(pose[calm], axis=0)[None], clip.coefficients.crop[:1]
    )
    speaker = None if partner is None else _lasting(partner.coefficients, 0, frames)
    return ListeningLesson(
        clip.file.name,
        sound,
        reference,
        clip.identity,
        expression[: len(plan)].astype(np.float32),
        pose[: len(plan)].astype(np.float32),
        attitude,
        speaker,
        "real",
        plan,
    )


def _seen_gestures(pose: np.ndarray, smile: np.ndarray) -> list[Backchannel]:
    """Nods in a pose (T, 6) and smiles in the corners' raise (T,) of a real listener."""
    seen = []
    for group in groups(nods(pose)):
        length = (group[-1].last - group[0].first) / FPS
        size = float(np.degrees(np.mean([one.size for one in group]))) / 3.5
        kind = "nod" if len(group) == 1 else "nods"
        seen.append(Backchannel(group[0].first, kind, float(np.clip(size, 0.4, 2.0)), len(group), length))
    for run in runs(smile > 0.007):
        if run.stop - run.start >= 20:
            size = float(np.clip(smile[run].max() / 0.017, 0.4, 2.0))
            seen.append(Backchannel(max(0, run.start - 8), "smile", size, 1, (run.stop - run.start + 16) / FPS))
    return sorted(seen, key=lambda one: one.frame)


def _no_more_of_one(files: list[CorpusFile], rng: np.random.Generator) -> list[CorpusFile]:
    heard: dict[str, float] = {}
    kept = []
    for index in rng.permutation(len(files)):
        file = files[int(index)]
        if heard.get(file.speaker, 0.0) < _PER_SPEAKER and file.seconds > 1.5:
            heard[file.speaker] = heard.get(file.speaker, 0.0) + file.seconds
            kept.append(file)
    return kept


def _conversation(
    voices: list[CorpusFile], tracks: dict[str, TrackedClip], rng: np.random.Generator
) -> tuple[np.ndarray, Coefficients | None]:
    """Somebody speaks for a while, with pauses; the files used are taken out of `voices`. Their face's track where
    all of it is one clip."""
    wanted = rng.uniform(16, 40)
    first = voices.pop()
    parts = [_room(rng.uniform(0.3, 2.2), rng, -75)]
    lead = len(parts[0]) // SAMPLES_PER_FRAME
    parts[0] = parts[0][: lead * SAMPLES_PER_FRAME]
    used = [first]
    parts.append(normalised(read_audio(first.path)))
    spoken = len(parts[-1]) / SAMPLE_RATE
    while spoken < wanted and voices and not (spoken > 9 and first.kind == "talk"):
        same = [index for index, file in enumerate(voices) if file.speaker == first.speaker]
        file = voices.pop(same[-1] if same else -1)
        parts += [_room(rng.uniform(0.5, 2.6), rng, -75), normalised(read_audio(file.path))]
        used.append(file)
        spoken += len(parts[-1]) / SAMPLE_RATE
    if rng.random() < 0.45:
        parts.append(_room(rng.uniform(3, 10), rng, -75))
    sound = np.concatenate(parts) * 10 ** (rng.uniform(-10, 4) / 20)
    if rng.random() < _NOISY_SHARE:
        level = 20 * np.log10(np.sqrt(np.mean(parts[1] ** 2)) + 1e-6)
        sound = sound + _room(len(sound) / SAMPLE_RATE, rng, level - rng.uniform(10, 30))[: len(sound)]
    frames = frame_count(len(sound))
    clip = tracks.get(used[0].name) if len(used) == 1 else None
    speaker = None if clip is None else _lasting(clip.coefficients[max(0, clip.file.lag) :], lead, frames)
    return np.clip(sound, -1, 1).astype(np.float32), speaker


def _room(seconds: float, rng: np.random.Generator, level: float | None = None) -> np.ndarray:
    """Sound (N,) of a room in which nobody speaks: hiss between white and pink at a level in dB, or nothing."""
    count = int(np.ceil(seconds * SAMPLE_RATE))
    if level is None:
        level = rng.uniform(-75, -35) if rng.random() < 0.7 else -np.inf
    whole = -(-count // SAMPLE_RATE) * SAMPLE_RATE  # a length without large prime factors is transformed quickly
    spectrum = np.fft.rfft(rng.standard_normal(whole))
    spectrum /= np.maximum(np.arange(len(spectrum)), 1) ** rng.uniform(0, 0.7)
    noise = np.fft.irfft(spectrum, whole)[:count]
    return (noise / np.sqrt((noise**2).mean()) * 10 ** (level / 20)).astype(np.float32)


def _lasting(track: Coefficients, lead: int, frames: int) -> Coefficients:
    """The track from frame `lead` of `frames` frames; its first and last frame are held before and after."""
    index = np.clip(np.arange(frames) - lead, 0, len(track) - 1)
    return Coefficients(track.expression[index], track.pose[index], track.crop[index])


def save_lessons(lessons: list[ListeningLesson], path: str | Path) -> None:
    """Write lessons to one .npz without pickles; sounds in 16 bits, each once however many listeners hear it."""
    sounds: dict[int, int] = {}
    arrays: dict[str, np.ndarray] = {}
    described = []
    for number, lesson in enumerate(lessons):
        index = sounds.setdefault(id(lesson.sound), len(sounds))
        arrays[f"sound_{index}"] = np.round(lesson.sound.clip(-1, 1) * 32767).astype(np.int16)
        one = lesson.reference
        arrays[f"reference_{number}"] = np.concatenate([one.expression[0], one.pose[0], one.crop[0]])
        arrays[f"identity_{number}"] = lesson.identity.astype(np.float32)
        arrays[f"listener_{number}"] = np.concatenate([lesson.expression, lesson.pose], -1).astype(np.float16)
        if lesson.speaker is not None:
            track = lesson.speaker
            rows = np.concatenate([track.expression, track.pose, track.crop], -1)
            arrays[f"speaker_{number}"] = rows.astype(np.float16)
        plan = lesson.plan
        arrays[f"states_{number}"], arrays[f"rows_{number}"] = plan.states, plan.rows.astype(np.float16)
        described.append(
            {
                "name": lesson.name,
                "attitude": lesson.attitude,
                "source": lesson.source,
                "sound": index,
                "phrase_ends": plan.phrase_ends,
                "backchannels": [asdict(one) for one in plan.backchannels],
            }
        )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez(part, described=np.array(json.dumps(described)), **arrays)
    part.rename(path)


def load_lessons(path: str | Path) -> list[ListeningLesson]:
    """Read what `save_lessons` wrote."""
    lessons = []
    with np.load(path, allow_pickle=False) as arrays:
        sounds: dict[int, np.ndarray] = {}
        for number, one in enumerate(json.loads(str(arrays["described"]))):
            index = one["sound"]
            if index not in sounds:
                sounds[index] = arrays[f"sound_{index}"].astype(np.float32) / 32767
            reference, rows = arrays[f"reference_{number}"][None], arrays[f"rows_{number}"].astype(np.float32)
            listener = arrays[f"listener_{number}"].astype(np.float32)
            speaker = arrays.get(f"speaker_{number}")
            if speaker is not None:
                speaker = Coefficients(speaker[:, :64], speaker[:, 64:70], speaker[:, 70:])
            plan = TurnPlan(
                arrays[f"states_{number}"],
                _since(one["phrase_ends"], len(rows)),
                one["phrase_ends"],
                [Backchannel(**entry) for entry in one["backchannels"]],
                rows[:, 4] > 0.5,
                rows,
            )
            lessons.append(
                ListeningLesson(
                    one["name"],
                    sounds[index],
                    Coefficients(reference[:, :64], reference[:, 64:70], reference[:, 70:]),
                    arrays[f"identity_{number}"],
                    listener[:, :64],
                    listener[:, 64:],
                    one["attitude"],
                    speaker,
                    one["source"],
                    plan,
                )
            )
    return lessons


def _since(ends: list[int], frames: int) -> np.ndarray:
    """(T,) seconds since the last phrase end that was known: `turns.PAUSE_FRAMES` later."""
    since = np.full(frames, np.inf)
    for end in ends:
        known = end + turns.PAUSE_FRAMES - 1
        since[known:] = (np.arange(known, frames) - end) / FPS
    return since


def embedded_model() -> MorphableModel:
    """The morphable model that comes with the project."""
    from pipeline.hub import EMBEDDED

    return MorphableModel.load(EMBEDDED / "face")
