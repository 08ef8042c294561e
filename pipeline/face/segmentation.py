"""The person's matte: which pixels are head, hair and body, and how much of each.

MediaPipe's segmentation network sees 256 x 256 pixels, so it is shown the head and shoulders closely, then more of
the body; a guided filter (He 2010) brings the mean of the views to the picture's own edges.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.face.networks import PERSON_SIDE, PersonNetwork, shrunk
from pipeline.face.topology import CHIN, FOREHEAD, MESH_POINTS, OUTLINE

# Views of the person: side in face heights, how far their centre lies below the face's, mirrored, weight.
_VIEWS = ((2.4, 0.0, False, 1.0), (3.2, 0.2, True, 1.0), (4.8, 0.6, False, 0.5), (9.0, 2.0, True, 0.25))
_TILE = 128  # pixels; the matte is refined in tiles, as most of them hold no edge
_BODILESS = 0.35  # mean probability where head and shoulders should be: corpus portraits from 0.5
_UNSURE = 0.8  # mean probability on the face below which the network has not seen this person: else above 0.98


@dataclass(frozen=True)
class _Grid:
    """The part of a picture that holds the person, and the smaller scale at which it is segmented.

    Attributes:
        corner: (2,) x, y of the part's first pixel.
        pixels: (h, w, 3) uint8, the part at `scale`.
        scale: grid pixels a picture pixel.
        face: (478, 2) landmarks in grid pixels.
        height: of the face, in grid pixels.
    """

    corner: np.ndarray
    pixels: np.ndarray
    scale: float
    face: np.ndarray
    height: float

    def place(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the picture in grid pixels."""
        return (points - self.corner) * self.scale


class Segmenter:
    """Mattes of people. Not for use by two threads."""

    def __init__(self) -> None:
        self._network = PersonNetwork()

    def close(self) -> None:
        """Free MediaPipe's graph."""
        self._network.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def person_alpha(self, image: np.ndarray, landmarks: np.ndarray, others: Sequence[np.ndarray] = ()) -> np.ndarray:
        """Matte (H, W) float32, 0 to 1, of the person whose face has these landmarks.

        Where the network does not see a person (some drawings and statues) the matte is a head and shoulders
        laid out by the face's own measures.

        Args:
            image: (H, W, 3) uint8 RGB.
            landmarks: (478, 3) in pixels.
            others: landmarks of other faces, whose people are kept out.
        """
        quarters = _quarter_turns(landmarks)
        if quarters:  # the network knows people who stand
            turned = [_turned_points(points, image.shape, quarters) for points in (landmarks, *others)]
            alpha = self.person_alpha(np.ascontiguousarray(np.rot90(image, quarters)), turned[0], turned[1:])
            return np.ascontiguousarray(np.rot90(alpha, -quarters))
        region, grid = _laid(image, landmarks)
        hull = _filled(grid.pixels.shape[:2], grid.face[OUTLINE])
        probability = self._probability(grid, hull)
        body = _head_and_shoulders(grid)
        seen = float((probability * hull).sum() / max(hull.sum(), 1e-6))
        if seen < _UNSURE or float((probability * body).sum() / body.sum()) < _BODILESS:
            probability = np.maximum(probability, body)
        probability = np.maximum(probability, hull)
        if len(others):
            probability *= _own_share(grid, probability, [grid.place(other[:, :2]) for other in others])
        probability = np.maximum(_weighed(grid, probability, body), hull)
        probability *= _connected(probability, hull)
        alpha = np.zeros(image.shape[:2], np.float32)
        alpha[region] = _refined(image[region], grid, probability)
        return alpha

    def _probability(self, grid: _Grid, hull: np.ndarray) -> np.ndarray:
        """Mean of the network's views of the person, (h, w) of the grid; views that miss the face count little."""
        rows, columns = grid.pixels.shape[:2]
        total, weights = np.zeros((2, rows, columns), np.float32)
        centre = grid.face[:MESH_POINTS].mean(0)
        seen = set()
        for side, below, mirrored, weight in _VIEWS:
            box = _inside(centre + np.array([0, below * grid.height]), side * grid.height, columns, rows)
            if (box, mirrored) in seen:
                continue
            seen.add((box, mirrored))
            view = cv2.resize(grid.pixels[_slices(box)], (PERSON_SIDE, PERSON_SIDE), interpolation=cv2.INTER_AREA)
            found = self._network(view[:, ::-1])[:, ::-1] if mirrored else self._network(view)
            window, part = _window(box, columns, rows), _slices(box)
            found = cv2.resize(found, window.shape[::-1], interpolation=cv2.INTER_LINEAR)
            known = float((found * hull[part]).sum() / max(hull[part].sum(), 1e-6))
            window *= weight * known**2 + 1e-3
            total[part] += window * found
            weights[part] += window
        return total / np.maximum(weights, 1e-6)


