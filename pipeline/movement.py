"""How a head moves in a clip, as a few curves to look at: lips, pose and the sound's level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.clock import FPS, SAMPLE_RATE
from pipeline.face.measures import lip_opening

if TYPE_CHECKING:
    from pipeline.clip import HeadClip
    from pipeline.face.morphable import MorphableModel

_CURVE_POINTS = 600
_CHUNK = 1000  # frames whose meshes are in memory at once


@dataclass(frozen=True)
class Movement:
    """Curves of N points, evenly over the clip.

    Attributes:
        seconds: length of the clip.
        lips: (N,) opening of the lips as a share of the face's height, on the average face.
        pose: (N, 3) pitch, yaw and roll in degrees.
        level: (N,) largest amplitude of the sound, 0 to 1; zeros where there is none.
    """

    seconds: float
    lips: np.ndarray
    pose: np.ndarray
    level: np.ndarray


def movement_of(clip: HeadClip, model: MorphableModel, points: int = _CURVE_POINTS) -> Movement:
    """The curves of a clip, of `points` points or one a frame if it has fewer.

    Of an hour's clip every so-many-th frame is taken, so that memory and time stay those of a minute; the sound is
    read once through.
    """
    coefficients = clip.coefficients
    frames = len(coefficients)
    chosen = np.unique(np.linspace(0, frames - 1, min(points, frames)).round().astype(int))
    still = np.zeros(model.identity_basis.shape[-1])
    lips = [
        lip_opening(model.shape(still, coefficients.expression[part]))
        for part in np.array_split(chosen, -(-len(chosen) // _CHUNK))
    ]
    pose = np.degrees(coefficients.pose[chosen, :3])
    return Movement(frames / FPS, np.concatenate(lips), pose, _level(clip, frames, len(chosen)))


def _level(clip: HeadClip, frames: int, points: int) -> np.ndarray:
    from pipeline.audio.reading import stream_audio

    level = np.zeros(points)
    if clip.audio is None:
        return level
    samples = frames * SAMPLE_RATE // FPS
    start = 0
    for block in stream_audio(clip.audio):
        places = (np.arange(start, start + len(block)) * points // samples).clip(0, points - 1)
        np.maximum.at(level, places, np.abs(block))
        start += len(block)
    return level.clip(0, 1)
