"""Suite `model`: how well the open morphable model rebuilds tracked faces that it was not trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.evaluation.corpus import Clip, select
from pipeline.evaluation.suites import SuiteOptions
from pipeline.evaluation.tables import Column, Row, Table
from pipeline.evaluation.tracks import Track, track_video
from pipeline.face import topology
from pipeline.face.morphable import MorphableModel

if TYPE_CHECKING:
    from pipeline.conversation import ConversationalHeadPipeline

_PARTS = {
    "all": np.arange(topology.LANDMARKS_COUNT),
    "lids": topology.LIDS,
    "lips": np.concatenate([topology.INNER_LIPS, topology.OUTER_LIPS]),
    "irises": topology.IRISES,
}
_COLUMNS = [
    Column("clip", "clip", total=""),
    Column("frames", "frames", 0, "sum"),
    *(Column(part, f"{part} %", 3) for part in _PARTS),
    *(Column(f"{part}_plane", f"{part} 2D", 3) for part in _PARTS),
    *(Column(f"{part}_first", f"{part} α₁", 3) for part in _PARTS),
]


def tasks(clips: list[Clip], options: SuiteOptions) -> list[Clip]:
    """All clips of faces of the split."""
    return select(clips, ("talk", "silent", "listen"), options.split)


def measure(pipeline: ConversationalHeadPipeline, task: Clip, options: SuiteOptions) -> Row:
    """Mean distance of the model's points from the tracked ones, in % of face height."""
    track = track_video(task.path, options.cache)
    landmarks = track.landmarks[track.found]
    first, _ = pipeline.model.fit(landmarks[:1], track.size)
    row: Row = {"frames": len(landmarks)}
    for suffix, identity in (("", None), ("_first", first)):
        offset = _offsets(pipeline.model, landmarks, track, identity)
        for part, points in _PARTS.items():
            row[part + suffix] = _mean_length(offset[:, points])
            if not suffix:
                row[part + "_plane"] = _mean_length(offset[:, points, :2])
    return row


def table(rows: list[Row], options: SuiteOptions) -> Table:
    """All clips."""
    result = Table(f"model: reconstruction error on split={options.split}, % of face height", _COLUMNS, rows)
    result.notes = [
        "Mean distance of fitted from tracked points over points and frames, then over clips, in three dimensions; "
        "2D: in the picture's plane. α of all frames; α₁: of the first frame alone, as for a portrait."
    ]
    return result


def _offsets(model: MorphableModel, landmarks: np.ndarray, track: Track, identity: np.ndarray | None) -> np.ndarray:
    """(T, 478, 3) from tracked to fitted points in face heights; depth is compared up to a shift of the whole."""
    identity, fitted = model.fit(landmarks, track.size, identity)
    shape = model.shape(identity, fitted.expression.astype(np.float64))
    points = model.project(shape, fitted.pose.astype(np.float64), fitted.crop.astype(np.float64), track.size)
    offset = points - landmarks
    weights = model.rigid_weights / model.rigid_weights.sum()
    offset[..., 2] -= (offset[..., 2] @ weights)[:, None]
    height = fitted.crop[:, 2] * np.exp(fitted.pose[:, 5]) * track.size[1]
    return offset / height[:, None, None]


def _mean_length(offset: np.ndarray) -> float:
    return 100 * float(np.linalg.norm(offset, axis=-1).mean())
