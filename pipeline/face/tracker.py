"""Face tracking with MediaPipe's face mesh: 478 points (10 of them irises) with relative depth.

A picture is searched whole and in overlapping parts, then turned, then in smaller parts, until a face is found;
that is what makes small, rolled, off-centre and picture-filling faces work. Each find is tracked in a crop laid
along its own eyes, both ways up, and again mirrored, shifted, scaled and turned: where these views contradict each
other there is no face, only something that resembles one.
One tracker belongs to one thread: shared between threads MediaPipe loses faces without a word.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from pipeline.face.networks import LANDMARKS, MESH_SIDE, MIRROR, Detection, FaceDetectors, MeshNetwork, shrunk

__all__ = ["LANDMARKS", "Face", "FaceTracker"]

_TILE = 256  # parts are cut from a picture shrunk until they have this side; detectors see 128 and 192 pixels
_LARGE = 0.08  # a face this share of the picture's longer side ends the search
_SMALLEST = 20  # pixels; a smaller face is of no use to anyone
_SETTLED = 0.004  # share of its side by which the crop may still move when it counts as settled
_ROUNDS = 8
_SURE = 23.0  # a logit that upside-down readings of 58 portraits stayed below (at most 20)
_UNSURE = 5.0  # a logit below which a followed mesh is compared with what a search of the frame finds
_CROP = 1.5  # side of the tracked crop over that of the mesh, as in MediaPipe
# Further views of a face: mirrored or not, shift in crop sides, scale, turn in radians.
_VIEWS = (
    (True, 0, 0, 1.0, 0.0),
    (False, 0.04, 0, 1.0, 0.1),
    (False, -0.03, 0.03, 1.12, -0.12),
    (True, 0, -0.04, 0.93, 0),
)
_DISAGREEMENT = 0.03  # of face height between two views' meshes: at most 0.024 on faces, from 0.034 on other things


@dataclass(frozen=True)
class Face:
    """One tracked face.

    Attributes:
        landmarks: (478, 3) float32: x right and y down in pixels, z away from the viewer in the same unit.
        score: the detector's confidence, 0 to 1; a face tracked from frame to frame has 1.
    """

    landmarks: np.ndarray
    score: float = 1.0

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the points, in pixels."""
        low, high = self.landmarks[:, :2].min(0), self.landmarks[:, :2].max(0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    @property
    def height(self) -> float:
        """Forehead (point 10) to chin (point 152) in pixels, along the face whatever its roll and pitch."""
        return float(np.linalg.norm(self.landmarks[10] - self.landmarks[152]))


@dataclass(frozen=True)
class _Region:
    """A square of the picture: centre (2,), side in pixels, and how far it is turned, in radians."""

    centre: np.ndarray
    side: float
    roll: float


class FaceTracker:
    """Finds faces in a picture, or follows one face through a video. Not for use by two threads.

    Args:
        video: `follow` keeps to the face from frame to frame instead of searching each frame anew.
        min_confidence: below it a face is not reported.
    """

    def __init__(self, video: bool = False, min_confidence: float = 0.5) -> None:
        self._mesh = MeshNetwork()
        self._detectors = FaceDetectors(min_confidence)
        self._video = video
        self._min_logit = float(np.log(min_confidence / (1 - min_confidence)))
        self._last: np.ndarray | None = None

    def close(self) -> None:
        """Free MediaPipe's graphs."""
        self._mesh.close()
        self._detectors.close()

    def __enter__(self) -> FaceTracker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def follow(self, frame: np.ndarray) -> Face | None:
        """The face of the next frame (H, W, 3) uint8 RGB, or None when there is none."""
        followed = None if self._last is None or not self._video else self._track(frame, _region_of(self._last))
        if followed is None or followed[1] < _UNSURE:
            # A mesh that the network doubts is on its way from a profile to an ear, and would stay there.
            seen = None if followed is None else Face(followed[0])
            for found in sorted(self._detect(frame), key=lambda detection: -detection.side):
                landmarks = self._settle(frame, found)
                if landmarks is None or (seen is not None and not _overlap(seen, Face(landmarks))):
                    continue
                logit = self._logit(frame, landmarks)
                if followed is None or logit > followed[1]:
                    followed = landmarks, logit
                break
        self._last = None if followed is None else followed[0]
        return None if self._last is None else Face(self._last)

    def hold(self, face: Face | None) -> None:
        """Let `follow` go on from this face of the frame that it saw last; None makes it search anew."""
        self._last = None if face is None else face.landmarks

    def find(self, image: np.ndarray) -> list[Face]:
        """All faces of a picture (H, W, 3) uint8 RGB, the largest first; empty if there are none.

        Points may lie outside a picture that cuts the face off.
        """
        side = max(image.shape[:2])
        found: list[tuple[float, Face]] = []
        for detections in self._searches(image):
            for detection in _distinct(detections):
                if detection.side < _SMALLEST:
                    continue
                landmarks = self._settle_either_way(image, detection)
                landmarks = None if landmarks is None else self._confirm(image, landmarks)
                if landmarks is not None:
                    found.append((self._logit(image, landmarks), Face(landmarks, detection.score)))
            if any(face.height > _LARGE * side for _, face in found):
                break
        faces: list[Face] = []
        for _, face in sorted(found, key=lambda pair: -pair[0]):  # of overlapping meshes the surest
            if not any(_overlap(face, other) for other in faces):
                faces.append(face)
        return sorted(faces, key=lambda face: -face.height)

    def _searches(self, image: np.ndarray) -> Iterator[list[Detection]]:
        """Ever more patient searches of one picture, each a list of detections in its pixels."""
        yield self._detect(image, margin=0.5) + self._detect(image) + self._detect_parts(image, 2)
        turns = [_turned(image, turn) for turn in (90, 270, 180, 45, 315)]
        yield [_moved(found, back) for turned, back in turns for found in self._detect(turned)]
        for parts in (4, 8):
            if _SMALLEST * parts * 4 < max(image.shape[:2]):  # else its parts hold no face that is large enough
                yield self._detect_parts(image, parts)

    def _detect(self, image: np.ndarray, margin: float = 0.0) -> list[Detection]:
        """Faces of the whole picture, with a margin of `margin` sides for those that its edges cut."""
        height, width = image.shape[:2]
        scale = min(1.0, _TILE / max(height, width) / (1 + 2 * margin) * (1 + margin))
        small = shrunk(image, scale)
        border = round(margin * max(small.shape[:2]))
        if border:
            small = cv2.copyMakeBorder(small, border, border, border, border, cv2.BORDER_REPLICATE)
        back = np.array([[1 / scale, 0, -border / scale], [0, 1 / scale, -border / scale]])
        return [_moved(found, back) for found in self._detectors(small)]

    def _detect_parts(self, image: np.ndarray, parts: int) -> list[Detection]:
        """Faces of overlapping squares, `parts` of them along the longer side if they did not overlap."""
        scale = min(1.0, parts * _TILE / max(image.shape[:2]))
        small = shrunk(image, scale)
        side = -(-max(small.shape[:2]) // parts)
        step = max(1, side // 2 if parts == 2 else side * 3 // 4)  # larger faces were looked for in larger parts
        found = []
        for top, left in itertools.product(*(_starts(length, side, step) for length in small.shape[:2])):
            back = np.array([[1 / scale, 0, left / scale], [0, 1 / scale, top / scale]])
            detections = self._detectors(small[top : top + side, left : left + side], near=parts == 2)
            found += [_moved(detection, back) for detection in detections]
        return found

    def _settle_either_way(self, image: np.ndarray, found: Detection) -> np.ndarray | None:
        """As `_settle`, where the face may stand on its head: the way up that the network is surer of.

        Both ways are settled before they are compared: on 58 portraits the right one's logit is then at least 8
        above the other's, while in the detection's own square the wrong one sometimes wins.
        """
        upright = self._settle(image, found)
        if upright is not None and self._logit(image, upright) > _SURE:
            return upright
        ways = [upright, self._settle(image, replace(found, eyes=found.eyes[::-1]))]
        return max((way for way in ways if way is not None), key=lambda way: self._logit(image, way), default=None)

    def _settle(self, image: np.ndarray, found: Detection) -> np.ndarray | None:
        """Track the face of a detection until the crop laid along the result no longer moves."""
        region = _Region(found.centre, _CROP * found.side, found.roll)
        for _ in range(_ROUNDS):
            tracked = self._track(image, region)
            if tracked is None:
                return None
            landmarks = tracked[0]
            last, region = region, _region_of(landmarks)
            if np.abs(region.centre - last.centre).max() + abs(region.side - last.side) < _SETTLED * last.side:
                break
        return landmarks

    def _confirm(self, image: np.ndarray, landmarks: np.ndarray) -> np.ndarray | None:
        """The mesh, or None where several views of the face disagree with it: that is no face.

        Not their mean: a portrait must be tracked just as the frames of a video are, or the two differ by more
        than the head moves.
        """
        region, limit = _region_of(landmarks), _DISAGREEMENT * np.linalg.norm(landmarks[10] - landmarks[152])
        for mirror, right, down, scale, turn in _VIEWS:
            shift = region.side * np.array([right, down])
            view = _Region(region.centre + shift, scale * region.side, region.roll + turn)
            seen = self._track(image, view, mirror)
            if seen is None or np.linalg.norm((seen[0] - landmarks)[:, :2], axis=1).mean() > limit:
                return None
        return landmarks

    def _logit(self, image: np.ndarray, landmarks: np.ndarray) -> float:
        """How sure the network is of the face under a mesh."""
        return self._mesh(_cut(image, _region_of(landmarks), False)[0])[1]

    def _track(self, image: np.ndarray, region: _Region, mirror: bool = False) -> tuple[np.ndarray, float] | None:
        """Landmarks (478, 3) of the face in a region, in pixels of the image, and how sure the network is of it; None
        where there is no face."""
        crop, back = _cut(image, region, mirror)
        points, logit = self._mesh(crop)
        if logit < self._min_logit:
            return None
        if mirror:
            points = points[MIRROR]
        places = MESH_SIDE * points[:, :2] @ back[:, :2].T + back[:, 2]
        return np.column_stack([places, region.side * points[:, 2]]).astype(np.float32), logit


def _region_of(landmarks: np.ndarray) -> _Region:
    """The square around a mesh along its eye corners, as MediaPipe lays the next frame's."""
    across = landmarks[263, :2] - landmarks[33, :2]
    roll = float(np.arctan2(across[1], across[0]))
    turn = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    upright = landmarks[:, :2] @ turn.T
    low, high = upright.min(0), upright.max(0)
    return _Region(turn.T @ ((low + high) / 2), _CROP * float((high - low).max()), roll)


def _cut(image: np.ndarray, region: _Region, mirror: bool) -> tuple[np.ndarray, np.ndarray]:
    """The region at the mesh network's size, black beyond the picture, and the (2, 3) map from it to the image."""
    reach = int(0.71 * region.side) + 2
    left, top = (int(value) - reach for value in np.round(region.centre))
    box = slice(max(0, top), max(0, top + 2 * reach)), slice(max(0, left), max(0, left + 2 * reach))
    part, corner = image[box], np.array([box[1].start, box[0].start], np.float64)
    if part.size == 0:
        return np.zeros((MESH_SIDE, MESH_SIDE, 3), np.uint8), np.eye(2, 3)
    shrink = min(1.0, 2 * MESH_SIDE / region.side)  # beyond a factor of two bilinear sampling skips pixels
    part = shrunk(part, shrink)
    step = region.side / MESH_SIDE
    cosine, sine = step * np.cos(region.roll), step * np.sin(region.roll)
    back = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0]])
    if mirror:
        back[:, 0] *= -1
    back[:, 2] = region.centre - back[:, :2] @ np.full(2, MESH_SIDE / 2)
    inside = back.copy()
    inside[:, 2] -= corner
    # Pixel centres lie at half numbers in continuous coordinates, at whole ones in OpenCV's.
    inside[:, 2] += inside[:, :2] @ np.full(2, 0.5)
    inside = inside * shrink
    inside[:, 2] -= 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(part, inside, (MESH_SIDE, MESH_SIDE), flags=flags), back


