"""Runs the pipeline for many visitors: one pipeline, few workers, each job stoppable while it runs.

Gradio can only stop a generator between two of its values, so the work runs in a worker's thread and an
asynchronous generator merely watches it. When the visitor presses Stop or goes away, Gradio closes the
generator; that asks the job to stop, and the pipeline stops at its next progress report.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import logging
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import app_zero
from app_limits import Limits, Rates, Visitor
from app_queue import Job, Moment, Pool
from app_scratch import scratch_folder
from pipeline.coefficients import Coefficients
from pipeline.errors import InputError
from pipeline.movement import Movement, movement_of
from pipeline.renderers import DEFAULT_RENDERER, wants_gpu
from pipeline.video.live import FIRST_PIECE

Progress = Callable[[str, int, int], None]

TICK = 0.25
"""Seconds between two looks at a running job: how soon a stop is noticed, and how often the page moves."""

log = logging.getLogger("tete-a-tete")


class BusyError(InputError):
    """More visitors wait than there are places, or one visitor has too many clips in work."""


@dataclass(frozen=True)
class Order:
    """What a visitor asks for.

    Attributes:
        mode: the pipeline's method: "talk", "listen" or "reenact".
        files: its arguments that are paths, those that are not given None: "portrait" is a picture, the others sound
            or video, of which the first that is there sets the clip's length.
        options: its other arguments, plain values.
    """

    mode: str
    files: dict[str, str | None]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """A finished clip; its file is removed once the page has taken a copy."""

    path: Path
    size: tuple[int, int]
    settings: dict[str, Any]
    warnings: list[str]
    seconds: float
    movement: Movement | None = None


class Studio:
    """The one pipeline and its workers.

    Args:
        factory: makes the pipeline; called once, at `warm` or the first job.
        limits: how many clips are made at once, how many may wait, and what one visitor may ask.
        renderer: what draws all clips.
    """

    def __init__(
        self, factory: Callable[[], Any], limits: Limits | None = None, renderer: str = DEFAULT_RENDERER
    ) -> None:
        self.limits = limits or Limits()
        self._renderer = renderer
        self._lent = app_zero.lent() if app_zero.on_zero_gpu() else None
        self._factory = factory
        self._pipeline: Any = None
        self._loading = threading.Lock()
        # Clips that only want the processor need not wait for those that want the GPU, nor the other way round.
        self._pool = Pool("clip", self.limits.workers)
        self._gpu_pool = Pool("gpu", self.limits.gpu_workers)
        # One thread of its own for quick looks, which must not wait behind an hour's clip.
        self._glances = ThreadPoolExecutor(1, thread_name_prefix="look")
        self._glancing = 0
        self._looks: dict[str, Future] = {}
        self._rates = Rates(self.limits.rate)
        self._folder = scratch_folder("work")

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

    async def glance(self, work: Callable[[], Any]) -> Any:
        """What a quick `work` returns, done beside the clips, one after another.

        Raises:
            BusyError: if too many wait already.
        """
        return await asyncio.wrap_future(self._glance(work))

    async def look(self, path: str, session: str) -> Any:
        """What the pipeline's `check` finds in a picture; None if the session gave another one meanwhile.

        Raises:
            InputError: if the picture cannot be read or is too large, or too many wait already.
        """

        def work() -> Any:
            self.limits.check_picture(path)
            return self.pipeline().check(path)

        before = self._looks.pop(session, None)
        if before is not None:
            before.cancel()  # one that has begun ends by itself, and nobody hears of it
        future = self._looks[session] = self._glance(work)
        try:
            found = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if self._looks.get(session) is future:  # it is the caller that was cancelled
                raise
            return None
        finally:
            latest = self._looks.get(session) is future
            if latest:
                del self._looks[session]
        return found if latest else None

    def _glance(self, work: Callable[[], Any]) -> Future:
        if self._glancing >= 2 * self.limits.queue + 16:
            raise BusyError("Too many files are being looked at just now; please try again in a minute.")
        self._glancing += 1
        future = self._glances.submit(work)
        future.add_done_callback(self._glanced)
        return future

    def _glanced(self, _: Future) -> None:
        self._glancing -= 1

    async def render(self, order: Order, name: str, visitor: Visitor | None = None) -> AsyncIterator[Moment | Result]:
        """Make a clip, giving a `Moment` every `TICK` seconds and the `Result` at the end.

        Closing the iterator, or cancelling the task that waits for it, stops the work within one progress
        report of the pipeline. The result's file lives until the iterator is advanced or closed.

        Args:
            order: what to make.
            name: the file's stem, as the visitor downloads it.
            visitor: who asks.

        Raises:
            BusyError: if too many wait already, or the visitor has too many in work.
            InputError: if the visitor asks too often or for too much; or from the pipeline.
        """
        visitor = visitor or Visitor()
        self._check_room(visitor)
        job = Job(visitor, token=secrets.token_urlsafe(16))
        pool = self._pool
        pool.line.add(job)  # before anything is awaited, so that a rush cannot pass the bound
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            job.length, files = await asyncio.to_thread(self._take_in, order, folder / "inputs")
            if self._lent is None and await asyncio.to_thread(wants_gpu, self._renderer, order.options.get("restore")):
                pool = self._gpu_pool
                pool.line.add(job)
                self._pool.line.remove(job)
            self._rates.start(visitor.address, time.monotonic())
            job.live = folder / "live"
            job.live.mkdir()
            context = contextvars.copy_context()  # of the request, by which a ZeroGPU Space knows whose time it is
            job.work = lambda: context.run(self._work, job, order, files, folder / f"{name}.mp4")
            pool.turn()
            over = asyncio.wrap_future(job.result)
            over.add_done_callback(lambda o: o.cancelled() or o.exception())  # looked at, though the caller may be gone
            yield self._moment(job, pool)
            while (await asyncio.wait([over], timeout=TICK))[1]:
                yield self._moment(job, pool)
            yield await over
        finally:
            job.stop.set()
            pool.line.remove(job)
            # At once if the work is over or never began, else when its thread has left the folder.
            if job.began:
                job.result.add_done_callback(lambda _: shutil.rmtree(folder, ignore_errors=True))
            else:
                shutil.rmtree(folder, ignore_errors=True)

    def jobs(self) -> list[Job]:
        """All that wait or are in work."""
        return [*self._pool.line.jobs(), *self._gpu_pool.line.jobs()]

    def live_folder(self, token: str) -> Path | None:
        """Where the pieces of a job's clip are, while it is being made."""
        return next((job.live for job in self.jobs() if secrets.compare_digest(job.token, token)), None)

    def _check_room(self, visitor: Visitor) -> None:
        jobs = self.jobs()
        if len(jobs) >= self.limits.workers + self.limits.queue:
            raise BusyError("Too many clips are being made just now; please try again in a minute.")
        most = self.limits.per_visitor
        if most and sum(job.visitor.address == visitor.address for job in jobs) >= most:
            raise BusyError(f"You have {most} clips in work already; please wait until one of them is done.")

    def _take_in(self, order: Order, folder: Path) -> tuple[float, dict[str, str | None]]:
        """Seconds of sound or video, and the files under names of the job's own: uploads expire while it waits."""
        files: dict[str, str | None] = {}
        seconds = 0.0
        for name, path in order.files.items():
            files[name] = None
            if path is None:
                continue
            if name == "portrait":
                self.limits.check_picture(path)
            else:
                seconds = seconds or self.limits.check_media(path)
            kept = folder / name / Path(path).name
            kept.parent.mkdir(parents=True)
            try:
                os.link(path, kept)
            except OSError:  # another disk, or one that knows no links
                shutil.copyfile(path, kept)
            files[name] = str(kept)
        return seconds, files

    def _moment(self, job: Job, pool: Pool) -> Moment:
        if job.moment.stage == "waiting":
            ahead, seconds = pool.line.place(job)
            return Moment(ahead=ahead, seconds_left=seconds)
        live = job.token if job.live and (job.live / FIRST_PIECE).exists() else ""
        return dataclasses.replace(job.moment, live=live)

    def _work(self, job: Job, order: Order, files: dict[str, str | None], path: Path) -> Result:
        began = time.monotonic()
        if self._pipeline is None:
            job.report("loading", 0, 0)
        pipeline = self.pipeline()
        options = order.options | {"renderer": self._renderer}
        if self._lent is None:
            clip = getattr(pipeline, order.mode)(**files, **options, progress=job.report)
            clip.save(path, progress=job.report, live=job.live)
            size, settings, warnings, coefficients = clip.size, clip.settings, clip.warnings, clip.coefficients
        else:
            made = app_zero.render(
                self._lent, pipeline, order.mode, files, options, path, job.live, job.length, job.report
            )
            size, settings, warnings, coefficients = *made[:3], Coefficients(*made[3:])
        sound = next((path for name, path in files.items() if path and name != "portrait"), None)
        movement = movement_of(coefficients, sound, pipeline.model)
        return Result(path, size, settings, list(warnings), time.monotonic() - began, movement)

    def close(self) -> None:
        """Stop every job and remove what they wrote."""
        for pool in (self._pool, self._gpu_pool):
            pool.close()
        self._glances.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(self._folder, ignore_errors=True)
