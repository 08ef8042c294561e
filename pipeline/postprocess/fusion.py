"""Foreground over background: the background stays as it is, and is filled where the head uncovers it.

Huang 2022 (eqs. 4-7) segments each generated frame, takes the median over five frames to calm that estimate, and
pastes the reference's background where both agree. Here the foreground's matte moves with the mesh, so where it is in
a frame is known and not estimated, and needs no median; what is left is eq. 7 with that matte, over a background plate
whose hidden part is inpainted.
"""

from __future__ import annotations

import cv2
import numba
import numpy as np


class Layers:
    """A picture split into a foreground that can be moved and the plate behind it.

    Laid back where it was, the foreground over the plate gives the picture again, pixel for pixel.

    Attributes:
        foreground: (H, W, 4) uint8: colour times matte, and the matte (0 to 255).
        plate: (H, W, 3) uint8 background, inpainted behind the person.
    """

    def __init__(self, image: np.ndarray, alpha: np.ndarray) -> None:
        # Soft edges mix both sides: the plate is filled from where the background is pure.
        pure = cv2.erode((alpha < 0.02).astype(np.uint8), np.ones((3, 3), np.uint8))
        filled = _fill(image, pure)
        self.plate = np.where(pure[..., None] > 0, image, filled)
        matte = np.where(alpha < 0.02, 0, alpha)[..., None].astype(np.float32)
        matte = np.where(pure[..., None] > 0, 0, matte)
        colour = image - (1 - matte) * self.plate
        short = colour.min(-1, keepdims=True) < -8
        matte = np.maximum(matte, _least_matte(image, self.plate, short))
        # What is still too bright behind a soft edge: a little more matte, and where that is not enough, less plate.
        exact = 1 - (image / np.maximum(self.plate, 1.0)).min(-1, keepdims=True)
        matte = np.clip(np.maximum(matte, np.minimum(exact, matte + 0.1)), 0, 1).astype(np.float32)
        matte = np.where(pure[..., None] > 0, 0, np.ceil(matte * 255) / 255)
        through = np.floor(image / np.maximum(1 - matte, 1 / 255)).clip(0, 255).astype(np.uint8)
        self.plate = np.where(matte < 1, np.minimum(self.plate, through), self.plate)
        colour = np.clip(image - (1 - matte) * self.plate, 0, 255)
        self.foreground = np.concatenate([np.rint(colour), np.rint(matte * 255)], -1).astype(np.uint8)


@numba.njit(cache=True, nogil=True)
def fuse(foreground: np.ndarray, plate: np.ndarray, out: np.ndarray) -> None:
    """Lay a premultiplied foreground (h, w, 4) over a plate (h, w, 3) into `out`. # Huang 2022, eq. 7"""
    for y in range(plate.shape[0]):
        for x in range(plate.shape[1]):
            matte = foreground[y, x, 3]
            if matte >= 255:
                for k in range(3):
                    out[y, x, k] = foreground[y, x, k]
            else:
                rest = 255 - int(matte)
                for k in range(3):
                    value = int(foreground[y, x, k]) + (rest * int(plate[y, x, k]) + 127) // 255
                    out[y, x, k] = min(value, 255)


def _least_matte(image: np.ndarray, plate: np.ndarray, where: np.ndarray) -> np.ndarray:
    """(H, W, 1) the least matte that explains pixels darker than what the plate would shine through, and smoothly
    so: opaque specks in a soft edge would move as a dotted line."""
    least = np.clip(1 - (image + 8.0) / np.maximum(plate, 1.0), 0, 1).max(-1)
    least = np.where(where[..., 0], least, 0).astype(np.float32)
    return np.maximum(least, cv2.blur(cv2.dilate(least, np.ones((5, 5), np.uint8)), (5, 5)))[..., None]


def _fill(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Fill unknown pixels smoothly from the known ones around, coarse to fine (push-pull)."""
    if not known.any():
        return image.copy()
    weight = known.astype(np.float32)
    colour = image.astype(np.float32) * weight[..., None]
    levels = []
    while min(weight.shape) > 2:
        levels.append((colour, weight))
        size = ((weight.shape[1] + 1) // 2, (weight.shape[0] + 1) // 2)
        colour = cv2.resize(cv2.GaussianBlur(colour, (5, 5), 0), size, interpolation=cv2.INTER_AREA)
        weight = cv2.resize(cv2.GaussianBlur(weight, (5, 5), 0), size, interpolation=cv2.INTER_AREA)
    total = max(float(weight.sum()), 1e-6)
    coarse = np.broadcast_to(colour.sum((0, 1)) / total, (*weight.shape, 3))
    coarse = np.where(weight[..., None] > 1e-3, colour / np.maximum(weight, 1e-6)[..., None], coarse)
    for colour, weight in reversed(levels):
        coarse = cv2.resize(coarse.astype(np.float32), weight.shape[::-1], interpolation=cv2.INTER_LINEAR)
        sure = np.minimum(weight, 1)[..., None]
        coarse = np.where(
            weight[..., None] > 1e-3, sure * colour / np.maximum(weight, 1e-6)[..., None] + (1 - sure) * coarse, coarse
        )
    return np.clip(np.rint(coarse), 0, 255).astype(np.uint8)