_SEGMENTERS = threading.local()


def person_alpha(image: np.ndarray, landmarks: np.ndarray, others: Sequence[np.ndarray] = ()) -> np.ndarray:
    """`Segmenter.person_alpha` with a network that this thread keeps."""
    if not hasattr(_SEGMENTERS, "mine"):
        _SEGMENTERS.mine = Segmenter()
    return _SEGMENTERS.mine.person_alpha(image, landmarks, others)


def _quarter_turns(landmarks: np.ndarray) -> int:
    """Counter-clockwise quarter turns that bring the face upright."""
    down = landmarks[CHIN] - landmarks[FOREHEAD]
    return round(float(np.arctan2(-down[0], down[1])) / (np.pi / 2)) % 4


def _turned_points(points: np.ndarray, shape: tuple[int, ...], quarters: int) -> np.ndarray:
    """Points of a picture of that shape in `np.rot90(picture, quarters)`."""
    points, (rows, columns) = points.copy(), shape[:2]
    for _ in range(quarters):
        points[:, 0], points[:, 1] = points[:, 1].copy(), columns - points[:, 0]
        rows, columns = columns, rows
    return points


Box = tuple[int, int, int, int]


def _slices(box: Box) -> tuple[slice, slice]:
    """Rows and columns of left, top, right, bottom."""
    left, top, right, bottom = box
    return slice(top, bottom), slice(left, right)


def _laid(image: np.ndarray, landmarks: np.ndarray) -> tuple[tuple[slice, slice], _Grid]:
    """The region that the widest view sees, and its grid: as fine as the closest view's pixels."""
    height = float(np.linalg.norm(landmarks[FOREHEAD] - landmarks[CHIN]))
    side, below = _VIEWS[-1][:2]
    centre = landmarks[:MESH_POINTS, :2].mean(0) + np.array([0, below * height])
    box = _inside(centre, side * height, image.shape[1], image.shape[0])
    part = image[_slices(box)]
    scale = min(1.0, PERSON_SIDE / (_VIEWS[0][0] * height))
    pixels = shrunk(part, scale)
    corner = np.array(box[:2], np.float32)
    return _slices(box), _Grid(corner, pixels, scale, (landmarks[:, :2] - corner) * scale, height * scale)


def _inside(centre: np.ndarray, side: float, columns: int, rows: int) -> Box:
    """A square as left, top, right, bottom: moved into the picture, and cut where it is larger than that."""
    low = []
    for middle, length in zip(centre, (columns, rows), strict=True):
        extent = min(round(side), length)
        start = int(np.clip(round(middle - extent / 2), 0, length - extent))
        low.append((start, start + extent))
    (left, right), (top, bottom) = low
    return left, top, right, bottom


def _window(box: Box, columns: int, rows: int) -> np.ndarray:
    """Weights that fall towards those edges of a view that lie within the picture."""
    left, top, right, bottom = box

    def ramp(start: int, stop: int, length: int) -> np.ndarray:
        place = (np.arange(stop - start, dtype=np.float32) + 0.5) / (stop - start)
        low = np.clip(place / 0.15, 0.01, 1) if start > 0 else np.ones_like(place)
        high = np.clip((1 - place) / 0.15, 0.01, 1) if stop < length else np.ones_like(place)
        return low * high

    return ramp(top, bottom, rows)[:, None] * ramp(left, right, columns)[None, :]


def _filled(shape: tuple[int, int], outline: np.ndarray) -> np.ndarray:
    """(H, W) float32: 1 inside a closed line of points, smooth over a pixel or two."""
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], 255, cv2.LINE_AA)
    return cv2.erode(mask, np.ones((3, 3), np.uint8)).astype(np.float32) / 255


