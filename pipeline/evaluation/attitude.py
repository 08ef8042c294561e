"""Does a clip's face look positive, neutral or negative? A small classifier of expressions, for measuring only.

It judges what a listener's portrait was told to show, never what anybody feels, and no driver is trained with it.
Eighteen distances between points of the unposed mesh (corners of the lips, folds beside the nose, brows, lids) are
freed from the opening of the mouth, so that talking matters little, and summed up over the clip; the moments at which
the lips are most shut are summed up by themselves. People are built differently: what a face is at rest is subtracted
where it is known (a portrait's own coefficients), and else the head's bones are looked at too. Learned by
`python -m pipeline train attitude`; see `weights/attitude/README.md` for its faults.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from pipeline.attitudes import ATTITUDES
from pipeline.coefficients import Coefficients
from pipeline.errors import WeightsError
from pipeline.face.morphable import MorphableModel
from pipeline.hub_share import HubComponent

GROUPS = {"smile": "positive", "neutral": "neutral", "frown": "negative", "sorrow": "negative"}
"""Expressions that are told apart, and the attitude each counts as: brows fall in a frown and rise in sorrow."""

# Points whose places are the skull's more than the expression's.
_BONES = np.array(
    "10 109 338 67 297 103 332 54 284 21 251 162 389 127 356 9 8 168 6 197 195 33 133 263 362 234 454".split(), int
)
_EYE_CORNERS, _NOSE_BASE, _INNER_LIPS = (33, 133, 362, 263), (2, 98, 327), (13, 14)
_SHUT_SHARE = 0.4  # of a clip's moments


def measures(vertices: np.ndarray) -> np.ndarray:
    """Distances on the face, the last of which is the opening of the lips.

    Args:
        vertices: (T, 478, 3), pose taken out, in face heights.

    Returns:
        (T, 19) face heights, most of them heights of points above the eyes' corners or the base of the nose.
    """
    eyes, nose, lips = (_up(vertices, points) for points in (_EYE_CORNERS, _NOSE_BASE, _INNER_LIPS))
    return np.stack(
        [
            _up(vertices, (61, 291)) - lips,  # corners of the lips
            _up(vertices, (61, 291)) - nose,
            np.abs(vertices[:, 291, 0] - vertices[:, 61, 0]),
            _back(vertices, (61, 291)) - _back(vertices, (13,)),
            _up(vertices, (205, 425)) - nose,  # cheeks
            _up(vertices, (50, 280, 101, 330)) - eyes,
            _back(vertices, (205, 425, 50, 280)) - _back(vertices, (2,)),
            _apart(vertices, (203, 206), (423, 426)),  # the folds beside the nose
            _up(vertices, (107, 336, 55, 285)) - eyes,  # inner, outer and middle brows, and the gap between them
            _up(vertices, (70, 300, 46, 276)) - eyes,
            _up(vertices, (105, 334)) - eyes,
            _apart(vertices, (107, 55), (336, 285)),
            _up(vertices, (159, 386, 158, 385)) - eyes,  # lids
            _up(vertices, (145, 374, 153, 380)) - eyes,
            _up(vertices, (64, 294, 129, 358)) - eyes,  # wings of the nose
            _up(vertices, (37, 267, 0)) - nose,  # upper lip, thickness of the lips, and what is between lip and chin
            _up(vertices, (0, 14)) * 2 - _up(vertices, (13, 17)) * 2,
            _up(vertices, (17,)) - _up(vertices, (152,)),
            _up(vertices, (13,)) - _up(vertices, (14,)),
        ],
        -1,
    )


def bones(vertices: np.ndarray) -> np.ndarray:
    """The shape of the skull (81,) in vertices (T, 478, 3): mean over frames, both halves alike, of size 1."""
    points = vertices[:, _BONES].mean(0)
    mirrored = points[_mirror()] * (-1, 1, 1)
    points = (points + mirrored) / 2
    points = points - points.mean(0)
    return (points / np.linalg.norm(points)).ravel()


@dataclass(frozen=True)
class Softmax:
    """A softmax over `GROUPS` of standardised features: mean (F,), scale (F,) and weights (F + 1, G)."""

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(..., 3) probabilities of the attitudes from features (..., F)."""
        logits = (features - self.mean) / self.scale @ self.weights[:-1] + self.weights[-1]
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        groups = list(GROUPS.values())
        return np.stack([shares[..., [one == attitude for one in groups]].sum(-1) for attitude in ATTITUDES], -1)


