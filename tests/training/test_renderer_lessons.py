"""What neural renderers learn from: frames, drawn faces and sound of a clip that belong together."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.drivers.sound_window import HALF_WINDOW, SOUND_VECTOR_DIM
from pipeline.face import topology
from pipeline.renderers.neural import HeadWindow
from pipeline.training.corpus import CorpusFile
from pipeline.training.footage import Footage
from pipeline.training.renderer_lessons import clip_sound, lesson


def sliding(portrait, frames: int = 4) -> Footage:
    """A clip in which the whole picture slides to the right, a pixel a frame."""
    pictures = [np.roll(portrait.image, i, 1) for i in range(frames)]
    landmarks = np.stack([portrait.landmarks + np.array([i, 0, 0]) for i in range(frames)]).astype(np.float32)
    return Footage(pictures, landmarks)


def test_a_lesson_shows_faces_where_they_are(portraits):
    portrait = portraits["man_beard"]
    sound = np.arange(6 * 3, dtype=np.float32).reshape(6, 3)
    made = lesson("man", sliding(portrait), portrait.model, 64, sound)
    assert made.frames.shape == (4, 64, 64, 3) and made.faces.shape == (4, 3, 64, 64) and len(made) == 4
    assert np.array_equal(made.sound, sound[:4])
    left, top, side, *size = made.place
    window = HeadWindow(left, top, side, 64)
    assert tuple(size) == portrait.size
    lips = np.stack([window.points(points[topology.LIPS, :2]).mean(0) for points in sliding(portrait).landmarks])
    assert np.abs(made.mouth - lips).max() < 1
    assert np.diff(made.mouth[:, 0]).mean() > 0.7 * window.scale
    for drawn, points in zip(made.faces, sliding(portrait).landmarks, strict=True):
        inside = np.argwhere(drawn.max(0) > 0)[:, ::-1]
        outline = window.points(points[topology.OUTLINE, :2])
        assert np.abs(inside.min(0) - outline.min(0)).max() < 2.5 and np.abs(inside.max(0) - outline.max(0)).max() < 2.5
    assert made.window == window and made.picture_size == portrait.size


def corpus_file(path: Path, kind: str = "talk", lag: int = 0) -> CorpusFile:
    return CorpusFile(path, kind, "train", "someone", 1.0, lag, 0.5, False)


def test_sound_is_laid_beside_the_picture_by_the_clips_lag(repository):
    path = repository / "examples" / "speech" / "hello_slt.wav"
    plain, late = (clip_sound(corpus_file(path, lag=lag), 30) for lag in (0, 2))
    assert plain.shape == (30, SOUND_VECTOR_DIM) and np.isfinite(plain).all()
    assert np.array_equal(late[2:], plain[:-2]), "the picture is later than the sound: it goes with what sounded before"
    # What is heard around a frame now is heard before another one later.
    shapes = plain[:, 45:].reshape(30, 2 * HALF_WINDOW, -1)
    assert np.array_equal(shapes[11, 3], shapes[10, 4])
    assert clip_sound(corpus_file(path, kind="silent"), 30).shape == (0, SOUND_VECTOR_DIM)
