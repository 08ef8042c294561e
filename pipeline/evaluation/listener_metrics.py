"""How a listener moves against how real listeners move: spread, variety, and motion that goes with the speaker's.

Motion is told from where it begins: the portrait's coefficients, or a real clip's median, are subtracted first, so
that clips of different people can be pooled. Tracked clips tremble and generated coefficients don't, so both are
averaged over five frames before anything is measured. Blinks and nods: `blink_count` here, `pipeline.evaluation.nods`.

What others call by the same names differs in detail, so that our figures are to be compared with our own only. Below,
"DIM's code" is what is published with Tran 2024, "DIM: Dyadic interaction modeling for social behavior generation"
(github.com/Boese0601/Dyadic-Interaction-Modeling, code/mymetrics.py, code/metrics/eval_utils.py), which was read; the
papers of Ng 2022, "Learning to listen: modeling non-deterministic dyadic facial motion", and Song 2023, "Emotional
listener portrait", from which the names are said to come, were not at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.clock import FPS
from pipeline.coefficients import EXPRESSION_DIM, POSE_DIM, Coefficients
from pipeline.errors import WeightsError
from pipeline.evaluation.distances import frechet_distance
from pipeline.face.measures import lid_opening
from pipeline.face.morphable import MorphableModel

WINDOW = 4 * FPS
"""Frames over which spread is measured: all clips alike, since the longer one looks the farther people drift."""

EXPRESSION_CLUSTERS, POSE_CLUSTERS = 40, 20
_CLUSTERS = "clusters.safetensors"
_LEAST_OPENING = 0.01  # of the lids in face heights, a fifth of what is usual


@dataclass(frozen=True)
class Motion:
    """A clip's motion: expression (T, 64) and pose (T, 6), steadied, and told from its beginning."""

    expression: np.ndarray
    pose: np.ndarray

    def __len__(self) -> int:
        return len(self.pose)

    @staticmethod
    def of(coefficients: Coefficients, reference: Coefficients | None = None) -> Motion:
        """Motion away from the reference's first frame, or from the clip's own median where there is none.

        Raises:
            ValueError: if there is no frame.
        """
        if len(coefficients) == 0:
            raise ValueError("A clip without frames has no motion.")
        parts = []
        for name in ("expression", "pose"):
            series = getattr(coefficients, name).astype(np.float64)
            origin = np.median(series, 0) if reference is None else getattr(reference, name)[0]
            parts.append(_steadied(series - origin))
        return Motion(*parts)

    @staticmethod
    def pool(motions: Sequence[Motion]) -> Motion:
        """All frames of several clips."""
        return Motion(*(np.concatenate([getattr(m, name) for m in motions]) for name in ("expression", "pose")))


def motion_distance(generated: Sequence[Motion], real: Sequence[Motion]) -> tuple[float, float]:
    """ExpFD and PoseFD: Fréchet distances between all frames of both sets, expression and pose.

    Source: the ViCo challenge (Chang 2023 names and defines them: Fréchet distances of the coefficients of
    reconstructed faces; Huang 2022 reports ExpFD): there on Basel's coefficients; here on motion, see the module, and
    on the frames of all clips together, where DIM's code takes the mean over clips.
    """
    ours, theirs = Motion.pool(generated), Motion.pool(real)
    return frechet_distance(ours.expression, theirs.expression), frechet_distance(ours.pose, theirs.pose)


def paired_distance(
    generated: Sequence[tuple[Motion, Motion]], real: Sequence[tuple[Motion, Motion]]
) -> tuple[float, float]:
    """P-FD of expression and pose: Fréchet distance of listener and speaker seen together, frame by frame.

    It rises where each looks right alone but not as an answer to the other.

    Args:
        generated: pairs of a generated listener's and its speaker's motion.
        real: pairs of a real listener's and its speaker's; each pair is cut to its shorter part.

    Source: DIM's code ("pfid"), which takes the mean over clips where here all frames are put together; the measure
    is said to be Ng 2022's.
    """
    distances = []
    for name in ("expression", "pose"):
        sets = []
        for pairs in (generated, real):
            rows = []
            for listener, speaker in pairs:
                count = min(len(listener), len(speaker))
                rows.append(np.concatenate([getattr(listener, name)[:count], getattr(speaker, name)[:count]], 1))
            sets.append(np.concatenate(rows))
        distances.append(frechet_distance(*sets))
    return distances[0], distances[1]


