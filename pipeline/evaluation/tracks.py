"""Tracks: a clip's landmarks, frame by frame, tracked from its pictures without holding them.

Tracking is the slow part of measuring real clips, so it can be kept in a folder under the hash of the file.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from pipeline.digests import file_digest
from pipeline.errors import VideoError
from pipeline.face.measures import face_height, lip_opening
from pipeline.face.topology import LANDMARKS_COUNT
from pipeline.face.tracker import FaceTracker

_FORMAT = "track-2"  # part of the cache's names: change it when tracking changes


@dataclass(frozen=True)
class Track:
    """Landmarks of one face through a clip of T frames.

    Attributes:
        landmarks: (T, 478, 3) float32 in pixels; zeros where no face was found.
        found: (T,) bool.
        size: (W, H) of the pictures.
    """

    landmarks: np.ndarray
    found: np.ndarray
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.found)

    @property
    def opening(self) -> np.ndarray:
        """(T,) inner-lip opening in face heights; 0 where no face was found."""
        opening = np.zeros(len(self))
        opening[self.found] = lip_opening(self.landmarks[self.found].astype(np.float64))
        return opening

    @property
    def height(self) -> np.ndarray:
        """(T,) face height in pixels; 0 where no face was found."""
        height = np.zeros(len(self))
        height[self.found] = face_height(self.landmarks[self.found].astype(np.float64))
        return height

    def scaled(self, size: tuple[int, int]) -> Track:
        """The same in pictures of `size` (W, H)."""
        x, y = size[0] / self.size[0], size[1] / self.size[1]
        return Track(self.landmarks * np.array([x, y, x], np.float32), self.found, size)

    def save(self, path: Path) -> None:
        """Write an .npz; the file appears only when it is whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, landmarks=self.landmarks, found=self.found, size=np.array(self.size))
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    @staticmethod
    def load(path: Path) -> Track:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            width, height = (int(side) for side in file["size"])
            return Track(file["landmarks"], file["found"], (width, height))


class TrackRecorder:
    """Tracks frames as they pass by, so that one pass over a clip serves all metrics."""

    def __init__(self) -> None:
        self._tracker = FaceTracker(video=True)
        self._landmarks: list[np.ndarray | None] = []
        self._size = (0, 0)

    def add(self, frame: np.ndarray) -> np.ndarray | None:
        """Track the next frame (H, W, 3) uint8; returns its landmarks (478, 3) or None."""
        face = self._tracker.follow(frame)
        self._size = frame.shape[1], frame.shape[0]
        self._landmarks.append(None if face is None else face.landmarks)
        return self._landmarks[-1]

    def track(self) -> Track:
        """All frames so far."""
        empty = np.zeros((LANDMARKS_COUNT, 3), np.float32)
        landmarks = [empty if points is None else points for points in self._landmarks]
        found = np.array([points is not None for points in self._landmarks], bool)
        return Track(np.array(landmarks, np.float32).reshape(-1, LANDMARKS_COUNT, 3), found, self._size)

    def __enter__(self) -> TrackRecorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tracker.close()


def track_frames(frames: Iterable[np.ndarray]) -> Track:
    """Track the face through frames (H, W, 3) uint8 RGB, holding one at a time."""
    with TrackRecorder() as recorder:
        for frame in frames:
            recorder.add(frame)
        return recorder.track()


def track_video(path: str | Path, cache: str | Path | None = None) -> Track:
    """Track the face through a video file at 25 frames/s.

    Args:
        path: the video.
        cache: a folder where tracks are kept as .npz under the SHA-256 of the video; None keeps none.

    Raises:
        VideoError: if the video cannot be read or shows no face.
    """
    from pipeline.video import VideoReader

    kept = None if cache is None else Path(cache) / f"{_FORMAT}-{_digest(path)}.npz"
    if kept is not None and kept.is_file():
        track = Track.load(kept)
    else:
        track = track_frames(VideoReader(path))
        if kept is not None:
            track.save(kept)
    if not track.found.any():
        raise VideoError(f"No face was found in {path}; give a video that shows one.")
    return track


def _digest(path: str | Path) -> str:
    try:
        return file_digest(path)[:32]
    except OSError as error:
        raise VideoError(f"{path} cannot be read; check that the file exists.") from error
