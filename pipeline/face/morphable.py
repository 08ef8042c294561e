"""The open morphable model: a face mesh of 478 points as mean + identity basis · α + expression basis · β.

Basel's model may not be shipped, so this one is learned from tracked faces (`python -m pipeline train morphable`).
The first `UPPER_DIM` expression coefficients move lids, irises, brows and forehead, the others the rest, so that
a blink never moves the mouth. Fitting is closed-form: a similarity transform, then a ridge regression, repeated.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from pipeline.coefficients import EXPRESSION_DIM, Coefficients
from pipeline.errors import WeightsError
from pipeline.face.geometry import align, rotation_angles, rotation_matrices
from pipeline.face.topology import LANDMARKS_COUNT
from pipeline.hub_share import HubComponent

UPPER_DIM = 20
_ARRAYS = ("mean", "identity_basis", "expression_basis", "rigid_weights", "fit_weights", "directions")


@dataclass(frozen=True)
class MorphableModel(HubComponent):
    """Arrays of the model, float32; lengths are in face heights, x right, y down, z away from the viewer.

    Attributes:
        mean: (478, 3) the mean neutral face, 1 high, its origin at the alignment's centre.
        identity_basis: (478, 3, K) scaled so that α has unit variance over people.
        expression_basis: (478, 3, 64) scaled so that β has unit variance over speech and expressions.
        rigid_weights: (478,) how much each point counts when pose is solved.
        fit_weights: (478,) how much each counts when shape is solved; lids, lips and irises count most.
        directions: (D, 64) the β of one face height (or one whole closure) of each action in `actions`.
        actions: names of the directions.
    """

    component = "face"

    mean: np.ndarray
    identity_basis: np.ndarray
    expression_basis: np.ndarray
    rigid_weights: np.ndarray
    fit_weights: np.ndarray
    directions: np.ndarray
    actions: tuple[str, ...]

    def direction(self, action: str) -> np.ndarray:
        """(64,) the change of β for one unit of `action`.

        Raises:
            KeyError: if the model knows no such action.
        """
        if action not in self.actions:
            raise KeyError(f"The morphable model has no action {action!r}; it has {', '.join(self.actions)}.")
        return self.directions[self.actions.index(action)]

    def shape(self, identity: np.ndarray, expression: np.ndarray | None = None) -> np.ndarray:
        """Vertices (..., 478, 3) of α (K,) and β (..., 64), pose taken out."""
        neutral = self.mean + self.identity_basis @ identity
        return neutral if expression is None else neutral + self.offsets(expression)

    def offsets(self, expression: np.ndarray) -> np.ndarray:
        """What β (..., 64) adds to the neutral face: (..., 478, 3)."""
        basis = self._double_basis if expression.dtype == np.float64 else self.expression_basis
        flat = expression @ basis.reshape(-1, EXPRESSION_DIM).T
        return flat.reshape(*expression.shape[:-1], LANDMARKS_COUNT, 3)

    @cached_property
    def _double_basis(self) -> np.ndarray:
        """The expression basis in double precision: made once, not for every frame."""
        return self.expression_basis.astype(np.float64)

    def project(self, vertices: np.ndarray, pose: np.ndarray, crop: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Lay vertices (..., 478, 3) into an image.

        Args:
            vertices: face heights, pose taken out.
            pose: (..., 6), see `pipeline.coefficients`.
            crop: (..., 3).
            size: the image's width and height.

        Returns:
            (..., 478, 3) pixels; z in the same unit.
        """
        rotation, scale, shift = placement(pose, crop, size)
        return scale[..., None, None] * (vertices @ np.swapaxes(rotation, -1, -2)) + shift[..., None, :]

    def fit(
        self,
        landmarks: np.ndarray,
        size: tuple[int, int],
        identity: np.ndarray | None = None,
        crop: np.ndarray | None = None,
        rounds: int = 3,
    ) -> tuple[np.ndarray, Coefficients]:
        """Solve α (shared), and β, p and c of each frame.

        Args:
            landmarks: (T, 478, 3) in pixels.
            size: the image's width and height.
            identity: (K,) α if it is known; otherwise it is solved from all frames together.
            crop: (3,) c if it is known, as for the later parts of a clip; otherwise it is the first frame's placement.

        Returns:
            α (K,) and the coefficients of T frames. The crop is the same throughout; the motion away from it is in
            the pose.

        Raises:
            ValueError: if there is no frame.
        """
        if landmarks.ndim != 3 or len(landmarks) == 0:
            raise ValueError("Fitting needs landmarks of shape (T, 478, 3) with at least one frame.")
        landmarks = landmarks.astype(np.float64)
        alpha = self._fit_identity(landmarks, rounds) if identity is None else np.asarray(identity, np.float64)
        beta = self._fit_expression(landmarks, alpha, rounds + 1)
        _, (rotation, scale, shift) = self._unpose(landmarks, alpha, beta)
        crops, pose = _split_placement(rotation, scale, shift, size, crop)
        return alpha.astype(np.float32), Coefficients(beta, pose, crops)

    def _fit_identity(self, landmarks: np.ndarray, rounds: int) -> np.ndarray:
        """α of up to 64 frames of one person."""
        landmarks = landmarks[:: -(-len(landmarks) // 64)]
        alpha = np.zeros(self.identity_basis.shape[-1])
        beta = np.zeros((len(landmarks), EXPRESSION_DIM))
        for _ in range(rounds):
            alpha = self._solve_identity(self._unpose(landmarks, alpha, beta)[0])
            beta = self._fit_expression(landmarks, alpha, 2)
        return alpha

    def _fit_expression(self, landmarks: np.ndarray, alpha: np.ndarray, rounds: int) -> np.ndarray:
        beta = np.zeros((len(landmarks), EXPRESSION_DIM))
        for _ in range(rounds):
            beta = self._solve_expression(self._unpose(landmarks, alpha, beta)[0] - self.shape(alpha))
        return beta

    def _unpose(self, landmarks: np.ndarray, alpha: np.ndarray, beta: np.ndarray):
        transform = align(self.shape(alpha, beta), landmarks, self.rigid_weights)
        rotation, scale, shift = transform
        return ((landmarks - shift[:, None]) @ rotation) / scale[:, None, None], transform

    def _solve_expression(self, offset: np.ndarray) -> np.ndarray:
        return offset.reshape(len(offset), -1) @ self._expression_solver.T

    def _solve_identity(self, unposed: np.ndarray) -> np.ndarray:
        """α from frames (T, 478, 3): solved with the mean expression of the frames, of which it is kept apart
        only by their priors, and of which the more frames there are the less remains."""
        offset = (unposed.mean(0) - self.mean).reshape(-1)
        return self._identity_solver @ offset

    @cached_property
    def _expression_solver(self) -> np.ndarray:
        return _ridge(self.expression_basis.reshape(-1, EXPRESSION_DIM), self.fit_weights, 2e-9)

    @cached_property
    def _identity_solver(self) -> np.ndarray:
        # Expression gets its own columns, so that an open mouth is not taken for a long chin.
        basis = np.concatenate([self.identity_basis, 0.5 * self.expression_basis], -1)
        solver = _ridge(basis.reshape(-1, basis.shape[-1]), self.fit_weights, 1e-8)
        return solver[: self.identity_basis.shape[-1]]

    def save(self, folder: str | Path) -> None:
        """Write `model.safetensors` and `config.json` into `folder`."""
        from safetensors.numpy import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {name: np.ascontiguousarray(getattr(self, name), np.float32) for name in _ARRAYS}
        save_file(arrays, str(folder / "model.safetensors"))
        config = {"_class_name": "MorphableModel", "upper_dim": UPPER_DIM, "actions": list(self.actions)}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")

    @staticmethod
    def load(folder: str | Path) -> MorphableModel:
        """Read what `save` wrote.

        Raises:
            WeightsError: if files are missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = Path(folder)
        try:
            config = json.loads((folder / "config.json").read_text())
            arrays = load_file(str(folder / "model.safetensors"))
            return MorphableModel(**{name: arrays[name] for name in _ARRAYS}, actions=tuple(config["actions"]))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"The morphable model in {folder} cannot be read; install the weights again.") from error


def placement(pose: np.ndarray, crop: np.ndarray, size: tuple[int, int]):
    """Rotation (..., 3, 3), scale in pixels (...) and shift in pixels (..., 3) that pose and crop stand for."""
    width, height = size
    rotation = rotation_matrices(pose[..., :3])
    base = crop[..., 2] * height
    x = crop[..., 0] * width + base * pose[..., 3]
    y = crop[..., 1] * height + base * pose[..., 4]
    return rotation, base * np.exp(pose[..., 5]), np.stack([x, y, np.zeros_like(x)], -1)


def _split_placement(
    rotation: np.ndarray, scale: np.ndarray, shift: np.ndarray, size: tuple[int, int], crop: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    width, height = size
    if crop is None:
        crop = np.array([shift[0, 0] / width, shift[0, 1] / height, scale[0] / height])
    base = crop[2] * height
    move = (shift[:, :2] - crop[:2] * (width, height)) / base
    pose = np.concatenate([rotation_angles(rotation), move, np.log(scale / base)[:, None]], -1)
    return np.tile(crop, (len(scale), 1)), pose


def _ridge(basis: np.ndarray, weights: np.ndarray, penalty: float) -> np.ndarray:
    """The matrix that solves `basis @ x ≈ y` by weighted least squares with unit-variance priors on x."""
    w = np.repeat(weights / weights.sum(), 3)[:, None].astype(np.float64)
    basis = basis.astype(np.float64)
    gram = basis.T @ (w * basis) + penalty * np.eye(basis.shape[1])
    return np.linalg.solve(gram, (w * basis).T)
