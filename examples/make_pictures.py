"""Make the README's pictures with the project itself: its example portraits saying its example speech, or hearing it.

    python examples/make_pictures.py [--folder examples/pictures]

talking.webp moves; talking.jpg shows the portrait and moments of each clip side by side; listening.jpg shows how three
portraits take the same speech, each with three attitudes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

EXAMPLES = Path(__file__).resolve().parent
sys.path.append(str(EXAMPLES.parent))

from pipeline import ConversationalHeadPipeline  # noqa: E402
from pipeline.attitudes import ATTITUDES  # noqa: E402
from pipeline.clock import FPS  # noqa: E402
from pipeline.face.image import read_image  # noqa: E402

CLIPS = (
    ("man_smiling.jpg", "hello_slt.wav"),
    ("drawing.png", "question_slt.flac"),
    ("woman_curls.jpg", "lips_rms.flac"),
    ("statue.jpg", "pause_awb.ogg"),
    ("man_beard.jpg", "lips_rms.flac"),
    ("woman_spectacles.jpg", "bonjour_espeak.ogg"),
    ("astronaut.png", "hello_slt.wav"),
)
MOVING = ("woman_spectacles.jpg", "man_smiling.jpg", "drawing.png", "statue.jpg")
"""Shown in talking.webp, all saying the same."""
LISTENERS = ("woman_spectacles.jpg", "man_beard.jpg", "astronaut.png")
_HEARD_MOMENTS = (60, 110)
_MOMENTS = (18, 27, 36, 51, 66, 90)  # frames, where somebody speaks
_CELL = 200
_MOVING_SECONDS = 4.0


def cells(
    pipe: ConversationalHeadPipeline, portrait: str, speech: str, attitude: str | None = None
) -> Iterator[np.ndarray]:
    """Every frame of a clip as a square (_CELL, _CELL, 3), close around head and shoulders.

    Without an attitude the portrait speaks, with one it listens.
    """
    given = EXAMPLES / "portraits" / portrait, EXAMPLES / "speech" / speech
    start = pipe.talk if attitude is None else partial(pipe.listen, attitude=attitude)
    clip = start(*given, seed=1, size=512)
    for frame in clip.frames:
        yield _square(frame, portrait)


def _square(frame: np.ndarray, portrait: str) -> np.ndarray:
    side = frame.shape[0]
    if portrait == "astronaut.png":
        frame = frame[: round(0.52 * side), round(0.18 * side) : round(0.70 * side)]
    else:
        frame = frame[: round(0.9 * side), round(0.05 * side) : round(0.95 * side)]
    return cv2.resize(frame, (_CELL, _CELL), interpolation=cv2.INTER_AREA)


def sheet(pipe: ConversationalHeadPipeline) -> np.ndarray:
    """One row a clip: the portrait as given, then moments of the clip."""
    rows = []
    for portrait, speech in CLIPS:
        still = _square(read_image(EXAMPLES / "portraits" / portrait), portrait)
        frames = list(cells(pipe, portrait, speech))
        gap = np.full((_CELL, _CELL // 20, 3), 255, np.uint8)
        rows.append(np.hstack([still, gap, *(frames[moment] for moment in _MOMENTS)]))
    return np.vstack(rows)


def listening(pipe: ConversationalHeadPipeline) -> np.ndarray:
    """One row a portrait: as given, then moments of listening with each attitude."""
    rows = []
    gap = np.full((_CELL, _CELL // 20, 3), 255, np.uint8)
    for portrait in LISTENERS:
        row = [_square(read_image(EXAMPLES / "portraits" / portrait), portrait)]
        for attitude in ATTITUDES:
            frames = list(cells(pipe, portrait, "pause_awb.ogg", attitude))
            row += [gap, *(frames[moment] for moment in _HEARD_MOMENTS)]
        rows.append(np.hstack(row))
    return np.vstack(rows)


def moving(pipe: ConversationalHeadPipeline) -> list[Image.Image]:
    """Heads side by side that say the same, at half the frame rate."""
    columns = [list(cells(pipe, portrait, "hello_slt.wav"))[: int(_MOVING_SECONDS * FPS) : 2] for portrait in MOVING]
    return [Image.fromarray(np.hstack(frames)) for frames in zip(*columns, strict=True)]


def main() -> None:
    """Write all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=EXAMPLES / "pictures")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    pipe = ConversationalHeadPipeline.from_pretrained()
    first, *others = moving(pipe)
    first.save(
        folder / "talking.webp", save_all=True, append_images=others, duration=2000 // FPS, loop=0, quality=72, method=4
    )
    Image.fromarray(sheet(pipe)).save(folder / "talking.jpg", quality=88)
    Image.fromarray(listening(pipe)).save(folder / "listening.jpg", quality=88)


if __name__ == "__main__":
    main()
