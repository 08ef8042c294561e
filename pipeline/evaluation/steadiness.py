"""Fine detail and flicker of a face's skin, along the mesh, and flicker where a real clip stands still.

All take luma (h, w) float32 or frames (H, W, 3) uint8, and the mesh's points in their pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.face import topology
from pipeline.face.raster import rasterise

FINE = 1.2
"""Sigma in pixels of the Gaussian that parts fine detail from the rest."""
_RIM, _AROUND = 0.06, 0.04  # face heights: skin ends so far inside the outline, and so far around lips and eyes
_OPENINGS = (topology.OUTER_LIPS, topology.RIGHT_EYE, topology.LEFT_EYE)


def luma(frame: np.ndarray) -> np.ndarray:
    """(H, W) float32, BT.601's."""
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)


def fine(picture: np.ndarray) -> np.ndarray:
    """The fine detail of a luma (h, w) float32."""
    return picture - cv2.GaussianBlur(picture, (0, 0), FINE)


def skin(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: a face's skin without its rim, the lips and the eyes.

    Args:
        points: (478, 2 or more) in pixels.
        size: (W, H) of the picture.
    """
    height = float(np.linalg.norm(points[topology.FOREHEAD, :2] - points[topology.CHIN, :2]))
    flat = np.rint(points[:, :2]).astype(np.int32)
    inside = np.zeros(size[::-1], np.uint8)
    cv2.fillPoly(inside, [flat[topology.OUTLINE]], 1)
    out = cv2.distanceTransform(inside, cv2.DIST_L2, 3) > _RIM * height
    for opening in _OPENINGS:
        hole = np.ones(size[::-1], np.uint8)
        cv2.fillPoly(hole, [flat[opening]], 0)
        out &= cv2.distanceTransform(hole, cv2.DIST_L2, 3) > _AROUND * height
    return out


def carry(picture: np.ndarray, before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """A picture (h, w) float32 moved along the mesh from points (478, 3) to others; beside the mesh it stays."""
    height, width = picture.shape
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    maps = columns, rows, np.full(picture.shape, 1e9, np.float32)
    target, depth = (np.ascontiguousarray(part, np.float32) for part in (now[:, :2], now[:, 2]))
    rasterise(topology.triangles(), target, depth, np.ascontiguousarray(before[:, :2], np.float32), 0, 0, maps)
    return cv2.remap(picture, maps[0], maps[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


class SteadinessMeter:
    """Takes a clip's frames in order.

    `detail` is the root mean square of the skin's fine detail, `flicker` its mean absolute change from frame to frame
    along the mesh, both in grey levels; `pulse` is the mean change of `detail` from frame to frame, as a share of it.
    """

    def __init__(self) -> None:
        self._last: tuple[np.ndarray, np.ndarray] | None = None
        self._levels: list[float] = []
        self._changes: list[float] = []

    def add(self, frame: np.ndarray, points: np.ndarray) -> None:
        """The next frame (H, W, 3) uint8 and its mesh (478, 3) in pixels."""
        picture, where = luma(frame), skin(points, (frame.shape[1], frame.shape[0]))
        if not where.any():
            return
        self._levels.append(float(np.sqrt(np.square(fine(picture)[where]).mean())))
        if self._last is not None:
            self._changes.append(float(np.abs(fine(picture - carry(*self._last, points)))[where].mean()))
        self._last = picture, points

    @property
    def detail(self) -> float:
        """Grey levels; NaN before the first frame."""
        return float(np.mean(self._levels)) if self._levels else float("nan")

    @property
    def flicker(self) -> float:
        """Grey levels; NaN before the second frame."""
        return float(np.mean(self._changes)) if self._changes else float("nan")

    @property
    def pulse(self) -> float:
        """A share of `detail`; NaN before the second frame."""
        steps = np.abs(np.diff(self._levels))
        return float(steps.mean() / max(self.detail, 1e-6)) if len(steps) else float("nan")


class StillMeter:
    """Flicker in still regions: how much generated frames change where the real clip does not.

    A pixel is still between two frames if the real luma within `_STILL_REACH` pixels around it, freed of noise by a
    Gaussian of sigma `_STILL_BLUR`, changes by no more than `_STILL` grey levels. `flicker` is the mean absolute
    change of the generated luma in still pixels, in grey levels, over all pairs of frames; `real` is that of the real
    clip, which is its noise.

    Source: the mean absolute difference of static frames, Huang 2024 (VBench) "temporal flickering"; there a clip is
    static as a whole, here it need not be.
    """

    _STILL, _STILL_BLUR, _STILL_REACH = 1.0, 1.5, 2

    def __init__(self) -> None:
        self._last: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._changes = np.zeros(2)
        self._pixels = self._seen = 0

    def add(self, frame: np.ndarray, real: np.ndarray, box: tuple[int, int, int, int]) -> None:
        """The next frame and the real one (H, W, 3) uint8, and the box (left, top, right, bottom) that counts.

        Raises:
            ValueError: if the frames' shapes differ.
        """
        if frame.shape != real.shape:
            raise ValueError(f"The frames' shapes differ: {frame.shape} and {real.shape}.")
        left, top, right, bottom = box
        ours, truth = luma(frame), luma(real)
        smooth = cv2.GaussianBlur(truth, (0, 0), self._STILL_BLUR)
        if self._last is not None:
            before, truth_before, smooth_before = self._last
            side = 2 * self._STILL_REACH + 1
            change = cv2.dilate(cv2.absdiff(smooth, smooth_before), np.ones((side, side), np.uint8))
            still = change[top:bottom, left:right] <= self._STILL
            for index, (now, then) in enumerate(((ours, before), (truth, truth_before))):
                self._changes[index] += cv2.absdiff(now, then)[top:bottom, left:right][still].sum(dtype=np.float64)
            self._pixels += int(still.sum())
            self._seen += still.size
        self._last = ours, truth, smooth

    @property
    def flicker(self) -> float:
        """Grey levels; NaN where nothing stood still."""
        return float(self._changes[0] / self._pixels) if self._pixels else float("nan")

    @property
    def real(self) -> float:
        """Grey levels, of the real clip; NaN where nothing stood still."""
        return float(self._changes[1] / self._pixels) if self._pixels else float("nan")

    @property
    def share(self) -> float:
        """How much of the boxes stood still, 0 to 1; NaN before the second frame."""
        return self._pixels / self._seen if self._seen else float("nan")
