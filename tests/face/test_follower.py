"""Following a face through a video: the largest of several, the same one again, and no mere likeness."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import VideoError
from pipeline.face.follower import FaceFollower, find_face, follow_face
from pipeline.face.image import read_image
from pipeline.video import VideoReader, VideoWriter


@pytest.fixture(scope="module")
def two(repository: Path) -> np.ndarray:
    """Two heads side by side, the one on the right larger, in (200, 400, 3)."""
    picture = np.full((200, 400, 3), 120, np.uint8)
    small, large = (
        read_image(repository / "examples" / "portraits" / name) for name in ("statue.jpg", "man_beard.jpg")
    )
    picture[60:190, 20:150] = cv2.resize(small, (130, 130), interpolation=cv2.INTER_AREA)
    picture[:, 200:] = cv2.resize(large, (200, 200), interpolation=cv2.INTER_AREA)
    return picture


def write(path: Path, frames: list[np.ndarray]) -> VideoReader:
    with VideoWriter(path, frames[0].shape[1::-1]) as video:
        for frame in frames:
            video.write(frame)
    return VideoReader(path)


def test_of_two_faces_the_larger_is_found_and_the_other_counted(two, tmp_path):
    face, others = find_face(write(tmp_path / "two.mp4", [two] * 3))
    assert others == 1 and face.landmarks[:, 0].min() > 200


def test_the_face_that_was_followed_is_taken_again_though_another_has_come_nearer(two):
    """A head is alone at first, is hidden, and is back beside one that is larger still."""
    wall = np.full((200, 600, 3), 120, np.uint8)
    alone = wall.copy()
    alone[50:150, 150:250] = cv2.resize(two[:, 200:], (100, 100), interpolation=cv2.INTER_AREA)
    frame = alone.copy()
    frame[:, 400:] = two[:, 200:]
    with FaceFollower() as follower:
        first = follower.follow(alone)
        assert first is not None and follower.others == 0
        assert follower.follow(wall) is None
        again = follower.follow(frame)
    assert again is not None and np.linalg.norm((again.landmarks - first.landmarks).mean(0)) < 0.3 * first.height
    with FaceFollower() as fresh:
        assert fresh.follow(frame).landmarks[:, 0].min() > 400


def test_chunks_tell_which_frames_have_the_face(two):
    wall = np.full_like(two, 120)
    with FaceFollower() as follower:
        parts = list(follow_face([two, two, wall, two, two], follower, (2, 3)))
    assert [len(found) for _, found in parts] == [2, 3]
    landmarks, found = (np.concatenate(rows) for rows in zip(*parts, strict=True))
    assert found.tolist() == [True, True, False, True, True]
    assert landmarks.shape == (5, 478, 3) and not landmarks[2].any()
    assert np.abs(landmarks[[0, 1, 3]] - landmarks[4]).max() < 3


def test_no_face_is_a_sentence(tmp_path):
    video = write(tmp_path / "wall.mp4", [np.full((128, 128, 3), 90, np.uint8)] * 3)
    with pytest.raises(VideoError, match=r"No face was found in wall\.mp4; give a video that shows one face"):
        find_face(video)
