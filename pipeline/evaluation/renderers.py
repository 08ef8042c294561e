"""Suite `renderers`: each renderer on the same frames of people that none has seen, in one table.

Each real clip is drawn from its own first frame with its own coefficients, so that the truth of every frame is known
and a renderer answers for what it draws alone. `python -m pipeline evaluate --suite renderers --size 256`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

import cv2
import numpy as np

from pipeline.coefficients import Coefficients
from pipeline.devices import Runtime, on_processor
from pipeline.errors import InputError, VideoError, WeightsError
from pipeline.evaluation.corpus import Clip, select
from pipeline.evaluation.lips import lip_distance
from pipeline.evaluation.perception import (
    EMBEDDER,
    FACE_SIDE,
    IdentityEmbedder,
    identity_similarity,
    perceptual_distance,
)
from pipeline.evaluation.pictures import cpbd, grown_box, mouth_box, psnr, ssim
from pipeline.evaluation.steadiness import StillMeter
from pipeline.evaluation.suites import SuiteOptions
from pipeline.evaluation.tables import Check, Column, Row, Table
from pipeline.evaluation.tracks import Track, TrackRecorder, track_video
from pipeline.face.mouth_inside import mouth_inside
from pipeline.postprocess.alignment import cut_face, to_template
from pipeline.postprocess.smoothing import smooth_coefficients
from pipeline.renderers import RENDERERS, load_renderer, renderers_with_weights

if TYPE_CHECKING:
    from pipeline.conversation import ConversationalHeadPipeline
    from pipeline.face.portrait import Portrait
    from pipeline.hub import Weights

RUNS, RUN = 4, 10  # of each clip so many runs of so many frames, spread over it
_STEP = 5  # CPBD and the perceptual distance, which are slow, are taken on each fifth frame
_AROUND = 1.0  # flicker is looked for in a box twice as wide and high as the face
_SLOW_FRAMES = 2  # where there is a GPU, so many frames tell the processor's speed
MOUTH_GAIN = 1.0

_COLUMNS = [
    Column("renderer", "renderer", total=""),
    Column("clips", "clips", 0, ""),
    Column("frames", "frames", 0, ""),
    Column("psnr", "PSNR dB", 2, ""),
    Column("psnr_face", "face dB", 2, ""),
    Column("psnr_mouth", "mouth dB", 2, ""),
    Column("ssim", "SSIM", 4, ""),
    Column("ssim_face", "face", 4, ""),
    Column("lmd", "LMD %", 3, ""),
    Column("cpbd", "CPBD", 4, ""),
    Column("cpbd_real", "real", 4, ""),
    Column("perceptual", "perceptual", 4, ""),
    Column("identity", "identity", 4, ""),
    Column("flicker", "flicker", 3, ""),
    Column("flicker_real", "real", 3, ""),
    Column("cpu_fps", "CPU fps", 1, ""),
    Column("gpu_fps", "GPU fps", 1, ""),
    Column("lost", "lost", 0, ""),
]
_MEASURES = {  # what a renderer is better in if it has more (1) or less (-1) of it
    "psnr": 1,
    "psnr_face": 1,
    "ssim": 1,
    "ssim_face": 1,
    "lmd": -1,
    "cpbd": 1,
    "perceptual": -1,
    "identity": 1,
    "flicker": -1,
}
_SUMS = ("frames", "lost")


@dataclass
class _Truth:
    """The frames of a clip that are drawn and compared: runs of indices into all that follow."""

    portrait: Portrait
    coefficients: Coefficients
    real: dict[int, np.ndarray]
    landmarks: np.ndarray
    runs: list[range]
    identities: dict[int, np.ndarray] = field(default_factory=dict)


def choose(weights: Weights, names: Sequence[str]) -> tuple[str, ...]:
    """The renderers to compare: those named, or all that have weights.

    Raises:
        InputError: if there is no renderer of a name.
        WeightsError: if one has no weights.
    """
    held = renderers_with_weights(weights)
    for name in names:
        if name not in RENDERERS:
            raise InputError(f"There is no renderer {name!r}; choose one of: {', '.join(RENDERERS)}.")
        if name not in held:
            raise WeightsError(
                f"There are no weights for the renderer {name!r} here; give a folder or Hub repository that has them "
                "with --weights."
            )
    return tuple(names) or tuple(held)


def tasks(clips: list[Clip], options: SuiteOptions) -> list[Clip]:
    """All `talk` and `silent` clips of the split."""
    return select(clips, ("talk", "silent"), options.split)


def measure(pipeline: ConversationalHeadPipeline, task: Clip, options: SuiteOptions) -> Row:
    """Draw some frames of one clip with each renderer and compare them with the real ones."""
    truth = _read(pipeline, task, options)
    try:
        embedder = _embedder()
    except WeightsError:
        embedder = None
    if embedder is not None:
        # The slowest of all: on one frame a run, in its middle.
        middles = [run[len(run) // 2] for run in truth.runs]
        truth.identities = {i: embedder(truth.real[i], truth.landmarks[i]) for i in middles}
    result: Row = {}
    for name in choose(pipeline.weights, options.renderers):
        figures = _compare(name, pipeline.weights, truth, embedder)
        result |= {f"{name}_{key}": value for key, value in figures.items()}
    return result


def table(rows: list[Row], options: SuiteOptions) -> Table:
    """A row a renderer: means over clips of the means over their frames; and what issue 4 asks of the refiner."""
    whole = Table("", [], rows)
    names = [name for name in RENDERERS if any(f"{name}_psnr" in row for row in whole.measured)]
    shown: list[Row] = []
    for name in names:
        row: Row = {"renderer": name, "clips": len(whole.values(f"{name}_psnr"))}
        for column in _COLUMNS[2:]:
            values = whole.values(f"{name}_{column.key}")
            if len(values):
                row[column.key] = float(values.sum() if column.key in _SUMS else values.mean())
        shown.append(row)
    shown += [{"renderer": str(row["clip"]), "error": row["error"]} for row in rows if row.get("error")]
    size = "each clip's own size" if options.size is None else f"{options.size} pixels"
    heard = ", what shows inside driving mouths kept from them" if options.heard else ""
    result = Table(f"renderers on split={options.split} at {size}{heard}", _COLUMNS, shown, details=rows)
    result.checks = _checks(whole) if {"mesh", "refiner"} <= set(names) else []
    identity = f"identity: 1 - distance of descriptors by dlib's {EMBEDDER} (under 0.4: another person)."
    if not len(whole.values(f"{names[0]}_identity") if names else ()):
        try:
            _embedder()
        except WeightsError as error:
            identity = str(error)
    result.notes = [
        f"{RUNS} runs of {RUN} frames spread over each clip, all of a shorter one; drawn from the clip's first frame "
        "with its own coefficients, compared before encoding. Means over frames, then over clips.",
        "face: in the real face's box, 10 % larger; mouth: in the lips' box, 50 % larger. LMD: % of the face's height. "
        f"CPBD and perceptual: each {_STEP}th frame; identity: one a run. perceptual: 1 - CW-SSIM of the aligned face.",
        identity,
        "flicker: mean change from frame to frame, grey levels, where the real clip stands still around the face; "
        "real: the real clip's own. CPU fps: frames a second of one core's time. lost: frames whose drawn face was not "
        "found.",
    ]
    return result


def _checks(whole: Table) -> list[Check]:
    """The refiner against the mesh alone, clip by clip: means of differences."""
    gain = whole.mean("refiner_psnr_mouth") - whole.mean("mesh_psnr_mouth")
    checks = [Check("mouth PSNR of the refiner over the mesh, dB", gain, low=MOUTH_GAIN)]
    for key, sign in _MEASURES.items():
        if len(whole.values(f"mesh_{key}")):
            better = sign * (whole.mean(f"refiner_{key}") - whole.mean(f"mesh_{key}"))
            checks.append(Check(f"{key} of the refiner, how much better than the mesh", better, low=0))
    return checks


def _read(pipeline: ConversationalHeadPipeline, task: Clip, options: SuiteOptions) -> _Truth:
    from pipeline.video import VideoReader

    track = track_video(task.path, options.cache)
    first = int(np.argmax(track.found))
    count = int(np.argmin(np.append(track.found[first:], False)))  # up to the first frame without a face
    if count < 3:
        raise VideoError("No frames with a face follow the first one.")
    runs = _runs(count)
    wanted = {0, *(index for run in runs for index in run)}
    real, inside = {}, []
    for index, frame in enumerate(islice(VideoReader(task.path), first, first + count)):
        inside.append(mouth_inside(frame, track.landmarks[first + index]))
        if index in wanted:
            real[index] = _even(frame)
    portrait = pipeline.portrait(real[0], options.size)
    own = real[0].shape[1::-1]
    real = {index: _resized(frame, portrait.size) for index, frame in real.items()}
    part = slice(first, first + count)
    landmarks = Track(track.landmarks[part], track.found[part], own).scaled(portrait.size).landmarks
    _, coefficients = pipeline.model.fit(landmarks, portrait.size, portrait.identity)
    coefficients = smooth_coefficients(replace(coefficients, inside=None if options.heard else np.stack(inside)), 1)
    return _Truth(portrait, coefficients, real, landmarks, runs)


def _runs(count: int) -> list[range]:
    """Runs of frame numbers from 1 to `count`, none twice: frame 0 is the portrait."""
    if count - 1 <= RUNS * RUN:
        return [range(1, count)]
    starts = np.rint(np.linspace(1, count - RUN, RUNS)).astype(int)
    return [range(start, start + RUN) for start in starts]


def _sparse(truth: _Truth) -> list[int]:
    return [index for run in truth.runs for index in run[::_STEP]]


def _compare(name: str, weights: Weights, truth: _Truth, embedder: IdentityEmbedder | None) -> dict[str, float | None]:
    size, sparse = truth.portrait.size, set(_sparse(truth))
    sums: dict[str, list[float]] = {}
    pace: dict[str, float] = {}
    meters = []
    lost = 0
    with TrackRecorder() as recorder:
        for run, frames in _drawn(name, weights, truth, pace):
            meter = StillMeter()
            meters.append(meter)
            for index, frame in zip(run, frames, strict=True):
                real, landmarks = truth.real[index], truth.landmarks[index]
                face = grown_box(landmarks, size)
                found = recorder.add(frame)
                meter.add(frame, real, grown_box(landmarks, size, _AROUND))
                figures = {
                    "psnr": psnr(frame, real),
                    "psnr_face": psnr(frame, real, face),
                    "psnr_mouth": psnr(frame, real, mouth_box(landmarks, size)),
                    "ssim": ssim(frame, real),
                    "ssim_face": ssim(_cut(frame, face), _cut(real, face)),
                }
                if found is None:
                    lost += 1
                else:
                    figures["lmd"] = 100 * float(lip_distance(found[None], landmarks[None])[0])
                if index in sparse:
                    matrix = to_template(landmarks.astype(np.float64), FACE_SIDE)
                    aligned = (cut_face(picture, matrix, FACE_SIDE) for picture in (frame, real))
                    figures["perceptual"] = perceptual_distance(*aligned)
                    figures["cpbd"], figures["cpbd_real"] = cpbd(frame), cpbd(real)
                if embedder is not None and index in truth.identities:
                    # Cut at the real face's points: a drawn face in another place is another face there.
                    described = embedder(frame, landmarks)
                    figures["identity"] = identity_similarity(described, truth.identities[index])
                for key, value in figures.items():
                    sums.setdefault(key, []).append(value)
    result: dict[str, float | None] = {"frames": len(sums["psnr"]), "lost": lost}
    result |= {key: float(np.mean(values)) for key, values in sums.items()}
    result["flicker"] = _mean([meter.flicker for meter in meters])
    result["flicker_real"] = _mean([meter.real for meter in meters])
    return result | pace


def _drawn(
    name: str, weights: Weights, truth: _Truth, pace: dict[str, float]
) -> Iterator[tuple[range, list[np.ndarray]]]:
    """Each run with its frames; their pace is added when all are drawn.

    Every run is one of its own: the renderer starts anew where the one before it has ended.
    """
    renderer = load_renderer(name, weights, truth.portrait)
    count, core, clock = 0, 0.0, 0.0
    for run in truth.runs:
        begun = time.process_time(), time.perf_counter()
        frames = list(renderer.start()(truth.coefficients[run.start : run.stop]))
        core, clock = core + time.process_time() - begun[0], clock + time.perf_counter() - begun[1]
        count += len(frames)
        yield run, frames
    # A renderer without a runtime draws on the processor wherever it is.
    if getattr(renderer, "runtime", Runtime()).on_gpu:
        pace["gpu_fps"] = count / clock
        with on_processor():
            slow = load_renderer(name, weights, truth.portrait)
        begun_slow = time.process_time()
        count = len(list(slow.start()(truth.coefficients[:_SLOW_FRAMES])))
        core = time.process_time() - begun_slow
    pace["cpu_fps"] = count / max(core, 1e-9)


@lru_cache(maxsize=1)
def _embedder() -> IdentityEmbedder:
    return IdentityEmbedder()


def _mean(values: list[float]) -> float | None:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else None


def _cut(frame: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    left, top, right, bottom = box
    return np.ascontiguousarray(frame[top:bottom, left:right])


def _even(frame: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2])


def _resized(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if frame.shape[1::-1] == size:
        return frame
    method = cv2.INTER_AREA if size[0] < frame.shape[1] else cv2.INTER_CUBIC
    return cv2.resize(frame, size, interpolation=method)
