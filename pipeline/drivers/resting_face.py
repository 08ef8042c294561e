"""The face with which a portrait listens: lips that met, and no more of the picture's own smile than the attitude has.

People are photographed smiling or in the middle of a word; whoever listens does neither, unless they mean it.
"""

from __future__ import annotations

import numpy as np

from pipeline.drivers.mouth import LEAST_GAP, Mouth
from pipeline.face.morphable import MorphableModel

_SMILE_TAKEN = {"positive": 0.0, "neutral": 0.6, "negative": 1.3}
"""Share of the picture's own smile that goes; for a negative listener the corners sink below their rest."""
_SMILING = 0.006  # face heights by which corners are raised in a smile that is meant
_CORNERS, _WIDTH = 3, 1  # of `Mouth.geometry`


def resting_face(
    model: MorphableModel, mouth: Mouth, identity: np.ndarray | None, expression: np.ndarray, attitude: str
) -> np.ndarray:
    """(64,) float32: what turns the portrait's own expression into the one that it listens with.

    A positive listener keeps a smile, teeth and all; other mouths close.

    Args:
        model: the morphable model.
        mouth: its mouth.
        identity: (K,) the portrait's α; the mean face's if None.
        expression: (64,) its β.
        attitude: one of `ATTITUDES`.
    """
    own, usual = mouth.geometry(identity, expression), mouth.geometry(identity, np.zeros_like(expression))
    raised, widened = np.maximum(own - usual, 0)[[_CORNERS, _WIDTH]]
    if attitude == "positive" and raised > _SMILING:
        return np.zeros(len(expression), np.float32)
    ways = np.stack([model.direction("smile"), model.direction("lip_width")]).astype(np.float64)
    effects = (mouth.geometry(None, ways) - mouth.neutral)[:, [_CORNERS, _WIDTH]]
    smile = np.linalg.solve(effects.T, [raised, widened]) @ ways
    less = expression - _SMILE_TAKEN[attitude] * smile
    apart = mouth.geometry(identity, less)[0]
    closed = mouth.opened(less[None], np.minimum(LEAST_GAP - apart, 0)[None])[0]
    return (closed - expression).astype(np.float32)
