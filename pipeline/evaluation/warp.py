"""A baseline renderer: the portrait's triangles moved in the plane to the true landmarks, and nothing else."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.face.topology import MESH_POINTS


class AffineWarp:
    """Piecewise-affine warp of one picture by face landmarks; the picture's edge stays.

    No depth test, no inside of the mouth, nothing that uncovers the background: what a renderer must beat.

    Args:
        image: (H, W, 3) uint8.
        landmarks: (478, 3) in pixels, of that picture.
    """

    def __init__(self, image: np.ndarray, landmarks: np.ndarray) -> None:
        height, width = image.shape[:2]
        across, down = np.linspace(0, width - 1, 5), np.linspace(0, height - 1, 5)
        edge = [(x, y) for x in across for y in (0, height - 1)] + [(x, y) for y in down for x in (0, width - 1)]
        self._image = image
        self._edge = np.array(edge, np.float32)
        self._source = self._points(landmarks)
        self._triangles = _delaunay(self._source, (width, height))

    def __call__(self, landmarks: np.ndarray) -> np.ndarray:
        """The picture (H, W, 3) with its face at `landmarks` (478, 3)."""
        target = self._points(landmarks)
        height, width = self._image.shape[:2]
        y, x = np.mgrid[:height, :width].astype(np.float32)
        for triangle in self._triangles:
            corners = target[triangle]
            low = np.maximum(np.floor(corners.min(0)).astype(int), 0)
            high = np.minimum(np.ceil(corners.max(0)).astype(int) + 1, (width, height))
            if (high <= low).any() or abs(_area(corners)) < 0.1:
                continue
            inside = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
            cv2.fillConvexPoly(inside, np.round(corners - low).astype(np.int32), 1)
            back = cv2.getAffineTransform(corners, self._source[triangle])
            rows, columns = np.nonzero(inside)
            rows, columns = rows + low[1], columns + low[0]
            x[rows, columns] = back[0, 0] * columns + back[0, 1] * rows + back[0, 2]
            y[rows, columns] = back[1, 0] * columns + back[1, 1] * rows + back[1, 2]
        return cv2.remap(self._image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def _points(self, landmarks: np.ndarray) -> np.ndarray:
        return np.concatenate([landmarks[:MESH_POINTS, :2].astype(np.float32), self._edge])


def _delaunay(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Triangles (N, 3) as indices into `points`; points outside the picture are left out."""
    width, height = size
    division = cv2.Subdiv2D((0, 0, width, height))
    index: dict[tuple[float, float], int] = {}
    for number, (x, y) in enumerate(points):
        if 0 <= x < width and 0 <= y < height:
            division.insert((float(x), float(y)))
            index[(float(np.float32(x)), float(np.float32(y)))] = number
    corners = division.getTriangleList().reshape(-1, 3, 2)
    triangles = [[index.get((float(x), float(y)), -1) for x, y in triangle] for triangle in corners]
    return np.array([triangle for triangle in triangles if min(triangle) >= 0], int).reshape(-1, 3)


def _area(corners: np.ndarray) -> float:
    (ax, ay), (bx, by) = corners[1] - corners[0], corners[2] - corners[0]
    return float(ax * by - ay * bx) / 2