@dataclass(frozen=True)
class AttitudeClassifier(HubComponent):
    """Arrays of the classifier; M = 18 measures without the opening, K bone axes.

    Attributes:
        slope: (M,) how much each measure changes with the opening of the lips.
        bone_mean: (81,) mean of `bones`.
        bone_axes: (81, K) to K numbers of unit variance over people.
        guessed: from a clip's figures (4 M + 1,) and those numbers.
        known: from a clip's means (M,) less those of the person at rest.
    """

    component = "attitude"

    slope: np.ndarray
    bone_mean: np.ndarray
    bone_axes: np.ndarray
    guessed: Softmax
    known: Softmax

    def __call__(
        self,
        coefficients: Coefficients,
        model: MorphableModel,
        identity: np.ndarray,
        rest: Coefficients | None = None,
    ) -> np.ndarray:
        """How much a clip looks like each attitude.

        Args:
            coefficients: the clip's, T frames; only the expression counts.
            model: the morphable model.
            identity: (K,) the person's α.
            rest: coefficients of the same person at rest, such as a portrait's; None tells by the clip alone and the
                bones, which is right less often.

        Returns:
            (3,) probabilities in the order of `ATTITUDES`.

        Raises:
            ValueError: if the clip, or the rest, has no frame.
        """
        if len(coefficients) == 0 or (rest is not None and len(rest) == 0):
            raise ValueError("An attitude needs at least one frame.")
        vertices = _shape(model, identity, coefficients)
        figures = clip_figures(measures(vertices), self.slope)
        if rest is None:
            return self.guessed(np.concatenate([figures, self.build_of(bones(vertices))]))
        # Only means count here: a portrait is a single moment, and a listener's face is calmer than a talker's.
        still = clip_figures(measures(_shape(model, identity, rest)), self.slope)
        return self.known(means(figures) - means(still))

    def build_of(self, shape: np.ndarray) -> np.ndarray:
        """Numbers (..., K) of the bones (..., 81), of unit variance over people."""
        return (shape - self.bone_mean) @ self.bone_axes

    def save(self, folder: str | Path) -> None:
        """Write `model.safetensors` (half precision) and `config.json` into `folder`."""
        from safetensors.numpy import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays |= {f"{part}.{name}": getattr(getattr(self, part), name) for part in _PARTS for name in _SOFTMAX}
        arrays = {name: np.ascontiguousarray(array, _precision(name)) for name, array in arrays.items()}
        save_file(arrays, str(folder / "model.safetensors"))
        config = {"_class_name": "AttitudeClassifier", "groups": GROUPS, "attitudes": list(ATTITUDES)}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> AttitudeClassifier:
        """Read what `save` wrote.

        Raises:
            WeightsError: if files are missing or damaged, or of another version.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = Path(folder)
        try:
            config = json.loads((folder / "config.json").read_text())
            if config["groups"] != GROUPS:
                raise ValueError("other groups")
            stored = load_file(str(folder / "model.safetensors"))
            arrays = {name: array.astype(np.float64) for name, array in stored.items()}
            parts = {part: Softmax(*(arrays[f"{part}.{name}"] for name in _SOFTMAX)) for part in _PARTS}
            loaded = cls(**{name: arrays[name] for name in _ARRAYS}, **parts)
            if len(loaded.guessed.mean) != 4 * len(loaded.slope) + 1 + loaded.bone_axes.shape[1]:
                raise ValueError("other figures")
            return loaded
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise WeightsError(
                f"The attitude classifier in {folder} cannot be read; install the weights again."
            ) from error


_PARTS = ("guessed", "known")
_ARRAYS = tuple(field.name for field in fields(AttitudeClassifier) if field.name not in _PARTS)
_SOFTMAX = tuple(field.name for field in fields(Softmax))


def clip_figures(measured: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """What a clip is told by: (4 M + 1,) from measures (T, M + 1), with the lips' opening last, and slopes (M,).

    First means, lower and upper fifth of each measure, freed from the opening; then the means of measures and opening
    over the moments at which the lips are most shut, as they are: no words shape the mouth then.
    """
    freed = _freed(measured, slope)
    opening = measured[:, -1]
    shut = measured[opening <= np.quantile(opening, _SHUT_SHARE)].mean(0)
    return np.concatenate([freed.mean(0), *np.quantile(freed, (0.2, 0.8), axis=0), shut])


def means(figures: np.ndarray) -> np.ndarray:
    """The means (..., M) among figures (..., 4 M + 1)."""
    return figures[..., : figures.shape[-1] // 4]


def _freed(measured: np.ndarray, slope: np.ndarray) -> np.ndarray:
    return measured[:, :-1] - measured[:, -1:] * slope


def _shape(model: MorphableModel, identity: np.ndarray, coefficients: Coefficients) -> np.ndarray:
    return model.shape(np.asarray(identity, np.float64), coefficients.expression.astype(np.float64))


def _precision(name: str) -> type:
    # Bones differ between people in the third digit, which half precision would round.
    return np.float32 if name.startswith("bone") else np.float16


def _mirror() -> np.ndarray:
    """For each of `_BONES` the index of its mirror image among them; those on the middle line are their own."""
    order = {point: index for index, point in enumerate(_BONES)}
    twins = {109: 338, 67: 297, 103: 332, 54: 284, 21: 251, 162: 389, 127: 356, 33: 263, 133: 362, 234: 454}
    twins |= {b: a for a, b in twins.items()}
    return np.array([order[twins.get(int(point), int(point))] for point in _BONES])


def _up(vertices: np.ndarray, points: tuple[int, ...]) -> np.ndarray:
    return -vertices[:, points, 1].mean(1)


def _back(vertices: np.ndarray, points: tuple[int, ...]) -> np.ndarray:
    return vertices[:, points, 2].mean(1)


def _apart(vertices: np.ndarray, right: tuple[int, ...], left: tuple[int, ...]) -> np.ndarray:
    return np.abs(vertices[:, left, 0].mean(1) - vertices[:, right, 0].mean(1))
