"""A z-buffer rasteriser that fills a sampling map: for each target pixel, where in the source to look.

Plain loops compiled by numba (a NumPy version is a hundred times slower); compiled code is kept on disk and runs
without Python's lock, so that frames are rendered while others are encoded.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True, fastmath=True)
def rasterise(
    triangles: np.ndarray, target: np.ndarray, depth: np.ndarray, source: np.ndarray, left: int, top: int, out: tuple
) -> None:
    """Draw triangles nearest first into the sampling map; pixels that no triangle covers stay as they are.

    Args:
        triangles: (M, 3) int32 vertex indices.
        target: (N, 2) float32 x, y of the vertices in the picture drawn.
        depth: (N,) float32, smaller is nearer.
        source: (N, 2) float32 x, y of the vertices in the picture sampled.
        left, top: the window's corner in the picture drawn.
        out: map_x (h, w), map_y (h, w) float32 and the depth buffer (h, w) float32, all filled beforehand.
    """
    map_x, map_y, nearest = out
    height, width = nearest.shape
    for m in range(triangles.shape[0]):
        a, b, c = triangles[m, 0], triangles[m, 1], triangles[m, 2]
        ax, ay = target[a, 0] - left, target[a, 1] - top
        bx, by = target[b, 0] - left, target[b, 1] - top
        cx, cy = target[c, 0] - left, target[c, 1] - top
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if abs(area) < 1e-6:
            continue
        x0, x1 = max(int(np.ceil(min(ax, bx, cx))), 0), min(int(np.floor(max(ax, bx, cx))), width - 1)
        y0, y1 = max(int(np.ceil(min(ay, by, cy))), 0), min(int(np.floor(max(ay, by, cy))), height - 1)
        if x0 > x1 or y0 > y1:
            continue
        # Weights of b and c are affine in x and y, and so are depth and source position.
        inverse = 1.0 / area
        vx, vy = (cy - ay) * inverse, -(cx - ax) * inverse
        wx, wy = -(by - ay) * inverse, (bx - ax) * inverse
        v0, w0 = -ax * vx - ay * vy, -ax * wx - ay * wy
        db, dc = depth[b] - depth[a], depth[c] - depth[a]
        sbx, scx = source[b, 0] - source[a, 0], source[c, 0] - source[a, 0]
        sby, scy = source[b, 1] - source[a, 1], source[c, 1] - source[a, 1]
        z0, zx = depth[a], vx * db + wx * dc
        px, qx = vx * sbx + wx * scx, vx * sby + wx * scy
        for y in range(y0, y1 + 1):
            v = v0 + vx * x0 + vy * y
            w = w0 + wx * x0 + wy * y
            # The span of this row inside the triangle: v, w and 1 - v - w not negative.
            low, high = 0.0, float(x1 - x0)
            for value, slope in ((v, vx), (w, wx), (1.0 - v - w, -vx - wx)):
                if slope > 1e-12:
                    low = max(low, (-1e-6 - value) / slope)
                elif slope < -1e-12:
                    high = min(high, (-1e-6 - value) / slope)
                elif value < -1e-6:
                    high = -1.0
            first, last = int(np.ceil(low)), int(np.floor(high))
            z = z0 + v * db + w * dc
            sx = source[a, 0] + v * sbx + w * scx
            sy = source[a, 1] + v * sby + w * scy
            for i in range(first, last + 1):
                zi = z + i * zx
                x = x0 + i
                if zi < nearest[y, x]:
                    nearest[y, x] = zi
                    map_x[y, x] = sx + i * px
                    map_y[y, x] = sy + i * qx
