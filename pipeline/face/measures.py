"""Openings, widths and gaze read off a face mesh: what blinks, lips and eyes do, as single numbers.

All take vertices (..., 478, 3) in any unit and pose and return (...) numbers as shares of the face's height,
measured in three dimensions, so that a turned head does not change them.
"""

from __future__ import annotations

import numpy as np

from pipeline.face.topology import CHIN, FOREHEAD

_LIP_PAIRS = ((13, 14), (82, 87), (312, 317))
_RIGHT_LID_PAIRS = ((160, 144), (159, 145), (158, 153))
_LEFT_LID_PAIRS = ((387, 373), (386, 374), (385, 380))


def face_height(vertices: np.ndarray) -> np.ndarray:
    """Forehead to the bottom of the nose's bridge and on to the upper lip: the part that the jaw doesn't move.

    Scaled to the whole face's height (forehead to chin, mouth closed), of which it is 0.63 (mean of 40 corpus clips).
    """
    return np.linalg.norm(vertices[..., FOREHEAD, :] - vertices[..., 164, :], axis=-1) / 0.63


def lip_opening(vertices: np.ndarray) -> np.ndarray:
    """Mean distance of three pairs of inner-lip points."""
    return _mean_distance(vertices, _LIP_PAIRS)


def lip_width(vertices: np.ndarray) -> np.ndarray:
    """Distance of the mouth's corners."""
    return _mean_distance(vertices, ((61, 291),))


def jaw_drop(vertices: np.ndarray) -> np.ndarray:
    """Distance from the base of the nose to the chin."""
    return _mean_distance(vertices, ((2, CHIN),))


def lid_opening(vertices: np.ndarray) -> np.ndarray:
    """Mean opening (..., 2) of the right and left lids."""
    return np.stack([_mean_distance(vertices, _RIGHT_LID_PAIRS), _mean_distance(vertices, _LEFT_LID_PAIRS)], -1)


def brow_height(vertices: np.ndarray) -> np.ndarray:
    """Height (..., 2) of the right and left brow above the inner and outer corners of their eye."""
    right = _mean_distance(vertices, ((105, 33), (66, 133), (107, 133)))
    left = _mean_distance(vertices, ((334, 263), (296, 362), (336, 362)))
    return np.stack([right, left], -1)


def gaze(unposed: np.ndarray) -> np.ndarray:
    """Shift (..., 2) of the irises from the middle of their eye's corners, right and down, both eyes' mean.

    Needs vertices with the pose taken out, since it is measured along x and y.
    """
    middle = (unposed[..., [33, 362], :2] + unposed[..., [133, 263], :2]) / 2
    shift = (unposed[..., [468, 473], :2] - middle).mean(-2)
    return shift / face_height(unposed)[..., None]


def _mean_distance(vertices: np.ndarray, pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
    a, b = np.array(pairs).T
    distance = np.linalg.norm(vertices[..., a, :] - vertices[..., b, :], axis=-1).mean(-1)
    return distance / face_height(vertices)
