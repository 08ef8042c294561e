"""The portrait: one reference image, its face as mesh and coefficients, and who and what is in front."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pipeline.coefficients import Coefficients
from pipeline.face.morphable import MorphableModel, placement


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
    """

    image: np.ndarray
    landmarks: np.ndarray
    alpha: np.ndarray
    identity: np.ndarray
    coefficients: Coefficients
    model: MorphableModel
    warnings: tuple[str, ...] = field(default=())

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
