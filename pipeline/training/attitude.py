"""Train what measures listeners, the attitude classifier first of all: `python -m pipeline train attitude`.

Labelled clips of the corpus become 73 figures each; a softmax over four expressions is fitted with a ridge, twice: for
faces of which nothing else is known, from the figures and the head's bones, and for those whose rest is known, from
what differs from it. People and attitudes count alike. What is printed is told by speakers held out: each clip is
judged by a classifier that saw no clip of that person. Beside it, the kinds of motion by which variety is counted are
found. Nothing of this trains a driver.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.attitudes import ATTITUDES
from pipeline.errors import InputError
from pipeline.evaluation.attitude import (
    GROUPS,
    AttitudeClassifier,
    Softmax,
    bones,
    clip_figures,
    means,
    measures,
)
from pipeline.evaluation.listener_metrics import Motion, MotionClusters
from pipeline.face.morphable import MorphableModel
from pipeline.training import attitude_labels
from pipeline.training.corpus import TrackedClip, tracked_clips

BONE_AXES = 4  # chosen by cross-validation, as are the penalties and the share
_REST_PENALTY = 10.0
_GUESSED_PENALTY, _KNOWN_PENALTY = 20.0, 3.0
_UNKNOWN_SHARE = 0.3  # how much examples whose rest is guessed count beside those whose rest is known
_FOLDS = 12
_STEP = 3  # frames: neighbours are alike


@dataclass(frozen=True)
class Example:
    """A labelled clip, or part of one: measures (T, M + 1), bones (81,), its group (index) and person."""

    name: str
    person: str
    group: int
    measured: np.ndarray
    shape: np.ndarray

    @property
    def attitude(self) -> int:
        """Index in `ATTITUDES`."""
        return ATTITUDES.index(list(GROUPS.values())[self.group])


@dataclass(frozen=True)
class Faces:
    """Any clips, labelled or not: measures, bones, people and whether they talk; what is usual is learned from them."""

    measured: list[np.ndarray]
    shapes: np.ndarray
    people: list[str]
    talking: list[bool]

    @staticmethod
    def of(clips: list[TrackedClip], model: MorphableModel) -> Faces:
        """Those of clips."""
        vertices = [_vertices(clip, model) for clip in clips]
        return Faces(
            [measures(points) for points in vertices],
            np.stack([bones(points) for points in vertices]),
            [clip.file.speaker for clip in clips],
            [clip.file.kind == "talk" for clip in clips],
        )


def read_examples(clips: list[TrackedClip], labels: dict[str, list[str]], model: MorphableModel) -> list[Example]:
    """The labelled parts of clips.

    Raises:
        InputError: if a clip that is labelled is not there.
    """
    known = {clip.file.name: clip for clip in clips}
    examples = []
    for group, names in labels.items():
        for name in names:
            file, _, part = name.partition(":")
            if file not in known:
                raise InputError(f"The corpus lacks the labelled clip {file}; use the whole corpus.")
            clip = known[file]
            first, end = (int(n) for n in part.split("-")) if part else (0, len(clip.found))
            vertices = _vertices(clip, model, slice(first, end))
            examples.append(
                Example(name, clip.file.speaker, list(GROUPS).index(group), measures(vertices), bones(vertices))
            )
    return examples


def fit_attitude(examples: list[Example], faces: Faces) -> AttitudeClassifier:
    """Fit the classifier to labelled examples and, for what talking and bones do to a face, any faces.

    Few people were seen with a neutral and another face, so what is known of a face against its own rest is
    stretched by examples whose rest is guessed from the bones.
    """
    slope = _slope(faces)
    bone_mean, bone_axes = _fit_build(faces)
    groups = np.array([example.group for example in examples])
    unfitted = Softmax(np.zeros(1), np.ones(1), np.zeros((2, len(GROUPS))))
    classifier = AttitudeClassifier(slope, bone_mean, bone_axes, unfitted, unfitted)
    guessed, known = features(classifier, examples)
    weights = _weights(examples)
    has = np.flatnonzero(np.isfinite(known[:, 0]))
    figures, build = guessed[:, : -bone_axes.shape[1]], guessed[:, -bone_axes.shape[1] :]
    centred = means(figures) - _usual(classifier, faces, build)
    centred -= centred[groups == list(GROUPS).index("neutral")].mean(0)
    together = np.concatenate([known[has], centred])
    shares = np.concatenate([_weights([examples[row] for row in has]), _UNKNOWN_SHARE * weights])
    shares *= len(together) / max(shares.sum(), 1e-9)
    return replace(
        classifier,
        guessed=_softmax(guessed, groups, weights, _GUESSED_PENALTY),
        known=_softmax(together, np.concatenate([groups[has], groups]), shares, _KNOWN_PENALTY),
    )


def features(classifier: AttitudeClassifier, examples: list[Example]) -> tuple[np.ndarray, np.ndarray]:
    """What the two parts of the classifier look at: (N, 4 M + 1 + K) figures and bones, and (N, M) means less those of
    the same person's other neutral examples, NaN where there is none."""
    figures = np.stack([clip_figures(example.measured, classifier.slope) for example in examples])
    build = classifier.build_of(np.stack([example.shape for example in examples]))
    known = np.full_like(means(figures), np.nan)
    for index, example in enumerate(examples):
        others = [
            j for j, other in enumerate(examples)
            if j != index and other.person == example.person and ATTITUDES[other.attitude] == "neutral"
        ]  # fmt: skip
        if others:
            known[index] = means(figures[index] - figures[others].mean(0))
    return np.concatenate([figures, build], 1), known


