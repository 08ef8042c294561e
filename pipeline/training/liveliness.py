"""Measure how people who talk move their heads, lids, eyes and brows, and fit `weights/liveliness` to it.

    python -m pipeline.training.liveliness COEFFICIENTS_FOLDER CORPUS_FOLDER            # fit and save
    python -m pipeline.training.liveliness COEFFICIENTS_FOLDER CORPUS_FOLDER --check    # generated against real

The coefficients folder holds `<kind>__<name>.npz` with expression (T, 64), pose (T, 6), crop, ok (T,) and identity,
as tracking and `MorphableModel.fit` give them. Only `split=train` is fitted; `--check` compares with both splits.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.clock import FPS
from pipeline.coefficients import Coefficients
from pipeline.drivers.eyes import BLINK_CURVE_POINTS, BLINK_SECONDS_BEFORE
from pipeline.drivers.liveliness import Liveliness
from pipeline.drivers.prosody import prosody
from pipeline.face import measures
from pipeline.face.morphable import MorphableModel
from pipeline.training.head_motion import SIZE_QUANTILE, PosedVoice, train_head_motion
from pipeline.training.liveliness_statistics import Motion, blinks, figures, table

_JUMP = np.radians(7)  # a frame: cuts and tracking errors, not heads
EYES = {
    "blink_median": 2.75,
    "blink_spread": 0.62,
    "blink_least": 0.45,
    "blink_eagerness": 2.5,
    "fixation_viewer": 0.65,
    "fixation_aside": 0.45,
    "fixation_spread": 0.55,
    "glance_degrees": 6.5,
    "small_degrees": 1.2,
    "brow_rise": 0.010,
    "brow_drift": 0.0022,
}
"""Rates, sizes and times of eyes and brows: seconds, degrees and face heights; chosen against `--check`."""


@dataclass(frozen=True)
class Clip:
    """A real talk clip: pose (T, 6), measures of the upper face (T, 6), prosody (T, 4), its features and person."""

    name: str
    speaker: str
    pose: np.ndarray
    upper: np.ndarray
    voice: np.ndarray
    features: np.ndarray


def read_clips(coefficients: Path, corpus: Path, model: MorphableModel, split: str) -> list[Clip]:
    """Talk clips of a split whose tracking is whole, at least 3 s long; sound shifted by the clip's own lag."""
    from pipeline.audio.features import extract_features
    from pipeline.audio.reading import read_audio

    clips = []
    with open(corpus / "MANIFEST.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "talk" and row["split"] == split]
    for row in rows:
        name = row["path"].removesuffix(".mp4").replace("/", "__")
        path = coefficients / f"{name}.npz"
        if not path.is_file():
            continue
        data = np.load(path)
        pose = data["pose"].astype(np.float64)
        if len(pose) < 75 or data["ok"].mean() < 0.97 or np.abs(np.diff(pose[:, :3], axis=0)).max() > _JUMP:
            continue
        upper = upper_measures(model, data["identity"], data["expression"])
        lag = int(row["sync_lag"] or 0) if float(row["sync_r"] or 0) >= 0.2 else 0
        features = extract_features(read_audio(corpus / row["path"]))
        features, pose, upper = features[max(-lag, 0) :], pose[max(lag, 0) :], upper[max(lag, 0) :]
        count = min(len(features), len(pose))
        features = features[:count]
        clips.append(Clip(name, row["speaker_id"], pose[:count], upper[:count], prosody(features), features))
    return clips


def measure_blink(clips: list[Clip]) -> np.ndarray:
    """Mean course of the corpus's full blinks, as closure (P,) in steps of 20 ms around the moment of closure.

    Frames are 40 ms apart, but blinks fall between them by chance: each is placed by the parabola through its three
    lowest frames, so that together they sample the course finely. 0 is made the opening before and long after.
    """
    times, values = [], []
    for clip in clips:
        opening = clip.upper[:, :2].mean(1)
        for start, length in blinks(opening):
            at = start + int(np.argmin(opening[start : start + length]))
            if at < 8 or at + 20 > len(opening) or length > 7:
                continue
            before, low = np.median(opening[at - 8 : at - 4]), opening[at]
            left, right = opening[at - 1], opening[at + 1]
            if low > 0.4 * before:
                continue
            shift = 0.5 * (left - right) / max(left - 2 * low + right, 1e-6)
            span = np.arange(-8, 20)
            times.append((span - np.clip(shift, -0.5, 0.5)) / FPS)
            values.append((before - opening[at - 8 : at + 20]) / (before - low))
    times, values = np.concatenate(times), np.concatenate(values)
    grid = np.linspace(
        -BLINK_SECONDS_BEFORE, BLINK_CURVE_POINTS * 0.02 - 0.02 - BLINK_SECONDS_BEFORE, BLINK_CURVE_POINTS
    )
    curve = np.array([np.median(values[np.abs(times - t) < 0.02]) for t in grid])
    moment = round(BLINK_SECONDS_BEFORE / 0.02)
    curve[:moment] = np.maximum.accumulate(curve[:moment].clip(0, 1))
    curve[moment:] = np.minimum.accumulate(curve[moment:].clip(0, 1))
    # Both feet to zero: what is left of the opening half a second later is gaze, not the blink.
    fade = np.clip((grid[-1] - grid) / 0.4, 0, 1) * np.clip((grid - grid[0]) / 0.06, 0, 1)
    curve = curve * fade
    curve[moment] = 1.0
    return curve


def generate(liveliness: Liveliness, clips: list[Clip], model: MorphableModel, seed: int = 0) -> list[Motion]:
    """The mean face moved by each clip's sound."""
    nobody, rest = np.zeros(model.identity_basis.shape[-1]), Coefficients(*(np.zeros((1, n)) for n in (64, 6, 3)))
    made = []
    for number, clip in enumerate(clips):
        frames = liveliness.start(rest, model, nobody, seed=1000 * seed + number)(clip.features, last=True)
        made.append(
            Motion(frames.pose.astype(np.float64), upper_measures(model, nobody, frames.expression), clip.voice)
        )
    return made


def upper_measures(model: MorphableModel, identity: np.ndarray, expression: np.ndarray) -> np.ndarray:
    """(T, 6) lid openings, gaze and brow heights of T frames, in face heights."""
    shapes = model.shape(identity, expression)
    lids, gaze, brows = measures.lid_opening(shapes), measures.gaze(shapes), measures.brow_height(shapes)
    return np.concatenate([lids, gaze, brows], -1).astype(np.float64)


def fit_liveliness(clips: list[Clip], model: MorphableModel, rounds: int = 4) -> Liveliness:
    """Fit the head's motion and the blink, then set sizes so that generated clips spread as calm real ones do."""
    posed = [PosedVoice(clip.speaker, clip.pose, clip.voice) for clip in clips]
    head, curve = train_head_motion(posed), measure_blink(clips)
    wanted = np.quantile([_spreads(clip.pose, head.coupling) for clip in clips], SIZE_QUANTILE, axis=0)
    scale = head.scale
    for _ in range(rounds):
        head = replace(head, scale=scale)
        made = generate(Liveliness(head, curve, EYES), clips, model)
        scale = scale * wanted / np.median([_spreads(motion.pose, head.coupling) for motion in made], axis=0)
    return Liveliness(replace(head, scale=scale), curve, EYES)


def _spreads(pose: np.ndarray, coupling: np.ndarray) -> np.ndarray:
    return np.concatenate([pose[:, :3], pose[:, 3:] - pose[:, :3] @ coupling], -1).std(0)


def main(corpus: Path, output: Path, cache: Path, **_: object) -> None:
    """Fit on `split=train` and write; clips that `cache` lacks are tracked first (`python -m pipeline train`)."""
    from pipeline.hub import EMBEDDED
    from pipeline.training.corpus import tracked_clips

    tracked_clips(corpus, ["talk"], "train", cache, log=print)
    model = MorphableModel.load(EMBEDDED / "face")
    fit_liveliness(read_clips(cache, corpus, model, "train"), model).save(output)


def compare(arguments: list[str] | None = None) -> None:
    """The module's own command; see the top of this file."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.training.liveliness", description=__doc__.split("\n")[0])
    parser.add_argument("coefficients", type=Path, help="folder of tracked coefficients, <kind>__<name>.npz")
    parser.add_argument("corpus", type=Path, help="folder of the corpus, with MANIFEST.csv")
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="folder with face/ and liveliness/")
    parser.add_argument("--check", action="store_true", help="compare the saved model with real clips; fit nothing")
    options = parser.parse_args(arguments)

    model = MorphableModel.load(options.weights / "face")
    train = read_clips(options.coefficients, options.corpus, model, "train")
    if not options.check:
        fit_liveliness(train, model).save(options.weights / "liveliness")
    liveliness = Liveliness.load(options.weights / "liveliness")
    val = read_clips(options.coefficients, options.corpus, model, "val")
    columns = {}
    for split, clips in (("train", train), ("val", val)):
        columns[f"{split} real ({len(clips)})"] = [figures(Motion(c.pose, c.upper, c.voice)) for c in clips]
        columns[f"{split} generated"] = [figures(motion) for motion in generate(liveliness, clips, model)]
    print(table(columns))


if __name__ == "__main__":
    compare()
