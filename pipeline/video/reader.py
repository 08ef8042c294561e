"""Reading video: upright RGB frames at 25 a second by the file's own clock, one in memory at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.clock import FPS
from pipeline.errors import VideoError
from pipeline.media import main_sound, moving_picture, open_media, timeline_zero

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_LONGEST_HOLD = 600  # seconds that a picture may stay; a clock that jumps further is damaged
_UNTAGGED, _BT709, _BT601 = 2, 1, 6  # libav's AVCOL_SPC_*
_HD_ROWS = 720  # untagged video of this height is BT.709, below it BT.601, as players take it


class VideoReader:
    """A video file as RGB frames at 25 a second. Each iteration starts from the beginning.

    Frame k is the picture shown k / 25 s after the file's start (the earlier of picture and sound, as in
    `stream_audio`, so that both stay together); faster video loses frames, slower repeats them. Rotation,
    mirroring and oblong pixels that the file asks for are applied.

    Attributes:
        size: (width, height) of the frames in pixels.
        frames: how many there will be, as far as the file says; 1 or more.
        has_sound: whether the file has a sound track.

    Raises:
        VideoError: if the file cannot be read or holds no picture; while iterating, never: damaged parts are
            left out and a file cut short ends where it ends.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import av

        self.path = Path(path)
        with open_media(path, VideoError, "video") as container:
            self.has_sound = main_sound(container) is not None
            stream = moving_picture(container)
            if stream is None:
                kind = "only sound" if self.has_sound else "no picture"
                raise VideoError(f"{self.path.name} holds {kind}; give a video file.")
            first = next(_decode(container), None)
            if first is None:
                raise VideoError(f"{self.path.name} holds no picture that can be decoded; export it again.")
            self._upright = _Upright(first, stream)
            height, width = self._upright(first).shape[:2]
            self.size = (width, height)
            seconds = (
                stream.duration * stream.time_base
                if stream.duration
                else Fraction(container.duration or 0, av.time_base)
            )
            self.frames = max(1, round(seconds * FPS))

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields (H, W, 3) uint8 RGB; a repeated picture is the same array again, so don't write into it."""
        with open_media(self.path, VideoError, "video") as container:
            emitted = 0
            shown: VideoFrame | None = None
            picture: np.ndarray | None = None
            for start, frame in _schedule(container):
                while shown is not None and Fraction(emitted, FPS) < start:
                    picture = self._upright(shown) if picture is None else picture
                    yield picture
                    emitted += 1
                if frame is not None:
                    shown, picture = frame, None


def _schedule(container: InputContainer) -> Iterator[tuple[Fraction, VideoFrame | None]]:
    """Each frame with the time from which it is shown, in seconds of the timeline; at last the end and None.

    A frame takes over half a source frame before its time, or half of ours if that is less: the nearest
    picture is shown, and clocks rounded to milliseconds don't make frames flutter.
    """
    usual = _frame_seconds(moving_picture(container))
    lead = min(usual, Fraction(1, FPS)) / 2
    zero = timeline_zero(container)
    last: Fraction | None = None
    for frame in _decode(container):
        stamp = None if frame.pts is None else frame.pts * frame.time_base
        if last is None:
            if zero is None or stamp is None or not 0 <= stamp - zero < _LONGEST_HOLD:
                zero = stamp or Fraction(0)
            last = Fraction(0) if stamp is None else stamp - zero
            yield Fraction(0), frame
            continue
        time = None if stamp is None else stamp - zero
        if time is None or not 0 < time - last < _LONGEST_HOLD:
            time = last + usual
            zero = zero if stamp is None else stamp - time  # a broken clock: go on from here
        yield time - min(time - last, Fraction(1, FPS)) / 2, frame
        last = time
    if last is not None:
        yield last + usual - lead, None


def _frame_seconds(stream: VideoStream) -> Fraction:
    """How long a picture of `stream` usually stays."""
    rate = stream.average_rate or stream.guessed_rate
    return min(1 / rate, Fraction(_LONGEST_HOLD)) if rate else Fraction(1, FPS)


def _decode(container: InputContainer) -> Iterator[VideoFrame]:
    import av

    stream = moving_picture(container)
    stream.thread_type = "AUTO"
    try:
        for packet in container.demux(stream):
            try:
                yield from packet.decode()
            except (av.error.FFmpegError, OSError):
                continue
    except (av.error.FFmpegError, OSError):
        return


class _Upright:
    """Turns decoded frames into arrays as they are to be seen, all of the first one's size."""

    def __init__(self, first: VideoFrame, stream: VideoStream) -> None:
        from av.video.reformatter import Interpolation, VideoReformatter

        self._reformatter = VideoReformatter()
        # libswscale's fast path darkens by 1 to 2 of 255; this one is right and takes 0.8 ms more at 512².
        self._exact = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
        self._matrix = _display_matrix(first)
        self._width, self._height = first.width, first.height
        aspect = stream.sample_aspect_ratio
        if aspect and aspect > 0:
            self._width = max(1, round(first.width * aspect))

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        if frame.colorspace == _UNTAGGED:
            frame.colorspace = _BT709 if frame.height >= _HD_ROWS else _BT601
        rgb = self._reformatter.reformat(
            frame,
            width=self._width,
            height=self._height,
            format="rgb24",
            interpolation=self._exact,
            threads=1,
        )
        (a, b), (c, d) = self._matrix
        picture = rgb.to_ndarray()
        # x' = a x + c y and y' = b x + d y: a turn by a right angle swaps the axes, a minus mirrors one.
        if abs(b) > abs(a):
            picture = picture.transpose(1, 0, 2)
            a, d = c, b
        picture = picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
        return np.ascontiguousarray(picture)


def _display_matrix(frame: VideoFrame) -> np.ndarray:
    """The linear part (2, 2) of the file's display matrix; the identity if it has none."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            return np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2, :2].astype(np.float64)
    return np.eye(2)
