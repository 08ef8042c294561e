"""Following one face through a video: the largest, once a patient search agrees that it is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import VideoError
from pipeline.face.tracker import LANDMARKS, Face, FaceTracker

if TYPE_CHECKING:
    from pipeline.video import VideoReader

LOOK = 250
"""Frames, ten seconds of video, in which a face must have shown itself."""

_SAME = 0.3  # face heights between the middles of what is one face, seen twice
_LOOK_AROUND = 250  # frames after which others who have come in are looked for


class FaceFollower:
    """Follows one face; a single frame's find is not believed, for clouds and letters pass for faces now and then.

    Of several faces it takes the largest, and keeps to it: to one that was lost and is back at its place, too.

    Attributes:
        others: how many other faces were seen at once, at most; looked for now and then, not in each frame.
    """

    def __init__(self) -> None:
        self._tracker = FaceTracker(video=True)
        self._sure = False
        self._known: Face | None = None
        self._unsearched = 0
        self.others = 0

    def __enter__(self) -> FaceFollower:
        return self

    def __exit__(self, *exc: object) -> None:
        self._tracker.close()

    def follow(self, frame: np.ndarray) -> Face | None:
        """The face of the next frame (H, W, 3) uint8 RGB, or None."""
        face = self._tracker.follow(frame)
        self._unsearched += 1
        if face is None:
            self._sure = False
            return None
        if self._sure and self._unsearched < _LOOK_AROUND:
            self._known = face
            return face
        found = self._tracker.find(frame)
        self._unsearched = 0
        self.others = max(self.others, len(found) - 1)
        if not self._sure:
            face = next((other for other in found if _same(other, self._known)), found[0] if found else None)
            self._sure = face is not None
            self._tracker.hold(face)
        self._known = face or self._known
        return face


def _same(face: Face, known: Face | None) -> bool:
    if known is None:
        return False
    return bool(np.linalg.norm(face.landmarks.mean(0) - known.landmarks.mean(0)) < _SAME * known.height)


def find_face(video: VideoReader) -> tuple[Face, int]:
    """The face that following a video would begin with, and how many others are in view there.

    Raises:
        VideoError: if there is none in its first ten seconds.
    """
    with FaceFollower() as follower:
        for frame in islice(video, LOOK):
            if (face := follower.follow(frame)) is not None:
                return face, follower.others
    raise no_face(video)


def no_face(video: VideoReader) -> VideoError:
    """What to raise of a video without a face in its first ten seconds."""
    return VideoError(f"No face was found in {video.path.name}; give a video that shows one face from the front.")


def follow_face(
    frames: Iterable[np.ndarray],
    follower: FaceFollower,
    chunks: tuple[int, int],
    look: Callable[[np.ndarray, Face | None], None] | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One face's landmarks (T, 478, 3) in pixels, and whether (T,) each frame has it, in chunks.

    Args:
        frames: (H, W, 3) uint8 RGB each.
        follower: a new one; it belongs to the thread that iterates.
        chunks: frames in the first chunk, and in all further ones but the last.
        look: shown each frame with its face before its chunk is given out.
    """
    frames, size = iter(frames), chunks[0]

    def follow(frame: np.ndarray) -> Face | None:
        face = follower.follow(frame)
        if look is not None:
            look(frame, face)
        return face

    while faces := [follow(frame) for frame in islice(frames, size)]:
        found = np.array([face is not None for face in faces])
        nowhere = np.zeros((LANDMARKS, 3), np.float32)
        yield np.stack([nowhere if face is None else face.landmarks for face in faces]), found
        size = chunks[1]
