"""Speed and memory on this machine: each stage alone, the whole clip, cold and warm, against the design's budgets.

Every renderer and size is measured in processes of its own, so that "cold" means a process that has loaded nothing
yet and peak memory is that of one clip. Stages are timed alone, one after the other; in a clip the encoder works
beside the renderer in a thread, so a clip takes less than the sum of its stages.
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.bench_stages import FRAME_STAGES
from pipeline.clock import SAMPLE_RATE
from pipeline.errors import InputError, WeightsError
from pipeline.evaluation.tables import Check, Column, Row, Table

_ROOT = Path(__file__).resolve().parents[1]
PORTRAIT = _ROOT / "examples" / "portraits" / "astronaut.png"
SPEECH = _ROOT / "examples" / "speech" / "hello_slt.wav"
_HEAD_SIDE = 2.5
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
class Measured:
    """One renderer.

    Attributes:
        weights: "trained", or "random" for its speed alone.
        device: what the renderer ran on, "cpu" or "cuda".
        sizes: for each size the stages' table and the figures of the whole clip.
    """

    weights: str
    device: str = "cpu"
    sizes: dict[int, tuple[Table, dict[str, float]]] = field(default_factory=dict)

    def slowest(self, size: int, count: int = 3) -> list[str]:
        """Names of the stages that take longest once warm."""
        rows = sorted(self.sizes[size][0].rows, key=lambda row: -row["warm_ms"])
        return [row["stage"] for row in rows[:count]]


@dataclass
class Report:
    """What `run` measured.

    Attributes:
        machine: processor, cores, GPU and versions.
        seconds: of sound in the clip.
        renderers: by name.
        checks: the design's budgets, which are for what is embedded.
    """

    machine: dict[str, Any]
    seconds: float
    renderers: dict[str, Measured] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    def to_dict(self) -> dict[str, object]:
        """For `json.dumps`."""
        return {
            "machine": self.machine,
            "seconds": self.seconds,
            "renderers": {
                name: {
                    "weights": measured.weights,
                    "device": measured.device,
                    "sizes": {
                        str(size): {"stages": table.to_dict()["rows"], "slowest": measured.slowest(size), "clip": clip}
                        for size, (table, clip) in measured.sizes.items()
                    },
                }
                for name, measured in self.renderers.items()
            },
            "checks": Table("", [], [], self.checks).to_dict()["checks"],
        }

    def text(self) -> str:
        """For a terminal."""
        blocks = [", ".join(f"{key}: {value}" for key, value in self.machine.items())]
        for name, measured in self.renderers.items():
            if measured.weights == "random":
                blocks.append(f"{name}: RANDOM WEIGHTS, what it draws is noise; only its speed means anything")
            for size, (table, clip) in measured.sizes.items():
                blocks.append(table.text())
                blocks.append(
                    f"{name}, whole clip of {self.seconds:g} s, from files to MP4: {clip['cold_fps']:.3g} frames/s in "
                    f"a fresh process, {clip['warm_fps']:.3g} warm; first frame after {clip['cold_first']:.2f} s cold, "
                    f"{clip['warm_first']:.2f} s warm; portrait {clip['portrait']:.2f} s; "
                    f"peak memory {clip['peak_mb']:.0f} MB\nslowest stages: {', '.join(measured.slowest(size))}"
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
    renderers: Sequence[str] = (),
    random_weights: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Measure this machine.

    Args:
        sizes: pixels of the picture's longer side.
        seconds: of sound; the audio file is repeated or cut to it.
        portrait: a picture with a face; a square of 2.5 face heights around it is used, so that the face has the
            same share of every size.
        audio: a sound file.
        weights: a folder or Hub repository; None for the embedded ones.
        renderers: names; none measures all that have weights.
        random_weights: lets renderers that have no weights run on random ones of the usual size.
        progress: called with "bench", processes done and in all.

    Raises:
        InputError: if a size or length is out of range, or the clip cannot be made.
        WeightsError: if a renderer has no weights and may not run on random ones.
    """
    if not sizes or min(sizes) < 64 or max(sizes) > 4096:
        raise InputError("Sizes must lie between 64 and 4096 pixels.")
    if not 0.2 <= seconds <= 3600:
        raise InputError("The clip's length must lie between 0.2 and 3600 seconds.")
    chosen = _choose(weights, renderers, random_weights)
    report = Report(_machine(), seconds)
    done, total = 0, 2 * len(chosen) * len(sizes)
    with tempfile.TemporaryDirectory(prefix="tete-bench-") as folder:
        sound = Path(folder) / "speech.wav"
        _write_speech(Path(audio), sound, seconds)
        picture = Path(folder) / "portrait.png"
        _write_head(portrait, picture)
        job = {"portrait": str(picture), "audio": str(sound), "folder": folder}
        for name, trained in chosen.items():
            measured = report.renderers[name] = Measured("trained" if trained else "random")
            source = weights if trained else str(make_random_weights(name, Path(folder) / "random"))
            job |= {"renderer": name, "weights": source}
            for size in sizes:
                results = []
                for part in ("clip", "stages"):
                    if progress:
                        progress("bench", done, total)
                    results.append(_in_process({**job, "part": part, "size": size}))
                    done += 1
                clip, stages = results
                measured.device = stages.pop("device")
                measured.sizes[size] = _stage_table(name, size, stages), clip
        embedded = next((name for name, measured in report.renderers.items() if _is_embedded(name, measured)), None)
        if embedded is not None:
            command_line = _cold_command_line({**job, "renderer": embedded, "weights": weights}, 512)
            report.checks = _budgets(report, embedded, command_line)
    if progress:
        progress("bench", total, total)
    return report


