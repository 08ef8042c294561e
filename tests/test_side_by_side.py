"""Speaker and listener in one picture: whose half is where, what is cut, and what is shown when the video ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.side_by_side import GROUND, SideBySide
from pipeline.video import VideoReader, VideoWriter

RED, GREEN, BLUE = (np.array(colour, np.uint8) for colour in ((200, 30, 30), (30, 200, 30), (30, 30, 200)))


def video(path: Path, frames: list[np.ndarray]) -> VideoReader:
    with VideoWriter(path, frames[0].shape[1::-1], crf=4) as writer:
        for frame in frames:
            writer.write(frame)
    return VideoReader(path)


def wide(face_left: int) -> np.ndarray:
    """(90, 160, 3) in red, with a face in green, 40 wide and 50 high."""
    picture = np.broadcast_to(RED, (90, 160, 3)).copy()
    picture[20:70, face_left : face_left + 40] = GREEN
    return picture


def close(pixels: np.ndarray, colour: np.ndarray) -> np.ndarray:
    return np.abs(pixels.astype(int) - colour).max(-1) < 40


@pytest.mark.parametrize("left", [0, 60, 118])
def test_the_halves_are_equally_large_and_the_face_stays_in_view(tmp_path, left):
    box = (left, 20, left + 40, 70)
    listener = np.broadcast_to(BLUE, (120, 100, 3))
    beside = SideBySide(video(tmp_path / "a.mp4", [wide(left)] * 2), box, (100, 120))
    (frame,) = beside([listener])
    assert frame.shape == (120, 202, 3) and beside.size == (202, 120)
    assert (frame[:, 102:] == BLUE).all()
    assert (frame[:, 100:102] == GROUND).all()
    # The picture's height fills the half, so that the face is 120 / 90 times as large as it was.
    seen = np.flatnonzero(close(frame[60, :100], GREEN))
    assert len(seen) == pytest.approx(40 * 120 / 90, abs=3)
    assert (close(frame[:, :100], GREEN) | close(frame[:, :100], RED)).mean() > 0.9


def test_a_face_that_would_be_cut_is_shown_in_the_whole_picture(tmp_path):
    picture = wide(10)
    picture[20:70, 10:150] = GREEN
    beside = SideBySide(video(tmp_path / "a.mp4", [picture] * 2), (10, 20, 150, 70), (96, 120))
    (frame,) = beside([np.zeros((120, 96, 3), np.uint8)])
    rows = np.flatnonzero(close(frame[:, 48], GREEN))
    assert rows.min() > 40 and rows.max() < 80 and (frame[:30, :96] == GROUND).all() and (frame[-30:] <= 18).all()
    assert np.flatnonzero(close(frame[60, :96], GREEN)).size == pytest.approx(140 * 96 / 160, abs=3)


def test_a_video_that_ends_stays_at_its_last_picture_and_starts_anew_each_time(tmp_path):
    pictures = [np.full((64, 64, 3), level, np.uint8) for level in (40, 120, 200)]
    beside = SideBySide(video(tmp_path / "a.mp4", pictures), (10, 10, 40, 40), (64, 64))
    for _ in range(2):
        shown = [frame[:, :64].mean() for frame in beside(np.zeros((5, 64, 64, 3), np.uint8))]
        assert shown == pytest.approx([40, 120, 200, 200, 200], abs=3)


def test_frames_that_were_given_out_do_not_change(tmp_path):
    pictures = [np.full((64, 64, 3), level, np.uint8) for level in (40, 200)]
    beside = SideBySide(video(tmp_path / "a.mp4", pictures), (10, 10, 40, 40), (64, 64))
    first, second = beside(np.zeros((2, 64, 64, 3), np.uint8))
    assert first[:, :64].mean() < 60 < 180 < second[:, :64].mean()
