"""The mouth's geometry as a linear map of α and β: how open it is, and how to close it.

A small excerpt of the morphable model (40 lip points and the chin) that travels with the driver's weights.
Openings here are signed: lower lip below upper lip is positive, lips run through one another negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.coefficients import EXPRESSION_DIM
from pipeline.face.morphable import UPPER_DIM, MorphableModel
from pipeline.face.topology import CHIN, INNER_LIPS, OUTER_LIPS

MOUTH = slice(UPPER_DIM, EXPRESSION_DIM)
MOUTH_DIM = EXPRESSION_DIM - UPPER_DIM
LEAST_GAP = 0.0015  # face heights between closed lips: they touch
SOFTNESS = 0.003
_UPPER, _LOWER = (13, 82, 312), (14, 87, 317)
_CORNERS, _NOSE = (61, 291), 2
LIP_POINTS = np.concatenate([INNER_LIPS, OUTER_LIPS])


@dataclass(frozen=True)
class Mouth:
    """Linear measures of the mouth in face heights: opening, width, jaw drop and corners' raise.

    Attributes:
        neutral: (4,) of the mean face.
        identity: (4, K) change with α.
        expression: (4, 44) change with β[20:].
        closing: (44,) the change of β[20:] that opens the lips by one face height.
        lips: (120, 44) the 40 lip points' offsets by β[20:].
    """

    neutral: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    closing: np.ndarray
    lips: np.ndarray

    @staticmethod
    def of(model: MorphableModel) -> Mouth:
        measures = _measures()
        basis = model.expression_basis[..., MOUTH].astype(np.float64)
        expression = np.einsum("mvd,vdk->mk", measures, basis)
        closing = model.direction("lip_opening")[MOUTH].astype(np.float64)
        return Mouth(
            neutral=np.einsum("mvd,vd->m", measures, model.mean).astype(np.float32),
            identity=np.einsum("mvd,vdk->mk", measures, model.identity_basis).astype(np.float32),
            expression=expression.astype(np.float32),
            closing=(closing / (expression[0] @ closing)).astype(np.float32),
            lips=basis[LIP_POINTS].reshape(-1, MOUTH_DIM).astype(np.float32),
        )

    def geometry(self, identity: np.ndarray | None, expression: np.ndarray) -> np.ndarray:
        """(..., 4) measures of α (K,), the mean face's if None, and β (..., 64)."""
        own = self.neutral if identity is None else self.neutral + self.identity @ identity
        return own + expression[..., MOUTH] @ self.expression.T

    def opened(self, expression: np.ndarray, by: np.ndarray) -> np.ndarray:
        """β (T, 64) with the lips opened by (T,) face heights more, along the way lips open in speech."""
        moved = expression.copy()
        moved[..., MOUTH] += np.asarray(by)[..., None] * self.closing
        return moved


def _measures() -> np.ndarray:
    """(4, 478, 3) weights of the vertices in each measure."""
    weights = np.zeros((4, 478, 3))
    for upper, lower in zip(_UPPER, _LOWER, strict=True):
        weights[0, lower, 1] += 1 / 3
        weights[0, upper, 1] -= 1 / 3
    weights[1, _CORNERS[1], 0], weights[1, _CORNERS[0], 0] = 1, -1
    weights[2, CHIN, 1], weights[2, _NOSE, 1] = 1, -1
    for corner in _CORNERS:
        weights[3, corner, 1] -= 0.5
    for middle in (0, 17):
        weights[3, middle, 1] += 0.5
    return weights


def above(opening: np.ndarray) -> np.ndarray:
    """Openings bent so that they come to lie above `LEAST_GAP`, without a corner in their path."""
    return LEAST_GAP + SOFTNESS * np.logaddexp(0, (opening - LEAST_GAP) / SOFTNESS)