def judge(classifier: AttitudeClassifier, examples: list[Example]) -> tuple[np.ndarray, np.ndarray]:
    """Attitudes (N,) that the classifier sees in the clip alone, and with the person's own rest (-1: unknown)."""
    guessed, known = features(classifier, examples)
    has = np.isfinite(known[:, 0])
    seen = np.full(len(examples), -1)
    seen[has] = classifier.known(known[has]).argmax(-1)
    return classifier.guessed(guessed).argmax(-1), seen


def cross_validate(examples: list[Example], faces: Faces) -> tuple[np.ndarray, np.ndarray]:
    """`judge` of each example by a classifier that saw no example of that person."""
    people = sorted({example.person for example in examples})
    fold = np.array([people.index(example.person) % _FOLDS for example in examples])
    guessed, own = np.empty(len(examples), int), np.empty(len(examples), int)
    for number in sorted(set(fold)):
        held = np.flatnonzero(fold == number)
        classifier = fit_attitude([examples[index] for index in np.flatnonzero(fold != number)], faces)
        guessed[held], own[held] = judge(classifier, [examples[index] for index in held])
    return guessed, own


def report(name: str, examples: list[Example], seen: np.ndarray) -> str:
    """A line: how many are right, and of each attitude how many were seen as which."""
    truth = np.array([example.attitude for example in examples])
    known = seen >= 0
    parts = [
        f"{attitude} {np.bincount(seen[known & (truth == index)], minlength=len(ATTITUDES)).tolist()}"
        for index, attitude in enumerate(ATTITUDES)
    ]
    if not known.any():
        return f"{name}: none"
    return f"{name}: {100 * np.mean(seen[known] == truth[known]):.1f} % of {known.sum()} right; {', '.join(parts)}"


def main(corpus: Path, output: Path, cache: Path, **_: object) -> None:
    """Cross-validate, fit on `split=train`, measure on `split=val`, and write (`python -m pipeline train`)."""
    from pipeline.hub import EMBEDDED

    model = MorphableModel.load(EMBEDDED / "face")
    kinds = ("talk", "silent", "listen")
    train = tracked_clips(corpus, kinds, "train", cache, model, print)
    examples, faces = read_examples(train, attitude_labels.TRAIN, model), Faces.of(train, model)
    guessed, own = cross_validate(examples, faces)
    print(f"seen as {', '.join(ATTITUDES)}:")
    print(report("train, speakers held out, the clip alone", examples, guessed))
    print(report("train, speakers held out, the person's own rest", examples, own))
    classifier = fit_attitude(examples, faces)
    classifier.save(output)
    moving = [clip for clip in train if clip.file.kind != "talk"]  # kinds of motion of which few are lips
    MotionClusters.fit([Motion.of(clip.coefficients) for clip in moving]).save(output)
    classifier = AttitudeClassifier.load(output)
    val = tracked_clips(corpus, kinds, "val", cache, model, print)
    for name, labels in (("val", attitude_labels.VAL), ("val, as first labelled", attitude_labels.VAL_FIRST)):
        measured = read_examples(val, labels, model)
        print(report(f"{name}, the clip alone", measured, judge(classifier, measured)[0]))


