"""The few numbers in which a listener's motion is predicted: six of pose and some principal components of expression.

All are offsets from the portrait's own coefficients, in units of their spread in the lessons. Expressions that part
the lips are not in this space: whatever is predicted in it, the mouth stays as open as the portrait's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.coefficients import EXPRESSION_DIM, POSE_DIM
from pipeline.drivers.mouth import MOUTH
from pipeline.face.morphable import MorphableModel

_UPPER = (191, 80, 81, 82, 13, 312, 311, 310, 415)  # of the inner lips, each above one of `_LOWER`
_LOWER = (95, 88, 178, 87, 14, 317, 402, 318, 324)
_PARTING = 3
"""How many ways of parting the lips are taken out: they hold over 99.9 % of how gaps vary with β."""


@dataclass(frozen=True)
class MotionSpace:
    """Arrays of the space, float32.

    Attributes:
        basis: (E, 64) orthonormal rows: ways in which the expression moves.
        scale: (6 + E,) one unit of each number: radians, face heights, log size, and β.
    """

    basis: np.ndarray
    scale: np.ndarray

    @property
    def size(self) -> int:
        """How many numbers describe a frame, 6 + E."""
        return len(self.scale)

    @staticmethod
    def of(pose: np.ndarray, expression: np.ndarray, model: MorphableModel, components: int = 14) -> MotionSpace:
        """Measure the space on offsets of pose (T, 6) and expression (T, 64)."""
        shut = expression.astype(np.float64) @ shutting(model)
        values, vectors = np.linalg.eigh(shut.T @ shut / len(shut))
        basis = vectors[:, ::-1][:, :components].T
        spread = np.sqrt(values[::-1][:components])
        scale = np.concatenate([pose.astype(np.float64).std(0), spread])
        return MotionSpace(basis.astype(np.float32), scale.astype(np.float32))

    def encode(self, pose: np.ndarray, expression: np.ndarray) -> np.ndarray:
        """Offsets (T, 6) and (T, 64) → motion (T, size)."""
        return np.concatenate([pose, expression @ self.basis.T], -1).astype(np.float32) / self.scale

    def decode(self, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Motion (T, size) → offsets of pose (T, 6) and of expression (T, 64)."""
        offsets = motion * self.scale
        return offsets[:, :POSE_DIM], offsets[:, POSE_DIM:] @ self.basis


def shutting(model: MorphableModel) -> np.ndarray:
    """(64, 64) projection of expressions onto those that leave the gaps between the lips as they are."""
    heights = model.expression_basis[:, 1].astype(np.float64)
    gaps = heights[list(_LOWER)] - heights[list(_UPPER)]
    gaps[:, : MOUTH.start] = 0
    parting = np.linalg.svd(gaps, full_matrices=False)[2][:_PARTING]
    return np.eye(EXPRESSION_DIM) - parting.T @ parting
