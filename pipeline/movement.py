"""How a head moves in a clip, as a few curves to look at: lips, pose and the sound's level."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.clock import FPS, SAMPLE_RATE
from pipeline.errors import AudioError
from pipeline.face.measures import lip_opening

if TYPE_CHECKING:
    from pipeline.coefficients import Coefficients
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


def movement_of(
    coefficients: Coefficients, sound: Path | str | None, model: MorphableModel, points: int = _CURVE_POINTS
) -> Movement:
    """The curves of a clip of T frames, of `points` points or one a frame if it has fewer.

    Of an hour's clip every so-many-th frame is taken, so that memory and time stay those of a minute; the sound is
    read once through.
    """
    frames = len(coefficients)
    chosen = np.unique(np.linspace(0, frames - 1, min(points, frames)).round().astype(int))
    still = np.zeros(model.identity_basis.shape[-1])
    lips = [
        lip_opening(model.shape(still, coefficients.expression[part]))
        for part in np.array_split(chosen, -(-len(chosen) // _CHUNK))
    ]
    pose = np.degrees(coefficients.pose[chosen, :3])
    return Movement(frames / FPS, np.concatenate(lips), pose, _level(sound, frames, len(chosen)))


def _level(sound: Path | str | None, frames: int, points: int) -> np.ndarray:
    from pipeline.audio.reading import stream_audio

    level = np.zeros(points)
    if sound is None:
        return level
    samples = frames * SAMPLE_RATE // FPS
    start = 0
    with contextlib.suppress(AudioError):  # a video without sound
        for block in stream_audio(sound):
            places = (np.arange(start, start + len(block)) * points // samples).clip(0, points - 1)
            np.maximum.at(level, places, np.abs(block))
            start += len(block)
    return level.clip(0, 1)
