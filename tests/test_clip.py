"""Clips: made as they are asked for, as often as one likes, and saved whole or not at all."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import av
import numpy as np
import pytest
from heads import one_sentence, write_sound

from pipeline.clip import HeadClip
from pipeline.errors import Cancelled, OutputError
from pipeline.provenance import read_mark
from pipeline.video import VideoReader

SECONDS = 0.6


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    tone = 0.2 * np.sin(np.arange(SECONDS * 16000) / 5)
    return write_sound(tmp_path_factory.mktemp("clip") / "tone.wav", tone)


@pytest.fixture
def clip(debug_pipe, portraits, sound) -> HeadClip:
    return debug_pipe.talk(portraits["man_beard"], sound, seed=7)


def test_nothing_is_rendered_before_it_is_asked_for(debug_pipe, portraits, sound):
    told = []
    clip = debug_pipe.talk(portraits["man_beard"], sound, progress=lambda *row: told.append(row[0]))
    assert "rendering" not in told
    assert (clip.frame_count, clip.size, clip.fps, clip.audio) == (15, (256, 256), 25, sound)
    next(clip.frames)
    assert told.count("rendering") == 1


def test_frames_can_be_had_twice(clip):
    first, second = np.stack(list(clip.frames)), np.stack(list(clip.frames))
    assert first.shape == (15, 256, 256, 3) and first.dtype == np.uint8
    assert (first == second).all()


def test_coefficients_are_those_of_the_frames_in_either_order(debug_pipe, portraits, sound):
    before, after = (debug_pipe.talk(portraits["man_beard"], sound) for _ in range(2))
    frames = list(after.frames)
    assert before.coefficients.expression.tobytes() == after.coefficients.expression.tobytes()
    assert len(before.coefficients) == len(frames)
    assert (np.stack(list(before.frames)) == np.stack(frames)).all()


def test_looking_at_the_first_frames_leaves_the_clip_whole(clip):
    frames = clip.frames
    first = [next(frames) for _ in range(3)]
    frames.close()
    assert len(clip.coefficients) == 15
    assert (np.stack(list(clip.frames))[:3] == np.stack(first)).all()


def test_a_saved_clip_is_the_clip_with_its_sound_and_mark(clip, tmp_path):
    path = clip.save(tmp_path / "clip.mp4")
    assert path == tmp_path / "clip.mp4" and os.listdir(tmp_path) == ["clip.mp4"]
    saved, made = np.stack(list(VideoReader(path))), np.stack(list(clip.frames))
    assert saved.shape == made.shape
    assert 10 * np.log10(255**2 / np.mean((saved.astype(float) - made) ** 2)) > 34
    with av.open(str(path)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
        assert samples / container.streams.audio[0].rate == pytest.approx(SECONDS, abs=0.1)
    mark = read_mark(path)
    assert mark.text.startswith("AI-generated") and mark.settings == clip.settings


def test_a_clip_can_be_saved_twice(clip, tmp_path):
    first, second = clip.save(tmp_path / "a.mp4"), clip.save(tmp_path / "b.mp4")
    assert (np.stack(list(VideoReader(first))) == np.stack(list(VideoReader(second)))).all()


@pytest.mark.parametrize("stage", ["rendering", "finishing"])
def test_cancelling_leaves_no_file(clip, tmp_path, stage):
    def progress(told: str, done: int, total: int) -> None:
        if told == stage and done in (0, 5):
            raise Cancelled

    with pytest.raises(Cancelled):
        clip.save(tmp_path / "clip.mp4", progress)
    assert os.listdir(tmp_path) == []
    clip.save(tmp_path / "clip.mp4")
    assert os.listdir(tmp_path) == ["clip.mp4"]


def test_cancelling_during_the_portrait(debug_pipe, portraits, sound):
    def progress(*_: object) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        debug_pipe.talk(portraits["man_beard"], sound, progress=progress)


@pytest.mark.parametrize("place", ["missing/clip.mp4", "folder.mp4", "clip.avi", "/proc/clip.mp4"])
def test_places_that_cannot_be_written_are_one_sentence(clip, tmp_path, place):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OutputError) as error:
        clip.save(tmp_path / place)
    assert one_sentence(error.value)
    assert os.listdir(tmp_path) == ["folder.mp4"] and os.listdir(tmp_path / "folder.mp4") == []


def test_a_full_disk_is_one_sentence_and_an_older_file_survives(clip, tmp_path):
    """A limit on the size of files stands for the disk's."""
    (tmp_path / "clip.mp4").write_text("older")
    list(clip.frames)  # compiled and loaded: what may write caches has written them
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, limits[1]))
    try:
        with pytest.raises(OutputError, match="full") as error:
            clip.save(tmp_path / "clip.mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert one_sentence(error.value)
    assert os.listdir(tmp_path) == ["clip.mp4"] and (tmp_path / "clip.mp4").read_text() == "older"
