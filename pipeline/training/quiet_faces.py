"""Stretches of the corpus in which somebody's lips rest: the faces and heads of people who do not speak.

There is little footage of listeners, but people who were filmed for other things hold their lips still in pauses,
before they speak and while others do. Blinks and gaze are taken out, since another part of the program makes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.drivers.mouth import Mouth
from pipeline.face import measures
from pipeline.face.morphable import UPPER_DIM, MorphableModel
from pipeline.training.corpus import TrackedClip

LEAST_FRAMES = 36  # of a stretch: 1.4 s
_TOUCHING, _CLOSED = 0.012, 0.028  # face heights by which lips may open above their clip's least, and at most
_BLINK = 0.78  # of the usual opening of the lids: lower is a blink, or part of one
_TREMBLE = 1.0  # frames: what is quicker is mostly the tracker's
_JUMP = np.radians(6)  # a frame: a cut


@dataclass(frozen=True)
class QuietFace:
    """A clip without blinks and gaze, and where its lips rest.

    Attributes:
        name, speaker, kind: from the manifest.
        identity: α (K,).
        expression: β (T, 64) without blinks and gaze.
        pose: p (T, 6), the tracker's trembling smoothed.
        crop: (3,).
        rest: β (64,), the usual face while the lips rest; lips closed.
        quiet: (T,) bool, lips at rest.
        measures: (T, 4) smile (corners' raise), mouth width, height of the brows, opening of the lids, face heights.
    """

    name: str
    speaker: str
    kind: str
    identity: np.ndarray
    expression: np.ndarray
    pose: np.ndarray
    crop: np.ndarray
    rest: np.ndarray
    quiet: np.ndarray
    measures: np.ndarray

    def stretches(self, least: int = LEAST_FRAMES) -> list[slice]:
        """Runs of at least `least` frames in which the lips rest and the head does not jump."""
        still = np.concatenate([[True], np.abs(np.diff(self.pose[:, :3], axis=0)).max(1) < _JUMP])
        return [run for run in runs(self.quiet & still) if run.stop - run.start >= least]


def quiet_face(clip: TrackedClip, model: MorphableModel, mouth: Mouth) -> QuietFace | None:
    """The clip as a quiet face; None if its lips hardly ever rest or its face was lost."""
    if clip.found.mean() < 0.97 or len(clip.coefficients) < LEAST_FRAMES:
        return None
    expression = without_eyes(clip, model)
    opening = mouth.geometry(clip.identity, expression)[:, 0]
    quiet = opening < min(np.quantile(opening, 0.05) + _TOUCHING, _CLOSED)
    quiet = _without_short(quiet, LEAST_FRAMES)
    if not quiet.any():
        return None
    rest = np.median(expression[quiet], axis=0)
    rest = mouth.opened(rest[None], -mouth.geometry(clip.identity, rest[None])[:, 0].clip(0))[0]
    return QuietFace(
        clip.file.name,
        clip.file.speaker,
        clip.file.kind,
        clip.identity,
        expression,
        smooth(clip.coefficients.pose.astype(np.float64), _TREMBLE),
        clip.coefficients.crop[0],
        rest,
        quiet,
        face_measures(model, mouth, clip.identity, expression),
    )


def face_measures(model: MorphableModel, mouth: Mouth, identity: np.ndarray, expression: np.ndarray) -> np.ndarray:
    """(T, 4) smile, mouth width, brow height and lid opening of β (T, 64), in face heights."""
    shapes = model.shape(identity, expression)
    lips = mouth.geometry(identity, expression)
    return np.stack(
        [lips[:, 3], lips[:, 1], measures.brow_height(shapes).mean(-1), measures.lid_opening(shapes).mean(-1)], -1
    )


def without_eyes(clip: TrackedClip, model: MorphableModel) -> np.ndarray:
    """β (T, 64) of a clip with blinks bridged, irises held still and the tracker's trembling smoothed."""
    expression = clip.coefficients.expression.astype(np.float64)
    opening = measures.lid_opening(model.shape(clip.identity, expression)).mean(-1)
    usual = np.array([np.quantile(opening[max(0, t - 50) : t + 51], 0.7) for t in range(len(opening))])
    shut = np.convolve(opening < _BLINK * usual, np.ones(7), "same") > 0
    if shut.any() and not shut.all():
        frames = np.arange(len(expression))
        for column in range(UPPER_DIM):
            expression[shut, column] = np.interp(frames[shut], frames[~shut], expression[~shut, column])
    gaze = measures.gaze(model.shape(clip.identity, expression))
    away = gaze - np.median(gaze, axis=0)
    expression -= away[:, :1] * model.direction("gaze_right") + away[:, 1:] * model.direction("gaze_down")
    return smooth(expression, _TREMBLE).astype(np.float32)


def smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Columns of (T, D) under a normal window of `sigma` frames; ends are held."""
    half = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    padded = np.pad(values, ((half, half), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, kernel / kernel.sum(), "valid") for column in padded.T], -1)


def runs(flags: np.ndarray) -> list[slice]:
    """Where (T,) bool is true, run by run."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [slice(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _without_short(flags: np.ndarray, least: int) -> np.ndarray:
    """Gaps of up to three frames closed, then runs shorter than `least` dropped."""
    flags = flags.copy()
    for gap in runs(~flags):
        if gap.stop - gap.start <= 3 and gap.start > 0 and gap.stop < len(flags):
            flags[gap] = True
    for run in runs(flags):
        if run.stop - run.start < least:
            flags[run] = False
    return flags
