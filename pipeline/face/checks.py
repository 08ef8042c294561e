"""Whether a picture can be brought to life: which face to take, why not, and what may spoil the result.

Every refusal says what is wrong and what to do; what can be done but may look worse is a warning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np

from pipeline.errors import PortraitError
from pipeline.face.measures import lip_opening
from pipeline.face.topology import LEFT_EYE, MESH_POINTS, OUTER_LIPS, RIGHT_EYE
from pipeline.face.tracker import Face

if TYPE_CHECKING:
    from pipeline.face.image import ImageSource
    from pipeline.face.tracker import FaceTracker

MIN_HEIGHT = 64  # pixels, forehead to chin; below it the mesh's own error is that of a lip's width
_SMALL = 100  # pixels: usable, but soft
# By the mesh, whose flat depth reads a turn of 45 degrees as 36 and one of about 65 as 50.
_MAX_YAW, _STRONG_YAW = 50.0, 30.0
_ROLLED = 60.0  # degrees; so far over, a picture was probably turned by mistake
_MIN_INSIDE = 0.7  # share of the mesh that must lie in the picture
_WIDE_OPEN = 0.11  # inner lips' distance in face heights; the corpus's laughs stay below 0.09
_DARK = 75  # of 255: what nine in ten of the face's pixels stay below; the darkest corpus portrait has 99
_BLURRED = 0.0011  # see `_sharpness`: corpus portraits from 0.0013, blurred by 1 % of their height mostly below
_SHARPNESS_SIDE = 160


@dataclass(frozen=True)
class PortraitCheck:
    """What was found in a picture.

    Attributes:
        face: the largest face, which is the one to use.
        others: how many other faces there are.
        warnings: sentences on what may spoil the result.
    """

    face: Face
    others: int = 0
    warnings: list[str] = field(default_factory=list)


def check_portrait(image: np.ndarray, faces: Sequence[Face]) -> PortraitCheck:
    """Choose the face of a portrait (H, W, 3) uint8 RGB among `FaceTracker.find`'s faces, or refuse the picture.

    Raises:
        PortraitError: if there is no face, or the largest is too small, turned away or mostly outside the picture.
    """
    rows, columns = image.shape[:2]
    if min(rows, columns) < MIN_HEIGHT:
        raise PortraitError(
            f"The picture has only {columns} x {rows} pixels; use one in which the face is at least "
            f"{MIN_HEIGHT} pixels high."
        )
    if not faces:
        raise PortraitError(
            "No face was found in the picture; use one that shows a single face from the front, well lit and whole."
        )
    face = max(faces, key=lambda candidate: candidate.height)
    _refuse(face, rows, columns)
    return PortraitCheck(face, len(faces) - 1, _warnings(image, face, len(faces) - 1))


@dataclass(frozen=True)
class PortraitLook:
    """What a quick look at a picture tells before anything is made of it.

    Attributes:
        size: width and height in pixels, upright.
        boxes: left, top, right, bottom of each face, in pixels; the first is the one that is used.
        height: pixels from forehead to chin of that one, 0 without a face.
        problem: why the picture cannot be used and what to do, or nothing if it can.
        warnings: sentences on what may spoil the result.
    """

    size: tuple[int, int]
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    height: float = 0.0
    problem: str = ""
    warnings: tuple[str, ...] = ()


def look_at(image: ImageSource, tracker: FaceTracker) -> PortraitLook:
    """Read a picture, find its faces and judge them, as `Portrait.read` does before its longer work.

    Args:
        image: a file, a (H, W, 3) uint8 RGB array or a PIL image.
        tracker: this thread's own.

    Raises:
        PortraitError: if the picture cannot be read; one without a usable face is no error here.
    """
    from pipeline.face.image import read_picture

    picture = read_picture(image)
    size = picture.pixels.shape[1], picture.pixels.shape[0]
    faces = sorted(tracker.find(picture.pixels), key=lambda face: -face.height)
    boxes = tuple(face.box for face in faces)
    height = faces[0].height if faces else 0.0
    try:
        check = check_portrait(picture.pixels, faces)
    except PortraitError as problem:
        return PortraitLook(size, boxes, height, str(problem), tuple(picture.warnings))
    return PortraitLook(size, boxes, height, "", (*picture.warnings, *check.warnings))


def several_faces(others: int) -> str:
    """The beginning of a sentence on `others` (1 or more) faces beside the one that is used."""
    return "There is one other face" if others == 1 else f"There are {others} other faces"


def yaw_degrees(face: Face) -> float:
    """How far the head is turned, by the mesh: positive towards the picture's left, 0 from the front.

    Taken from the line between both cheeks' edges, so neither expression nor roll changes it.
    """
    points = face.landmarks.astype(np.float64)
    across = points[[454, 323, 356]].mean(0) - points[[234, 93, 127]].mean(0)
    return float(-np.degrees(np.arctan2(across[2], np.hypot(across[0], across[1]))))


def roll_degrees(face: Face) -> float:
    """How far the head leans, clockwise as seen: 0 upright, 90 lying to the right, 180 upside down."""
    across = face.landmarks[263, :2] - face.landmarks[33, :2]
    return float(np.degrees(np.arctan2(across[1], across[0])))


def _refuse(face: Face, rows: int, columns: int) -> None:
    if face.height < MIN_HEIGHT:
        raise PortraitError(
            f"The face is only {face.height:.0f} pixels high and needs at least {MIN_HEIGHT}; "
            "use a larger picture, or one taken from nearer."
        )
    if abs(yaw_degrees(face)) > _MAX_YAW:
        raise PortraitError("The face is seen from the side; use a picture in which it looks towards the camera.")
    inside = _inside(face.landmarks[:MESH_POINTS], rows, columns)
    features = np.concatenate([OUTER_LIPS, RIGHT_EYE, LEFT_EYE])
    if inside < _MIN_INSIDE or _inside(face.landmarks[features], rows, columns) < 0.95:
        raise PortraitError(
            "The face is cut off by the picture's edge; use a picture that shows it whole, from forehead to chin."
        )


def _warnings(image: np.ndarray, face: Face, others: int) -> list[str]:
    rows, columns = image.shape[:2]
    found = []
    if others:
        found.append(f"{several_faces(others)} in the picture; the largest is used.")
    if face.height < _SMALL:
        found.append(f"The face is only {face.height:.0f} pixels high, so its details will be soft.")
    if abs(yaw_degrees(face)) > _STRONG_YAW:
        found.append("The head is turned far to the side; a picture from the front gives a better result.")
    if abs(roll_degrees(face)) > _ROLLED:
        found.append("The face lies on its side or upside down; turn the picture upright if that is a mistake.")
    if _inside(face.landmarks[:MESH_POINTS], rows, columns) < 0.98:
        found.append("The picture's edge cuts the face; what is missing cannot move.")
    if lip_opening(face.landmarks) > _WIDE_OPEN:
        found.append("The mouth is wide open; a picture with closed lips gives a better result.")
    grey = _upright(image, face)
    if np.percentile(grey, 90) < _DARK:
        found.append("The face is very dark; a brighter picture gives a better result.")
    if _sharpness(grey) < _BLURRED:
        found.append("The face is blurred; a sharper picture gives a better result.")
    return found


def _inside(points: np.ndarray, rows: int, columns: int) -> float:
    """Share of points that lie in a picture of that size."""
    x, y = points[:, 0], points[:, 1]
    return float(np.mean((x >= 0) & (y >= 0) & (x < columns) & (y < rows)))


def _upright(image: np.ndarray, face: Face) -> np.ndarray:
    """The middle of the face in grey, (160, 160) uint8: brows to chin, cheek to cheek, whatever its size."""
    points = face.landmarks[np.concatenate([RIGHT_EYE, LEFT_EYE, OUTER_LIPS]), :2].astype(np.float64)
    low, high = np.floor(points.min(0)).astype(int), np.ceil(points.max(0)).astype(int)
    low = np.clip(low, 0, np.array(image.shape[1::-1]) - 2)
    high = np.maximum(low + 2, high)
    grey = cv2.cvtColor(image[low[1] : high[1], low[0] : high[0]], cv2.COLOR_RGB2GRAY)
    shrinks = max(grey.shape) > _SHARPNESS_SIDE
    return cv2.resize(
        grey, (_SHARPNESS_SIDE, _SHARPNESS_SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    )


def _sharpness(grey: np.ndarray) -> float:
    """Variance of the Laplacian over that of the picture, so that contrast does not count."""
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.0)  # noise is not detail
    return float(cv2.Laplacian(smooth, cv2.CV_32F).var() / max(float(smooth.var()), 1.0))
