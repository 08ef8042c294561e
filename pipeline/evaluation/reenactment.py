"""Suite `reenact`: each real clip rebuilt from its own first frame, where the truth is known.

Measures the renderer: PSNR in the face's box and of the whole picture, SSIM, and lip landmarks, against the
baseline that holds the first frame still (and, on request, a plain piecewise-affine warp). The frame that serves
as portrait is given, not predicted, so it is left out of all means; else the baseline would be paid 60 dB for it.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import VideoError
from pipeline.evaluation.corpus import Clip, select
from pipeline.evaluation.lips import lip_distance
from pipeline.evaluation.pictures import grown_box, psnr, ssim
from pipeline.evaluation.suites import SuiteOptions
from pipeline.evaluation.tables import Check, Column, Row, Table
from pipeline.evaluation.tracks import Track, TrackRecorder, track_video
from pipeline.evaluation.warp import AffineWarp

if TYPE_CHECKING:
    from pipeline.conversation import ConversationalHeadPipeline

_COLUMNS = [
    Column("clip", "clip", total=""),
    Column("frames", "frames", 0, "sum"),
    Column("psnr_face", "face dB"),
    Column("still_psnr_face", "still"),
    Column("gain_face", "gain"),
    Column("psnr", "whole dB"),
    Column("still_psnr", "still"),
    Column("gain", "gain"),
    Column("ssim", "SSIM", 3),
    Column("still_ssim", "still", 3),
    Column("gain_ssim", "gain", 3),
    Column("lmd", "LMD %"),
    Column("still_lmd", "still"),
    Column("lmd_aligned", "aligned"),
    Column("lost", "lost", 0, "sum"),
]
_WARP_COLUMNS = [Column("warp_gain_face", "warp"), Column("warp_gain", "whole"), Column("warp_gain_ssim", "SSIM", 3)]
_WARP_STEP = 5  # the warp's baseline is slow and smooth in time: every fifth frame tells enough


def tasks(clips: list[Clip], options: SuiteOptions) -> list[Clip]:
    """All `talk` and `silent` clips of the split."""
    return select(clips, ("talk", "silent"), options.split)


def measure(pipeline: ConversationalHeadPipeline, task: Clip, options: SuiteOptions) -> Row:
    """Rebuild one clip from its first frame with a face, and compare each later frame with a face."""
    from pipeline.video import VideoReader

    truth = track_video(task.path, options.cache)
    first = int(np.argmax(truth.found))
    reader = VideoReader(task.path)
    portrait = _even(next(islice(reader, first, None)))
    warp = AffineWarp(portrait, truth.landmarks[first]) if options.warp else None
    clip = pipeline.reenact(portrait, str(task.path), relative=False, **options.pipeline)
    sums: dict[str, list[float]] = {}
    count = 0
    with TrackRecorder() as recorder:
        for index, (frame, real) in enumerate(zip(clip.frames, reader, strict=False)):
            count += 1
            real = _even(real)
            recorder.add(frame)
            if index <= first or index >= len(truth) or not truth.found[index]:
                continue
            box = grown_box(truth.landmarks[index], (real.shape[1], real.shape[0]))
            figures = _compare(frame, real, box, "") | _compare(portrait, real, box, "still_")
            if warp is not None and index % _WARP_STEP == 0:
                figures |= _gains(_compare(warp(truth.landmarks[index]), real, box, ""), figures, "warp_")
            for key, value in figures.items():
                sums.setdefault(key, []).append(value)
        generated = recorder.track()
    if count < len(truth) - 1:
        raise VideoError(f"Only {count} of {len(truth)} frames were generated.")
    if not sums:
        raise VideoError("No frame with a face follows the first one.")
    row: Row = {"frames": len(sums["psnr"])}
    row |= {key: float(np.mean(values)) for key, values in sums.items()}
    row |= _gains(row, row, "")
    return row | _lips(generated, truth, first)


def table(rows: list[Row], options: SuiteOptions) -> Table:
    """All clips, and what issue 2 asks of them."""
    columns = _COLUMNS + (_WARP_COLUMNS if options.warp else [])
    result = Table("reenact: each clip from its own first frame", columns, rows)
    gains = result.values("gain_face")
    below = float((gains < 0).sum()) if len(gains) else math.nan
    result.extra = {"clips_below_still": below, "worst_gain_face": float(gains.min()) if len(gains) else None}
    result.checks = [
        Check("face gain over the still frame, dB", result.mean("gain_face"), low=4),
        Check("clips below the still frame", below, high=0),
        Check("whole-picture gain, dB", result.mean("gain"), low=1.5),
        Check("SSIM gain", result.mean("gain_ssim"), low=0.05),
        Check("LMD, % of face height", result.mean("lmd"), high=1.5),
    ]
    result.notes = [
        "Means over frames (PSNR of each at most 60 dB; the portrait's own frame left out), then over clips.",
        "face: the real face's box of that frame, 10 % larger. still: the first frame held. "
        "LMD unaligned; aligned: the mouth's mean taken out. lost: frames whose generated face was not found.",
    ]
    return result


def _even(frame: np.ndarray) -> np.ndarray:
    """The frame without its last row or column if they are odd in number: video has even sides."""
    return frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2]


def _compare(frame: np.ndarray, real: np.ndarray, box: tuple[int, int, int, int], prefix: str) -> dict[str, float]:
    return {
        f"{prefix}psnr_face": psnr(frame, real, box),
        f"{prefix}psnr": psnr(frame, real),
        f"{prefix}ssim": ssim(frame, real),
    }


def _gains(ours: Row, with_still: Row, prefix: str) -> dict[str, float]:
    pairs = {"gain_face": "psnr_face", "gain": "psnr", "gain_ssim": "ssim"}
    return {prefix + gain: ours[key] - with_still["still_" + key] for gain, key in pairs.items()}


def _lips(generated: Track, truth: Track, first: int) -> Row:
    count = min(len(generated), len(truth))
    later = np.arange(count) > first
    wanted = truth.found[:count] & later
    both = wanted & generated.found[:count]
    row: Row = {"lost": int((wanted & ~both).sum()), "lmd": None, "lmd_aligned": None, "still_lmd": None}
    if both.any():
        ours, theirs = generated.landmarks[:count][both], truth.landmarks[:count][both]
        still = np.broadcast_to(truth.landmarks[first], theirs.shape)
        row["lmd"] = 100 * float(lip_distance(ours, theirs).mean())
        row["lmd_aligned"] = 100 * float(lip_distance(ours, theirs, aligned=True).mean())
        row["still_lmd"] = 100 * float(lip_distance(still, theirs).mean())
    return row
