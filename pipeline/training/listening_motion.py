"""Measure how people nod, shake their heads, smile and frown, and fit `weights/listening/motion` to it.

    python -m pipeline train listening_motion --corpus ... --cache ...

Only `split=train`. Nods and shakes are found in the poses of all clips and counted on those who listen; the shapes
of smiles and brows are regressed on people whose lips rest, and the faces of the attitudes are those of two actors
(MEAD: happy; angry, sad, disgusted) against their own neutral ones, lips closed, made symmetric.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.clock import FPS
from pipeline.coefficients import EXPRESSION_DIM
from pipeline.drivers.listener_motion import CURVE_POINTS, ListenerMotion
from pipeline.drivers.mouth import Mouth
from pipeline.errors import VideoError
from pipeline.face.morphable import UPPER_DIM, MorphableModel
from pipeline.face.topology import mirror_indices
from pipeline.training.corpus import TrackedClip, tracked_clips
from pipeline.training.head_motion import PosedVoice, neck_coupling
from pipeline.training.quiet_faces import QuietFace, face_measures, quiet_face, runs, smooth, without_eyes

LISTENERS = ("listen__", "silent__fgnet_franck")
"""Clips (how their names begin) of people who mostly listen."""

SMILE, WIDTH, BROWS, LIDS = range(4)
_SLOW = 11.0  # frames: what is slower is posture, not a gesture
_LEAST = np.radians(1.2)  # of a stroke up and one down
_QUICKEST, _SLOWEST = 6, 26  # frames of a nod: 4 to 1 a second
_USUAL_SMILE, _USUAL_RAISE, _USUAL_FROWN = 0.017, 0.010, 0.011  # corners' and brows' way in face heights
_SHAKE = 3.0  # degrees, where nobody shakes their head
_POSITIVE, _NEGATIVE = 1.1, 1.0  # how much of the actors' faces the resting face of an attitude has


@dataclass(frozen=True)
class Stroke:
    """One swing of the head out and back: first, farthest and last frame, and its size in radians."""

    first: int
    peak: int
    last: int
    size: float


def strokes(angle: np.ndarray, least: float = _LEAST) -> list[Stroke]:
    """Swings of an angle (T,) towards positive values and back, both ways at least `least`, slower ones left out."""
    fast = angle - smooth(angle[:, None], _SLOW)[:, 0]
    turn = np.diff(np.sign(np.diff(fast)))
    lows, highs = np.flatnonzero(turn > 0) + 1, np.flatnonzero(turn < 0) + 1
    found: list[Stroke] = []
    for peak in highs:
        before, after = lows[lows < peak], lows[lows > peak]
        if not len(before) or not len(after):
            continue
        first, last = int(before[-1]), int(after[0])
        rise, fall = fast[peak] - fast[first], fast[peak] - fast[last]
        if min(rise, fall) >= least and _QUICKEST <= last - first <= _SLOWEST:
            found.append(Stroke(first, int(peak), last, float((rise + fall) / 2)))
    return found


def nods(pose: np.ndarray, least: float = _LEAST) -> list[Stroke]:
    """Nods in poses (T, 6): strokes of the pitch down and up with less yaw and roll than pitch."""
    kept = []
    for one in strokes(pose[:, 0], least):
        span = pose[one.first : one.last + 1, 1:3]
        if np.ptp(span - np.linspace(span[0], span[-1], len(span)), axis=0).max() < 0.8 * one.size:
            kept.append(one)
    return kept


def shakes(pose: np.ndarray) -> list[Stroke]:
    """Swings of the yaw to either side that follow each other at once, with little pitch: shakes of the head."""
    both = strokes(pose[:, 1]) + strokes(-pose[:, 1])
    both.sort(key=lambda one: one.first)
    kept = []
    for one, after in itertools.pairwise(both):
        pitch = np.ptp(pose[one.first : after.last + 1, 0])
        if 0 < after.peak - one.peak <= 16 and pitch < 0.8 * one.size:
            kept.append(Stroke(one.first, one.peak, after.last, (one.size + after.size) / 2))
    return kept


def groups(found: list[Stroke], apart: int = 10) -> list[list[Stroke]]:
    """Strokes that follow each other within `apart` frames, together."""
    result: list[list[Stroke]] = []
    for one in found:
        if result and one.first - result[-1][-1].last <= apart:
            result[-1].append(one)
        else:
            result.append([one])
    return result


def mean_curve(values: list[tuple[np.ndarray, list[Stroke]]]) -> np.ndarray:
    """(CURVE_POINTS,) median course of strokes in (angle, strokes), the line between their feet taken off, peak 1."""
    grid = np.linspace(0, 1, CURVE_POINTS)
    courses = []
    for angle, found in values:
        for one in found:
            part = angle[one.first : one.last + 1]
            part = part - np.linspace(part[0], part[-1], len(part))
            courses.append(np.interp(grid, np.linspace(0, 1, len(part)), part / part.max()))
    curve = np.median(courses, axis=0)
    # Feet without a corner: a head does not start at full speed.
    curve = smooth(np.pad(curve, 3)[:, None], 1.2)[3:-3, 0] * np.sin(np.pi * grid).clip(0) ** 0.25
    curve[[0, -1]] = 0
    return curve / curve.max()


def within_people(faces: list[QuietFace], column: int, sign: int) -> np.ndarray:
    """(64,) change of β for one face height of a measure, regressed within people on frames with lips at rest in
    which the measure is above (`sign` 1) or below (-1) their usual; nobody counts more than their square root."""
    by_person: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for face in faces:
        x, y = face.measures[face.quiet, column], face.expression[face.quiet]
        by_person.setdefault(face.speaker, []).append((x - np.median(x), y - np.median(y, axis=0)))
    numerator, denominator = np.zeros(EXPRESSION_DIM), 0.0
    for parts in by_person.values():
        x, y = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        kept = sign * x > 0
        weight = 1 / np.sqrt(len(x))
        numerator += weight * (x[kept, None] * y[kept]).sum(0)
        denominator += weight * (x[kept] ** 2).sum()
    return numerator / denominator


def actor_offsets(
    clips: list[TrackedClip], model: MorphableModel, mouth: Mouth, emotions: tuple[str, ...]
) -> np.ndarray:
    """(64,) mean change of β from an actor's neutral clip to those of `emotions`, lips closed.

    A face's lasting expression would be taken for its identity, so all are fitted with the neutral clip's α.
    """
    by_name = {clip.file.name: clip for clip in clips}
    offsets = []
    for name, neutral in by_name.items():
        if not (name.startswith("silent__mead_") and name.endswith("_neutral")):
            continue
        rest = _closed_mean(neutral, model, mouth)
        for emotion in emotions:
            clip = by_name.get(name.removesuffix("neutral") + emotion)
            if clip is not None:
                offsets.append(_closed_mean(_fitted_as(clip, neutral.identity, model), model, mouth) - rest)
    if not offsets:
        raise ValueError(f"No clip shows an actor both neutral and {' or '.join(emotions)}.")
    return np.mean(offsets, axis=0)


def _fitted_as(clip: TrackedClip, identity: np.ndarray, model: MorphableModel) -> TrackedClip:
    """The clip under another α of the same person."""
    size = (512, 512)
    old = clip.coefficients
    seen = model.project(model.shape(clip.identity, old.expression), old.pose, old.crop, size)
    return replace(clip, identity=identity, coefficients=model.fit(seen, size, identity=identity)[1])


def _closed_mean(clip: TrackedClip, model: MorphableModel, mouth: Mouth) -> np.ndarray:
    expression = without_eyes(clip, model)
    return mouth.opened(expression, -mouth.geometry(clip.identity, expression)[:, 0]).mean(0)


def symmetric(offset: np.ndarray, model: MorphableModel) -> np.ndarray:
    """(64,) the offset and its mirror image halved: two actors' crookedness is theirs, not the expression's."""
    moved = model.offsets(offset.astype(np.float64))
    mirrored = moved[mirror_indices(model.mean)] * np.array([-1, 1, 1])
    basis = model.expression_basis.reshape(-1, EXPRESSION_DIM).astype(np.float64)
    weight = np.repeat(model.fit_weights / model.fit_weights.sum(), 3)[:, None].astype(np.float64)
    target = ((moved + mirrored) / 2).reshape(-1)
    gram = basis.T @ (weight * basis) + 2e-9 * np.eye(EXPRESSION_DIM)
    return np.linalg.solve(gram, (weight * basis).T @ target)


def faces_of_attitudes(
    clips: list[TrackedClip], faces: list[QuietFace], model: MorphableModel, mouth: Mouth
) -> dict[str, np.ndarray]:
    """The five (64,) expressions of `ListenerMotion`, lips closed."""
    nobody = np.zeros(model.identity_basis.shape[-1])

    def measured(offset: np.ndarray) -> np.ndarray:
        both = face_measures(model, mouth, nobody, np.stack([0 * offset, offset]))
        return both[1] - both[0]

    def closed(offset: np.ndarray) -> np.ndarray:
        """Lips together: what an expression opens is closed, along the way that lips open in speech."""
        own = mouth.geometry(None, offset[None])[:, 0] - mouth.geometry(None, 0 * offset[None])[:, 0]
        return mouth.opened(offset[None], -own)[0]

    def sized(offset: np.ndarray, column: int, size: float) -> np.ndarray:
        return closed(offset * (size / measured(offset)[column]))

    happy = symmetric(actor_offsets(clips, model, mouth, ("happy",)), model)
    upset = symmetric(actor_offsets(clips, model, mouth, ("angry", "sad", "disgusted")), model)
    spontaneous = symmetric(within_people(faces, SMILE, 1), model)
    fallen = symmetric(within_people(faces, SMILE, -1), model)
    raised = symmetric(within_people(faces, BROWS, 1), model)
    # Actors show what a happy face is, people in pauses what a closed-lip smile is: half of each.
    smile = sized(sized(happy, SMILE, 0.5) + sized(spontaneous, SMILE, 0.5), SMILE, _USUAL_SMILE)
    raised[UPPER_DIM:] = 0
    # A wide mouth is read as a smile: of the upset faces' mouths only what is not width, corners lower.
    upset = upset - measured(upset)[WIDTH] * _of_width(model, mouth)
    upset = upset + (-0.011 - measured(upset)[SMILE]) * fallen
    # Half of the lids' narrowing: all of it, on a portrait whose eyes are not wide open, is drowsy, not cross.
    lids = (model.direction("lid_right") + model.direction("lid_left")).astype(np.float64)
    upset = upset - 0.5 * measured(upset)[LIDS] / measured(lids)[LIDS] * lids
    frown = upset * (_USUAL_FROWN / -measured(upset)[BROWS])
    return {
        "smile": smile,
        "brow_raise": sized(raised, BROWS, _USUAL_RAISE),
        "frown": closed(frown),
        "positive": closed(_POSITIVE * smile + 0.35 * sized(raised, BROWS, _USUAL_RAISE)),
        "negative": closed(_NEGATIVE * upset),
    }


def _of_width(model: MorphableModel, mouth: Mouth) -> np.ndarray:
    """(64,) change of β that widens the mouth by one face height."""
    direction = model.direction("lip_width").astype(np.float64)
    both = mouth.geometry(None, np.stack([0 * direction, direction]))
    return direction / (both[1, 1] - both[0, 1])


def smile_times(faces: list[QuietFace]) -> tuple[float, float, int]:
    """Median seconds of smiles' onsets and offsets, and how many edges were seen.

    From 10 to 90 % of the way an ease of the fifth degree takes half of its time, so the whole is twice that.
    """
    times: dict[int, list[float]] = {1: [], -1: []}
    for face in faces:
        smile = smooth(face.measures[:, SMILE : SMILE + 1], 1.5)[:, 0]
        for sign in times:
            speed = sign * np.gradient(smile)
            for run in runs((speed > 1.5e-4) & face.quiet):
                way = sign * (smile[run.stop - 1] - smile[run.start])
                if way > 0.006:
                    part = sign * (smile[run] - smile[run.start]) / way
                    times[sign].append(float(((part > 0.1) & (part < 0.9)).sum() / 0.5 / FPS))
    return float(np.median(times[1])), float(np.median(times[-1])), len(times[1]) + len(times[-1])


def fit_listener_motion(
    clips: list[TrackedClip], model: MorphableModel, log: Callable[[str], None] = print
) -> ListenerMotion:
    """All of it from tracked clips of `split=train`.

    Raises:
        VideoError: if nobody in the clips listens and nods.
    """
    mouth = Mouth.of(model)
    clips = [clip for clip in clips if clip.found.mean() > 0.97 and len(clip.coefficients) >= 50]
    poses = {clip.file.name: smooth(clip.coefficients.pose.astype(np.float64), 1.0) for clip in clips}
    found = {name: nods(pose) for name, pose in poses.items()}
    turned = {name: shakes(pose) for name, pose in poses.items()}
    who = [name for name in poses if name.startswith(LISTENERS)]
    minutes = sum(len(poses[name]) for name in who) / FPS / 60
    all_nods = [one for name in who for one in found[name]]
    bursts = [group for name in who for group in groups(found[name])]
    all_shakes = [one for ones in turned.values() for one in ones]
    if not all_nods:
        raise VideoError("Nobody in the corpus's listen clips nods; check the corpus and the cache folder.")
    faces = [face for clip in clips if (face := quiet_face(clip, model, mouth)) is not None]
    onset, offset, smiles = smile_times(faces)
    config = {
        # Strokes below the median are hardly seen; an answer that a viewer should see is larger than most.
        "nod_degrees": _degrees([one.size for one in all_nods], 0.7),
        "shake_degrees": 0.5 * _degrees([one.size for one in all_shakes]) if all_shakes else _SHAKE,
        "tilt_degrees": 4.0,
        "smile_onset": round(onset, 2),
        # Measured offsets are cut short by speech that follows; a listener's smile fades (Schmidt 2003).
        "smile_offset": round(2 * offset, 2),
        "measured": {
            "listeners_minutes": round(minutes, 2),
            "nods_a_minute": round(len(all_nods) / minutes, 1),
            "bursts_a_minute": round(len(bursts) / minutes, 1),
            "nods_a_burst": round(len(all_nods) / max(len(bursts), 1), 2),
            "nod_degrees_quartiles": [_degrees([o.size for o in all_nods], q) for q in (0.25, 0.5, 0.75)],
            "nod_seconds_quartiles": _seconds(all_nods),
            "shakes": len(all_shakes),
            "shake_seconds_quartiles": _seconds(all_shakes) if all_shakes else [],
            "smile_edges": smiles,
            "smile_offset_in_pauses": round(offset, 2),
            "people_with_lips_at_rest": len({face.speaker for face in faces}),
            "minutes_with_lips_at_rest": round(sum(face.quiet.sum() for face in faces) / FPS / 60, 2),
        },
    }
    for name, value in config["measured"].items():
        log(f"{name.replace('_', ' ')}: {value}")
    coupling = neck_coupling([PosedVoice(name, poses[name], np.zeros(0)) for name in who])
    shake = np.sin(2 * np.pi * np.linspace(0, 1, CURVE_POINTS)) * np.sin(np.pi * np.linspace(0, 1, CURVE_POINTS)) ** 0.5
    return ListenerMotion(
        nod=mean_curve([(poses[name][:, 0], found[name]) for name in poses]),
        shake=shake / shake.max(),
        coupling=coupling,
        config=config,
        **faces_of_attitudes(clips, faces, model, mouth),
    )


def _degrees(sizes: list[float], quantile: float = 0.5) -> float:
    return round(float(np.degrees(np.quantile(sizes, quantile))), 2)


def _seconds(found: list[Stroke]) -> list[float]:
    return [round(float(np.quantile([one.last - one.first for one in found], q)) / FPS, 2) for q in (0.25, 0.5, 0.75)]


def main(corpus: Path, output: Path, cache: Path, **_: object) -> None:
    """Fit on `split=train` and write; clips that `cache`/coefficients lacks are tracked first."""
    from pipeline.hub import EMBEDDED

    model = MorphableModel.load(EMBEDDED / "face")
    clips = tracked_clips(corpus, ["silent", "listen", "talk"], "train", Path(cache) / "coefficients", log=print)
    fit_listener_motion(clips, model).save(Path(output))
