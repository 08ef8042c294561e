"""The embedded renderer: the portrait is the texture of a mesh that β and p move (Lv 2022 §3.2: sample, never invent).

Mesh and surroundings are rasterised with depth into one sampling map; the foreground is sampled through it and laid
over the background plate. Everything happens in the portrait's own pixels, within a window around the head, so there
is no crop to paste back and no seam.
"""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.face.portrait import Portrait
from pipeline.postprocess.fusion import Layers, fuse
from pipeline.renderers.raster import rasterise
from pipeline.renderers.scene import Scene
from pipeline.renderers.surroundings import Surroundings

_FAR = np.float32(1e9)


class MeshRenderer:
    """Draws one portrait. Not for use by two threads at once: buffers are kept between frames."""

    def __init__(self, portrait: Portrait, surroundings: Surroundings) -> None:
        self.portrait = portrait
        self.scene = Scene(portrait, surroundings)
        self._layers = Layers(portrait.image, portrait.alpha)
        self._window = self._find_window()
        x0, y0, x1, y1 = self._window
        shape = (y1 - y0, x1 - x0)
        columns, rows = np.meshgrid(np.arange(x0, x1, dtype=np.float32), np.arange(y0, y1, dtype=np.float32))
        self._rest = (columns, rows)
        self._map = (np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.float32))

    def render(self, expression: np.ndarray, pose: np.ndarray, crop: np.ndarray) -> np.ndarray:
        """One frame (H, W, 3) uint8 for β (64,), p (6,) and c (3,)."""
        x0, y0, x1, y1 = self._window
        target, depth = self.scene.place(expression, pose, crop)
        map_x, map_y, nearest = self._map
        map_x[:], map_y[:] = self._rest
        nearest.fill(_FAR)
        rasterise(self.scene.triangles, target, depth, self.scene.source, x0, y0, self._map)
        moved = cv2.remap(self._layers.foreground, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        frame = self.portrait.image.copy()
        fuse(moved, self._layers.plate[y0:y1, x0:x1], frame[y0:y1, x0:x1])
        return frame

    def _find_window(self) -> tuple[int, int, int, int]:
        """The part of the picture that the mesh can reach: its outermost ring stays where it is."""
        width, height = self.portrait.size
        low, high = self.scene.source.min(0), self.scene.source.max(0)
        x0, y0 = np.clip(np.floor(low), 0, (width, height)).astype(int)
        x1, y1 = np.clip(np.ceil(high) + 1, 0, (width, height)).astype(int)
        return int(x0), int(y0), int(x1), int(y1)
