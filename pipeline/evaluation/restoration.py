"""Suite `restoration`: what each restoration makes of the mesh renderer's frames, where the truth is known.

Each real clip is drawn from its own first frame with its own coefficients; the frames are measured as they are and
restored, against the real ones: is fine detail that was lost there again, at the right places, and does it hold still.
"""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import VideoError
from pipeline.evaluation.corpus import Clip, select
from pipeline.evaluation.pictures import grown_box, mouth_box, psnr
from pipeline.evaluation.steadiness import SteadinessMeter, fine, luma, skin
from pipeline.evaluation.suites import SuiteOptions
from pipeline.evaluation.tables import Check, Column, Row, Table
from pipeline.evaluation.tracks import track_video
from pipeline.postprocess.moving_face import MovingFace
from pipeline.postprocess.restoration import RESTORATIONS, load_restoration
from pipeline.postprocess.smoothing import smooth_coefficients

if TYPE_CHECKING:
    from pipeline.conversation import ConversationalHeadPipeline

_FRAMES = 75  # of each clip: three seconds tell enough
_NONE = "none"
_FIGURES = (
    ("psnr", "face dB", 2),
    ("mouth", "mouth dB", 2),
    ("fine", "fine", 3),
    ("flicker", "flicker", 3),
    ("pulse", "pulse %", 2),
)


def tasks(clips: list[Clip], options: SuiteOptions) -> list[Clip]:
    """All `talk` clips of the split."""
    return select(clips, ("talk",), options.split)


def measure(pipeline: ConversationalHeadPipeline, task: Clip, options: SuiteOptions) -> Row:
    """Draw, restore and compare the frames of one clip that follow the first one with a face."""
    from pipeline.renderers.mesh import MeshRenderer
    from pipeline.video import VideoReader

    truth = track_video(task.path, options.cache)
    first = int(np.argmax(truth.found))
    real = [_even(frame) for frame in islice(VideoReader(task.path), first, first + _FRAMES)]
    count = int(np.argmin(np.append(truth.found[first : first + len(real)], False)))  # up to the first lost frame
    if count < 3:
        raise VideoError("No frames with a face follow the first one.")
    portrait = pipeline.portrait(real[0])
    landmarks = truth.landmarks[first : first + count]
    coefficients = smooth_coefficients(pipeline.model.fit(landmarks, portrait.size, portrait.identity)[1], 1)
    rows = list(zip(coefficients.expression, coefficients.pose, coefficients.crop, strict=True))
    points = [MovingFace(portrait).points(*row) for row in rows]
    frames = list(MeshRenderer.load(pipeline.weights, portrait).render(coefficients))

    result: Row = {"frames": count - 1, "size": max(portrait.size)}
    true_detail = np.mean([_detail(real[i], landmarks[i]) for i in range(1, count)])
    for name in RESTORATIONS:
        if name == "gfpgan" and name not in pipeline.weights.components:
            continue
        restoration = load_restoration(name, pipeline.weights, portrait)
        shown = [frame.copy() for frame in frames]
        begun = time.thread_time()
        if restoration is not None:
            shown = list(restoration.start()(iter(shown), coefficients))
        milliseconds = 1000 * (time.thread_time() - begun) / count
        meter = SteadinessMeter()
        for frame, where in zip(shown[1:], points[1:], strict=True):
            meter.add(frame, where)
        faces = [(shown[i], real[i], landmarks[i]) for i in range(1, count)]
        result |= {
            f"{name}_psnr": float(np.mean([psnr(a, b, grown_box(at, portrait.size)) for a, b, at in faces])),
            f"{name}_mouth": float(np.mean([psnr(a, b, mouth_box(at, portrait.size)) for a, b, at in faces])),
            f"{name}_fine": meter.detail / true_detail,
            f"{name}_flicker": meter.flicker,
            f"{name}_pulse": 100 * meter.pulse,
            f"{name}_ms": milliseconds,
        }
    return result


def table(rows: list[Row], options: SuiteOptions) -> Table:
    """All clips, with what issue 4 asks of the restoration that ships."""
    used = [name for name in RESTORATIONS if any(f"{name}_psnr" in row for row in rows)]
    columns = [Column("clip", "clip", total=""), Column("size", "pixels", 0), Column("frames", "frames", 0, "sum")]
    for key, heading, decimals in _FIGURES:
        columns += [Column(f"{name}_{key}", heading if name == _NONE else name, decimals) for name in used]
    columns += [Column(f"{name}_ms", f"{name} ms", 2) for name in used if name != _NONE]
    result = Table(f"restoration of the mesh's frames on split={options.split}", columns, rows)
    mean = result.mean
    result.checks = [
        Check("PSNR of the face with detail over without, dB", mean("detail_psnr") - mean("none_psnr"), low=-0.01),
        Check("PSNR of the mouth with detail over without, dB", mean("detail_mouth") - mean("none_mouth"), low=-0.01),
        Check("fine detail won, share of the real", mean("detail_fine") - mean("none_fine"), low=0.01),
        Check("flicker with detail over without", mean("detail_flicker") / mean("none_flicker"), high=1),
        Check("pulsing with detail over without", mean("detail_pulse") / mean("none_pulse"), high=1),
    ]
    result.notes = [
        "Means over the frames of the first three seconds, then over clips. face, mouth: PSNR in the real face's box "
        "and the mouth's crop. fine: root mean square of the skin's fine luma over the real frames'. flicker: its mean "
        "change from frame to frame along the mesh, grey levels. pulse: change of the detail's strength from frame to "
        "frame. ms: processor time a frame of this thread.",
        "The first column of each figure is without restoration.",
    ]
    return result


def _even(frame: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2])


def _detail(frame: np.ndarray, points: np.ndarray) -> float:
    where = skin(points, (frame.shape[1], frame.shape[0]))
    return float(np.sqrt(np.square(fine(luma(frame))[where]).mean())) if where.any() else float("nan")
