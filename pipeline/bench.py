"""Speed and memory on this machine: each stage alone, the whole clip, cold and warm, against the design's budgets.

Every size is measured in processes of its own, so that "cold" means a process that has loaded nothing yet and peak
memory is that of one clip. Stages are timed alone, one after the other; in a clip the encoder works beside the
renderer in a thread, so a clip takes less than the sum of its stages.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.clock import SAMPLE_RATE
from pipeline.errors import InputError
from pipeline.evaluation.tables import Check, Column, Row, Table

if TYPE_CHECKING:
    import numpy as np

    from pipeline.conversation import ConversationalHeadPipeline

_ROOT = Path(__file__).resolve().parents[1]
PORTRAIT = _ROOT / "examples" / "portraits" / "astronaut.png"
SPEECH = _ROOT / "examples" / "speech" / "hello_slt.wav"
FRAME_STAGES = ("track", "fit", "features", "driver", "render", "fusion", "encode")
_HEARING = ("hear", "extract_features")  # what the driver calls to turn sound into rows
_FUSING = ("fuse",)  # what the renderer calls to lay the head over its background
_WARM_RUNS = 3
_HELD_FRAMES = 32  # rendered frames kept for the stages that need pictures; they are used in turn
_FRAMES_PER_SECOND = {512: 100, 1024: 30}  # ../shared/design.md, "Budgets"
_FIRST_FRAME_SECONDS, _COLD_SECONDS, _MEMORY_MB, _WEIGHTS_MB = 1.0, 10.0, 1500, 60

_STAGE_COLUMNS = [
    Column("stage", "stage", total=""),
    Column("cold_ms", "cold ms/frame", 2, ""),
    Column("warm_ms", "warm ms/frame", 2, ""),
    Column("fps", "frames/s", 0, ""),
    Column("share", "% of stages", 0, ""),
]


@dataclass
class Report:
    """What `run` measured.

    Attributes:
        machine: processor, cores, GPU and versions.
        seconds: of sound in the clip.
        sizes: for each size the stages' table and the figures of the whole clip.
        checks: the design's budgets.
    """

    machine: dict[str, Any]
    seconds: float
    sizes: dict[int, tuple[Table, dict[str, float]]] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    def slowest(self, size: int, count: int = 3) -> list[str]:
        """Names of the stages that take longest once warm."""
        rows = sorted(self.sizes[size][0].rows, key=lambda row: -row["warm_ms"])
        return [row["stage"] for row in rows[:count]]

    def to_dict(self) -> dict[str, object]:
        """For `json.dumps`."""
        return {
            "machine": self.machine,
            "seconds": self.seconds,
            "sizes": {
                str(size): {"stages": table.to_dict()["rows"], "slowest": self.slowest(size), "clip": clip}
                for size, (table, clip) in self.sizes.items()
            },
            "checks": Table("", [], [], self.checks).to_dict()["checks"],
        }

    def text(self) -> str:
        """For a terminal."""
        blocks = [", ".join(f"{key}: {value}" for key, value in self.machine.items())]
        for size, (table, clip) in self.sizes.items():
            blocks.append(table.text())
            blocks.append(
                f"whole clip of {self.seconds:g} s, from files to MP4: {clip['cold_fps']:.0f} frames/s in a fresh "
                f"process, {clip['warm_fps']:.0f} warm; first frame after {clip['cold_first']:.2f} s cold, "
                f"{clip['warm_first']:.2f} s warm; portrait {clip['portrait']:.2f} s; "
                f"peak memory {clip['peak_mb']:.0f} MB\nslowest stages: {', '.join(self.slowest(size))}"
            )
        if self.checks:
            blocks.append(Table("budgets", [], [], self.checks).text())
        return "\n\n".join(blocks)


def run(
    sizes: Sequence[int] = (256, 512, 1024),
    seconds: float = 5.0,
    portrait: str | os.PathLike[str] = PORTRAIT,
    audio: str | os.PathLike[str] = SPEECH,
    weights: str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Measure this machine.

    Args:
        sizes: pixels of the picture's longer side.
        seconds: of sound; the audio file is repeated or cut to it.
        portrait: a picture with a face.
        audio: a sound file.
        weights: a folder or Hub repository; None for the embedded ones.
        progress: called with "bench", processes done and in all.

    Raises:
        InputError: if a size or length is out of range, or the clip cannot be made.
    """
    if not sizes or min(sizes) < 64 or max(sizes) > 4096:
        raise InputError("Sizes must lie between 64 and 4096 pixels.")
    if not 0.2 <= seconds <= 3600:
        raise InputError("The clip's length must lie between 0.2 and 3600 seconds.")
    report = Report(_machine(), seconds)
    with tempfile.TemporaryDirectory(prefix="tete-bench-") as folder:
        sound = Path(folder) / "speech.wav"
        _write_speech(Path(audio), sound, seconds)
        job = {"portrait": str(portrait), "audio": str(sound), "weights": weights, "folder": folder}
        for number, size in enumerate(sizes):
            results = []
            for part in ("clip", "stages"):
                if progress:
                    progress("bench", 2 * number + len(results), 2 * len(sizes))
                results.append(_in_process({**job, "part": part, "size": size}))
            clip, stages = results
            report.sizes[size] = _stage_table(size, stages), clip
        command_line = _cold_command_line(job, 512)
    if progress:
        progress("bench", 2 * len(sizes), 2 * len(sizes))
    report.checks = _budgets(report, command_line)
    return report


