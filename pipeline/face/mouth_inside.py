"""What a picture shows between the lips: teeth, tongue or the dark, as a few colours.

Landmarks tell how far lips are apart and not what is seen there. Two faces with the same landmarks show a row of teeth
or a dark hollow, and which of them matters more to the eye than a pixel of the lips' place. So the opening is read as a
grid of 3 rows × 3 columns of colours on which lips are always at the same place (the shape-free textures of Cootes
1998, "Active appearance models"), and given as shares of the cheeks' colour, which takes light and complexion out.
"""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.face.topology import INNER_LIPS, INNER_LOWER, INNER_UPPER

INSIDE_DIM = 27
"""3 rows from upper to lower lip × 3 columns from the picture's left to its right × red, green, blue."""
BRIGHTEST = 3.0
"""Share of the cheeks' colour beyond which there are highlights only."""

_PARTS, _FINE = 3, 9  # parts of the opening each way, and points of each column and row
_CHEEKS = np.array([50, 101, 205, 280, 330, 425])
_MOUTH = 48.0  # pixels of a mouth's width at which it is read: finer detail is noise here
_DARKEST = 20.0  # grey levels: cheeks count as at least so bright


def mouth_inside(frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """(27,) float32, 0 to 3: colours between the lips as shares of the cheeks', 1 where they are alike.

    Lips that are shut give the colours of the line on which they meet.

    Args:
        frame: (H, W, 3) uint8 RGB.
        landmarks: (478, 2) or (478, 3) in its pixels; points beyond its edges count as the nearest in it.
    """
    points = landmarks[:, :2].astype(np.float32)
    wanted = np.concatenate([points[_CHEEKS], points[INNER_LIPS]])
    height, width = frame.shape[:2]
    low = np.clip(np.floor(wanted.min(0)) - 4, 0, (width - 2, height - 2)).astype(int)
    high = np.clip(np.ceil(wanted.max(0)) + 5, low + 2, (width, height)).astype(int)
    part = frame[low[1] : high[1], low[0] : high[0]]
    span = float(np.linalg.norm(points[INNER_UPPER[-1]] - points[INNER_UPPER[0]]))
    if span > _MOUTH:
        size = np.maximum(np.rint((high - low) * _MOUTH / span), 1).astype(int)
        part = cv2.resize(part, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
    step = (high - low) / np.array(part.shape[1::-1])
    shares = ((np.arange(_FINE) + 0.5) / _FINE).astype(np.float32)[:, None, None]
    inside = (1 - shares) * points[INNER_UPPER[1:-1]] + shares * points[INNER_LOWER[1:-1]]
    cheeks = _colours(part, points[_CHEEKS][None], low, step).mean((0, 1))
    blocks = _colours(part, inside, low, step).reshape(_PARTS, _FINE // _PARTS, _PARTS, _FINE // _PARTS, 3)
    return np.clip(blocks.mean((1, 3)) / np.maximum(cheeks, _DARKEST), 0, BRIGHTEST).astype(np.float32).reshape(-1)


def _colours(part: np.ndarray, points: np.ndarray, corner: np.ndarray, step: np.ndarray) -> np.ndarray:
    """(R, C, 3) float32, a reduced part's colours at points (R, C, 2) of the whole picture."""
    at = ((points - corner + 0.5) / step - 0.5).astype(np.float32)
    across, down = np.ascontiguousarray(at[..., 0]), np.ascontiguousarray(at[..., 1])
    return cv2.remap(part, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
