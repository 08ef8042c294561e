"""Suite `talk`: a clip's first frame made to speak the clip's own sound, its lips against the real ones.

The rendered video is tracked again, so driver and renderer are judged together, as a viewer would; `driver r`
judges the coefficients alone and tells which of the two loses.
"""

from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import VideoError
from pipeline.evaluation.corpus import SYNC_R, Clip, select
from pipeline.evaluation.lips import lip_distance, lip_sync, spread_ratio
from pipeline.evaluation.pairs import FACE_MODEL
from pipeline.evaluation.suites import SuiteOptions
from pipeline.evaluation.tables import Check, Column, Row, Table
from pipeline.evaluation.tracks import Track, track_frames, track_video
from pipeline.face.measures import lip_opening
from pipeline.face.morphable import MorphableModel

if TYPE_CHECKING:
    from pipeline.conversation import ConversationalHeadPipeline, HeadClip

_COLUMNS = [
    Column("clip", "clip", total=""),
    Column("frames", "frames", 0, "sum"),
    Column("known_lag", "known lag", 0, ""),
    Column("lip_r", "lip r", 3),
    Column("lip_lag", "lag", 0, ""),
    Column("lip_r_at_lag", "r there", 3),
    Column("lip_spread", "spread"),
    Column("driver_r", "driver r", 3),
    Column("driver_spread", "spread"),
    Column("lmd_aligned", "aligned LMD %"),
    Column("lost", "lost", 0, "sum"),
]


def tasks(clips: list[Clip], options: SuiteOptions) -> list[Clip]:
    """The `talk` clips of the split whose `sync_r` is at least 0.35."""
    return select(clips, ("talk",), options.split, min_sync=SYNC_R)


def measure(pipeline: ConversationalHeadPipeline, task: Clip, options: SuiteOptions) -> Row:
    """Let one clip's first frame with a face speak its sound, and compare the lips."""
    from pipeline.video import VideoReader

    truth = track_video(task.path, options.cache)
    first = int(np.argmax(truth.found))
    portrait = next(islice(VideoReader(task.path), first, None))
    clip = pipeline.talk(portrait, str(task.path), seed=options.seed, **options.pipeline)
    ours = rendered_track(clip, options.encode)
    lost = int((~ours.found).sum())
    if not ours.found.any():
        raise VideoError("No face was found in the rendered video.")
    sync = lip_sync(ours.opening, truth.opening, task.sync_lag, ours.found, truth.found)
    row: Row = {
        "frames": sync.frames,
        "known_lag": task.sync_lag,
        "lip_r": sync.correlation,
        "lip_lag": sync.lag,
        "lip_r_at_lag": sync.correlation_at_lag,
        "lip_spread": spread_ratio(ours.opening[ours.found], truth.opening[truth.found]),
        "lmd_aligned": _aligned_distance(ours, truth, task.sync_lag),
        "lost": lost,
    }
    return row | _driver(clip, truth, first, task.sync_lag)


def table(rows: list[Row], options: SuiteOptions) -> Table:
    """All clips, and what issue 2 asks of them."""
    result = Table(f"talk: lips on the clips with sync_r of at least {SYNC_R}", _COLUMNS, rows)
    offsets = np.array(
        [row["lip_lag"] - row["known_lag"] for row in result.measured if row.get("lip_lag") is not None], float
    )
    result.extra = {
        "median_lag_error": float(np.median(offsets)) if len(offsets) else None,
        "lags_within_2_frames": float(np.mean(np.abs(offsets) <= 2)) if len(offsets) else None,
    }
    result.checks = [
        Check("lip correlation", result.mean("lip_r"), low=0.70),
        Check("lip spread, generated / real", result.mean("lip_spread"), low=0.7, high=1.2),
    ]
    source = "saved MP4" if options.encode else "frames"
    result.notes = [
        f"Measured on the {source}, tracked again. lip r: Pearson of inner-lip opening at the known lag ±1 frame; "
        "lag: the best of ±12. driver: the coefficients before rendering, on the first frame's face.",
    ]
    return result


def rendered_track(clip: HeadClip, encode: bool) -> Track:
    """Track a generated clip: through a saved MP4, or its frames as they are rendered."""
    if not encode:
        return track_frames(clip.frames)
    with tempfile.TemporaryDirectory(prefix="tete-") as folder:
        path = Path(folder) / "clip.mp4"
        clip.save(str(path))
        return track_video(path)


def _aligned_distance(ours: Track, truth: Track, lag: int) -> float | None:
    start, stop = max(0, -lag), min(len(ours), len(truth) - lag)
    a, b = slice(start, stop), slice(start + lag, stop + lag)
    both = ours.found[a] & truth.found[b]
    if not both.any():
        return None
    return 100 * float(lip_distance(ours.landmarks[a][both], truth.landmarks[b][both], aligned=True).mean())


def driver_opening(clip: HeadClip, landmarks: np.ndarray, size: tuple[int, int]) -> np.ndarray | None:
    """(T,) inner-lip opening of a clip's coefficients before rendering, or None if it has none.

    Args:
        clip: a generated clip.
        landmarks: (478, 3) of the person's face in some frame, from which α is solved.
        size: (W, H) of that frame.
    """
    coefficients = getattr(clip, "coefficients", None)
    if coefficients is None:
        return None
    model = MorphableModel.load(FACE_MODEL)
    identity, _ = model.fit(landmarks[None], size)
    return lip_opening(model.shape(identity, coefficients.expression.astype(np.float64)))


def _driver(clip: HeadClip, truth: Track, first: int, lag: int) -> Row:
    opening = driver_opening(clip, truth.landmarks[first], truth.size)
    if opening is None:
        return {}
    return {
        "driver_r": lip_sync(opening, truth.opening, lag, None, truth.found).correlation,
        "driver_spread": spread_ratio(opening, truth.opening[truth.found]),
    }
