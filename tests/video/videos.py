"""Small videos for the tests: made by other means than the writer under test."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from pipeline.video import VideoReader


def solid(colour: tuple[int, int, int], size: tuple[int, int] = (64, 48)) -> np.ndarray:
    return np.full((size[1], size[0], 3), colour, np.uint8)


def grey(level: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    return solid((level, level, level), size)


def write_source(
    path: Path, frames: list[np.ndarray], rate: int = 25, times: list[Fraction] | None = None, **options: object
) -> Path:
    """A video made by other means than the writer under test, with frames at `times` seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "8"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if "aspect" in options:
            stream.codec_context.sample_aspect_ratio = options["aspect"]
        base = Fraction(1, 90000) if times else Fraction(1, rate)
        stream.time_base = stream.codec_context.time_base = base
        for index, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts = round(times[index] / base) if times else index
            frame.time_base = base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def levels(path: Path) -> list[int]:
    return [round(float(frame.mean())) for frame in VideoReader(path)]
