"""What the refiner learns from: mouths of the mesh renderer's frames and the real ones, in pairs a frame apart.

Self-reenactment: one frame of a clip is read as a portrait as the product reads one, others are drawn from it with the
coefficients tracked in the clip, smoothed as `reenact` smooths them. Neighbouring frames go together, so that the
training can ask that only what really changes changes. Mouths are laid out once and kept in a folder outside the
repository, one file a clip.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import PortraitError
from pipeline.face import measures
from pipeline.face.morphable import MorphableModel, placement
from pipeline.face.mouth_inside import mouth_inside
from pipeline.face.portrait import Portrait
from pipeline.face.tracker import FaceTracker
from pipeline.hub import Weights
from pipeline.postprocess.smoothing import smooth_coefficients
from pipeline.renderers.mesh import MeshRenderer
from pipeline.renderers.mouth_grid import CROP, MouthGrid
from pipeline.renderers.patches import PatchFrame
from pipeline.training.corpus import CorpusFile, read_manifest
from pipeline.training.footage import Footage, read_footage

_FOLDER = "refiner-2"  # another name whenever lessons change
KINDS = ("talk", "synthetic", "silent")
_CLIPS_A_SPEAKER = 3
_LONGEST = 160  # frames of a clip
_PAIRS = 16  # of neighbouring frames, for each portrait
_SMALL = 448  # clips of at least this short side are half of the time reduced to 256, the other size that is asked for


@dataclass(frozen=True)
class RefinerLesson:
    """N frames of one clip, drawn from some of its own frames; rows 2i and 2i + 1 are neighbours in time.

    Attributes:
        drawn: (N, 34, 40, 3) uint8, the mouth that the mesh drew, on its grid.
        truth: (N, 34, 40, 3) uint8, the real one at the same places.
        portrait: (N, 34, 40, 3) uint8, the portrait's, on its own grid.
        motion: (N, 70) float32, β and p less the portrait's.
        shape: (N, 20) float32, the shapes of both grids.
        shown: (N, 27) float32, what shows inside the portrait's mouth.
        inside: (N, 27) float32, what shows inside the real one.
        rows: (N, 34) float32, the share of the area that each row stands for.
        scale: (N,) float32, pixels a face height.
    """

    drawn: np.ndarray
    truth: np.ndarray
    portrait: np.ndarray
    motion: np.ndarray
    shape: np.ndarray
    shown: np.ndarray
    inside: np.ndarray
    rows: np.ndarray
    scale: np.ndarray

    def save(self, path: Path) -> None:
        """Write one .npz, which appears only when it is whole."""
        partial = path.with_suffix(".part.npz")
        np.savez(partial, **vars(self))
        partial.rename(path)

    @staticmethod
    def load(path: Path) -> RefinerLesson:
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            return RefinerLesson(**{field.name: arrays[field.name] for field in fields(RefinerLesson)})

    @staticmethod
    def of(samples: list[tuple[np.ndarray | float, ...]]) -> RefinerLesson:
        """A lesson of frames that come one by one, each with its fields in order."""
        columns = (np.stack(column) for column in zip(*samples, strict=True))
        return RefinerLesson(*(part if part.dtype == np.uint8 else part.astype(np.float32) for part in columns))


def prepare(
    corpus: Path, cache: Path, weights: Weights, log: Callable[[str], None] = print, part: tuple[int, int] = (0, 1)
) -> list[Path]:
    """Make what is not there yet of the lessons of `split=train`; returns their files.

    Args:
        corpus: the folder with MANIFEST.csv.
        cache: a folder, outside the repository.
        weights: the mesh renderer's.
        log: told of each clip that is made.
        part: (i, n) makes every nth clip from the ith, so that several processes may share the work.
    """
    folder = cache / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    model = MorphableModel.load(weights.component("face"))
    made = []
    with FaceTracker() as tracker:
        for file in choose(read_manifest(corpus))[part[0] :: part[1]]:
            path = folder / f"{file.name}.npz"
            if not path.exists():
                for _, footage in read_footage([file], _LONGEST):
                    log(f"preparing {file.name}")
                    lesson = make_lesson(file.name, footage, tracker, model, weights)
                    if lesson is not None:
                        lesson.save(path)
            if path.exists():
                made.append(path)
    return made


def choose(files: list[CorpusFile]) -> list[CorpusFile]:
    """Clips to learn from: of each speaker of `split=train` at most three, the longest."""
    taken: Counter[str] = Counter()
    chosen = []
    for file in sorted(files, key=lambda file: -file.seconds):
        if file.split == "train" and file.kind in KINDS and taken[file.speaker] < _CLIPS_A_SPEAKER:
            taken[file.speaker] += 1
            chosen.append(file)
    return chosen


def make_lesson(
    name: str, footage: Footage, tracker: FaceTracker, model: MorphableModel, weights: Weights
) -> RefinerLesson | None:
    """Draw a clip's frames from one to three of its own; None where none of these can serve as a portrait."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    samples: list[tuple[np.ndarray | float, ...]] = []
    for reference, targets in _plan(footage, 3 if len(footage.frames) > 60 else 2, random):
        scene = _smaller(footage) if min(footage.size) >= _SMALL and random.random() < 0.5 else footage
        try:
            portrait = Portrait.read(scene.frames[reference], tracker, model)
        except PortraitError:
            continue
        samples += _samples(scene, portrait, targets, weights)
    return RefinerLesson.of(samples) if samples else None


