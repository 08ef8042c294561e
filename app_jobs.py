"""Runs the pipeline for many visitors: one pipeline, few workers, each job stoppable while it runs.

Gradio can only stop a generator between two of its values, so the work runs in a worker's thread and an
asynchronous generator merely watches it. When the visitor presses Stop or goes away, Gradio closes the
generator; that asks the job to stop, and the pipeline stops at its next progress report.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import Cancelled, InputError

Progress = Callable[[str, int, int], None]
Start = Callable[[Any, Progress], Any]
"""Takes the pipeline and a progress callback, and returns the `HeadClip` to save."""

TICK = 0.25
"""Seconds between two looks at a running job: how soon a stop is noticed, and how often the page moves."""

log = logging.getLogger("tete-a-tete")


class BusyError(InputError):
    """More visitors wait than there are places."""


@dataclass(frozen=True)
class Moment:
    """How far a job has come: `done` of `total` steps of `stage`, the stages before it, seconds left in it.

    While it waits, `ahead` jobs come before it.
    """

    stage: str = "waiting"
    done: int = 0
    total: int = 0
    finished: tuple[str, ...] = ()
    seconds_left: float | None = None
    ahead: int = 0


@dataclass(frozen=True)
class Result:
    """A finished clip; its file is removed once the page has taken a copy."""

    path: Path
    size: tuple[int, int]
    settings: dict[str, Any]
    warnings: list[str]
    seconds: float


@dataclass(eq=False)
class Job:
    """One visitor's work: its last moment and whether it must stop."""

    stop: threading.Event = field(default_factory=threading.Event)
    moment: Moment = field(default_factory=Moment)
    _stage_start: float = 0.0
    _first_done: int = 0

    def report(self, stage: str, done: int, total: int) -> None:
        """The pipeline's progress callback.

        Raises:
            Cancelled: if the visitor pressed Stop or went away.
        """
        if self.stop.is_set():
            raise Cancelled
        now, finished = time.monotonic(), self.moment.finished
        if stage != self.moment.stage:
            if self.moment.stage != "waiting" and self.moment.stage not in finished:
                finished = (*finished, self.moment.stage)
            self._stage_start, self._first_done = now, done
        steps, spent = done - self._first_done, now - self._stage_start
        # The first second's rate says little: models still load, caches are cold.
        left = spent / steps * (total - done) if steps > 0 and spent > 1 else None
        self.moment = Moment(stage, done, total, finished, left)


class Studio:
    """The one pipeline and its workers.

    Args:
        factory: makes the pipeline; called once, at `warm` or the first job.
        workers: how many clips are made at once; further ones wait, first come first served.
        places: how many may wait.
    """

    def __init__(self, factory: Callable[[], Any], workers: int = 1, places: int = 20) -> None:
        self.workers, self.places = workers, places
        self._factory = factory
        self._pipeline: Any = None
        self._loading = threading.Lock()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="clip")
        self._jobs: list[Job] = []
        """Those that wait or work, in the order in which they came."""
        self._folder = Path(tempfile.mkdtemp(prefix="tete-a-tete-"))

    def pipeline(self) -> Any:
        """The pipeline, made on the first call."""
        with self._loading:
            if self._pipeline is None:
                self._pipeline = self._factory()
            return self._pipeline

    def warm(self) -> Future:
        """Load the pipeline in the background, so that the first visitor need not wait for it."""

        def load() -> None:
            try:
                self.pipeline()
            except Exception:
                log.exception("the pipeline could not be loaded; the next job will try again")

        return self._pool.submit(load)

    async def render(self, start: Start, name: str) -> AsyncIterator[Moment | Result]:
        """Make a clip, giving a `Moment` every `TICK` seconds and the `Result` at the end.

        Closing the iterator, or cancelling the task that waits for it, stops the work within one progress
        report of the pipeline. The result's file lives until the iterator is advanced or closed.

        Args:
            start: begins the work; what it returns is saved as an MP4.
            name: the file's stem, as the visitor downloads it.

        Raises:
            BusyError: if too many wait already.
            InputError: from the pipeline.
        """
        if len(self._jobs) >= self.workers + self.places:
            raise BusyError("Too many clips are being made just now; please try again in a minute.")
        job = Job()
        self._jobs.append(job)
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        future = self._pool.submit(self._work, job, start, folder / f"{name}.mp4")
        over = asyncio.wrap_future(future)
        over.add_done_callback(lambda o: o.cancelled() or o.exception())  # looked at, though the caller may be gone
        try:
            yield self._moment(job)
            while (await asyncio.wait([over], timeout=TICK))[1]:
                yield self._moment(job)
            yield await over
        finally:
            job.stop.set()
            self._jobs.remove(job)
            # At once if the work is over or never began, else when its thread has left the folder.
            future.cancel()
            future.add_done_callback(lambda _: shutil.rmtree(folder, ignore_errors=True))

    def _moment(self, job: Job) -> Moment:
        if job.moment.stage != "waiting":
            return job.moment
        return Moment(ahead=max(0, self._jobs.index(job) - self.workers + 1))

    def _work(self, job: Job, start: Start, path: Path) -> Result:
        began = time.monotonic()
        if self._pipeline is None:
            job.report("loading", 0, 0)
        clip = start(self.pipeline(), job.report)
        clip.save(path, progress=job.report)
        return Result(path, clip.size, clip.settings, list(clip.warnings), time.monotonic() - began)

    def close(self) -> None:
        """Stop every job and remove what they wrote."""
        for job in list(self._jobs):
            job.stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(self._folder, ignore_errors=True)
