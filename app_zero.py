"""Clips on a ZeroGPU Space: `spaces.GPU` lends a GPU to a process of its own, for as long as a clip is likely to take.

Elsewhere `spaces` is not installed or does nothing, and clips are made in the page's own process. The borrowed
process is a fork, so it has the pipeline already; only plain values go to it and come back.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from pipeline.errors import Cancelled, InputError

SECONDS_BEFORE, SECONDS_PER_SECOND, MOST_SECONDS = 20, 1.0, 120
"""GPU seconds asked for: for the models and the portrait, for each second of sound, and at most; Spaces lends 120 to
visitors without an account of their own. A longer clip is not begun."""

_STOP = "stop"
_pipeline: Any = None

Report = Callable[[str, int, int], None]


def on_zero_gpu() -> bool:
    """Whether this is a ZeroGPU Space."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def gpu_seconds(mode: str, files: dict, options: dict, path: str, live: str, seconds: float) -> int:
    """How long a GPU is asked for: by the sound's length. Takes what `_make` takes, as `spaces.GPU` wants.

    Raises:
        InputError: if the clip would take longer than a GPU is lent.
    """
    wanted = round(SECONDS_BEFORE + SECONDS_PER_SECOND * seconds)
    if wanted > MOST_SECONDS:
        most = int((MOST_SECONDS - SECONDS_BEFORE) / SECONDS_PER_SECOND)
        raise InputError(f"On this Space a clip may last {most} seconds at most; cut the sound into parts.")
    return wanted


def _make(mode: str, files: dict, options: dict, path: str, live: str, seconds: float) -> Iterator[tuple]:
    """Make and save a clip in this process: yields ("step", stage, done, total), last ("clip", ...) or ("error", ...).

    Asked to stop by a file beside the pieces, because nothing else reaches a borrowed process.
    """
    told: SimpleQueue[tuple] = SimpleQueue()
    stop = Path(live) / _STOP

    def report(stage: str, done: int, total: int) -> None:
        if stop.exists() or not stop.parent.exists():  # the job's folder goes with its visitor
            raise Cancelled
        told.put(("step", stage, done, total))

    def work() -> None:
        try:
            clip = getattr(_pipeline, mode)(**files, **options, progress=report)
            clip.save(path, progress=report, live=Path(live))
            c = clip.coefficients
            told.put(("clip", clip.size, clip.settings, list(clip.warnings), c.expression, c.pose, c.crop))
        except BaseException as error:  # is raised again where the visitor waits
            told.put(("error", error))

    threading.Thread(target=work, daemon=True).start()
    while True:
        step = told.get()
        yield step
        if step[0] != "step":
            return


def lent() -> Callable[..., Iterator[tuple]]:
    """`_make` as a ZeroGPU Space runs it.

    Raises:
        SystemExit: in a sentence, if the Space has no `spaces` package.
    """
    try:
        spaces = importlib.import_module("spaces")
    except ImportError:
        raise SystemExit("A ZeroGPU Space needs the package `spaces`; add it to requirements.txt.") from None
    return spaces.GPU(_make, duration=gpu_seconds)


def render(
    made: Callable[..., Iterator[tuple]],
    pipeline: Any,
    mode: str,
    files: dict,
    options: dict,
    path: Path,
    live: Path,
    seconds: float,
    report: Report,
) -> tuple:
    """Drive what `lent` returned: the clip's size, settings, warnings, and β, p and c.

    Raises:
        InputError: from the pipeline, or if the clip is too long.
        Cancelled: if `report` asks to stop.
    """
    global _pipeline
    _pipeline = pipeline  # before the fork
    try:
        for step in made(mode, files, options, str(path), str(live), seconds):
            if step[0] == "error":
                raise step[1]
            if step[0] == "clip":
                return step[1:]
            report(*step[1:])
    except BaseException:
        (live / _STOP).touch()
        raise
    raise RuntimeError("the GPU was taken back before the clip was done")
