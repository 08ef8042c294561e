"""Who comes next: jobs of all visitors in one line before each pool of workers, in which nobody waits for another's
second clip."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app_limits import Visitor
from pipeline.errors import Cancelled


@dataclass(frozen=True)
class Moment:
    """How far a job has come: `done` of `total` steps of `stage`, the stages before it, seconds left in it.

    While it waits, `ahead` jobs come before it, and `seconds_left` is when it is likely to begin. `live` is the name
    under which its clip can be watched already, and `speed` how many frames are drawn a second.
    """

    stage: str = "waiting"
    done: int = 0
    total: int = 0
    finished: tuple[str, ...] = ()
    seconds_left: float | None = None
    ahead: int = 0
    live: str = ""
    speed: float = 0.0


@dataclass(eq=False)
class Job:
    """One visitor's work: its last moment and whether it must stop.

    Attributes:
        visitor: whose it is.
        length: seconds of its sound, 0 if unknown.
        live: folder of the pieces that can be watched.
        token: unguessable name of the job.
        work: does it, in a worker's thread; None while its files are looked at, when it may not be taken.
        result: what its work returns.
    """

    visitor: Visitor = field(default_factory=Visitor)
    length: float = 0.0
    live: Path | None = None
    token: str = ""
    work: Callable[[], Any] | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    moment: Moment = field(default_factory=Moment)
    result: Future = field(default_factory=Future)
    began: float = 0.0
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
        speed = steps / spent if steps > 0 and spent > 0.2 else 0.0
        self.moment = Moment(stage, done, total, finished, left, speed=speed)


class Line:
    """Jobs that wait or are in work. May be used by several threads.

    Addresses take turns, and within an address its tabs and programs: the next job is that of the address with the
    fewest jobs before it, in work or waiting; among equals whoever came first. So ten clips of one visitor hold up
    another's first by one at most, and who opens ten tabs gains nothing.

    Args:
        workers: how many jobs are in work at once.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._waiting: list[Job] = []
        self._working: list[Job] = []
        self._speeds: deque[tuple[float, float]] = deque(maxlen=20)
        """Seconds of work and of sound of the last jobs."""

    def __len__(self) -> int:
        return len(self._waiting) + len(self._working)

    def jobs(self) -> list[Job]:
        """All that wait or work."""
        with self._lock:
            return [*self._working, *self._waiting]

    def add(self, job: Job) -> None:
        """Put a job into the line."""
        with self._lock:
            self._waiting.append(job)

    def take(self) -> Job | None:
        """The job to work on next, if any waits."""
        with self._lock:
            job = next((job for job in self._order() if job.work is not None), None)
            if job is None:
                return None
            self._waiting.remove(job)
            self._working.append(job)
            job.began = time.monotonic()
            job.result.set_running_or_notify_cancel()  # from here on only its work ends it
            return job

    def remove(self, job: Job, finished: bool = False) -> None:
        """Take a job out, wherever it is; `finished` says that its time is an example for others."""
        with self._lock:
            if job in self._waiting:
                self._waiting.remove(job)
            if job in self._working:
                self._working.remove(job)
                if finished:
                    self._speeds.append((time.monotonic() - job.began, job.length))

    def place(self, job: Job) -> tuple[int, float | None]:
        """How many jobs come before a waiting one, and in how many seconds it will probably begin."""
        with self._lock:
            if job not in self._waiting:
                return 0, None
            before = self._order()
            before = before[: before.index(job)]
            ahead = max(0, len(self._working) + len(before) - self._workers + 1)
            times = [self._left(other) for other in [*self._working, *before]]
            if not ahead or None in times:
                return ahead, None
            return ahead, sum(times) / self._workers  # type: ignore[arg-type]

    def _left(self, job: Job) -> float | None:
        """Seconds of work that a job still needs, by its own progress or the last jobs' speed."""
        if job in self._working and job.moment.seconds_left is not None:
            return job.moment.seconds_left
        if not self._speeds:
            return None
        work, sound = (sum(column) for column in zip(*self._speeds, strict=True))
        whole = work / sound * job.length if sound and job.length else work / len(self._speeds)
        return max(0.0, whole - (time.monotonic() - job.began)) if job in self._working else whole

    def _order(self) -> list[Job]:
        """Those that wait, next first."""
        sessions = Counter(job.visitor for job in self._working)
        addresses = Counter(job.visitor.address for job in self._working)
        turns = []
        for index, job in enumerate(self._waiting):
            turns.append((sessions[job.visitor], index, job))
            sessions[job.visitor] += 1
        rounds = []
        for _, index, job in sorted(turns, key=lambda turn: turn[:2]):
            rounds.append((addresses[job.visitor.address], index, job))
            addresses[job.visitor.address] += 1
        return [job for _, _, job in sorted(rounds, key=lambda turn: turn[:2])]


class Pool:
    """Workers of one kind, in threads, and the line before them.

    Args:
        name: of the threads.
        workers: how many there are.
    """

    def __init__(self, name: str, workers: int) -> None:
        self.line = Line(workers)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix=name)

    def submit(self, work: Callable[[], None]) -> Future:
        """Let a worker do something that nobody waits for in the line."""
        return self._threads.submit(work)

    def turn(self) -> None:
        """Give a worker a turn: as many are given as jobs wait, and each takes whoever comes next by then."""
        self._threads.submit(self._turn)

    def _turn(self) -> None:
        job = self.line.take()
        if job is None or job.work is None:
            return
        try:
            job.result.set_result(job.work())
        except BaseException as error:  # whatever it is, the visitor has to hear of it
            self.line.remove(job)
            job.result.set_exception(error)
        else:
            self.line.remove(job, finished=True)

    def close(self) -> None:
        """Stop every job, and wait until the workers have."""
        for job in self.line.jobs():
            job.stop.set()
            if not job.began:
                self.line.remove(job)
                job.result.set_exception(Cancelled())
        self._threads.shutdown(wait=True, cancel_futures=True)
