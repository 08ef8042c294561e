"""From what eyes and brows do to the expression coefficients that show it on one portrait.

Lids that just close need another β on every face: it depends on how wide this portrait's eyes are open. So each
movement is solved for: of all upper-face expressions, the one that is likeliest under the morphable model (whose β
have unit variance) and puts lids, irises and brows where the movement wants them while the rest stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.coefficients import EXPRESSION_DIM
from pipeline.face import topology
from pipeline.face.morphable import UPPER_DIM, MorphableModel

# (right, left) eye: points of the upper lid's edge and those of the lower lid's edge opposite to them.
UPPER_LIDS = np.array([[246, 161, 160, 159, 158, 157, 173], [466, 388, 387, 386, 385, 384, 398]])
LOWER_LIDS = np.array([[7, 163, 144, 145, 153, 154, 155], [249, 390, 373, 374, 380, 381, 382]])
_IRISES = np.array([topology.RIGHT_IRIS, topology.LEFT_IRIS])
_BROWS = np.array([topology.RIGHT_BROW, topology.LEFT_BROW])
_INNER_BROWS = np.array([[66, 107, 65, 55], [296, 336, 295, 285]])
_FIXED = np.array([33, 133, 263, 362, 168, 6, 197, 195, 8, 234, 454, 1, 164])

# How exactly a movement is met, in face heights: standard deviations of the least squares.
_LID_TOLERANCE, _IRIS_TOLERANCE, _BROW_TOLERANCE, _FIXED_TOLERANCE = 2e-4, 6e-4, 1e-3, 1e-3

CLOSING_UPPER = 0.86
"""The upper lid's share of a closure; the lower lid comes up for the rest (measured on the corpus's blinks)."""

_LID_OF_GAZE_DOWN = (0.85, 0.4)  # how far upper and lower lid go with an iris that goes down by 1
_LID_OF_BROW = -0.1  # the upper lid goes up a little with a raised brow


@dataclass(frozen=True)
class UpperFace:
    """Expression offsets of one portrait, each (64,) and zero beyond the upper-face coefficients.

    Attributes:
        blink: (64,) full closure of both eyes from the portrait's own opening.
        gaze: (2, 64) a shift of both irises by one face height to the right and down, lids following.
        brows: (2, 64) a rise by one face height of both whole brows, and of their inner ends alone.
        opening: (2,) how far the portrait's lids are apart in the middle, in face heights.
    """

    blink: np.ndarray
    gaze: np.ndarray
    brows: np.ndarray
    opening: np.ndarray

    @staticmethod
    def of(
        model: MorphableModel, identity: np.ndarray | None = None, expression: np.ndarray | None = None
    ) -> UpperFace:
        """Solve the movements of a portrait.

        Args:
            model: the morphable model.
            identity: (K,) α of the portrait; the mean face without it.
            expression: (64,) β of the portrait, from which the lids close; neutral without it.
        """
        identity = np.zeros(model.identity_basis.shape[-1]) if identity is None else identity
        expression = np.zeros(EXPRESSION_DIM) if expression is None else expression
        shape = model.shape(np.asarray(identity, np.float64), np.asarray(expression, np.float64))
        gaps = shape[LOWER_LIDS, 1] - shape[UPPER_LIDS, 1]  # (2, 7), positive where open
        solver = _Solver(model)
        return UpperFace(
            blink=solver.blink(shape[UPPER_LIDS], shape[LOWER_LIDS]),
            gaze=np.stack([solver.gaze(np.array([1.0, 0.0])), solver.gaze(np.array([0.0, 1.0]))]),
            brows=np.stack([solver.brows(inner=False), solver.brows(inner=True)]),
            opening=gaps[:, 2:5].mean(1).clip(0).astype(np.float32),
        )


class _Solver:
    """Weighted least squares over the upper-face coefficients with unit-variance priors."""

    def __init__(self, model: MorphableModel) -> None:
        self.basis = model.expression_basis[..., :UPPER_DIM].astype(np.float64)

    def solve(self, rows: list[tuple[np.ndarray, np.ndarray, float]]) -> np.ndarray:
        """β (64,) with `functional @ β ≈ target` for each (functional (n, 20), target (n,), tolerance)."""
        matrix = np.concatenate([functional / tolerance for functional, _, tolerance in rows])
        target = np.concatenate([target / tolerance for _, target, tolerance in rows])
        beta = np.zeros(EXPRESSION_DIM, np.float32)
        beta[:UPPER_DIM] = np.linalg.solve(matrix.T @ matrix + np.eye(UPPER_DIM), matrix.T @ target)
        return beta

    def blink(self, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """Both eyes at once: the basis knows few winks, so one eye alone would drag the other and the brows."""
        gap = lower - upper  # (2, 7, 3)
        gap[..., 1] = gap[..., 1].clip(0)
        of_upper, of_lower = self.basis[UPPER_LIDS], self.basis[LOWER_LIDS]
        moves = (of_upper - of_lower).reshape(14, 3, UPPER_DIM)
        close = gap.reshape(14, 3)
        return self.solve(
            [
                (moves[:, 1], close[:, 1], _LID_TOLERANCE),
                (moves[:, 2], close[:, 2], 10 * _LID_TOLERANCE),
                (of_upper[..., 1, :].reshape(14, UPPER_DIM), CLOSING_UPPER * close[:, 1], 4 * _LID_TOLERANCE),
                (self.basis[_IRISES.ravel(), :2].reshape(20, UPPER_DIM), np.zeros(20), 3 * _IRIS_TOLERANCE),
                *self._still(brows=True),
            ]
        )

    def gaze(self, shift: np.ndarray) -> np.ndarray:
        irises = self.basis[_IRISES.ravel(), :2]
        lids = zip((UPPER_LIDS, LOWER_LIDS), _LID_OF_GAZE_DOWN, strict=True)
        unit = 0.01  # of a face height: a wide glance, so that tolerances and priors weigh as they do in use
        beta = self.solve(
            [
                (irises.reshape(-1, UPPER_DIM), np.tile(shift, len(irises)) * unit, _IRIS_TOLERANCE),
                *((self.basis[ring.ravel(), 1], np.full(14, share * shift[1] * unit), 1e-3) for ring, share in lids),
                *self._still(brows=True),
            ]
        )
        return beta / unit

    def brows(self, inner: bool) -> np.ndarray:
        unit = 0.01
        rise = np.full(20, 0.25 if inner else 1.0)
        if inner:
            rise[np.isin(_BROWS.ravel(), _INNER_BROWS)] = 1.0
        follow = 0.0 if inner else _LID_OF_BROW
        beta = self.solve(
            [
                (self.basis[_BROWS.ravel(), 1], -rise * unit, _BROW_TOLERANCE),
                (self.basis[UPPER_LIDS.ravel(), 1], np.full(14, follow * unit), _LID_TOLERANCE),
                (self.basis[LOWER_LIDS.ravel(), 1], np.zeros(14), _LID_TOLERANCE),
                (self.basis[_IRISES.ravel(), :2].reshape(-1, UPPER_DIM), np.zeros(20), _IRIS_TOLERANCE),
                *self._still(brows=False),
            ]
        )
        return beta / unit

    def _still(self, brows: bool) -> list[tuple[np.ndarray, np.ndarray, float]]:
        rows = [(self.basis[_FIXED].reshape(-1, UPPER_DIM), np.zeros(3 * len(_FIXED)), _FIXED_TOLERANCE)]
        if brows:
            rows.append((self.basis[_BROWS.ravel(), 1], np.zeros(20), _BROW_TOLERANCE))
        return rows