def _vertices(clip: TrackedClip, model: MorphableModel, part: slice = slice(None)) -> np.ndarray:
    expression = clip.coefficients.expression[part][clip.found[part]][::_STEP]
    return model.shape(clip.identity.astype(np.float64), expression.astype(np.float64))


def _slope(faces: Faces) -> np.ndarray:
    """Of each measure on the lips' opening, within talking clips: least squares over all of them."""
    talking = [
        measured - measured.mean(0) for measured, talks in zip(faces.measured, faces.talking, strict=True) if talks
    ]
    together = np.concatenate(talking)
    return together[:, :-1].T @ together[:, -1] / np.square(together[:, -1]).sum()


def _shares(faces: Faces) -> np.ndarray:
    """(N,) weights of the clips, so that people count alike."""
    clips = Counter(faces.people)
    return np.array([1 / clips[person] for person in faces.people])


def _fit_build(faces: Faces) -> tuple[np.ndarray, np.ndarray]:
    """The bones' mean and principal axes."""
    weights = _shares(faces)
    mean = faces.shapes.mean(0)
    centred = (faces.shapes - mean) * np.sqrt(weights / weights.mean())[:, None]
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    return mean, axes[:BONE_AXES].T / (singular[:BONE_AXES] / np.sqrt(len(centred)))


def _usual(classifier: AttitudeClassifier, faces: Faces, build: np.ndarray) -> np.ndarray:
    """Means (N, M) that are usual for the numbers of the bones (N, K): a ridge regression over all faces."""
    weights = _shares(faces)
    numbers = np.append(classifier.build_of(faces.shapes), np.ones((len(weights), 1)), 1)
    usual = np.stack([means(clip_figures(measured, classifier.slope)) for measured in faces.measured])
    penalty = _REST_PENALTY * np.diag([*np.ones(BONE_AXES), 1e-9])
    weighted = numbers * weights[:, None]
    solved = np.linalg.solve(weighted.T @ numbers + penalty, weighted.T @ usual)
    return np.append(build, np.ones((len(build), 1)), 1) @ solved


def _weights(examples: list[Example]) -> np.ndarray:
    """Attitudes count alike; within one, a person with n examples counts as √n."""
    weights = np.empty(len(examples))
    for attitude in range(len(ATTITUDES)):
        chosen = [index for index, example in enumerate(examples) if example.attitude == attitude]
        count = Counter(examples[index].person for index in chosen)
        share = np.array([count[examples[index].person] ** -0.5 for index in chosen])
        weights[chosen] = share / max(share.sum(), 1e-9)
    return weights * len(examples)


def _softmax(x: np.ndarray, groups: np.ndarray, weights: np.ndarray, penalty: float, steps: int = 12) -> Softmax:
    """A multinomial logistic regression of features (N, F) with a ridge, by Newton's method."""
    mean = np.average(x, 0, weights)
    scale = np.sqrt(np.average(np.square(x - mean), 0, weights))
    rows = np.concatenate([(x - mean) / scale, np.ones((len(x), 1))], 1)
    width, count = rows.shape[1], len(GROUPS)
    ridge = np.diag([*np.full(width - 1, penalty), 1e-6])
    wanted = np.eye(count)[groups]
    solved = np.zeros((width, count))
    for _ in range(steps):
        logits = rows @ solved
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        gradient = rows.T @ (weights[:, None] * (shares - wanted)) + ridge @ solved
        hessian = np.zeros((count, width, count, width))
        for a in range(count):
            for b in range(count):
                bend = weights * shares[:, a] * ((a == b) - shares[:, b])
                hessian[a, :, b] = (rows * bend[:, None]).T @ rows + (a == b) * ridge
        flat = hessian.reshape(count * width, -1) + 1e-8 * np.eye(count * width)
        solved -= np.linalg.solve(flat, gradient.T.ravel()).reshape(count, width).T
    return Softmax(mean, scale, solved)