def _budgets(report: Report, command_line: float) -> list[Check]:
    clips = {size: clip for size, (_, clip) in report.sizes.items()}
    checks = [
        Check(f"warm clip at {size}, frames/s", clips[size]["warm_fps"], low=least)
        for size, least in _FRAMES_PER_SECOND.items()
        if size in clips
    ]
    size = 512 if 512 in clips else min(clips)
    first, peak = clips[size]["warm_first"], max(clip["peak_mb"] for clip in clips.values())
    return [
        *checks,
        Check(f"first frame at {size}, s", first, high=_FIRST_FRAME_SECONDS),
        Check(f"command line, cold, {report.seconds:g} s of speech at 512, s", command_line, high=_COLD_SECONDS),
        Check("peak memory, MB", peak, high=_MEMORY_MB),
        Check("embedded weights, MB", _weights_megabytes(), high=_WEIGHTS_MB),
    ]


def _stage_table(size: int, stages: dict[str, list[float]]) -> Table:
    """Rows in the order of the work; seconds a frame of the cold pass and of the best warm one."""
    warm = {stage: min(times[1:]) for stage, times in stages.items()}
    total = sum(warm.values())
    rows: list[Row] = [
        {
            "stage": stage,
            "cold_ms": 1000 * stages[stage][0],
            "warm_ms": 1000 * warm[stage],
            "fps": 1 / warm[stage] if warm[stage] else None,
            "share": 100 * warm[stage] / total,
        }
        for stage in FRAME_STAGES
    ]
    return Table(f"{size} pixels", _STAGE_COLUMNS, rows)


# What runs in the processes -------------------------------------------------------------------------------------


