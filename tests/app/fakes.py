"""A stand-in for the pipeline, for what the real one cannot be made to do at will: be slow, fail, be watched.

It keeps the pipeline's contract: a lazy clip, progress by stage, `Cancelled` from the callback. Its picture is
the portrait with a bar that moves; the tests that show that faces move use the real pipeline.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.errors import Cancelled, PortraitError

if TYPE_CHECKING:
    from app_jobs import Studio

FPS = 25


@dataclass
class FakeClip:
    """What `talk`, `listen` and `reenact` return; `save` does the work, as in the pipeline."""

    pipeline: FakePipeline
    picture: np.ndarray
    audio: str
    settings: dict[str, Any]
    warnings: list[str] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        return self.picture.shape[1], self.picture.shape[0]

    def save(self, path: str | os.PathLike[str], progress: Callable[[str, int, int], None]) -> None:
        width, height = self.size
        frames = self.pipeline.frames
        command = ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
        command += ["-r", str(FPS), "-i", "-", "-i", str(self.audio), "-map", "0:v", "-map", "1:a", "-c:a", "aac"]
        command += ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
        command += ["-t", str(frames / FPS), str(path)]
        encoder = subprocess.Popen(command, stdin=subprocess.PIPE)
        assert encoder.stdin is not None
        try:
            for index in range(frames):
                progress("rendering", index, frames)
                self.pipeline.last_frame = time.monotonic()
                frame = self.picture.copy()
                frame[:8, : 1 + index * width // frames] = 255
                encoder.stdin.write(frame.tobytes())
                time.sleep(self.pipeline.delay)
            progress("rendering", frames, frames)
        except Cancelled:
            encoder.kill()
            self.pipeline.cancelled.set()
            raise
        finally:
            encoder.stdin.close()
            encoder.wait()


class FakePipeline:
    """Args: frames: length of every clip; delay: seconds that each frame takes."""

    def __init__(self, frames: int = 25, delay: float = 0.0) -> None:
        self.frames, self.delay = frames, delay
        self.cancelled = threading.Event()
        self.last_frame = 0.0
        self.calls: list[dict[str, Any]] = []

    def _clip(self, portrait: str, sound: str, progress: Callable[[str, int, int], None], **settings: Any) -> FakeClip:
        self.calls.append({"portrait": portrait, "sound": sound, **settings})
        progress("portrait", 0, 1)
        if "crash" in Path(portrait).name:
            raise RuntimeError("secret detail")
        try:
            image = Image.open(portrait).convert("RGB")
        except UnidentifiedImageError as cause:
            raise PortraitError(f"{Path(portrait).name} is not a picture; give a JPEG, PNG or WebP file.") from cause
        size = settings["size"] or max(image.size)
        scale = size / max(image.size)
        image = image.resize((round(image.width * scale) // 2 * 2, round(image.height * scale) // 2 * 2))
        warnings = ["There are 2 faces in the picture; the largest was used."] if "two" in Path(portrait).name else []
        return FakeClip(self, np.asarray(image), sound, settings, warnings)

    def talk(
        self, portrait: str, audio: str, *, progress: Callable[[str, int, int], None], **settings: Any
    ) -> FakeClip:
        return self._clip(portrait, audio, progress, **settings)

    def listen(
        self, portrait: str, audio: str | None, *, progress: Callable[[str, int, int], None], **settings: Any
    ) -> FakeClip:
        return self._clip(portrait, audio or settings["speaker_video"], progress, **settings)

    def reenact(
        self, portrait: str, video: str, *, progress: Callable[[str, int, int], None], **settings: Any
    ) -> FakeClip:
        return self._clip(portrait, video, progress, **settings)


@dataclass
class Server:
    """A running page; `fake` is its pipeline, to slow down or to look at."""

    url: str
    fake: FakePipeline
    studio: Studio

    def leaves_nothing(self) -> bool:
        """Whether jobs' files are gone within 2 s (a stopped encoder takes a moment to end); Gradio's copies aside."""
        deadline = time.monotonic() + 2
        while list(self.studio._folder.iterdir()):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True
