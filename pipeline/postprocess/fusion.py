"""Foreground over background: the background stays as it is, and goes on where the head uncovers it.

Huang 2022 (eqs. 4-7) segments each generated frame, takes the median over five frames to calm that estimate, and
pastes the reference's background where both agree. Here the foreground's matte moves with the mesh, so where it is in
a frame is known and not estimated, and needs no median; what is left is eq. 7 with that matte, over a background plate
whose hidden part is inpainted.
"""

from __future__ import annotations

import cv2
import numba
import numpy as np

from pipeline.postprocess.inpainting import continued


class Layers:
    """A picture split into a foreground that can be moved and the plate behind it.

    Laid back where it was, the foreground over the plate gives the picture again, pixel for pixel.

    Args:
        image: (H, W, 3) uint8.
        alpha: (H, W), 0 to 1, of the person.
        reach: pixels that the foreground may uncover behind its edge.

    Attributes:
        foreground: (H, W, 4) uint8: colour times matte, and the matte (0 to 255).
        plate: (H, W, 3) uint8 background, inpainted behind the person.
    """

    def __init__(self, image: np.ndarray, alpha: np.ndarray, reach: float) -> None:
        # Soft edges mix both sides: the plate is filled from where the background is pure.
        pure = cv2.erode((alpha < 0.02).astype(np.uint8), np.ones((3, 3), np.uint8))
        self.plate = continued(image, pure, reach)
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
