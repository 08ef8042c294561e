"""A stand-in for the pipeline, for what the real one cannot be made to do at will: be slow, fail, be watched.

It keeps the pipeline's contract: a lazy clip, progress by stage, `Cancelled` from the callback. Its picture is
the portrait with a bar that moves; the tests that show that faces move use the real pipeline.
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline import ConversationalHeadPipeline
from pipeline.coefficients import Coefficients
from pipeline.errors import Cancelled, PortraitError
from pipeline.face.checks import PortraitLook
from pipeline.face.morphable import MorphableModel
from pipeline.video import VideoWriter

if TYPE_CHECKING:
    from app_jobs import Studio
    from pipeline.sharing import Shares

FPS = 25
Result = TypeVar("Result")


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

    @property
    def coefficients(self) -> Coefficients:
        """A head that turns from side to side and opens its mouth once a second."""
        time_ = np.arange(self.pipeline.frames) / FPS
        pose = np.zeros((len(time_), 6))
        pose[:, 1] = 0.1 * np.sin(2 * np.pi * time_)
        expression = np.zeros((len(time_), 64))
        expression[:, 0] = np.sin(2 * np.pi * time_)
        return Coefficients(expression, pose, np.full((len(time_), 3), 0.5))

    def save(
        self, path: str | os.PathLike[str], progress: Callable[[str, int, int], None], live: Path | None = None
    ) -> None:
        frames = self.pipeline.frames
        try:
            with VideoWriter(path, self.size, self.audio, settings=self.settings, live=live) as writer:
                for index in range(frames):
                    if index == self.pipeline.hold_at:
                        self.pipeline.go_on.wait(60)
                    progress("rendering", index, frames)
                    self.pipeline.last_frame = time.monotonic()
                    frame = self.picture.copy()
                    frame[:8, : 1 + index * self.size[0] // frames] = 255
                    writer.write(frame)
                    time.sleep(self.pipeline.delay)
                progress("rendering", frames, frames)
        except Cancelled:
            self.pipeline.cancelled.set()
            raise


class FakePipeline:
    """Args: frames: length of every clip; delay: seconds that each frame takes."""

    def __init__(self, frames: int = 25, delay: float = 0.0) -> None:
        self.frames, self.delay = frames, delay
        self.cancelled = threading.Event()
        self.last_frame = 0.0
        self.calls: list[dict[str, Any]] = []
        self.hold_at = -1
        """The frame before which it waits for `go_on`."""
        self.go_on = threading.Event()
        self.looks: list[str] = []
        self.look_delay = 0.0

    @property
    def model(self) -> MorphableModel:
        return _embedded().model

    def check(self, portrait: str) -> PortraitLook:
        name = Path(portrait).name
        self.looks.append(name)
        time.sleep(self.look_delay)
        if "crash" in name:
            raise RuntimeError("secret detail")
        image = _opened(portrait)
        box = (0.3 * image.width, 0.1 * image.height, 0.6 * image.width, 0.5 * image.height)
        warnings = ("There is one other face in the picture; the largest is used.",) if "two" in name else ()
        problem = "The face is seen from the side; turn it <b>round</b>." if "side" in name else ""
        return PortraitLook(image.size, (box,), 0.4 * image.height, problem, warnings)

    def _clip(self, portrait: str, sound: str, progress: Callable[[str, int, int], None], **settings: Any) -> FakeClip:
        self.calls.append({"portrait": portrait, "sound": sound, **settings})
        progress("portrait", 0, 1)
        if "crash" in Path(portrait).name:
            raise RuntimeError("secret detail")
        image = _opened(portrait)
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


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """`asyncio.run` on a thread of its own: on the tests' own one Playwright's loop may be running."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def _opened(portrait: str) -> Image.Image:
    try:
        return Image.open(portrait).convert("RGB")
    except UnidentifiedImageError as cause:
        raise PortraitError(f"{Path(portrait).name} is not a picture; give a JPEG, PNG or WebP file.") from cause


@functools.cache
def _embedded() -> ConversationalHeadPipeline:
    """The real pipeline, of which the stand-in needs the morphable model."""
    return ConversationalHeadPipeline.from_pretrained()


@dataclass
class Server:
    """A running page; `fake` is its pipeline, to slow down or to look at, and `shares` what was shared on it."""

    url: str
    fake: FakePipeline
    studio: Studio
    shares: Shares

    def leaves_nothing(self) -> bool:
        """Whether jobs' files are gone within 2 s (a stopped encoder takes a moment to end); Gradio's copies aside."""
        deadline = time.monotonic() + 2
        while list(self.studio._folder.iterdir()):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True
