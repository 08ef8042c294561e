"""Faces cut out upright at a fixed place and size, as restoring networks want them, and pasted back without a seam.

Five points of a face (eyes, nose, corners of the mouth) are laid on the places they have in FFHQ's pictures, by a
similarity. What is pasted back is a difference: the frame keeps every pixel that the network leaves alone, and is
never resampled; a mask takes the difference to nothing before the face ends.
"""

from __future__ import annotations

import cv2
import numpy as np

TEMPLATE = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)
"""Right eye, left eye, nose, right and left corner of the mouth (the subject's) in FFHQ's pictures at 512 × 512; the
mean that facexlib measured and GFPGAN was trained with."""
TEMPLATE_SIDE = 512
_CORNERS = ((33, 133), (263, 362))
_NOSE, _MOUTH = 1, (61, 291)
_BEYOND = (135, 133, 132)  # the grey that GFPGAN's authors lay where the picture ends
_FEATHER = 0.08  # of the side: over this way from the face's edge inwards the mask rises
_EDGE = 0.004  # and this far it stays at nothing, so that interpolation carries none of it over the edge


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """(..., 5, 2) the template's points of landmarks (..., 478, 2 or 3).

    Eyes are the middle of their corners: irises move with the gaze, and the face should not.
    """
    flat = landmarks[..., :2]
    eyes = [flat[..., list(corners), :].mean(-2) for corners in _CORNERS]
    return np.stack([*eyes, *(flat[..., point, :] for point in (_NOSE, *_MOUTH))], -2)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(2, 3) the turn, scale and shift that lay points (N, 2) on others with the least square error.

    Raises:
        ValueError: if all points of `source` coincide.
    """
    source, target = (points.astype(np.float64) @ np.array([1, 1j]) for points in (source, target))
    middle, aim = source.mean(), target.mean()
    power = np.sum(np.abs(source - middle) ** 2)
    if power == 0:
        raise ValueError("Points that coincide cannot be aligned.")
    turn = np.sum(np.conj(source - middle) * (target - aim)) / power
    shift = aim - turn * middle
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def to_template(landmarks: np.ndarray, side: int = TEMPLATE_SIDE) -> np.ndarray:
    """(2, 3) from a frame's pixels to the pixels of the aligned face, `side` × `side`, of landmarks (478, 2 or 3)."""
    return similarity(five_points(landmarks), TEMPLATE * (side / TEMPLATE_SIDE))


def cut_face(frame: np.ndarray, matrix: np.ndarray, side: int = TEMPLATE_SIDE) -> np.ndarray:
    """(side, side, 3) uint8 the aligned face of a frame (H, W, 3); grey where the frame ends."""
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.7:  # bilinear sampling would skip pixels
        frame = cv2.GaussianBlur(frame, (0, 0), _blur(1 / scale))
    flags = cv2.INTER_LINEAR if scale < 1 else cv2.INTER_CUBIC
    return cv2.warpAffine(frame, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=_BEYOND)


def face_mask(points: np.ndarray, side: int = TEMPLATE_SIDE) -> np.ndarray:
    """(side, side) float32: 1 in the face, falling smoothly to 0 before its outline, 0 outside.

    Args:
        points: (P, 2) the face's points in the aligned picture.
        side: of the picture.
    """
    inside = np.zeros((side + 2, side + 2), np.uint8)  # the rim counts as outside: faces may reach over the picture
    hull = cv2.convexHull(np.clip(points, -8 * side, 8 * side).astype(np.float32))
    cv2.fillConvexPoly(inside[1:-1, 1:-1], np.rint(hull[:, 0]).astype(np.int32), 1)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
    rise = np.clip((distance - max(2.0, _EDGE * side)) / (_FEATHER * side), 0, 1)
    return rise * rise * (3 - 2 * rise)


def paste_difference(frame: np.ndarray, difference: np.ndarray, matrix: np.ndarray) -> None:
    """Add a difference (side, side, 3) float32 of the aligned face to the frame (H, W, 3) uint8, in place.

    Args:
        frame: is changed only where the difference, laid back, is not zero.
        difference: zero at its borders.
        matrix: (2, 3) from the frame's pixels to those of the aligned face.
    """
    side = len(difference)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale > 1.2:  # finer than the frame can show: without this it would flicker
        difference = cv2.GaussianBlur(difference, (0, 0), _blur(scale)) * (difference != 0).any(-1, keepdims=True)
    back = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0], [side, 0], [0, side], [side, side]]) @ back[:, :2].T + back[:, 2]
    low = np.maximum(np.floor(corners.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(0)).astype(int) + 1, frame.shape[1::-1])
    if (low >= high).any():
        return
    here = matrix.copy()
    here[:, 2] += here[:, :2] @ low
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    laid = cv2.warpAffine(difference, here, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    part = frame[low[1] : high[1], low[0] : high[0]]
    cv2.add(part, laid, dst=part, dtype=cv2.CV_8U)


def _blur(shrink: float) -> float:
    """Sigma in source pixels that takes out what a picture `shrink` times coarser cannot show."""
    return 0.5 * (shrink**2 - 1) ** 0.5