def _samples(
    scene: Footage, portrait: Portrait, targets: np.ndarray, weights: Weights
) -> list[tuple[np.ndarray | float, ...]]:
    renderer = MeshRenderer.load(weights, portrait)
    fitted = scene.fit(portrait, np.arange(len(scene.frames)))
    seen = np.stack([mouth_inside(*pair) for pair in zip(scene.frames, scene.landmarks, strict=True)])
    fitted = smooth_coefficients(replace(fitted, inside=seen), 1)[targets]
    assert fitted.inside is not None
    own, place = portrait.coefficients, PatchFrame(CROP, renderer.scene.unposed)
    to_picture = place.to_picture(*placement(own.pose[0], own.crop[0], portrait.size))
    at_rest = MouthGrid.of(place.openings(portrait.landmarks[:, :2].astype(np.float64), to_picture))
    if at_rest is None:
        return []
    shown = at_rest.take(place.cut(portrait.image, to_picture))
    inside = mouth_inside(portrait.image, portrait.landmarks)
    cut = []
    for i, frame in enumerate(renderer.render(fitted)):
        expression, pose, crop = fitted.expression[i], fitted.pose[i], fitted.crop[i]
        points, _, placed = renderer.scene.place(expression, pose, crop)
        to_picture = place.to_picture(*placed)
        grid = MouthGrid.of(place.openings(points[:, :2].astype(np.float64), to_picture))
        if grid is None:
            return []  # neighbours must stay together
        drawn, truth = (grid.take(place.cut(picture, to_picture)) for picture in (frame, scene.frames[targets[i]]))
        motion = np.concatenate([expression - own.expression[0], pose - own.pose[0]])
        shape = np.concatenate([grid.shape, at_rest.shape])
        cut.append((drawn, truth, shown, motion, shape, inside, fitted.inside[i], grid.weights(), placed[1]))
    return cut


def _smaller(footage: Footage) -> Footage:
    share = 256 / min(footage.size)
    size = tuple(2 * round(side * share / 2) for side in footage.size)
    frames = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in footage.frames]
    ratio = np.array([size[0] / footage.size[0], size[1] / footage.size[1], share], np.float32)
    return Footage(frames, footage.landmarks * ratio)


def _plan(footage: Footage, references: int, random: np.random.Generator) -> Iterator[tuple[int, np.ndarray]]:
    """Portraits and the frames to draw from each, in pairs of neighbours: open mouths and lids closing are likelier."""
    count = len(footage.landmarks) - 1
    opening = measures.lip_opening(footage.landmarks)
    lids = measures.lid_opening(footage.landmarks).mean(-1)
    odds = (0.3 + opening / max(opening.max(), 1e-6) + 1.0 * (lids < np.quantile(lids, 0.06)))[:count]
    closed = np.flatnonzero(opening[:count] <= np.quantile(opening, 0.25))
    for index in range(references):
        # The first frame, a closed mouth, any.
        reference = 0 if index == 0 else int(random.choice(closed if index == 1 and len(closed) else count))
        first = random.choice(count, min(_PAIRS, count // 2), replace=False, p=odds / odds.sum())
        yield reference, np.stack([first, first + 1], 1).reshape(-1)
