"""Both sides of a conversation in one picture: the speaker on the left, the listener on the right, equally large."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from pipeline.video import VideoReader

GROUND = (18, 18, 18)
"""Colour between the two halves, and around a speaker's picture that does not fill its half."""

_GAP = 1 / 64  # of the listener's width
_MARGIN = 0.15  # of the face's size, on each side: what must not be cut


class SideBySide:
    """Callable that puts the frames of a speaker's video beside those of a listener.

    The speaker's half has the listener's size. Their picture fills it, cut to its shape around the face; where that
    would cut the face, the whole picture is shown on a plain ground. A video that ends early stays at its last frame.

    Args:
        video: the speaker's video.
        box: left, top, right, bottom of the speaker's face in it, in pixels.
        size: width and height of the listener's frames.

    Attributes:
        size: width and height of the result.
    """

    def __init__(
        self,
        video: VideoReader,
        box: tuple[float, float, float, float],
        size: tuple[int, int],
    ) -> None:
        width, height = size
        self._video = video
        self._half = size
        self._gap = max(2, 2 * round(width * _GAP / 2))
        self._cut = _cut(video.size, size, box)
        self.size = (2 * width + self._gap, height)

    def __call__(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yields (H, 2 W + gap, 3) uint8 RGB for each of the listener's frames (H, W, 3)."""
        width, height = self._half
        ground = np.empty((height, width + self._gap, 3), np.uint8)
        ground[:] = GROUND
        pictures, shown = iter(self._video), None
        for frame in frames:
            picture = next(pictures, None)
            if picture is not None and picture is not shown:
                self._place(picture, ground[:, :width])
                shown = picture
            yield np.concatenate([ground, frame], 1)

    def _place(self, picture: np.ndarray, half: np.ndarray) -> None:
        part = picture if self._cut is None else picture[self._cut]
        scale = min(half.shape[0] / part.shape[0], half.shape[1] / part.shape[1])
        rows, columns = half.shape[:2]
        if self._cut is None:
            rows, columns = (
                max(1, min(side, round(scale * own))) for side, own in zip((rows, columns), part.shape[:2], strict=True)
            )
        top, left = (half.shape[0] - rows) // 2, (half.shape[1] - columns) // 2
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        half[top : top + rows, left : left + columns] = cv2.resize(part, (columns, rows), interpolation=method)


def _cut(
    picture: tuple[int, int], half: tuple[int, int], box: tuple[float, float, float, float]
) -> tuple[slice, slice] | None:
    """Rows and columns of the picture that fill the half around the face; None if they would cut the face."""
    scale = max(half[0] / picture[0], half[1] / picture[1])
    spans = []
    for axis in (1, 0):
        length = min(picture[axis], max(1, round(half[axis] / scale)))
        low, high = box[axis], box[axis + 2]
        if length < picture[axis] and length < (1 + 2 * _MARGIN) * (high - low):
            return None
        start = int(np.clip(round((low + high - length) / 2), 0, picture[axis] - length))
        spans.append(slice(start, start + length))
    return spans[0], spans[1]
