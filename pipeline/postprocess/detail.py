"""The portrait's own fine detail, carried to each frame through the mesh: a restoration that needs no weights.

A frame has lost pores, lashes and hairs where a renderer sampled between pixels (bilinear sampling takes up to all of
the finest detail away, and more or less of it as the head moves on by parts of a pixel) or where a network painted on
a coarse grid. So the finest band of the frame is taken out within the face, and the same band of the portrait, sampled
with care at the places that the mesh says, is laid in. Lv 2022 §3.4.2 has a pretrained GAN invent such detail; here
none is invented (its §3.2: sample, never generate).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from pipeline.coefficients import Coefficients
from pipeline.face import topology
from pipeline.face.portrait import Portrait
from pipeline.face.raster import rasterise
from pipeline.postprocess.moving_face import MovingFace

FINEST = 1.0
"""Pixels of the Gaussian that parts the finest detail from the rest, for renderers that sample the portrait."""
_FAR = np.float32(1e9)
_NOWHERE = np.float32(-1e4)
_RIM = 0.06  # face heights inside the outline over which the detail fades in: the outline itself turns out of sight
# Openings and the face heights around them over which it fades out: what they show changes, and lips move the most.
_HOLES = ((topology.OUTER_LIPS, 0.06), (topology.RIGHT_EYE, 0.02), (topology.LEFT_EYE, 0.02))
# Grey levels of a frame's own fine detail from which lines count as not lost, on skin, and as a multiple of the usual
# detail of a grainy portrait: brows and wrinkles laid in anew half a pixel beside their place cost more than they give.
_LINES, _GRAIN = 6.0, 6.0


class DetailRestoration:
    """Lays one portrait's fine detail into its frames.

    Args:
        portrait: whose detail it is, at the frames' own resolution.
        finest: pixels below which a frame has lost detail.
    """

    warnings: tuple[str, ...] = ()

    def __init__(self, portrait: Portrait, finest: float = FINEST) -> None:
        if finest <= 0:
            raise ValueError(f"finest must be above 0 pixels, not {finest}.")
        self._face = MovingFace(portrait)
        self._finest = finest
        self._source = np.ascontiguousarray(portrait.landmarks[:, :2], np.float32)
        self._corner, self._detail, self._weight = self._read(portrait)
        inside = np.abs(self._detail[self._weight > 127])
        self._lines = max(_LINES, _GRAIN * float(np.median(inside))) if len(inside) else _LINES

    def start(self) -> Callable[[Iterator[np.ndarray], Coefficients], Iterator[np.ndarray]]:
        """What restores the parts of one run through a clip: it takes a part's frames (H, W, 3) uint8 RGB and
        coefficients, and yields the frames, changed in place and in the face only. Frames do not depend on another."""

        def restore(frames: Iterator[np.ndarray], coefficients: Coefficients) -> Iterator[np.ndarray]:
            rows = zip(coefficients.expression, coefficients.pose, coefficients.crop, strict=True)
            for frame, row in zip(frames, rows, strict=True):
                self._restore(frame, self._face.points(*row))
                yield frame

        return restore

    def _read(self, portrait: Portrait) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The face's part of the portrait: its corner (2,), fine detail (h, w) float32 and weight (h, w) uint8."""
        x0, y0, x1, y1 = _window(self._source, portrait.size, round(4 * self._finest) + 2)
        luma = cv2.cvtColor(portrait.image[y0:y1, x0:x1], cv2.COLOR_RGB2GRAY).astype(np.float32)
        points = self._source - (x0, y0)
        inside = _polygon(luma.shape, points[topology.OUTLINE])
        weight = np.clip((cv2.distanceTransform(inside, cv2.DIST_L2, 5) - 1) / (_RIM * portrait.scale), 0, 1)
        for hole, fade in _HOLES:
            away = cv2.distanceTransform(1 - _polygon(luma.shape, points[hole]), cv2.DIST_L2, 5)
            weight *= np.clip((away - 1) / max(1.0, fade * portrait.scale), 0, 1)
        return np.array([x0, y0], np.float32), self._finest_of(luma), np.rint(255 * weight).astype(np.uint8)

    def _finest_of(self, luma: np.ndarray) -> np.ndarray:
        return luma - cv2.GaussianBlur(luma, (0, 0), self._finest)

    def _lost(self, own: np.ndarray) -> np.ndarray:
        """How much of the frame's own detail (h, w) counts as lost, 1 to 0: lines that are there are left alone."""
        strength = cv2.dilate(np.abs(own), np.ones((3, 3), np.uint8)) * np.float32(1 / self._lines)
        strength *= strength
        return 1 / (1 + strength * strength)

    def _restore(self, frame: np.ndarray, points: np.ndarray) -> None:
        x0, y0, x1, y1 = _window(points, (frame.shape[1], frame.shape[0]), 0)
        if x1 - x0 < 2 or y1 - y0 < 2:
            return
        shape = (y1 - y0, x1 - x0)
        maps = np.full(shape, _NOWHERE), np.full(shape, _NOWHERE), np.full(shape, _FAR)
        target = np.ascontiguousarray(points[:, :2], np.float32)
        depth = np.ascontiguousarray(points[:, 2], np.float32)
        rasterise(topology.triangles(), target, depth, self._source - self._corner, x0, y0, maps)
        detail = cv2.remap(self._detail, maps[0], maps[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
        weight = cv2.remap(self._weight, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        part = frame[y0:y1, x0:x1]
        own = self._finest_of(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY).astype(np.float32))
        change = (detail - own) * (weight * np.float32(1 / 255)) * self._lost(own)
        cv2.add(part, cv2.merge([change, change, change]), dst=part, dtype=cv2.CV_8U)


def _window(points: np.ndarray, size: tuple[int, int], margin: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the points (P, 2+) with a margin, within a picture of `size`."""
    low = np.clip(np.floor(points[:, :2].min(0)) - margin, 0, size).astype(int)
    high = np.clip(np.ceil(points[:, :2].max(0)) + 1 + margin, 0, size).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _polygon(shape: tuple[int, ...], points: np.ndarray) -> np.ndarray:
    inside = np.zeros(shape, np.uint8)
    cv2.fillPoly(inside, [np.rint(points).astype(np.int32)], 1)
    return inside