def make_random_weights(name: str, folder: Path) -> Path:
    """A folder of weights with one renderer's network as it is before training; for its speed alone.

    Raises:
        WeightsError: if the renderer has no network of its own to make.
    """
    import torch

    networks = {
        "headgan": ("pipeline.renderers.headgan", "HeadGAN"),
        "pirenderer": ("pipeline.renderers.pirenderer", "PIRendererNetwork"),
    }
    if name not in networks:
        raise WeightsError(f"The renderer {name!r} cannot run on random weights; give weights that hold it.")
    module, kind = networks[name]
    torch.manual_seed(0)
    getattr(import_module(module), kind)().save(folder / name)
    (folder / "model_index.json").write_text(json.dumps({name: [module, kind]}))
    return folder


def _choose(weights: str | None, names: Sequence[str], random_weights: bool) -> dict[str, bool]:
    """The renderers to measure, and whether each has weights."""
    from pipeline.hub import find_weights
    from pipeline.renderers import RENDERERS, renderers_with_weights

    held = renderers_with_weights(find_weights(weights))
    for name in names:
        if name not in RENDERERS:
            raise InputError(f"There is no renderer {name!r}; choose one of: {', '.join(RENDERERS)}.")
        if name not in held and not random_weights:
            raise WeightsError(
                f"There are no weights for the renderer {name!r} here; give some with --weights, or measure its speed "
                "on random ones with --random-weights."
            )
    return {name: name in held for name in (names or held)}


def _is_embedded(name: str, measured: Measured) -> bool:
    from pipeline.hub import EMBEDDED, Weights
    from pipeline.renderers import renderers_with_weights

    return measured.weights == "trained" and name in renderers_with_weights(Weights(EMBEDDED, ()))


def _budgets(report: Report, name: str, command_line: float) -> list[Check]:
    clips = {size: clip for size, (_, clip) in report.renderers[name].sizes.items()}
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


def _stage_table(name: str, size: int, stages: dict[str, list[float]]) -> Table:
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
    return Table(f"{name}, {size} pixels", _STAGE_COLUMNS, rows)


def _in_process(job: dict[str, Any]) -> dict[str, Any]:
    """Run `pipeline.bench_stages` on a job in a fresh Python process and return what it prints."""
    job = {**job, "started": time.time()}
    command = [sys.executable, "-m", "pipeline.bench_stages", json.dumps(job)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it ended without a word"]
        raise InputError(f"Measuring {job['part']} at {job['size']} pixels failed: {lines[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _cold_command_line(job: dict[str, Any], size: int) -> float:
    """Seconds of `python -m pipeline talk` as a user runs it, in a process that has loaded nothing."""
    output = Path(job["folder"]) / "cold.mp4"
    command = [sys.executable, "-m", "pipeline", "talk", job["portrait"], job["audio"], "-o", str(output)]
    command += ["--size", str(size), "--renderer", job["renderer"]]
    command += ["--weights", job["weights"]] if job["weights"] else []
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


def _write_head(source: str | os.PathLike[str], path: Path) -> None:
    """The head and shoulders of a picture, as a square."""
    import cv2

    from pipeline.face.image import read_image
    from pipeline.face.tracker import FaceTracker

    image = read_image(source)
    with FaceTracker() as tracker:
        faces = tracker.find(image)
    if not faces:
        raise InputError(f"No face was found in {source}; give a picture that shows one.")
    side = min(round(_HEAD_SIDE * faces[0].height), *image.shape[:2])
    left, top, right, bottom = faces[0].box
    x = round(min(max(0, (left + right - side) / 2), image.shape[1] - side))
    y = round(min(max(0, (top + bottom - side) / 2), image.shape[0] - side))
    cv2.imwrite(str(path), cv2.cvtColor(image[y : y + side, x : x + side], cv2.COLOR_RGB2BGR))


def _weights_megabytes() -> float:
    from pipeline.hub import EMBEDDED

    return sum(file.stat().st_size for file in EMBEDDED.rglob("*") if file.is_file()) / 1e6


def _machine() -> dict[str, Any]:
    import torch

    # Of the embedded engine every stage runs on the processor; what else ran where is told with each renderer.
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
