"""Flicker held down: what a network adds to a face is averaged over time along the mesh.

A network that restores each frame alone paints skin a little differently each time. What it added to the last frame is
carried along the mesh to where the skin is now; where both nearly agree their mixture is taken, and where they do not
(a lid shut, teeth shown) the new one, so that nothing lags.
"""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.face import topology
from pipeline.face.raster import rasterise

_FAR = np.float32(1e9)


class Steadier:
    """Averages the differences of one clip's aligned faces, frame by frame in order.

    Args:
        side: of the aligned faces.
        share: of the new difference where it hardly differs from the one carried on; 1 leaves all as it comes.
        tolerance: grey levels of difference, over a neighbourhood, at which the new one is taken whole.
    """

    def __init__(self, side: int, share: float = 0.3, tolerance: float = 16.0) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, not {share}.")
        self._share, self._tolerance, self._side = share, tolerance, side
        self._last: tuple[np.ndarray, np.ndarray] | None = None
        columns, rows = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
        self._rest = (columns, rows)
        self._map = (np.empty_like(columns), np.empty_like(rows), np.empty_like(rows))

    def __call__(self, difference: np.ndarray, points: np.ndarray) -> np.ndarray:
        """The steadied difference.

        Args:
            difference: (side, side, 3) float32, what the network added to this frame's aligned face.
            points: (478, 3) the mesh in that aligned face, in its pixels.
        """
        steady = difference
        if self._last is not None:
            carried = self._carry(*self._last, points)
            gap = np.abs(difference - carried).mean(-1)
            gap = cv2.blur(gap, (self._side // 32 | 1, self._side // 32 | 1)) / self._tolerance
            new = (self._share + (1 - self._share) * np.clip(gap * gap, 0, 1))[..., None]
            steady = carried + new * (difference - carried)
        self._last = steady, points
        return steady

    def _carry(self, difference: np.ndarray, before: np.ndarray, now: np.ndarray) -> np.ndarray:
        """The last frame's difference where its skin is now; beside the mesh and in its holes, where it was."""
        map_x, map_y, nearest = self._map
        map_x[:], map_y[:] = self._rest
        nearest.fill(_FAR)
        target, depth = np.ascontiguousarray(now[:, :2], np.float32), np.ascontiguousarray(now[:, 2], np.float32)
        source = np.ascontiguousarray(before[:, :2], np.float32)
        rasterise(topology.triangles(), target, depth, source, 0, 0, self._map)
        return cv2.remap(difference, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
