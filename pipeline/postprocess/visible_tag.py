"""A tag that anyone can see: "AI-generated", in a corner of every frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

TEXT = "AI-generated"
_LETTERS = 1 / 24  # height of the letters' line against the picture's shorter side
_LEAST, _MOST = 6, 72  # pixels
_WIDEST = 0.8  # of the picture
_GROUND = 0.62  # how far the plate darkens the picture: white letters stand out on white, black and anything between


class VisibleTag:
    """Callable that draws the tag into frames; it scales with the picture and stands at the lower left.

    White letters on a dark plate with a fine light edge, so that it can be read on any ground.

    Args:
        size: width and height of the frames in pixels.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        width, height = size
        letters = int(np.clip(round(min(size) * _LETTERS), _LEAST, _MOST))
        plate = _plate(letters)
        while plate.shape[1] > _WIDEST * width and letters > 2:
            letters -= 1
            plate = _plate(letters)
        plate = plate[:height, :width]
        gap = min(letters // 2, height - plate.shape[0], width - plate.shape[1])
        top = height - gap - plate.shape[0]
        self._place = slice(top, top + plate.shape[0]), slice(gap, gap + plate.shape[1])
        colour, cover = plate[..., :1], plate[..., 1:]
        self._keep = 1 - cover
        self._add = colour * cover * 255

    def __call__(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yields a copy of each frame (H, W, 3) uint8 RGB with the tag in it."""
        for frame in frames:
            tagged = frame.copy()
            area = tagged[self._place]
            area[:] = np.rint(area * self._keep + self._add)
            yield tagged


def _plate(letters: int) -> np.ndarray:
    """(h, w, 2) float32: brightness 0 to 1 and cover 0 to 1, for letters of a given size; drawn large, then reduced."""
    import cv2
    from PIL import Image, ImageDraw, ImageFont

    fine = 4
    font = ImageFont.load_default(letters * fine)
    left, top, right, bottom = font.getbbox(TEXT)
    pad = round(0.45 * letters * fine)
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    width, height = width + -width % fine, height + -height % fine
    ink, plate, edge = (Image.new("L", (width, height)) for _ in range(3))
    ImageDraw.Draw(ink).text((pad - left, pad - top), TEXT, fill=255, font=font)
    box = (0, 0, width - 1, height - 1)
    ImageDraw.Draw(plate).rounded_rectangle(box, radius=pad, fill=255)
    ImageDraw.Draw(edge).rounded_rectangle(box, radius=pad, outline=255, width=max(1, fine * letters // 16))
    white = np.maximum(np.asarray(ink, np.float32), 0.55 * np.asarray(edge, np.float32)) / 255
    cover = np.maximum(_GROUND * np.asarray(plate, np.float32) / 255, white)
    both = np.dstack([white * cover, cover])
    small = cv2.resize(both, (width // fine, height // fine), interpolation=cv2.INTER_AREA)
    return np.dstack([small[..., 0] / np.maximum(small[..., 1], 1e-6), small[..., 1]])
