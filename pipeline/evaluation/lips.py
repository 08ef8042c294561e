"""Metrics of lips, on tracked landmarks: distance, correlation and lag of their opening, spread of their motion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.face.measures import face_height
from pipeline.face.topology import INNER_LIPS, OUTER_LIPS

LIPS = np.concatenate([INNER_LIPS, OUTER_LIPS])
MAX_LAG = 12
MIN_FRAMES = 10  # fewer frames in common say nothing about correlation


def lip_distance(generated: np.ndarray, real: np.ndarray, aligned: bool = False) -> np.ndarray:
    """LMD of each frame: mean distance of the 40 lip points, as a share of the real face's height.

    In the picture's plane. Unaligned, points are compared where they stand in the picture, so a head in the
    wrong place counts. Aligned, the mean of the lip points is taken out of each frame first, as Chen 2018
    did, and each face is measured by its own height: the shape of the mouth alone, whatever the portrait.

    Args:
        generated: landmarks (T, 478, 3) in pixels.
        real: landmarks (T, 478, 3) in pixels of a picture of the same size, unless `aligned`.

    Returns:
        (T,), in face heights; times `face_height(real)` it is pixels.

    Raises:
        ValueError: if the shapes differ.

    Source: Chen 2018, "Lip movements generation at a glance", §4.2; share of the face's height instead of
    pixels, so that resolutions compare.
    """
    if generated.shape != real.shape:
        raise ValueError(f"The clips' landmarks differ in shape: {generated.shape} and {real.shape}.")
    a = (
        generated[:, LIPS, :2].astype(np.float64)
        / ((face_height(generated) if aligned else face_height(real))[:, None, None])
    )
    b = real[:, LIPS, :2].astype(np.float64) / face_height(real)[:, None, None]
    if aligned:
        a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    return np.linalg.norm(a - b, axis=-1).mean(-1)


@dataclass(frozen=True)
class LipSync:
    """How the generated lips' opening follows the real one's.

    Attributes:
        correlation: Pearson's r at the known lag, best of it and its neighbours at ±1 frame; 0 if either
            series stands still, so that a frozen mouth lowers a mean instead of dropping out of it.
        lag: the lag in ±12 frames with the highest r; positive: the real picture is later than the generated.
        correlation_at_lag: r there.
        frames: frames that both clips share at the known lag.
    """

    correlation: float
    lag: int
    correlation_at_lag: float
    frames: int


def lip_sync(
    generated: np.ndarray,
    real: np.ndarray,
    known_lag: int = 0,
    generated_found: np.ndarray | None = None,
    real_found: np.ndarray | None = None,
) -> LipSync:
    """Correlate two clips' inner-lip openings at a known lag, and find the lag.

    Generated lips are in step with the sound; where the real clip's picture is `known_lag` frames later than
    its sound (`sync_lag` in the corpus), generated frame t belongs to real frame t + known_lag.

    Args:
        generated: (T,) opening in face heights, `pipeline.face.measures.lip_opening`.
        real: (S,) the same of the real clip.
        known_lag: frames.
        generated_found: (T,) bool, False where no face was tracked; None for all True.
        real_found: (S,) bool.

    Raises:
        ValueError: if fewer than 10 frames can be compared.
    """
    generated_found = np.ones(len(generated), bool) if generated_found is None else generated_found
    real_found = np.ones(len(real), bool) if real_found is None else real_found

    def at(lag: int) -> tuple[float, int]:
        start, stop = max(0, -lag), min(len(generated), len(real) - lag)
        if stop - start < MIN_FRAMES:
            return 0.0, 0
        both = generated_found[start:stop] & real_found[start + lag : stop + lag]
        if both.sum() < MIN_FRAMES:
            return 0.0, 0
        return pearson(generated[start:stop][both], real[start + lag : stop + lag][both]), int(both.sum())

    frames = at(known_lag)[1]
    if frames < MIN_FRAMES:
        raise ValueError(f"Only {frames} frames can be compared; a correlation needs {MIN_FRAMES}.")
    near = max(at(lag)[0] for lag in range(known_lag - 1, known_lag + 2))
    correlations = {lag: at(lag)[0] for lag in range(-MAX_LAG, MAX_LAG + 1)}
    # Of equal peaks the one nearest to the known lag: a still mouth has no lag of its own.
    found = max(correlations, key=lambda lag: (correlations[lag], -abs(lag - known_lag)))
    return LipSync(near, found, correlations[found], frames)


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation of two series (T,); 0 if one of them is constant."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt(np.square(a).sum() * np.square(b).sum())
    return float(a @ b / scale) if scale > 1e-12 else 0.0


def spread_ratio(generated: np.ndarray, real: np.ndarray) -> float:
    """Spread of lip motion: standard deviation of the generated opening over that of the real one.

    1 is natural; "conservative" lips (Huang 2022 §6) are below, a flapping mouth above. Also for silence
    against speech, both generated.

    Args:
        generated: (T,) opening in face heights.
        real: (S,).

    Raises:
        ValueError: if the real series is constant or either is empty.
    """
    if not len(generated) or not len(real) or np.std(real) == 0:
        raise ValueError("The spread needs frames, and motion to compare with.")
    return float(np.std(generated, dtype=np.float64) / np.std(real, dtype=np.float64))
