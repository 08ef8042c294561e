"""Learn the morphable model from tracked faces: pose removed by rigid alignment, people apart from expressions.

A person's neutral face is the mean of the frames whose lips are nearest closed and whose lids are at their usual
opening; expressions are what is left. Every frame is used together with its mirror image, so the model has no
favourite side.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.coefficients import EXPRESSION_DIM
from pipeline.face import measures, topology
from pipeline.face.geometry import align
from pipeline.face.morphable import UPPER_DIM, MorphableModel

IDENTITY_DIM = 64
_FRAMES_A_CLIP = 160
_LONGEST = 3000  # frames read of a clip
ACTIONS = (
    "lid_right",
    "lid_left",
    "gaze_right",
    "gaze_down",
    "brow_right",
    "brow_left",
    "lip_opening",
    "lip_width",
    "jaw_drop",
    "smile",
)


def train_morphable(clips: list[np.ndarray]) -> MorphableModel:
    """Learn a model.

    Args:
        clips: landmarks (T, 478, 3) in pixels, one array a person or clip.
    """
    clips = [_subsample(clip) for clip in clips if len(clip) >= 20]
    rigid_weights = np.full(topology.LANDMARKS_COUNT, 0.02)
    rigid_weights[topology.STABLE] = 1.0
    mean = _mean_shape([clip[len(clip) // 2] for clip in clips], rigid_weights)
    mirror = topology.mirror_indices(mean)

    neutrals, offsets = [], []
    for clip in clips:
        unposed = _unpose(clip, mean, rigid_weights)
        # Aligned again to the clip's own mean: one person's forehead is a better ruler than everyone's.
        unposed = _unpose(clip, unposed.mean(0), rigid_weights)
        neutral = _neutral(unposed)
        neutrals.append(neutral)
        weight = 1 / np.sqrt(len(clip))  # long clips count more than short ones, but not in proportion
        offsets.append((unposed - neutral) * weight * 10)
    people = np.stack(neutrals)
    people = np.concatenate([people, _mirrored(people, mirror)])
    moves = np.concatenate(offsets)
    moves = np.concatenate([moves, _mirrored(moves, mirror)])
    mean = people.mean(0)

    weights = _shape_weights()
    upper = _upper_mask(mean)
    expression = np.concatenate(
        [
            _principal(moves * upper[:, None], weights, UPPER_DIM),
            _principal(moves * (1 - upper)[:, None], weights, EXPRESSION_DIM - UPPER_DIM),
        ],
        -1,
    )
    identity = _principal(people - mean, weights, IDENTITY_DIM)
    unfinished = MorphableModel(
        *(array.astype(np.float32) for array in (mean, identity, expression, rigid_weights, weights)),
        directions=np.zeros((len(ACTIONS), EXPRESSION_DIM), np.float32),
        actions=ACTIONS,
    )
    return _with_unit_variance(unfinished, clips)


def _subsample(clip: np.ndarray) -> np.ndarray:
    return clip[:: max(1, len(clip) // _FRAMES_A_CLIP)].astype(np.float64)


def _unpose(landmarks: np.ndarray, reference: np.ndarray, weights: np.ndarray) -> np.ndarray:
    rotation, scale, shift = align(reference, landmarks, weights)
    return ((landmarks - shift[:, None]) @ rotation) / scale[:, None, None]


def _mean_shape(faces: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Generalised Procrustes mean, upright, 1 high, its origin at the centre of the stable points."""
    stack = np.stack(faces)
    mean = stack[0]
    for _ in range(6):
        mean = _unpose(stack, mean, weights).mean(0)
        mean = mean - weights @ mean / weights.sum()
        mean = mean / measures.face_height(mean)
    return _upright(mean)


def _upright(mean: np.ndarray) -> np.ndarray:
    """Turn the mean so that the line of the eyes is x, and forehead to chin is y, seen from the front."""
    right = mean[topology.LEFT_EYE].mean(0) - mean[topology.RIGHT_EYE].mean(0)
    right /= np.linalg.norm(right)
    down = mean[topology.CHIN] - mean[topology.FOREHEAD]
    down -= right * (down @ right)
    down /= np.linalg.norm(down)
    return mean @ np.stack([right, down, np.cross(right, down)]).T


def _neutral(unposed: np.ndarray) -> np.ndarray:
    opening, lids = measures.lip_opening(unposed), measures.lid_opening(unposed).mean(-1)
    closed = opening <= np.quantile(opening, 0.3)
    usual = np.abs(lids - np.median(lids)) <= np.quantile(np.abs(lids - np.median(lids)), 0.6)
    chosen = closed & usual
    return unposed[chosen if chosen.sum() >= 3 else closed].mean(0)


