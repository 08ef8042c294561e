"""Opening sound and video files: what reading sound and reading pictures share.

Both lie on one timeline per file, whose zero is the start of whichever comes first; that keeps them in sync
when they are read apart.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream

# Demuxers that take nearly any text for a picture, or that open further files named inside the file.
_REFUSED_FORMATS = {"tty", "hls", "dash", "concat", "concatf", "ffmetadata", "image2", "sdp", "rtsp", "imf"}


def open_media(path: str | os.PathLike[str], error: type[InputError], what: str) -> InputContainer:
    """Open a sound or video file for reading.

    Args:
        path: a file on this machine; it is never taken for an address, and may not refer to others.
        error: the exception to raise.
        what: "sound" or "video", for the sentences.

    Raises:
        error: if there is no such file, it may not be read, is empty, or is not such a file.
    """
    import av

    file = Path(path)
    if not file.exists():
        raise error(f"There is no file {file}; check the path.")
    if file.is_dir():
        raise error(f"{file} is a folder; give one {what} file.")
    if not os.access(file, os.R_OK):
        raise error(f"{file} may not be read; check its permissions.")
    if file.stat().st_size == 0:
        raise error(f"{file.name} is empty; give a {what} file that holds something.")
    unreadable = f"{file.name} cannot be read as {what}; give a common {what} file such as {_EXAMPLES[what]}."
    try:
        container = av.open(
            f"file:{file.absolute()}", options={"protocol_whitelist": "file"}, metadata_errors="replace"
        )
    except (av.error.FFmpegError, OSError, ValueError) as cause:
        raise error(unreadable) from cause
    if set(container.format.name.split(",")) & _REFUSED_FORMATS or container.format.name.endswith("_pipe"):
        container.close()
        raise error(unreadable)
    return container


_EXAMPLES = {"sound": "WAV, MP3, FLAC or M4A", "video": "MP4, WebM or MOV"}


def moving_picture(container: InputContainer) -> VideoStream | None:
    """The file's video; None if there is none but cover pictures and what no codec is known for."""
    from av.stream import Disposition

    known = [s for s in container.streams.video if s.codec_context is not None]  # others have not even a width
    streams = [s for s in known if not s.disposition & Disposition.attached_pic]
    return max(streams, key=lambda s: (s.width or 0) * (s.height or 0), default=None)


def main_sound(container: InputContainer) -> AudioStream | None:
    """The file's first sound that a codec is known for, or None."""
    return next((s for s in container.streams.audio if s.codec_context is not None), None)


def timeline_zero(container: InputContainer) -> Fraction | None:
    """The earliest start of picture and sound, in seconds of the file's clock; None if it keeps none.

    Sound alone starts at its own first sample instead, wherever the file says that this is.
    """
    if moving_picture(container) is None:
        return None
    starts = [_start(stream) for stream in (moving_picture(container), main_sound(container)) if stream]
    return min((start for start in starts if start is not None), default=None)


def _start(stream: Stream) -> Fraction | None:
    return None if stream.start_time is None else stream.start_time * stream.time_base
