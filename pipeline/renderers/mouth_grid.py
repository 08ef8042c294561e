"""A mouth laid out so that lips are always at the same place: columns from corner to corner, rows from skin over the
upper lip, the opening and the lower lip to skin.

On such a grid what one mouth teaches holds for another of other shape, and for the same one opened wider, so that small
networks need not learn where lips are (the shape-free textures of Cootes 1998, "Active appearance models").
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from pipeline.face import topology
from pipeline.renderers.patches import PatchKind

CROP = PatchKind("mouth", 112, 96, 0.005, (2,), (0.0, 0.2), topology.INNER_LIPS, topology.OUTER_LIPS)
"""The crop, fixed to the upper jaw, that grids are taken from."""
COLUMNS = 40
PARTS = (6, 6, 10, 6, 6)
"""Rows of skin above, upper lip, opening, lower lip and skin below."""
ROWS = sum(PARTS)
SHAPE_DIM = 10
_BESIDE = 0.25  # how far the grid reaches beyond the corners, in mouth widths
_BEYOND = 0.35  # and beyond the lips, in heights of the lips
_FADE = 0.4  # share of these reaches over which what is laid back fades
_FEWEST = 12  # columns of a mouth that can be laid out
_BORDER = 5  # pixels at the crop's border over which what is laid back fades, too


@dataclass(frozen=True)
class MouthGrid:
    """Where one mouth's grid lies in its crop.

    Attributes:
        left, right: the corners' columns.
        edges: (6, w) for each column of the crop the rows where the five parts begin and end.
        shape: (10,) corners, middles of the lips' rims, opening and lips, in pixels.
    """

    left: float
    right: float
    edges: np.ndarray
    shape: np.ndarray

    @staticmethod
    def of(openings: np.ndarray) -> MouthGrid | None:
        """The grid of a crop's openings (h, w, 2) uint8 (inner, outer), or None where there is no mouth in it."""
        columns, middle, thick = _band(openings[..., 1])
        if len(columns) < _FEWEST:
            return None
        left, right = float(columns[0]), float(columns[-1])
        at = np.arange(openings.shape[1], dtype=np.float32)
        top, bottom = (np.interp(at, columns, middle + sign * thick / 2) for sign in (-1, 1))
        inside, seam, gap = _band(openings[..., 0])
        if len(inside) >= 3:
            # Beyond the opening's own corners lips meet on the line that goes on from them.
            apart = np.where((at >= inside[0] - 1) & (at <= inside[-1] + 1), np.interp(at, inside, gap), 0)
            line = np.interp(at, inside, seam)
        else:
            apart, line = np.zeros_like(at), (top + bottom) / 2
        upper, lower = (np.clip(line + sign * apart / 2, top, bottom) for sign in (-1, 1))
        height = float(thick.max())
        reach = _BEYOND * height
        edges = np.stack([top - reach, top, upper, lower, bottom, bottom + reach]).astype(np.float32)
        shape = (
            *(left, right, top.mean(), bottom.mean(), apart.max(), apart.mean()),
            *(len(inside), np.median(middle), height, thick.mean()),
        )
        return MouthGrid(left, right, edges, np.array(shape, np.float32))

    def take(self, crop: np.ndarray) -> np.ndarray:
        """(34, 40, 3) uint8: the grid's points out of a crop (h, w, 3)."""
        columns = self.left + np.linspace(-_BESIDE, 1 + _BESIDE, COLUMNS) * (self.right - self.left)
        at = np.arange(crop.shape[1])
        edges = np.stack([np.interp(columns, at, edge) for edge in self.edges])
        rows = np.concatenate(
            [edges[part] + (np.arange(count)[:, None] + 0.5) / count * (edges[part + 1] - edges[part])
             for part, count in enumerate(PARTS)]
        ).astype(np.float32)  # fmt: skip
        across = np.broadcast_to(columns.astype(np.float32), rows.shape)
        return cv2.remap(
            np.ascontiguousarray(crop), across.copy(), rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )

    def lay(self, values: np.ndarray) -> np.ndarray:
        """(h, w, 3) float32: values (34, 40, 3) of the grid's points where they lie in the crop; they fade to nothing
        around the mouth and before the crop's border."""
        height, width = CROP.height, CROP.width
        reach = _BESIDE * (self.right - self.left)
        x0, x1 = max(0, int(self.left - reach)), min(width, int(self.right + reach) + 2)
        edges = self.edges[:, x0:x1]
        y0, y1 = max(0, int(edges[0].min())), min(height, int(edges[5].max()) + 2)
        laid = np.zeros((height, width, 3), np.float32)
        if x0 >= x1 or y0 >= y1:
            return laid
        at = np.arange(y0, y1, dtype=np.float32)[:, None]
        row = np.full((y1 - y0, x1 - x0), -0.5, np.float32)
        for part, count in enumerate(PARTS):
            begin, end = edges[part], edges[part + 1]
            row += count * np.clip((at - begin) / np.maximum(end - begin, 1e-3), 0, 1)
        share = (np.arange(x0, x1, dtype=np.float32) - self.left) / (self.right - self.left)
        column = np.broadcast_to((share + _BESIDE) / (1 + 2 * _BESIDE) * (COLUMNS - 1), row.shape).astype(np.float32)
        beside = 1 + _fading(np.maximum(-share, share - 1) / _BESIDE)
        beyond = 1 + _fading(np.maximum(edges[1] - at, at - edges[4]) / (edges[1] - edges[0]))
        fade = beyond * beside * _border(height, width)[y0:y1, x0:x1]
        part = cv2.remap(values, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        laid[y0:y1, x0:x1] = part * fade[..., None]
        return laid

    def weights(self) -> np.ndarray:
        """(34,) the share of the mouth's area that a row stands for."""
        heights = np.diff(self.edges[:, int(self.left) : int(self.right) + 1], axis=0).mean(1)
        rows = np.repeat(heights / PARTS, PARTS)
        return (rows / rows.sum()).astype(np.float32)


def _band(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The columns that a filled outline (h, w) uint8 covers, and its middle row and thickness in each."""
    share = mask.astype(np.float32) / 255
    thick = share.sum(0)
    columns = np.flatnonzero(thick > 0.3)
    rows = (share * np.arange(len(mask), dtype=np.float32)[:, None]).sum(0)
    return columns, rows[columns] / thick[columns], thick[columns]


def _fading(reach: np.ndarray) -> np.ndarray:
    """-1 where the reach of the grid (1) is passed, 0 where it is far from being so."""
    fade = np.clip((1 - reach) / _FADE, 0, 1)
    return fade * fade * (3 - 2 * fade) - 1


@lru_cache(maxsize=1)
def _border(height: int, width: int) -> np.ndarray:
    rows, columns = (np.minimum(np.arange(side), np.arange(side)[::-1]) / _BORDER for side in (height, width))
    return np.minimum(np.minimum(rows[:, None], columns[None]), 1).astype(np.float32)