def spread(motions: Sequence[Motion], typical: bool = False) -> tuple[float, float]:
    """Mean variance over time within windows of 4 s, summed over dimensions: expression and pose.

    A clip's last window is taken from its end; clips shorter than a window are one window. Every clip counts by its
    number of windows. `typical` takes the median over windows, on which the one who laughs has no weight.

    Raises:
        ValueError: if there is no clip.
    """
    found: list[tuple[float, float]] = []
    for motion in motions:
        count = max(1, -(-len(motion) // WINDOW))
        for start in np.linspace(0, max(0, len(motion) - WINDOW), count).round().astype(int):
            part = slice(start, start + WINDOW)
            found.append((motion.expression[part].var(0).sum(), motion.pose[part].var(0).sum()))
    if not found:
        raise ValueError("There is no clip whose spread could be measured.")
    expression, pose = np.median(found, 0) if typical else np.mean(found, 0)
    return float(expression), float(pose)


def variance_ratio(generated: Sequence[Motion], real: Sequence[Motion], typical: bool = False) -> tuple[float, float]:
    """Spread of generated over that of real motion, of expression and pose: below 1 is stiff, above 1 restless.

    Our own: DIM's code prints the variance of all frames and dimensions of both, without windows and as no ratio.
    """
    ours, theirs = spread(generated, typical), spread(real, typical)
    return ours[0] / theirs[0], ours[1] / theirs[1]


@dataclass(frozen=True)
class MotionClusters:
    """Centres of kinds of motion, found on real people: expression (40, 64) and pose (20, 6)."""

    expression: np.ndarray
    pose: np.ndarray

    @staticmethod
    def fit(motions: Sequence[Motion], seed: int = 0, step: int = 5) -> MotionClusters:
        """k-means (Lloyd 1982, k-means++ seeding) of every `step`-th frame of real clips."""
        pooled = Motion.pool(motions)
        return MotionClusters(
            _k_means(pooled.expression[::step], EXPRESSION_CLUSTERS, seed),
            _k_means(pooled.pose[::step], POSE_CLUSTERS, seed),
        )

    def save(self, folder: str | Path) -> None:
        """Write `clusters.safetensors` (half precision) into `folder`."""
        from safetensors.numpy import save_file

        Path(folder).mkdir(parents=True, exist_ok=True)
        arrays = {name: np.ascontiguousarray(getattr(self, name), np.float16) for name in ("expression", "pose")}
        save_file(arrays, str(Path(folder) / _CLUSTERS))

    @classmethod
    def load(cls, folder: str | Path) -> MotionClusters:
        """Read what `save` wrote.

        Raises:
            WeightsError: if the file is missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            arrays = load_file(str(Path(folder) / _CLUSTERS))
            expression, pose = (arrays[name].astype(np.float64) for name in ("expression", "pose"))
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise WeightsError(
                f"The clusters of motion in {folder} cannot be read; install the weights again."
            ) from error
        if expression.shape[1:] != (EXPRESSION_DIM,) or pose.shape[1:] != (POSE_DIM,):
            raise WeightsError(f"The clusters of motion in {folder} are of another kind; install the weights again.")
        return cls(expression, pose)

    def shannon_index(self, motions: Sequence[Motion]) -> tuple[float, float]:
        """SID of expression and pose: -Σ p ln p over the shares p of frames that fall to each centre.

        0 if all frames are of one kind, ln 40 = 3.7 and ln 20 = 3.0 if all kinds are as frequent.

        Source: Shannon 1948; DIM's code, which also has 40 and 20 k-means clusters, but finds them on the real
        listeners against whom it measures (here on the corpus's training split), and counts in bits: ours divided by
        ln 2. The index is said to be Ng 2022's and the number of clusters Song 2023's.
        """
        pooled = Motion.pool(motions)
        return _entropy(pooled.expression, self.expression), _entropy(pooled.pose, self.pose)


def residual_correlation(generated: Motion, real: Motion, speaker: Motion) -> tuple[float, float]:
    """RPCC of expression and pose: how far the listener's correlation with the speaker is from the real listener's.

    |r(generated, speaker) - r(real, speaker)|, Pearson over the common frames, mean over dimensions; dimensions in
    which somebody is still have r = 0.

    Raises:
        ValueError: if fewer than two frames are common.

    Smaller is better, 0 for the real listener. Source: DIM's code, which takes one correlation over all clips and
    dimensions laid end to end, in which their different means count; here each clip and dimension has its own.
    """
    count = min(len(generated), len(real), len(speaker))
    if count < 2:
        raise ValueError("A correlation needs at least two common frames.")
    residuals = []
    for name in ("expression", "pose"):
        ours, theirs, other = (getattr(motion, name)[:count] for motion in (generated, real, speaker))
        residuals.append(float(np.abs(_pearson(ours, other) - _pearson(theirs, other)).mean()))
    return residuals[0], residuals[1]


def blink_count(coefficients: Coefficients, model: MorphableModel, identity: np.ndarray) -> int:
    """Blinks in a clip: for 0.6 s at most the lids are less than half as open as usual, between shut and usual.

    Where lids are as good as shut throughout, as in a broad laugh, none can be told.
    """
    from pipeline.drivers.upper_face import UpperFace
    from pipeline.training.liveliness_statistics import blinks

    alpha = np.asarray(identity, np.float64)
    expression = coefficients.expression.astype(np.float64)
    usual = np.median(expression, 0)
    # Shut lids are not at zero: their edges are lines of points that lie one before the other.
    shut = lid_opening(model.shape(alpha, usual + UpperFace.of(model, alpha, usual).blink)).mean()
    opening = np.maximum(lid_opening(model.shape(alpha, expression)).mean(1) - shut, 0)
    return len(blinks(opening)) if np.median(opening) > _LEAST_OPENING else 0


def _steadied(series: np.ndarray) -> np.ndarray:
    """(T, D) under a raised-cosine window of five frames, ends held."""
    window = np.hanning(7)[1:-1] / np.hanning(7).sum()
    padded = np.pad(series, ((2, 2), (0, 0)), mode="edge")
    return sum(weight * padded[shift : shift + len(series)] for shift, weight in enumerate(window))


def _entropy(rows: np.ndarray, centres: np.ndarray) -> float:
    share = np.bincount(_nearest(rows, centres), minlength=len(centres)) / len(rows)
    share = share[share > 0]
    return float((share * -np.log(share)).sum())


def _nearest(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    distance = np.square(centres).sum(1) - 2 * rows @ centres.T
    return distance.argmin(1)


def _k_means(rows: np.ndarray, count: int, seed: int, rounds: int = 50) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres = [rows[generator.integers(len(rows))]]
    distance = np.full(len(rows), np.inf)
    while len(centres) < min(count, len(rows)):
        distance = np.minimum(distance, np.square(rows - centres[-1]).sum(1))
        total = distance.sum()
        chance = distance / total if total > 0 else None
        centres.append(rows[generator.choice(len(rows), p=chance)])
    found = np.array(centres)
    for _ in range(rounds):
        label = _nearest(rows, found)
        moved = np.array([rows[label == k].mean(0) if (label == k).any() else found[k] for k in range(len(found))])
        if np.allclose(moved, found):
            break
        found = moved
    return found


def _pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(D,) correlations of columns; 0 where a column is constant."""
    a, b = a - a.mean(0), b - b.mean(0)
    scale = np.sqrt(np.square(a).sum(0) * np.square(b).sum(0))
    return np.divide((a * b).sum(0), scale, out=np.zeros(a.shape[1]), where=scale > 1e-12)
