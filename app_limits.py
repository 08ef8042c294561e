"""What one visitor, one clip and the whole page may take: read from the environment once, kept at the door.

README.md has the table of these variables; a test keeps the two together.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, fields
from typing import NamedTuple

from app_texts import duration
from pipeline.errors import InputError


@dataclass(frozen=True)
class Limits:
    """0 means no limit where that makes sense.

    Attributes:
        workers: clips made at once on the processor.
        gpu_workers: clips made at once that a GPU helps to make, where there is one.
        queue: clips that may wait.
        per_visitor: clips that one visitor may have in work or waiting.
        rate: clips that one visitor may start within an hour.
        max_seconds: longest sound or video, in seconds.
        max_pixels: largest portrait, in pixels (width times height).
        max_upload: largest file, as Gradio writes it ("200mb").
        keep_seconds: how long an upload or a clip stays on the server, so that it can be played and downloaded.
    """

    workers: int = 1
    gpu_workers: int = 1
    queue: int = 20
    per_visitor: int = 10
    rate: int = 0
    max_seconds: int = 3900
    max_pixels: int = 64_000_000
    max_upload: str = "200mb"
    keep_seconds: int = 1800

    @staticmethod
    def from_environment() -> Limits:
        """`TETE_WORKERS`, `TETE_QUEUE`, … where they are set.

        Raises:
            SystemExit: in a sentence, if one is not a whole number, is negative, or leaves no worker.
        """
        given: dict[str, int | str] = {}
        for field in fields(Limits):
            name = f"TETE_{field.name.upper()}"
            text = os.environ.get(name, "").strip()
            if not text:
                continue
            if isinstance(field.default, str):
                given[field.name] = text
                continue
            least = 1 if field.name in ("workers", "gpu_workers", "keep_seconds") else 0
            if not text.isdecimal() or int(text) < least:
                raise SystemExit(f"{name} must be a whole number from {least} on, not {text!r}.")
            given[field.name] = int(text)
        return Limits(**given)  # type: ignore[arg-type]

    def check_picture(self, path: str | None) -> None:
        """Look at a picture's header. What cannot be read is left to the pipeline, which has better sentences.

        Raises:
            InputError: if the picture has more than `max_pixels`.
        """
        from PIL import Image

        if not path or not self.max_pixels:
            return
        try:
            with Image.open(path) as image:
                width, height = image.size
        except Exception:  # anything from SyntaxError to DecompressionBombError
            return
        if width * height > self.max_pixels:
            most = int(self.max_pixels**0.5)
            raise InputError(
                f"The picture has {width} x {height} pixels, more than this page takes; reduce it to about "
                f"{most} x {most}."
            )

    def check_media(self, path: str | None) -> float:
        """Seconds of a sound or video file, by its header; 0 if it cannot be read, which the pipeline will say.

        Raises:
            InputError: if it lasts longer than `max_seconds`.
        """
        from pipeline.audio.reading import probe_audio
        from pipeline.clock import FPS
        from pipeline.errors import AudioError
        from pipeline.video import VideoReader

        if not path:
            return 0.0
        try:
            try:
                seconds = probe_audio(path).seconds
            except AudioError:
                seconds = VideoReader(path).frames / FPS
        except InputError:
            return 0.0
        if self.max_seconds and seconds > self.max_seconds:
            raise InputError(
                f"The file lasts {duration(seconds)}, and this page takes at most {duration(self.max_seconds)}; "
                "cut it into parts."
            )
        return seconds


class Visitor(NamedTuple):
    """Who asks: their address, and their tab or program within it."""

    address: str = ""
    session: str = ""


class Rates:
    """Counts what each address started within the hour. For one thread.

    Args:
        most: starts within an hour; 0 counts nothing.
    """

    HOUR = 3600.0

    def __init__(self, most: int) -> None:
        self._most = most
        self._starts: dict[str, deque[float]] = {}

    def start(self, address: str, now: float) -> None:
        """Count a start at `now`, in seconds of any steady clock.

        Raises:
            InputError: if it is one too many.
        """
        if not self._most:
            return
        for other in [name for name, times in self._starts.items() if times[-1] <= now - self.HOUR]:
            del self._starts[other]
        times = self._starts.setdefault(address, deque())
        while times and times[0] <= now - self.HOUR:
            times.popleft()
        if len(times) >= self._most:
            wait = duration(times[0] + self.HOUR - now)
            raise InputError(f"You have started {len(times)} clips within an hour; please come back in {wait}.")
        times.append(now)
