"""The morphable model and a handful of made clips, for all tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_clips import made_clip

from pipeline.drivers.listener_motion import ListenerMotion
from pipeline.face.morphable import MorphableModel
from pipeline.training.corpus import TrackedClip


@pytest.fixture(scope="session")
def model(repository: Path) -> MorphableModel:
    return MorphableModel.load(repository / "weights" / "face")


@pytest.fixture(scope="session")
def motion(repository: Path) -> ListenerMotion:
    """The shapes that the project ships."""
    return ListenerMotion.load(repository / "weights" / "listening" / "motion")


@pytest.fixture(scope="session")
def clips(model: MorphableModel) -> list[TrackedClip]:
    actors = [
        made_clip(f"silent__mead_{who}_{emotion}", model, 320, seed=seed, mood=mood)
        for who, seed in (("M1", 11), ("W1", 12))
        for emotion, mood in (("neutral", 0.0), ("happy", 1.0), ("angry", -0.6))
    ]
    return [
        made_clip("listen__one", model, nods=(60, 150, 164, 240), seed=1),
        made_clip("listen__two", model, nods=(40, 200), seed=2),
        made_clip("silent__fgnet_franck_1", model, nods=(100, 260), seed=3),
        made_clip("talk__somebody", model, nods=(120,), seed=4),
        *actors,
    ]
