"""Where a portrait's face is in the frames that coefficients make: nothing that works on frames need search for it."""

from __future__ import annotations

import numpy as np

from pipeline.face.morphable import placement
from pipeline.face.portrait import Portrait


class MovingFace:
    """The mesh of one portrait, moved by coefficients as the renderers move it."""

    def __init__(self, portrait: Portrait) -> None:
        self._portrait = portrait
        self._unposed = portrait.unposed()

    def points(self, expression: np.ndarray, pose: np.ndarray, crop: np.ndarray) -> np.ndarray:
        """(478, 3) vertices in pixels of the frame for β (64,), p (6,) and c (3,); z is away from the viewer."""
        change = expression.astype(np.float64) - self._portrait.coefficients.expression[0]
        return self._placed(self._unposed + self._portrait.model.offsets(change), pose, crop)

    def rigid(self, pose: np.ndarray, crop: np.ndarray) -> np.ndarray:
        """(478, 3) as `points`, with the portrait's own expression: what moves with the skull alone."""
        return self._placed(self._unposed, pose, crop)

    def _placed(self, vertices: np.ndarray, pose: np.ndarray, crop: np.ndarray) -> np.ndarray:
        rotation, scale, shift = placement(pose.astype(np.float64), crop.astype(np.float64), self._portrait.size)
        return (scale * vertices @ rotation.T + shift).astype(np.float32)
