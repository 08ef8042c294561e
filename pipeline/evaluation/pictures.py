"""Metrics of pictures: PSNR, SSIM, CPBD and the change of the background, and the boxes that they are taken in.

All take frames (H, W, 3) uint8 RGB as the pipeline gives them.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from pipeline.face.topology import LIPS

PSNR_CAP = 60.0
MOUTH_SHARE = 0.5
"""By how much a mouth's crop is wider and higher than the lips in it."""

_SSIM_WINDOW, _SSIM_SIGMA = 11, 1.5
_SSIM_C1, _SSIM_C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

_CPBD_BLOCK = 64
_CPBD_EDGE_SHARE = 0.002
_CPBD_BETA = 3.6
_CPBD_JNB = 1 - math.exp(-1)  # the probability of seeing blur at the just noticeable width: 63 %


def psnr(a: np.ndarray, b: np.ndarray, box: tuple[int, int, int, int] | None = None) -> float:
    """Peak signal-to-noise ratio in dB: `10 log10(255² / MSE)` over all pixels and the three channels.

    Args:
        a: (H, W, 3) uint8.
        b: the same shape.
        box: left, top, right, bottom in pixels, right and bottom excluded; measures inside it alone.

    Returns:
        At most `PSNR_CAP`: 60 dB, for frames that are equal or nearly so, so that means stay finite.

    Raises:
        ValueError: if the shapes differ or the box holds no pixel.
    """
    _same_shape(a, b)
    if box is not None:
        left, top, right, bottom = box
        a, b = a[top:bottom, left:right], b[top:bottom, left:right]
    if a.size == 0:
        raise ValueError("There is no pixel to compare.")
    error = cv2.norm(np.ascontiguousarray(a), np.ascontiguousarray(b), cv2.NORM_L2SQR) / a.size
    return PSNR_CAP if error == 0 else min(PSNR_CAP, 10 * math.log10(255**2 / error))


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity of the luma, 1 for equal pictures.

    Gaussian window of 11 × 11 with σ 1.5, K1 0.01, K2 0.03, averaged over the windows that lie whole in the
    picture; no shrinking beforehand. Luma is BT.601's.

    Args:
        a: (H, W, 3) or (H, W) uint8, at least 11 × 11.
        b: the same shape.

    Raises:
        ValueError: if the shapes differ or are smaller than the window.

    Source: Wang 2004, "Image quality assessment", eqs. 13 and 14-17.
    """
    _same_shape(a, b)
    if min(a.shape[:2]) < _SSIM_WINDOW:
        raise ValueError(f"SSIM needs pictures of at least {_SSIM_WINDOW} × {_SSIM_WINDOW} pixels.")
    x, y = _luma(a).astype(np.float32), _luma(b).astype(np.float32)
    margin = _SSIM_WINDOW // 2

    def average(values: np.ndarray) -> np.ndarray:
        blurred = cv2.GaussianBlur(values, (_SSIM_WINDOW, _SSIM_WINDOW), _SSIM_SIGMA)
        return blurred[margin:-margin, margin:-margin]

    mean_x, mean_y = average(x), average(y)
    # Moments about the middle grey: of raw values, float32 would lose the small variances of flat parts.
    x, y = x - 128, y - 128
    shifted_x, shifted_y = mean_x - 128, mean_y - 128
    var_x = average(x * x) - shifted_x * shifted_x
    var_y = average(y * y) - shifted_y * shifted_y
    covariance = average(x * y) - shifted_x * shifted_y
    luminance = (2 * mean_x * mean_y + _SSIM_C1) / (mean_x**2 + mean_y**2 + _SSIM_C1)
    structure = (2 * covariance + _SSIM_C2) / (var_x + var_y + _SSIM_C2)
    return float(np.mean(luminance * structure, dtype=np.float64))


def cpbd(image: np.ndarray) -> float:
    """Cumulative probability of blur detection of one picture: the share of edges that nobody sees as blurred.

    Blocks of 64 × 64 with edges in more than 0.2 % of their pixels count. The width w of a vertical edge is
    the length of the monotone run of grey levels through it along its row (Marziliano 2002). Blur is seen
    with probability `1 - exp(-(w / w_jnb)^3.6)`, where the just noticeable width w_jnb is 5 px in blocks of
    contrast up to 50 and 3 px above; CPBD is the share of edges where that is at most 63 %.
    Edges come from Sobel's horizontal derivative, thinned along the row, threshold at twice its root mean
    square, both for the choice of blocks and for the widths (the authors' program chooses with Canny's).

    Args:
        image: (H, W, 3) or (H, W) uint8.

    Returns:
        0 (blurred) to 1 (sharp); 0 for a picture without edges or smaller than a block.

    Source: Narvekar & Karam 2011, "A no-reference image blur metric based on the cumulative probability of
    blur detection", eqs. 5-8.
    """
    grey = _luma(image)
    rows, columns = (side // _CPBD_BLOCK for side in grey.shape)
    if rows == 0 or columns == 0:
        return 0.0
    edges = _vertical_edges(grey)[: rows * _CPBD_BLOCK, : columns * _CPBD_BLOCK]
    inner = grey[: rows * _CPBD_BLOCK, : columns * _CPBD_BLOCK]
    blocks = inner.reshape(rows, _CPBD_BLOCK, columns, _CPBD_BLOCK)
    contrast = blocks.max((1, 3)).astype(int) - blocks.min((1, 3))
    counts = edges.reshape(rows, _CPBD_BLOCK, columns, _CPBD_BLOCK).sum((1, 3))
    counted = counts > _CPBD_EDGE_SHARE * _CPBD_BLOCK**2

    y, x = np.nonzero(edges)
    block = y // _CPBD_BLOCK, x // _CPBD_BLOCK
    widths = _edge_widths(grey)[y, x]
    kept = counted[block] & (widths > 0)
    if not kept.any():
        return 0.0
    noticeable = np.where(contrast[block] <= 50, 5.0, 3.0)[kept]
    blur = 1 - np.exp(-((widths[kept] / noticeable) ** _CPBD_BETA))
    return float(np.mean(blur <= _CPBD_JNB + 1e-12))


def background_change(frame: np.ndarray, reference: np.ndarray, background: np.ndarray) -> float:
    """Mean absolute difference of the background's pixels, on the scale of 0 to 255.

    Args:
        frame: (H, W, 3) uint8.
        reference: the same shape; the portrait, say, or the frame before.
        background: (H, W) bool, True where neither picture shows the person.

    Raises:
        ValueError: if shapes differ or no pixel is background.
    """
    _same_shape(frame, reference)
    if background.shape != frame.shape[:2]:
        raise ValueError(f"The mask has shape {background.shape}, the frames {frame.shape[:2]}.")
    if not background.any():
        raise ValueError("No pixel is background.")
    return float(cv2.absdiff(frame, reference)[background].mean(dtype=np.float64))


def grown_box(points: np.ndarray, size: tuple[int, int], share: float = 0.10) -> tuple[int, int, int, int]:
    """Box of a face: of its points, `share` wider and higher about the same centre, cut at the picture's edge.

    Args:
        points: (P, 2 or more) in pixels.
        size: (W, H) of the picture.

    Returns:
        left, top, right, bottom, right and bottom excluded.
    """
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    margin = (high - low) * share / 2
    left, top = np.floor(np.maximum(low - margin, 0)).astype(int)
    right, bottom = np.ceil(np.minimum(high + margin, size)).astype(int)
    return int(left), int(top), int(right), int(bottom)


def mouth_box(landmarks: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Box of the mouth's crop: half as wide and half as high again as the lips, about the same centre.

    Lips that open further than they should, and what moves around them, are in it too.

    Args:
        landmarks: (478, 2 or more) of the real face, in pixels.
        size: (W, H) of the picture.

    Returns:
        left, top, right, bottom, right and bottom excluded.
    """
    return grown_box(landmarks[LIPS], size, MOUTH_SHARE)


