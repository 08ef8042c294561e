"""Who makes the clips of a batch: processes of this machine, or actors on a Ray cluster.

A maker takes a job as JSON and answers with an outcome as JSON; it loads the models once. Run as a module, this file is
such a process: jobs come in on its standard input, a line each, and outcomes go out on its standard output.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from pipeline.batch_manifest import Job
from pipeline.errors import InputError

_ROOT = Path(__file__).resolve().parents[1]
_GRACE = 20.0  # seconds that an interrupted process has to clean up

Outcome = dict[str, Any]
"""`output`, and either `frames`, `seconds_of_clip`, `warnings` and `settings`, or `error`: one sentence."""


class Makers(Protocol):
    """Makes clips, several at a time."""

    def make(self, jobs: Sequence[Job], weights: str | None) -> Generator[tuple[Job, Outcome], None, None]:
        """Yields each job with its outcome, in the order in which they end; closing the iterator stops all work."""
        ...


def make_clip(mode: str, options: dict[str, Any], output: str, weights: str | None) -> Outcome:
    """Make one clip with this process's pipeline; whatever goes wrong is told as a sentence."""
    spoken = _Spoken()
    log = logging.getLogger("tete-a-tete")
    log.addHandler(spoken)
    try:
        options = dict(options)
        if "transcript" in options:
            options["transcript"] = _text(options["transcript"])
        clip = getattr(_pipeline(weights), mode)(**options)
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        clip.save(output)
        frames = len(clip.coefficients)
    except InputError as error:
        return {"output": output, "error": str(error)}
    except Exception as error:
        return {"output": output, "error": f"Something unforeseen happened ({type(error).__name__}: {error})."}
    finally:
        log.removeHandler(spoken)
    settings = clip.settings
    return {
        "output": output,
        "frames": frames,
        "seconds_of_clip": frames / clip.fps,
        "warnings": [*clip.warnings, *spoken.sentences],
        "settings": settings,
    }