def _mirrored(shapes: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    return shapes[:, mirror] * np.array([-1.0, 1.0, 1.0])


def _shape_weights() -> np.ndarray:
    weights = np.ones(topology.LANDMARKS_COUNT)
    weights[topology.OUTLINE] = 0.7
    weights[topology.AROUND_LIPS] = 3.0
    weights[np.concatenate([topology.INNER_LIPS, topology.OUTER_LIPS])] = 5.0
    weights[topology.LIDS] = 4.0
    weights[topology.IRISES] = 4.0
    return weights


def _upper_mask(mean: np.ndarray) -> np.ndarray:
    """1 for lids, irises, brows and forehead, 0 below, with a soft edge at the height of the lower lid pouch."""
    eyes = mean[np.concatenate([topology.RIGHT_EYE, topology.LEFT_EYE]), 1].mean()
    nose = mean[2, 1]
    edge = np.clip((mean[:, 1] - eyes) / (nose - eyes), 0, 1)
    mask = np.where(edge < 0.35, 1.0, np.clip(1 - (edge - 0.35) / 0.3, 0, 1))
    mask[np.concatenate([topology.LIDS, topology.IRISES])] = 1.0
    return mask


def _principal(rows: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """The first `count` weighted principal directions of rows (N, 478, 3), as (478, 3, count)."""
    root = np.sqrt(weights)[:, None]
    flat = (rows * root).reshape(len(rows), -1)
    values, vectors = np.linalg.eigh(flat.T @ flat / len(flat))
    order = np.argsort(values)[::-1][:count]
    basis = vectors[:, order] * np.sqrt(values[order].clip(1e-12))
    basis *= np.sign(basis.sum(0, keepdims=True) + 1e-12)
    return basis.reshape(topology.LANDMARKS_COUNT, 3, count) / root[..., None]


def _with_unit_variance(model: MorphableModel, clips: list[np.ndarray]) -> MorphableModel:
    """Scale β to unit variance over the training frames and find the β of each action by regression."""
    betas, values = [], []
    for clip in clips:
        _, fitted = model.fit(clip, (1000, 1000))
        beta = fitted.expression.astype(np.float64)
        shapes = model.shape(np.zeros(IDENTITY_DIM), beta)
        action = _actions(shapes)
        betas.append(beta - beta.mean(0))
        values.append(action - action.mean(0))
    beta, value = np.concatenate(betas), np.concatenate(values)
    scale = np.sqrt((beta**2).mean(0))
    beta = beta / scale
    # Each coefficient is explained by the actions of its own half only.
    directions = np.zeros((len(ACTIONS), EXPRESSION_DIM))
    for actions, columns in (
        (slice(0, 6), slice(0, UPPER_DIM)),
        (slice(6, 10), slice(UPPER_DIM, EXPRESSION_DIM)),
    ):
        x, y = value[:, actions], beta[:, columns]
        gram = x.T @ x + 3e-2 * np.trace(x.T @ x) / x.shape[1] * np.eye(x.shape[1])
        directions[actions, columns] = np.linalg.solve(gram, x.T @ y)
    return MorphableModel(
        model.mean,
        model.identity_basis,
        (model.expression_basis * scale).astype(np.float32),
        model.rigid_weights,
        model.fit_weights,
        directions.astype(np.float32),
        ACTIONS,
    )


def _actions(shapes: np.ndarray) -> np.ndarray:
    """(N, 10) the values of `ACTIONS`: shares of face height; the smile is how far the corners are raised."""
    corners = shapes[:, [61, 291], 1].mean(1)
    middle = shapes[:, [0, 17], 1].mean(1)
    return np.concatenate(
        [
            measures.lid_opening(shapes),
            measures.gaze(shapes),
            measures.brow_height(shapes),
            measures.lip_opening(shapes)[:, None],
            measures.lip_width(shapes)[:, None],
            measures.jaw_drop(shapes)[:, None],
            (middle - corners)[:, None],
        ],
        -1,
    )


def main(corpus: Path, output: Path, **_: object) -> None:
    """Learn the model from `split=train` and write it."""
    from pipeline.training.corpus import read_manifest
    from pipeline.training.footage import KINDS, read_footage

    files = [file for file in read_manifest(corpus) if file.split == "train" and file.kind in KINDS]
    clips = [footage.landmarks for _, footage in read_footage(files, _LONGEST)]
    train_morphable(clips).save(output)