def _vertical_edges(grey: np.ndarray) -> np.ndarray:
    along = cv2.Sobel(grey, cv2.CV_32F, 1, 0, borderType=cv2.BORDER_REPLICATE)
    across = cv2.Sobel(grey, cv2.CV_32F, 0, 1, borderType=cv2.BORDER_REPLICATE)
    strength = along * along
    before = np.pad(strength, ((0, 0), (1, 0)))[:, :-1]
    after = np.pad(strength, ((0, 0), (0, 1)))[:, 1:]
    threshold = 4 * strength.mean(dtype=np.float64)
    vertical = np.abs(across) <= math.tan(math.pi / 8) * np.abs(along)
    return (strength > threshold) & (strength >= before) & (strength > after) & vertical


def _edge_widths(grey: np.ndarray) -> np.ndarray:
    """(H, W) int: at each pixel the length in steps of the strictly monotone run along the row that holds it."""
    step = np.sign(np.diff(grey.astype(np.int16), axis=1))
    height, steps = step.shape
    if steps == 0:
        return np.zeros(grey.shape, int)
    index = np.broadcast_to(np.arange(steps), step.shape)
    starts = np.ones(step.shape, bool)
    starts[:, 1:] = step[:, 1:] != step[:, :-1]
    ends = np.ones(step.shape, bool)
    ends[:, :-1] = starts[:, 1:]
    first = np.maximum.accumulate(np.where(starts, index, -1), axis=1)
    last = np.minimum.accumulate(np.where(ends, index, steps)[:, ::-1], axis=1)[:, ::-1]
    run = np.where(step == 0, 0, last - first + 1)
    # A pixel lies between the steps to its left and right; it belongs to the longer run of the two.
    padded = np.zeros((height, steps + 2), int)
    padded[:, 1:-1] = run
    return np.maximum(padded[:, :-1], padded[:, 1:])


def _luma(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _same_shape(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise ValueError(f"The pictures' shapes differ: {a.shape} and {b.shape}.")