class _Spoken(logging.Handler):
    """Collects what is logged while a clip is made."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.sentences: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.sentences.append(record.getMessage())


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as text; give a file of plain text in UTF-8.") from error


@lru_cache(maxsize=1)
def _pipeline(weights: str | None) -> Any:
    from pipeline.conversation import ConversationalHeadPipeline

    return ConversationalHeadPipeline.from_pretrained(weights)


# --- processes ------------------------------------------------------------------------------------------------------


class Processes:
    """Makes clips in processes of their own, each of which loads the models once.

    A process that dies (no memory left, a fault in a codec) costs the clip that it was making; another takes its place.

    Args:
        count: how many work at once.
    """

    def __init__(self, count: int) -> None:
        self._count = count

    def make(self, jobs: Sequence[Job], weights: str | None) -> Generator[tuple[Job, Outcome], None, None]:
        """See `Makers`."""
        waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        for job in jobs:
            waiting.put(job)
        ended: queue.SimpleQueue[tuple[Job, Outcome]] = queue.SimpleQueue()
        hands = [_Hand(waiting, ended, weights) for _ in range(min(self._count, len(jobs)))]
        for hand in hands:
            hand.start()
        try:
            left = len(jobs)
            while left:
                with contextlib.suppress(queue.Empty):  # in steps, so that Ctrl-C is heard
                    yield ended.get(timeout=0.1)
                    left -= 1
        finally:
            for hand in hands:
                hand.stop()
            for hand in hands:
                hand.join(_GRACE)
                hand.kill()
                hand.join()


class _Hand(threading.Thread):
    """Gives jobs to one process after the other, as they die."""

    def __init__(
        self, waiting: queue.SimpleQueue[Job], ended: queue.SimpleQueue[tuple[Job, Outcome]], weights: str | None
    ) -> None:
        super().__init__(daemon=True)
        self._waiting, self._ended, self._weights = waiting, ended, weights
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def run(self) -> None:
        try:
            while not self._stopped.is_set():
                job = self._waiting.get_nowait()
                outcome = self._ask(job)
                if not self._stopped.is_set():
                    self._ended.put((job, outcome))
        except queue.Empty:
            pass
        finally:
            self._close()

    def stop(self) -> None:
        """Interrupt the process; what it was making is cleaned up by it."""
        self._stopped.set()
        with self._lock:
            if self._process is not None:
                self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End a process that did not stop when it was asked."""
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def _ask(self, job: Job) -> Outcome:
        with self._lock:
            if self._stopped.is_set():
                return {}
            if self._process is None or self._process.poll() is not None:
                self._process = _start()
            process = self._process
        task = {"mode": job.mode, "options": job.options, "output": str(job.output), "weights": self._weights}
        answer = ""
        with contextlib.suppress(OSError, ValueError):  # it has died
            print(json.dumps(task), file=process.stdin, flush=True)
            answer = process.stdout.readline()
        if answer:
            return json.loads(answer)
        code = process.wait()
        why = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        return {"output": str(job.output), "error": f"The process that made it {why}; there may be too little memory."}

    def _close(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _start() -> subprocess.Popen[str]:
    """A process that makes clips; in a group of its own, so that Ctrl-C reaches it only through `stop`."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.batch_makers"],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )


def _serve() -> None:
    from pipeline.threads import settle_process

    settle_process()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print must not be taken for an answer
    with contextlib.suppress(KeyboardInterrupt):
        for line in sys.stdin:
            print(json.dumps(make_clip(**json.loads(line)), default=str), file=answers, flush=True)


# --- Ray ------------------------------------------------------------------------------------------------------------


class RayActors:
    """Makes clips on a Ray cluster (https://docs.ray.io), where this package is installed on every node.

    Inputs travel to the actors and clips back, so that no folder need be shared. An actor whose node dies costs the
    clip that it was making and is started again.

    Args:
        address: of the cluster, as `ray.init` takes it; "local" starts one on this machine.
        count: actors, each of which loads the models once and takes one processor.
        ray: the module; imported if left out.

    Raises:
        InputError: if Ray is not installed, or the cluster cannot be reached.
    """

    def __init__(self, address: str, count: int, ray: Any = None) -> None:
        if ray is None:
            try:
                ray = import_module("ray")
            except ImportError as error:
                raise InputError("A batch on a cluster needs Ray; install it with: pip install ray.") from error
        self._ray, self._count = ray, count
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # ConnectionError, ValueError and others, as the address goes
            raise InputError(f"There is no Ray cluster at {address}; start one, or check the address.") from error

    def make(self, jobs: Sequence[Job], weights: str | None) -> Generator[tuple[Job, Outcome], None, None]:
        """See `Makers`."""
        ray = self._ray
        kind = ray.remote(num_cpus=1, max_restarts=-1)(_Actor)
        idle = [kind.remote(weights) for _ in range(min(self._count, len(jobs)))]
        waiting, running = list(reversed(jobs)), {}
        try:
            while waiting or running:
                while waiting and idle:
                    job, actor = waiting.pop(), idle.pop()
                    files = {name: (Path(path).name, Path(path).read_bytes()) for name, path in job.files.items()}
                    running[actor.make.remote(job.mode, job.options, files)] = job, actor
                done, _ = ray.wait(list(running), num_returns=1, timeout=0.5)
                for reference in done:
                    job, actor = running.pop(reference)
                    idle.append(actor)
                    yield job, self._outcome(reference, job)
        finally:
            ray.shutdown()

    def _outcome(self, reference: Any, job: Job) -> Outcome:
        try:
            outcome, clip = self._ray.get(reference)
            if clip is not None:
                write_whole(job.output, clip)
        except OSError as error:
            return {"output": str(job.output), "error": f"{job.output} cannot be written ({error.strerror})."}
        except Exception as error:  # whatever became of the actor
            return {"output": str(job.output), "error": f"The cluster lost it ({type(error).__name__}); run it again."}
        return {**outcome, "output": str(job.output)}


class _Actor:
    """Lives on a node of the cluster."""

    def __init__(self, weights: str | None) -> None:
        self._weights = weights

    def make(
        self, mode: str, options: dict[str, Any], files: dict[str, tuple[str, bytes]]
    ) -> tuple[Outcome, bytes | None]:
        """The outcome, and the clip's bytes if there is one."""
        with tempfile.TemporaryDirectory(prefix="tete-batch-") as folder:
            for name, (file, content) in files.items():
                place = Path(folder) / name
                place.mkdir()
                (place / file).write_bytes(content)
                options = {**options, name: str(place / file)}
            output = Path(folder) / "clip.mp4"
            outcome = make_clip(mode, options, str(output), self._weights)
            return outcome, None if "error" in outcome else output.read_bytes()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem[:80]}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


if __name__ == "__main__":
    _serve()
