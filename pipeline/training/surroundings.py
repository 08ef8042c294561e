"""Measure how hair, ears, neck and shoulders follow a head, by optical flow between frames of the corpus.

Between two frames of a clip the flow at each ring point that lies on the person is explained by the head's motion: its
shift, its turn in the picture plane, its turn in depth and the outline's own expression. Robust least squares over all
clips, left and right pooled, give the four shares of each ring and direction.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from pipeline.face import topology
from pipeline.face.morphable import MorphableModel, placement
from pipeline.face.segmentation import person_alpha
from pipeline.hub import EMBEDDED
from pipeline.renderers.surroundings import RAYS, Surroundings
from pipeline.training.corpus import CorpusFile, read_manifest
from pipeline.training.footage import Footage, read_footage

RADII = np.array([0.08, 0.2, 0.38, 0.62, 0.95, 1.5])  # the last ring is at rest
_FLOW_FACE = 160  # pixels of a face's height in the pictures that flow is measured in
_CLIPS_A_PERSON = 2
_LONGEST = 250
_PRIOR = np.array([1.0, 1.0, 0.25, 0.5])


def main(corpus: Path, output: Path, **_: object) -> None:
    """Measure on `split=train` and write `surroundings.json`."""
    model = MorphableModel.load(EMBEDDED / "face")
    random = np.random.default_rng(0)
    rows = [
        sample
        for _, footage in read_footage(_choose(read_manifest(corpus)), _LONGEST)
        for sample in _samples(footage, model, random)
    ]
    solve(np.stack(rows)).save(output)


def solve(samples: np.ndarray) -> Surroundings:
    """Shares from samples (N, R - 1, 36, 11): flow, shift, turn, depth, expression (two each), and whether to count."""
    opposite = -np.arange(RAYS) % RAYS
    mirrored = samples[:, :, opposite].copy()
    mirrored[..., 0:10:2] *= -1
    samples = np.concatenate([samples, mirrored])
    rings = samples.shape[1]
    follow = np.zeros((rings + 1, RAYS, 4))
    for ring in range(rings):
        for ray in range(RAYS):
            parts = []
            for offset, weight in ((-2, 0.3), (-1, 0.7), (0, 1.0), (1, 0.7), (2, 0.3)):
                part = samples[:, ring, (ray + offset) % RAYS]
                parts.append(weight * part[part[:, 10] > 0, :10])
            follow[ring, ray] = _robust(np.concatenate(parts), _PRIOR * (1 - (ring + 1) / (rings + 1)))
    return Surroundings(RADII, follow)


def _robust(rows: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Iteratively reweighted least squares (absolute error), drawn a little towards `prior`."""
    flow = rows[:, :2].reshape(-1)
    causes = rows[:, 2:].reshape(-1, 4, 2).transpose(0, 2, 1).reshape(-1, 4)
    weight = np.ones(len(flow))
    ridge = 0.05
    for _ in range(5):
        gram = (causes * weight[:, None]).T @ causes + ridge * np.eye(4)
        shares = np.linalg.solve(gram, (causes * weight[:, None]).T @ flow + ridge * prior)
        weight = 0.01 / np.maximum(np.abs(flow - causes @ shares), 0.01)
    return shares


def _choose(files: list[CorpusFile]) -> list[CorpusFile]:
    taken: Counter[str] = Counter()
    chosen = []
    for file in sorted(files, key=lambda file: -file.seconds):
        if file.split == "train" and file.kind in ("talk", "silent") and taken[file.speaker] < _CLIPS_A_PERSON:
            taken[file.speaker] += 1
            chosen.append(file)
    return chosen


def _samples(footage: Footage, model: MorphableModel, random: np.random.Generator) -> list[np.ndarray]:
    count = len(footage.frames)
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    samples = []
    for reference in (0, count // 2):
        alpha = person_alpha(footage.frames[reference], footage.landmarks[reference])
        portrait = footage.portrait(reference, model)
        fitted = footage.fit(portrait, np.arange(count))
        turn = np.abs(fitted.pose - fitted.pose[reference]) @ np.array([1, 1, 1, 0.5, 0.5, 1])
        targets = [*np.argsort(-turn)[:4], *random.choice(count, 4)]
        scale = portrait.scale
        outline = portrait.landmarks[topology.OUTLINE, :2].astype(np.float64)
        points = Surroundings(RADII[:-1], np.empty(0)).points(outline, scale)
        shrink = min(1.0, _FLOW_FACE / scale)
        first = _grey(footage.frames[reference], shrink)
        for target in (int(t) for t in targets if t != reference):
            second = _grey(footage.frames[target], shrink)
            there, back = flow.calc(first, second, None), flow.calc(second, first, None)
            at = (points * shrink).astype(np.float32)
            moved = cv2.remap(there, at[..., 0], at[..., 1], cv2.INTER_LINEAR)
            returned = cv2.remap(back, at[..., 0] + moved[..., 0], at[..., 1] + moved[..., 1], cv2.INTER_LINEAR)
            sure = np.linalg.norm(moved + returned, axis=-1) < 1
            counts = sure & _on_person(points, alpha)
            causes = _causes(portrait, fitted.expression[target], fitted.pose[target], points)
            row = np.concatenate([moved / shrink / scale, *(cause / scale for cause in causes)], -1)
            samples.append(np.concatenate([row, counts[..., None]], -1).astype(np.float32))
    return samples


def _causes(portrait, expression: np.ndarray, pose: np.ndarray, points: np.ndarray) -> list[np.ndarray]:
    """What may move ring points (R, 36, 2), in pixels: shift, turn, turn in depth a face height deep, expression."""
    own = portrait.coefficients
    before = placement(own.pose[0].astype(np.float64), own.crop[0].astype(np.float64), portrait.size)
    after = placement(pose.astype(np.float64), own.crop[0].astype(np.float64), portrait.size)
    whole = (after[1] / before[1]) * after[0] @ before[0].T
    change = portrait.model.offsets(expression - own.expression[0])[topology.OUTLINE]
    outline = (after[1] * change @ after[0].T)[:, :2]
    return [
        np.broadcast_to((after[2] - before[2])[:2], points.shape),
        (points - before[2][:2]) @ (whole[:2, :2] - np.eye(2)).T,
        np.broadcast_to(whole[:2, 2] * before[1], points.shape),
        np.broadcast_to(outline, points.shape),
    ]


def _on_person(points: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    height, width = alpha.shape
    inside = ((points > 2) & (points < np.array([width - 3, height - 3]))).all(-1)
    column, row = (np.clip(points[..., i], 0, side - 1).astype(int) for i, side in enumerate((width, height)))
    return inside & (alpha[row, column] > 0.6)


def _grey(frame: np.ndarray, shrink: float) -> np.ndarray:
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
