"""Tracked clips that nobody was filmed for: faces of the morphable model moved by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.clock import FPS
from pipeline.coefficients import Coefficients
from pipeline.drivers.mouth import Mouth
from pipeline.face.morphable import MorphableModel
from pipeline.training.corpus import CorpusFile, TrackedClip
from pipeline.training.quiet_faces import smooth

QUIET = 300
"""Frames of each clip in which the lips rest; then the mouth opens and closes."""


def made_clip(
    name: str, model: MorphableModel, frames: int = 450, nods: tuple[int, ...] = (), seed: int = 0, mood: float = 0.0
) -> TrackedClip:
    """A clip (kind and stem in `name`, "kind__stem"): blinks each 2 s, a smile that comes and goes, brows that rise,
    nods of 4° that begin at the frames given; `mood` times a smile over all of it."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames) / FPS
    mouth = Mouth.of(model)
    identity = 0.5 * rng.standard_normal(model.identity_basis.shape[-1])
    smile = 0.012 * np.clip(np.sin(2 * np.pi * time / 7), 0, 1) - 0.004 * np.clip(np.sin(2 * np.pi * time / 7), -1, 0)
    expression = np.outer(smile + 0.02 * mood, model.direction("smile"))
    brows = 0.008 * np.sin(2 * np.pi * time / 5)
    expression += np.outer(brows, model.direction("brow_right") + model.direction("brow_left"))
    expression += np.outer(0.02 * np.sin(2 * np.pi * time / 1.3), model.direction("gaze_right")) * 0.2
    expression += smooth(0.15 * rng.standard_normal((frames, 64)), 8.0)
    opening = mouth.geometry(identity, expression)[:, 0]
    talking = np.where(np.arange(frames) < QUIET, 0.001, 0.04 + 0.03 * np.sin(2 * np.pi * 3 * time))
    expression = mouth.opened(expression, talking - opening)
    blink = np.exp(-0.5 * ((np.arange(frames) % 50 - 25) / 1.5) ** 2)
    expression -= np.outer(0.03 * blink, model.direction("lid_right") + model.direction("lid_left"))
    pose = smooth(0.4 * rng.standard_normal((frames, 6)), 20.0) * [0.3, 0.5, 0.3, 0.1, 0.1, 0.02]
    for start in nods:
        pose[start : start + 14, 0] += np.radians(4) * np.sin(np.pi * np.arange(14) / 14) ** 2
    kind, stem = name.split("__")
    file = CorpusFile(Path(f"{kind}/{stem}.mp4"), kind, "train", stem, frames / FPS, 0, 0.0, False)
    crop = np.tile([0.5, 0.45, 0.5], (frames, 1))
    return TrackedClip(file, identity, Coefficients(expression, pose, crop), np.ones(frames, bool))
