"""HeadClip: what the pipeline returns. Frames are made as they are asked for, and written as they are made."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.clock import FPS
from pipeline.coefficients import Coefficients

Progress = Callable[[str, int, int], None]
"""Called with the stage, frames done and frames in all (0 while unknown); raise `Cancelled` in it to stop."""


class HeadClip:
    """A clip of a head, not rendered before it is needed; it can be iterated and saved any number of times.

    Args:
        coefficients: makes the head's coefficients, in chunks.
        draw: makes what draws each chunk's frames in order, anew for each run through the clip.
        compose: puts the head's frames into larger pictures of `size`; None leaves them as they are.
        visible_tag: whether every frame says that it is made.
        progress: called while frames are made.

    Attributes:
        size: width and height of the frames in pixels.
        audio: the file whose sound belongs to the clip, or None.
        frame_count: how many frames there will be, as far as the input tells.
        settings: how the clip was made, for its mark and for making it again.
        warnings: sentences on what may have spoilt the result; more may come while frames are made.
        fps: 25.
    """

    fps = FPS

    def __init__(
        self,
        coefficients: Callable[[], Iterator[Coefficients]],
        draw: Callable[[], Callable[[Coefficients], Iterator[np.ndarray]]],
        size: tuple[int, int],
        audio: str | os.PathLike[str] | None,
        frame_count: int,
        settings: dict[str, Any],
        warnings: list[str],
        progress: Progress | None = None,
        compose: Callable[[Iterator[np.ndarray]], Iterator[np.ndarray]] | None = None,
        visible_tag: bool = False,
    ) -> None:
        self._source = coefficients
        self._draw = draw
        self._made: Coefficients | None = None
        self._progress = progress
        self._compose = compose
        self._visible_tag = visible_tag
        self.size = size
        self.audio = None if audio is None else Path(audio)
        self.frame_count = frame_count
        self.settings = settings
        self.warnings = warnings

    @property
    def coefficients(self) -> Coefficients:
        """β (T, 64), p (T, 6) and c (T, 3) of all frames; made now if no frame was rendered yet."""
        if self._made is None:
            self._made = Coefficients.concatenate(list(self._source()))
        return self._made

    @property
    def frames(self) -> Iterator[np.ndarray]:
        """Iterates over (H, W, 3) uint8 RGB frames, from the first on.

        Raises:
            InputError: while iterating, if the input turns out to be unusable.
            Cancelled: if the progress callback asks to stop.
        """
        return self._frames(self._progress)

    def _frames(self, progress: Progress | None) -> Iterator[np.ndarray]:
        frames = self._heads(progress)
        if self._compose is not None:
            frames = self._compose(frames)
        if self._visible_tag:
            from pipeline.postprocess.visible_tag import VisibleTag

            frames = VisibleTag(self.size)(frames)
        return frames

    def _heads(self, progress: Progress | None) -> Iterator[np.ndarray]:
        parts: list[Coefficients] = []
        done = 0
        render = self._draw()
        for part in [self._made] if self._made is not None else self._source():
            parts.append(part)
            for frame in render(part):
                done += 1
                if progress is not None:
                    progress("rendering", done, max(done, self.frame_count))
                yield frame
        if self._made is None:
            self._made = Coefficients.concatenate(parts)

    def save(self, path: str | os.PathLike[str], progress: Progress | None = None, live: Path | None = None) -> Path:
        """Write an MP4 (H.264 and AAC), frame by frame as they are made; the file appears when it is whole.

        Args:
            path: where to.
            progress: in place of the clip's own.
            live: an existing folder for pieces that can be played meanwhile, see `pipeline.video.live`.

        Raises:
            OutputError: if it cannot be written.
            InputError: if the input turns out to be unusable.
            Cancelled: if the progress callback asks to stop. Nothing is left behind in any of these cases.
        """
        from pipeline.video import VideoWriter

        progress = progress or self._progress
        with VideoWriter(path, self.size, self.audio, settings=self.settings, live=live) as writer:
            for frame in self._frames(progress):
                writer.write(frame)
            if progress is not None:
                progress("finishing", 0, 1)
        if progress is not None:
            progress("finishing", 1, 1)
        return Path(path)
