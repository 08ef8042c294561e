"""The portrait: one reference image, its face as mesh and coefficients, and who and what is in front."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pipeline.coefficients import Coefficients
from pipeline.face.morphable import MorphableModel, placement

if TYPE_CHECKING:
    from pipeline.face.image import ImageSource
    from pipeline.face.tracker import FaceTracker

LONGEST_SIDE = 1920
"""Pixels to which larger portraits are reduced unless another size is asked for."""


@dataclass(frozen=True)
class Portrait:
    """Everything that a renderer and a driver need to know of the reference image.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        landmarks: (478, 3) float32, pixels.
        alpha: (H, W) float32, 1 where the person is, 0 where the background is.
        identity: (K,) α.
        coefficients: one frame: the portrait's own β, p and c.
        model: the morphable model that α and β belong to.
        warnings: sentences on what may spoil the result.
        references: further views of the same person, for renderers that take several.
    """

    image: np.ndarray
    landmarks: np.ndarray
    alpha: np.ndarray
    identity: np.ndarray
    coefficients: Coefficients
    model: MorphableModel
    warnings: tuple[str, ...] = field(default=())
    references: tuple[Portrait, ...] = field(default=())

    @staticmethod
    def read(image: ImageSource, tracker: FaceTracker, model: MorphableModel, size: int | None = None) -> Portrait:
        """Read, check, track, cut out and fit a picture.

        Args:
            image: a file, a (H, W, 3) uint8 RGB array or a PIL image.
            tracker: finds the face; this thread's own.
            model: fits it.
            size: pixels of the longer side of the result; None keeps the picture's own, up to `LONGEST_SIDE`.

        Raises:
            PortraitError: if the picture cannot be read or holds no usable face.
        """
        from pipeline.face.checks import check_portrait
        from pipeline.face.image import read_picture
        from pipeline.face.segmentation import person_alpha

        # The face is tracked and judged in the picture as it came: a small copy of a good portrait is a good portrait.
        picture = read_picture(image)
        pixels = _even(picture.pixels)
        faces = tracker.find(pixels)
        check = check_portrait(pixels, faces)
        resized, note = _at_size(pixels, size)
        ratio = np.array(resized.shape[1::-1]) / pixels.shape[1::-1]
        stretch = np.array([*ratio, ratio.mean()], np.float32)
        landmarks = check.face.landmarks * stretch
        others = [face.landmarks * stretch for face in faces if face is not check.face]
        alpha = person_alpha(resized, landmarks, others)
        return Portrait.fit(resized, landmarks, alpha, model, warnings=(*picture.warnings, *note, *check.warnings))

    @staticmethod
    def fit(
        image: np.ndarray,
        landmarks: np.ndarray,
        alpha: np.ndarray,
        model: MorphableModel,
        identity: np.ndarray | None = None,
        warnings: tuple[str, ...] = (),
    ) -> Portrait:
        """Fit the model to a tracked picture; α is solved from it unless given."""
        size = (image.shape[1], image.shape[0])
        identity, coefficients = model.fit(landmarks[None], size, identity)
        return Portrait(image, landmarks, alpha, identity, coefficients, model, warnings)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.shape[1], self.image.shape[0]

    @property
    def scale(self) -> float:
        """Pixels a face height."""
        return float(self.coefficients.crop[0, 2] * self.image.shape[0])

    def unposed(self) -> np.ndarray:
        """(478, 3) the portrait's own vertices with its pose taken out: exact, not the model's approximation."""
        rotation, scale, shift = placement(self.coefficients.pose[0], self.coefficients.crop[0], self.size)
        points = self.landmarks.astype(np.float64) - shift
        points = points @ rotation / scale
        fitted = self.model.shape(self.identity, self.coefficients.expression[0])
        weights = self.model.rigid_weights / self.model.rigid_weights.sum()
        # The placement has no depth of its own: the mesh is laid where the model lies.
        forward = rotation[2]
        return points - np.outer(np.full(len(points), (weights @ (points - fitted)) @ forward), forward)


def _even(image: np.ndarray) -> np.ndarray:
    """The picture without its last row or column where H.264, which wants even sides, would have to add one."""
    height, width = (side - side % 2 if side > 1 else side for side in image.shape[:2])
    return np.ascontiguousarray(image[:height, :width])


def _at_size(image: np.ndarray, size: int | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """The picture with its longer side at `size`, its own size if that is None, and a note if it was reduced."""
    import cv2

    longer = max(image.shape[:2])
    wanted = size or min(longer, LONGEST_SIDE)
    if wanted == longer:
        return image, ()
    width, height = (max(2, 2 * round(side * wanted / longer / 2)) for side in image.shape[1::-1])
    note = ()
    if size is None:
        note = (f"The picture was reduced from {image.shape[1]} x {image.shape[0]} to {width} x {height} pixels.",)
    method = cv2.INTER_AREA if wanted < longer else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=method), note
