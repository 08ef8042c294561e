"""Between frames, 25 a second, and knots, 12.5 a second, at which a listener's motion is worked out.

A knot stands for two frames and lies between them. Cubics join knots, so motion has no corners. Live, where the next
knot is not known yet, slopes are those of the way that led to a knot.
"""

from __future__ import annotations

import numpy as np

KNOT = 2
"""Frames a knot."""


def to_knots(rows: np.ndarray) -> np.ndarray:
    """Means (ceil(T / 2), D) of pairs of rows (T, D); a last row without a fellow counts for two."""
    if len(rows) % KNOT:
        rows = np.concatenate([rows, rows[-1:]])
    return rows.reshape(len(rows) // KNOT, KNOT, -1).mean(1)


def to_frames(knots: np.ndarray, count: int) -> np.ndarray:
    """(count, D) frames on Catmull-Rom cubics through knots (K, D), the ends held."""
    place = (np.arange(count) - (KNOT - 1) / 2) / KNOT
    left = np.floor(place).astype(int)
    before, start, end, after = (knots[np.clip(left + step, 0, len(knots) - 1)] for step in (-1, 0, 1, 2))
    return _cubic(start, end, (end - before) / 2, (after - start) / 2, (place - left)[:, None]).astype(np.float32)


def behind(knots: np.ndarray, part: float) -> np.ndarray:
    """(D,) `part` of the way from the second to the third of three knots (3, D), of which the last is the newest."""
    first, start, end = knots
    return _cubic(start, end, start - first, end - start, part).astype(np.float32)


def _cubic(
    start: np.ndarray, end: np.ndarray, leaving: np.ndarray, coming: np.ndarray, part: np.ndarray | float
) -> np.ndarray:
    """Hermite's cubic with slopes `leaving` and `coming`."""
    rest = 1 - part
    return (
        start * (rest * rest * (1 + 2 * part))
        + end * (part * part * (1 + 2 * rest))
        + leaving * (part * rest * rest)
        - coming * (part * part * rest)
    )