def _starts(length: int, side: int, step: int) -> list[int]:
    """Where parts of `side` begin so that they cover `length`, at most `step` apart."""
    last = max(0, length - side)
    count = -(-last // step) + 1
    return [round(value) for value in np.linspace(0, last, count)]


def _turned(image: np.ndarray, degrees: int) -> tuple[np.ndarray, np.ndarray]:
    """A small copy of the picture turned about its centre, all of it in view, and the (2, 3) map back."""
    scale = min(1.0, _TILE / max(image.shape[:2]))
    small = shrunk(image, scale)
    height, width = small.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    cosine, sine = abs(matrix[0, 0]), abs(matrix[0, 1])
    columns, rows = round(height * sine + width * cosine), round(height * cosine + width * sine)
    matrix[:, 2] += (columns - width) / 2, (rows - height) / 2
    turned = cv2.warpAffine(small, matrix, (columns, rows), borderMode=cv2.BORDER_REPLICATE)
    return turned, cv2.invertAffineTransform(matrix) / scale


def _moved(found: Detection, back: np.ndarray) -> Detection:
    """A detection mapped by a (2, 3) similarity."""
    points = np.vstack([found.centre[None], found.eyes]) @ back[:, :2].T + back[:, 2]
    scale = float(np.linalg.norm(back[:, 0]))
    return replace(found, centre=points[0], eyes=points[1:], side=scale * found.side)


def _distinct(detections: list[Detection]) -> list[Detection]:
    """The best of each group of detections of about one place and size."""
    kept: list[Detection] = []
    for found in sorted(detections, key=lambda detection: -detection.score):
        for other in kept:
            near = np.linalg.norm(found.centre - other.centre) < 0.4 * min(found.side, other.side)
            if near and 0.6 < found.side / other.side < 1.7:
                break
        else:
            kept.append(found)
    return kept


def _overlap(a: Face, b: Face) -> bool:
    """Whether two meshes lie so close that they cannot be two people's: heads are three quarters as wide as high."""
    distance = np.linalg.norm(a.landmarks[:, :2].mean(0) - b.landmarks[:, :2].mean(0))
    return bool(distance < 0.5 * max(a.height, b.height))
