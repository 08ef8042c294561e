"""Distances between two clips' coefficients: L1 frame by frame, Fréchet between their distributions."""

from __future__ import annotations

import numpy as np

from pipeline.coefficients import Coefficients


def expression_l1(generated: Coefficients, real: Coefficients) -> float:
    """ExpL1: mean absolute difference of the expression (T, 64), frame by frame, over frames and dimensions.

    Raises:
        ValueError: if the clips' lengths differ or they are empty.

    Source: ViCo (Zhou 2022, "Responsive listening head generation", §5.1), there on Basel's coefficients; here
    on the open model's, so figures don't compare across models.
    """
    return _mean_difference(generated.expression, real.expression)


def pose_l1(generated: Coefficients, real: Coefficients) -> float:
    """PoseL1: mean absolute difference of the pose (T, 6), over frames and dimensions.

    Rotations are in radians and translations in face heights, so both are of the same order.

    Raises:
        ValueError: if the clips' lengths differ or they are empty.

    Source: as `expression_l1`.
    """
    return _mean_difference(generated.pose, real.pose)


def frechet_distance(a: np.ndarray, b: np.ndarray, shrink: bool = True) -> float:
    """Squared Fréchet distance of two sets of vectors taken as Gaussians.

    `|μa - μb|² + tr(Σa + Σb - 2 (Σa^½ Σb Σa^½)^½)`: ExpFD on expressions, PoseFD on poses. The covariances are
    shrunk towards a multiple of the identity by `shrunk_covariance`, because clips often have fewer frames
    than dimensions and a sample covariance is then singular; with many frames that vanishes.

    Args:
        a: (N, D).
        b: (M, D); N and M may differ.
        shrink: False takes sample covariances (divided by N) as they are.

    Returns:
        At least 0; 0 for equal means and covariances.

    Raises:
        ValueError: unless both have D columns and at least two rows.

    Source: Dowson & Landau 1982, eq. 16; as a metric of coefficients in ViCo's challenge, Huang 2022 §5.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"The sets must be (N, D) and (M, D), not {a.shape} and {b.shape}.")
    if min(len(a), len(b)) < 2:
        raise ValueError("A Fréchet distance needs at least two frames of each.")
    covariance_a, covariance_b = (
        shrunk_covariance(x) if shrink else np.atleast_2d(np.cov(x.T, bias=True)) for x in (a, b)
    )
    root = _square_root(covariance_a)
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ covariance_b @ root), 0, None)).sum()
    means = np.square(a.mean(0) - b.mean(0)).sum()
    return float(max(0.0, means + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross))


def shrunk_covariance(x: np.ndarray) -> np.ndarray:
    """Covariance (D, D) of (N, D), shrunk towards its mean variance times the identity by the best share.

    Source: Ledoit & Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", §3.2.
    """
    x = x - x.mean(0)
    count, width = x.shape
    sample = x.T @ x / count
    target = np.trace(sample) / width * np.eye(width)
    distance = np.square(sample - target).sum()
    if distance == 0:
        return sample
    # Mean over frames of |x xᵀ - S|², from |x|⁴ and the norm of S.
    scatter = (np.square(np.square(x).sum(1)).mean() - np.square(sample).sum()) / count
    share = min(1.0, scatter / distance)
    return share * target + (1 - share) * sample


def _square_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def _mean_difference(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape:
        raise ValueError(f"The clips' shapes differ: {a.shape} and {b.shape}.")
    if not len(a):
        raise ValueError("There is no frame to compare.")
    return float(np.abs(a.astype(np.float64) - b).mean())
