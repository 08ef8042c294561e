"""What the bench measures inside a process of its own: a whole clip, or each stage alone.

`pipeline.bench` starts it with a job as JSON (portrait, audio, weights, renderer, folder, size, part, started) and
reads the last line that it prints.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.threads import settle_process

if TYPE_CHECKING:
    import numpy as np

    from pipeline.conversation import ConversationalHeadPipeline

FRAME_STAGES = ("track", "fit", "features", "driver", "render", "fusion", "encode")
_HEARING = ("sense", "extract_features")  # what the driver calls to turn sound into rows
_FUSING = ("fuse",)  # what the renderer calls to lay the head over its background
_WARM_RUNS = 3
_LONG = 20.0  # seconds of a run from which one warm run is enough
_HELD_FRAMES = 32  # rendered frames kept for the stages that need pictures; they are used in turn


def _work(job: dict[str, Any]) -> dict[str, Any]:
    return {"clip": _measure_clip, "stages": _measure_stages}[job["part"]](job)


def _measure_clip(job: dict[str, Any]) -> dict[str, float]:
    """A whole clip from files to MP4: once cold, counted from the start of the process, then warm."""
    pipeline = _load(job["weights"])
    output = Path(job["folder"]) / f"clip-{job['size']}.mp4"

    def make(begun: float) -> tuple[float, float, int]:
        clip = pipeline.talk(job["portrait"], job["audio"], size=job["size"], renderer=job["renderer"])
        first, count = 0.0, 0

        def note(stage: str, done: int, total: int) -> None:
            nonlocal first, count
            first = first or (time.time() - begun if stage == "rendering" else 0.0)
            count = max(count, done if stage == "rendering" else 0)

        clip.save(output, progress=note)
        return first, time.time() - begun, count

    cold_first, cold, frames = make(job["started"])
    peak = _peak_megabytes()
    warm_first, warm, _ = min((make(time.time()) for _ in range(_warm_runs(cold))), key=lambda run: run[1])
    begun = time.perf_counter()
    pipeline.portrait(job["portrait"], job["size"])
    return {
        "frames": frames,
        "cold_first": cold_first,
        "cold_fps": frames / cold,
        "warm_first": warm_first,
        "warm_fps": frames / warm,
        "portrait": time.perf_counter() - begun,
        "peak_mb": peak,
    }


def _warm_runs(cold: float) -> int:
    """How often to run again: best of a few where that is quick, once where a run takes long."""
    return _WARM_RUNS if cold < _LONG else 1


def _measure_stages(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds a frame of each stage, first the cold pass and then the warm ones; and the renderer's `device`."""
    pipeline = _load(job["weights"])
    begun = time.perf_counter()
    passes = [_stage_pass(pipeline, job)]
    passes += [_stage_pass(pipeline, job) for _ in range(_warm_runs(time.perf_counter() - begun))]
    device = {device for _, device in passes}
    return {stage: [times[stage] for times, _ in passes] for stage in FRAME_STAGES} | {"device": device.pop()}


def _stage_pass(pipeline: ConversationalHeadPipeline, job: dict[str, Any]) -> tuple[dict[str, float], str]:
    from pipeline.audio.reading import read_audio
    from pipeline.coefficients import Coefficients
    from pipeline.face.tracker import FaceTracker
    from pipeline.renderers import load_renderer
    from pipeline.video import VideoWriter

    seconds: dict[str, float] = {}
    portrait = pipeline.portrait(job["portrait"], job["size"])
    samples = read_audio(job["audio"])
    with _stopwatch(seconds, "driver"), _timed("pipeline.drivers.talking", _HEARING, seconds, "features"):
        parts = pipeline.driver(samples, portrait.coefficients, seed=0, identity=portrait.identity)
        coefficients = Coefficients.concatenate(list(parts))
    frames = len(coefficients)

    renderer = load_renderer(job["renderer"], pipeline.weights, portrait)
    for _ in renderer.render(coefficients[:1]):
        pass  # what a renderer makes ready for its first frame is no stage of each
    pictures: list[np.ndarray] = []
    with _stopwatch(seconds, "render"), _timed("pipeline.renderers.mesh", _FUSING, seconds, "fusion"):
        for frame in renderer.render(coefficients):
            if len(pictures) < _HELD_FRAMES:
                pictures.append(frame)
    seconds.setdefault("fusion", 0.0)  # networks paste a window instead
    # Stages within stages are counted once.
    seconds["driver"] -= seconds["features"]
    seconds["render"] -= seconds["fusion"]

    shown = list(islice(cycle(pictures), frames))
    written = Path(job["folder"]) / "stage.mp4"
    with _stopwatch(seconds, "encode"), VideoWriter(written, portrait.size, job["audio"]) as writer:
        for frame in shown:
            writer.write(frame)
    with FaceTracker(video=True) as tracker, _stopwatch(seconds, "track"):
        faces = [tracker.follow(frame) for frame in shown]
    # Random networks draw no faces: then the portrait's own stands for them, which takes as long to fit.
    found = [face.landmarks for face in faces if face is not None] or [portrait.landmarks] * frames
    import numpy as np

    with _stopwatch(seconds, "fit"):
        pipeline.model.fit(np.stack(found), portrait.size, portrait.identity)
    device = getattr(getattr(renderer, "runtime", None), "device", "cpu")
    return {stage: value / (len(found) if stage == "fit" else frames) for stage, value in seconds.items()}, device


def _load(weights: str | None) -> ConversationalHeadPipeline:
    from pipeline.conversation import ConversationalHeadPipeline

    return ConversationalHeadPipeline.from_pretrained(weights)


@contextmanager
def _stopwatch(seconds: dict[str, float], stage: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - begun


@contextmanager
def _timed(module: str, names: Sequence[str], seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add up the time that a module spends in some of the functions that it calls."""
    home = importlib.import_module(module)
    functions = {name: getattr(home, name) for name in names}

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **options: Any) -> Any:
            with _stopwatch(seconds, stage):
                return function(*args, **options)

        return wrapper

    for name, function in functions.items():
        setattr(home, name, wrapped(function))
    try:
        yield
    finally:
        for name, function in functions.items():
            setattr(home, name, function)


def _peak_megabytes() -> float:
    """Most memory that this process has held, in MB of 10^6 bytes."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    import resource  # macOS: in bytes there

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    settle_process()
    try:
        print(json.dumps(_work(json.loads(sys.argv[1]))))
    except InputError as error:
        sys.exit(str(error))