def _head_and_shoulders(grid: _Grid) -> np.ndarray:
    """A head with hair, a neck and shoulders by the measures of the face, blurred as little is known of its edge."""
    face, height = grid.face, grid.height
    up = (face[FOREHEAD] - face[CHIN]) / max(float(np.linalg.norm(face[FOREHEAD] - face[CHIN])), 1e-6)
    middle = (face[FOREHEAD] + face[CHIN]) / 2 + 0.1 * height * up
    mask = np.zeros(grid.pixels.shape[:2], np.uint8)
    axes = round(0.54 * height), round(0.72 * height)
    roll = float(np.degrees(np.arctan2(up[0], -up[1])))
    cv2.ellipse(mask, tuple(int(v) for v in np.round(middle)), axes, roll, 0, 360, 255, -1, cv2.LINE_AA)
    # Neck and shoulders hang straight down, however the head is held; (right, down) of the chin in face heights.
    half = np.array([(0.3, -0.2), (0.32, 0.25), (1.2, 0.7), (1.35, 9.0)])
    body = face[CHIN] + height * np.vstack([half, half[::-1] * (-1, 1)])
    cv2.fillPoly(mask, [np.round(body).astype(np.int32)], 255, cv2.LINE_AA)
    return cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 0.08 * height)


def _weighed(grid: _Grid, probability: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Where the network hesitates, ask which side has more of the pixel's colour, and where heads usually are."""
    bins = 16
    lab = cv2.cvtColor(cv2.GaussianBlur(grid.pixels, (0, 0), 1.0), cv2.COLOR_RGB2LAB)
    low, high = lab.reshape(-1, 3).min(0), lab.reshape(-1, 3).max(0)
    index = ((lab - low) * (bins / (np.maximum(high - low, 16) + np.float32(1)))).astype(np.int32)
    index = (index[..., 0] * bins + index[..., 1]) * bins + index[..., 2]

    def share(weights: np.ndarray) -> np.ndarray:
        counts = np.bincount(index.ravel(), weights.ravel(), bins**3).reshape(bins, bins, bins)
        for axis in range(3):
            counts = (counts + 0.5 * (np.roll(counts, 1, axis) + np.roll(counts, -1, axis))) / 2
        return (counts / max(counts.sum(), 1e-6)).astype(np.float32)

    colours = np.log((share(probability**2) + 1e-6) / (share((1 - probability) ** 2) + 1e-6))
    colours = np.clip(colours, -3, 3)  # doubts are settled by colour, certainties are not overturned
    safe = np.clip(probability, 0.005, 0.995)
    evidence = np.log(safe / (1 - safe)) + 0.7 * colours.ravel()[index] + 2.0 * (body - 0.5).clip(0)
    return 1 / (1 + np.exp(-evidence))


def _own_share(grid: _Grid, probability: np.ndarray, others: list[np.ndarray]) -> np.ndarray:
    """1 on this person and 0 on other people: clearly nearer ones by distance, the rest by a watershed between."""
    own = _body_distance(probability.shape, grid.face)
    other = np.min([_body_distance(probability.shape, face) for face in others], axis=0)
    markers = np.zeros(probability.shape, np.int32)
    markers[probability < 0.02] = 3
    markers[own < 0.6 * other] = 1
    markers[other < 0.6 * own] = 2
    cv2.watershed(cv2.GaussianBlur(grid.pixels, (0, 0), 1.5), markers)
    mine = cv2.dilate((markers == 1).astype(np.float32), np.ones((3, 3), np.uint8))  # the watershed's own lines
    return cv2.GaussianBlur(mine, (0, 0), 1.0)


def _body_distance(shape: tuple[int, int], face: np.ndarray) -> np.ndarray:
    """(h, w) distance, in heights of that face, to its outline's inside and the body straight below it."""
    height = max(float(np.linalg.norm(face[FOREHEAD] - face[CHIN])), 1.0)
    mask = np.full(shape, 255, np.uint8)
    cv2.fillPoly(mask, [np.round(face[OUTLINE]).astype(np.int32)], 0)
    body = face[CHIN] + height * np.array([(0, 0), (0.9, 1), (0.9, 9), (-0.9, 9), (-0.9, 1)])
    cv2.fillPoly(mask, [np.round(body).astype(np.int32)], 0)
    if mask.all():  # the other person stands outside the grid
        return np.full(shape, np.inf, np.float32)
    return (cv2.distanceTransform(mask, cv2.DIST_L2, 3) + 1) / height


def _connected(probability: np.ndarray, hull: np.ndarray) -> np.ndarray:
    """1 on what hangs together with the face, 0 on other people and on stray islands."""
    _, labels = cv2.connectedComponents((probability > 0.4).astype(np.uint8), connectivity=4)
    own = np.isin(labels, np.setdiff1d(np.unique(labels[hull > 0.5]), [0])).astype(np.uint8)
    reach = max(3, probability.shape[0] // 40) | 1
    own = cv2.dilate(own, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    return cv2.GaussianBlur(own.astype(np.float32), (0, 0), reach / 4)


def _refined(image: np.ndarray, grid: _Grid, probability: np.ndarray) -> np.ndarray:
    """The matte at the picture's resolution: a colour guided filter solved on the grid, applied along the edges."""
    guide = grid.pixels.astype(np.float32) / 255
    gain, offset = _guided(guide, probability, radius=4, epsilon=2e-4)
    coarse = _sharpened(np.einsum("hwc,hwc->hw", gain, guide) + offset)
    unsure = ((coarse > 0.01) & (coarse < 0.99)).astype(np.uint8)
    unsure = cv2.dilate(unsure, np.ones((9, 9), np.uint8))
    lines = np.dstack([gain, offset])
    rows, columns = image.shape[:2]
    steps = np.array(coarse.shape[::-1]) / (columns, rows)
    alpha = np.empty((rows, columns), np.float32)
    for top in range(0, rows, _TILE):
        for left in range(0, columns, _TILE):
            tile = slice(top, min(top + _TILE, rows)), slice(left, min(left + _TILE, columns))
            size = tile[1].stop - left, tile[0].stop - top
            shift = (np.array([left, top]) + 0.5) * steps - 0.5
            back = np.array([[steps[0], 0, shift[0]], [0, steps[1], shift[1]]])
            low = np.maximum(0, np.floor(shift)).astype(int)
            high = np.ceil(shift + steps * size).astype(int) + 1
            if unsure[low[1] : high[1], low[0] : high[0]].any():
                line = _sampled(lines, back, size)
                line[..., :3] *= image[tile].astype(np.float32) / 255
                alpha[tile] = _sharpened(line.sum(2))
            else:
                alpha[tile] = _sampled(coarse, back, size)
    return alpha


def _sampled(array: np.ndarray, back: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(array, back, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _sharpened(alpha: np.ndarray) -> np.ndarray:
    """The filter's mean leaves a veil on both sides of an edge: whole and empty where nearly so."""
    return np.clip(1.25 * alpha - 0.125, 0, 1)


def _guided(guide: np.ndarray, target: np.ndarray, radius: int, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """Gain (h, w, 3) and offset (h, w) whose `gain · colour + offset` is nearest to `target` in every window.

    Source: He 2010, "Guided image filtering", eqs. 14-16 (colour guide).
    """

    def mean(array: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(array, -1, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT)

    colour, level = mean(guide), mean(target)
    covariance = mean(guide * target[..., None]) - colour * level[..., None]
    r, g, b = (guide[..., i] for i in range(3))
    products = mean(np.dstack([r * r, r * g, r * b, g * g]))
    more = mean(np.dstack([g * b, b * b]))
    mr, mg, mb = (colour[..., i] for i in range(3))
    rr, rg, rb = products[..., 0] - mr * mr + epsilon, products[..., 1] - mr * mg, products[..., 2] - mr * mb
    gg, gb, bb = products[..., 3] - mg * mg + epsilon, more[..., 0] - mg * mb, more[..., 1] - mb * mb + epsilon
    # Inverse of the symmetric 3 x 3 covariance by its cofactors.
    c00, c01, c02 = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
    c11, c12, c22 = rr * bb - rb * rb, rg * rb - rr * gb, rr * gg - rg * rg
    determinant = rr * c00 + rg * c01 + rb * c02
    x, y, z = (covariance[..., i] for i in range(3))
    gain = np.dstack([c00 * x + c01 * y + c02 * z, c01 * x + c11 * y + c12 * z, c02 * x + c12 * y + c22 * z])
    gain /= determinant[..., None]
    offset = level - (gain * colour).sum(2)
    return mean(gain), mean(offset)
