"""Rotations and similarity transforms of meshes, in batches."""

from __future__ import annotations

import numpy as np


def rotation_matrices(angles: np.ndarray) -> np.ndarray:
    """(..., 3) pitch, yaw, roll in radians → (..., 3, 3) `Rz(roll) @ Ry(yaw) @ Rx(pitch)`."""
    (sx, sy, sz), (cx, cy, cz) = np.moveaxis(np.sin(angles), -1, 0), np.moveaxis(np.cos(angles), -1, 0)
    rows = [
        [cy * cz, sx * sy * cz - cx * sz, cx * sy * cz + sx * sz],
        [cy * sz, sx * sy * sz + cx * cz, cx * sy * sz - sx * cz],
        [-sy, sx * cy, cx * cy],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def rotation_angles(matrices: np.ndarray) -> np.ndarray:
    """The inverse of `rotation_matrices`, for yaws within ±90°."""
    pitch = np.arctan2(matrices[..., 2, 1], matrices[..., 2, 2])
    yaw = np.arcsin(np.clip(-matrices[..., 2, 0], -1, 1))
    roll = np.arctan2(matrices[..., 1, 0], matrices[..., 0, 0])
    return np.stack([pitch, yaw, roll], -1)


def align(source: np.ndarray, target: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted least-squares similarity that lays `source` on `target` (Umeyama 1991).

    Args:
        source: (..., V, 3) points, or (V, 3) shared by all targets.
        target: (..., V, 3) points.
        weights: (V,) not negative.

    Returns:
        rotation (..., 3, 3), scale (...) and shift (..., 3), with `target ≈ scale * rotation @ source + shift`.
    """
    weights = weights / weights.sum()
    source_mean, target_mean = weights @ source, weights @ target
    source, target = source - source_mean[..., None, :], target - target_mean[..., None, :]
    covariance = np.swapaxes(target * weights[:, None], -1, -2) @ source
    u, singular, vt = np.linalg.svd(covariance)
    sign = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    u[..., :, 2] *= sign[..., None]
    singular[..., 2] *= sign
    rotation = u @ vt
    scale = singular.sum(-1) / (weights @ (source**2).sum(-1)[..., None])[..., 0]
    shift = target_mean - scale[..., None] * (rotation @ source_mean[..., None])[..., 0]
    return rotation, scale, shift
