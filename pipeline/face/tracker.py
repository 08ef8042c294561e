"""Face tracking with MediaPipe's face mesh: 478 points (10 of them irises) with relative depth.

MediaPipe looks for large faces first, so a still image is searched at several scales and turns, and each face
found is tracked again in a crop of its own; that is what makes small, turned and off-centre faces work.
One tracker belongs to one thread: shared between threads MediaPipe loses faces without a word.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

import cv2
import numpy as np

LANDMARKS = 478
MESH_POINTS = 468
_DETECT_SIDE = 1280  # larger pictures are searched at this size, and tracked at their own
_CROP_SIDE = 512
_TURNS = (0, 90, 270, 180, 45, 315)


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


class FaceTracker:
    """Finds faces in a picture, or follows one face through a video. Not for use by two threads.

    Args:
        video: follow the face from frame to frame (4 ms a frame) instead of searching each anew.
        min_confidence: below it a face is not reported.
    """

    def __init__(self, video: bool = False, min_confidence: float = 0.5) -> None:
        with _quiet():
            from mediapipe.python.solutions.face_mesh import FaceMesh

            self._mesh = FaceMesh(
                static_image_mode=not video,
                max_num_faces=1,
                refine_landmarks=True,
                min_detection_confidence=min_confidence,
                min_tracking_confidence=min_confidence,
            )
            self._detector = None
        self._video = video
        self._min_confidence = min_confidence

    def close(self) -> None:
        """Free MediaPipe's graphs."""
        self._mesh.close()
        if self._detector is not None:
            self._detector.close()

    def __enter__(self) -> FaceTracker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def follow(self, frame: np.ndarray) -> Face | None:
        """The face of the next frame (H, W, 3) uint8 RGB, or None when there is none."""
        landmarks = self._run(frame)
        return None if landmarks is None else Face(landmarks)

    def find(self, image: np.ndarray) -> list[Face]:
        """All faces of a picture (H, W, 3) uint8 RGB, the largest first; empty if there are none."""
        faces: list[Face] = []
        for turn in _TURNS:
            turned, back = _turn(image, turn)
            for box, score in self._detect(turned):
                landmarks = self._track_crop(turned, box)
                if landmarks is None or not _upright(landmarks):
                    continue
                landmarks = landmarks.copy()
                landmarks[:, :2] = cv2.transform(landmarks[None, :, :2], back)[0]
                if not any(_same(landmarks, other.landmarks) for other in faces):
                    faces.append(Face(landmarks.astype(np.float32), score))
            if faces:
                break
        return sorted(faces, key=lambda face: -face.height)

    def _run(self, image: np.ndarray) -> np.ndarray | None:
        with _quiet():
            found = self._mesh.process(np.ascontiguousarray(image)).multi_face_landmarks
        if not found:
            return None
        height, width = image.shape[:2]
        points = np.array([(p.x, p.y, p.z) for p in found[0].landmark], np.float32)
        return points * np.array([width, height, width], np.float32)

    def _track_crop(self, image: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        """Track the face in `box` (x, y, w, h), twice: the second crop is laid around the first result."""
        landmarks = None
        for _ in range(2):
            centre, side = box[:2] + box[2:] / 2, 2.0 * max(box[2:])
            scale = _CROP_SIDE / side
            forward = np.array(
                [[scale, 0, _CROP_SIDE / 2 - scale * centre[0]], [0, scale, _CROP_SIDE / 2 - scale * centre[1]]]
            )
            interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            crop = cv2.warpAffine(image, forward, (_CROP_SIDE, _CROP_SIDE), flags=interpolation)
            points = self._run(crop)
            if points is None:
                return landmarks
            points[:, 0] = (points[:, 0] - forward[0, 2]) / scale
            points[:, 1] = (points[:, 1] - forward[1, 2]) / scale
            points[:, 2] /= scale
            low, high = points[:, :2].min(0), points[:, :2].max(0)
            landmarks, box = points, np.concatenate([low, high - low])
        return landmarks

    def _detect(self, image: np.ndarray) -> list[tuple[np.ndarray, float]]:
        """Boxes (x, y, w, h) in pixels with their scores: near and far detectors, the whole and its parts."""
        if self._detector is None:
            with _quiet():
                from mediapipe.python.solutions.face_detection import FaceDetection

                self._detector = FaceDetection(self._min_confidence, model_selection=1)
        height, width = image.shape[:2]
        scale = min(1.0, _DETECT_SIDE / max(height, width))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
        found: list[tuple[np.ndarray, float]] = []
        # A face that fills the picture is found once there is room around it; a far one in a picture cut up.
        for pad in (0.0, 0.5):
            border = int(pad * max(small.shape[:2]))
            padded = cv2.copyMakeBorder(small, border, border, border, border, cv2.BORDER_REPLICATE)
            with _quiet():
                detections = self._detector.process(np.ascontiguousarray(padded)).detections
            rows, columns = padded.shape[:2]
            for detection in detections or []:
                box = detection.location_data.relative_bounding_box
                pixels = np.array([box.xmin * columns, box.ymin * rows, box.width * columns, box.height * rows])
                pixels[:2] -= border
                found.append((pixels / scale, float(detection.score[0])))
            if found:
                break
        return found


def _turn(image: np.ndarray, degrees: int) -> tuple[np.ndarray, np.ndarray]:
    """`image` turned about its centre into a canvas that holds it all, and the (2, 3) map back."""
    height, width = image.shape[:2]
    if degrees == 0:
        return image, np.eye(2, 3)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    cosine, sine = abs(matrix[0, 0]), abs(matrix[0, 1])
    columns, rows = int(height * sine + width * cosine), int(height * cosine + width * sine)
    matrix[0, 2] += columns / 2 - width / 2
    matrix[1, 2] += rows / 2 - height / 2
    turned = cv2.warpAffine(image, matrix, (columns, rows), borderMode=cv2.BORDER_REPLICATE)
    return turned, cv2.invertAffineTransform(matrix)


def _upright(landmarks: np.ndarray) -> bool:
    """Whether the forehead is above the chin; the mesh guesses nonsense on faces upside down."""
    down = landmarks[152, :2] - landmarks[10, :2]
    return bool(down[1] > 0.5 * np.linalg.norm(down))


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    distance = np.linalg.norm(a[:, :2].mean(0) - b[:, :2].mean(0))
    return bool(distance < 0.3 * np.linalg.norm(a[10, :2] - a[152, :2]))


@contextlib.contextmanager
def _quiet():
    """Keep TensorFlow Lite's start-up lines off stderr: MediaPipe logs there whatever its settings."""
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    yield