def _in_process(job: dict[str, Any]) -> dict[str, Any]:
    """Run `_work` on a job in a fresh Python process and return what it prints."""
    job = {**job, "started": time.time()}
    command = [sys.executable, "-m", "pipeline.bench", json.dumps(job)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it ended without a word"]
        raise InputError(f"Measuring {job['part']} at {job['size']} pixels failed: {lines[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _work(job: dict[str, Any]) -> dict[str, Any]:
    return {"clip": _measure_clip, "stages": _measure_stages}[job["part"]](job)


def _measure_clip(job: dict[str, Any]) -> dict[str, float]:
    """A whole clip from files to MP4: once cold, counted from the start of the process, then warm."""
    pipeline = _load(job["weights"])
    output = Path(job["folder"]) / f"clip-{job['size']}.mp4"

    def make(begun: float) -> tuple[float, float, int]:
        clip = pipeline.talk(job["portrait"], job["audio"], size=job["size"])
        first, count = 0.0, 0

        def note(stage: str, done: int, total: int) -> None:
            nonlocal first, count
            first = first or (time.time() - begun if stage == "rendering" else 0.0)
            count = max(count, done if stage == "rendering" else 0)

        clip.save(output, progress=note)
        return first, time.time() - begun, count

    cold_first, cold, frames = make(job["started"])
    peak = _peak_megabytes()
    warm_first, warm, _ = min((make(time.time()) for _ in range(_WARM_RUNS)), key=lambda run: run[1])
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


def _measure_stages(job: dict[str, Any]) -> dict[str, list[float]]:
    """Seconds a frame of each stage, first the cold pass and then the warm ones."""
    pipeline = _load(job["weights"])
    passes = [_stage_pass(pipeline, job) for _ in range(1 + _WARM_RUNS)]
    return {stage: [times[stage] for times in passes] for stage in FRAME_STAGES}


def _stage_pass(pipeline: ConversationalHeadPipeline, job: dict[str, Any]) -> dict[str, float]:
    from pipeline.audio.reading import read_audio
    from pipeline.coefficients import Coefficients
    from pipeline.face.tracker import FaceTracker
    from pipeline.renderers.mesh import MeshRenderer
    from pipeline.video import VideoWriter

    seconds: dict[str, float] = {}
    portrait = pipeline.portrait(job["portrait"], job["size"])
    samples = read_audio(job["audio"])
    with _stopwatch(seconds, "driver"), _timed("pipeline.drivers.talking", _HEARING, seconds, "features"):
        parts = pipeline.driver(samples, portrait.coefficients, seed=0, identity=portrait.identity)
        coefficients = Coefficients.concatenate(list(parts))
    frames = len(coefficients)

    renderer = MeshRenderer.load(pipeline.weights, portrait)
    pictures: list[np.ndarray] = []
    with _stopwatch(seconds, "render"), _timed("pipeline.renderers.mesh", _FUSING, seconds, "fusion"):
        for frame in renderer.render(coefficients):
            if len(pictures) < _HELD_FRAMES:
                pictures.append(frame)
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
    found = [face.landmarks for face in faces if face is not None]
    if not found:
        raise InputError("No face was found in the rendered frames; bench another portrait.")
    import numpy as np

    with _stopwatch(seconds, "fit"):
        pipeline.model.fit(np.stack(found), portrait.size, portrait.identity)
    return {stage: value / (len(found) if stage == "fit" else frames) for stage, value in seconds.items()}


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
    import importlib

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


# The machine ----------------------------------------------------------------------------------------------------


def _cold_command_line(job: dict[str, Any], size: int) -> float:
    """Seconds of `python -m pipeline talk` as a user runs it, in a process that has loaded nothing."""
    output = Path(job["folder"]) / "cold.mp4"
    command = [sys.executable, "-m", "pipeline", "talk", job["portrait"], job["audio"], "-o", str(output)]
    command += ["--size", str(size)] + (["--weights", job["weights"]] if job["weights"] else [])
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode or not output.is_file():
        lines = done.stderr.strip().splitlines() or ["it ended without a word"]
        raise InputError(f"The command line failed: {lines[-1]}")
    return time.perf_counter() - begun


def _write_speech(source: Path, path: Path, seconds: float) -> None:
    """`source` repeated or cut to `seconds`, as 16-bit mono."""
    import numpy as np

    from pipeline.audio.reading import read_audio

    samples = np.resize(read_audio(source), round(seconds * SAMPLE_RATE))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, len(samples), "NONE", ""))
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


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


def _weights_megabytes() -> float:
    from pipeline.hub import EMBEDDED

    return sum(file.stat().st_size for file in EMBEDDED.rglob("*") if file.is_file()) / 1e6


def _machine() -> dict[str, Any]:
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": cores,
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    try:
        print(json.dumps(_work(json.loads(sys.argv[1]))))
    except InputError as error:
        sys.exit(str(error))
