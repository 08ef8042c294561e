"""Pairs of frames of one person, as training of renderers needs them: pictures, meshes and a portrait fitted to one.

Landmarks are tracked anew from the footage and nothing of it is kept on disk but what a caller writes to its cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.coefficients import Coefficients
from pipeline.errors import VideoError
from pipeline.face.morphable import MorphableModel
from pipeline.face.portrait import Portrait
from pipeline.face.tracker import FaceTracker
from pipeline.training.corpus import CorpusFile
from pipeline.video import VideoReader

KINDS = ("talk", "silent", "synthetic", "listen")


@dataclass(frozen=True)
class Footage:
    """Frames (T, H, W, 3) uint8 of one clip that show a face, and its landmarks (T, 478, 3) in pixels."""

    frames: list[np.ndarray]
    landmarks: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.frames[0].shape[1], self.frames[0].shape[0]

    def portrait(self, index: int, model: MorphableModel, alpha: np.ndarray | None = None) -> Portrait:
        """Frame `index` as a reference image; all of it foreground unless a matte (H, W) is given."""
        image = self.frames[index]
        alpha = np.ones(image.shape[:2], np.float32) if alpha is None else alpha
        return Portrait.fit(image, self.landmarks[index], alpha, model)

    def fit(self, portrait: Portrait, targets: np.ndarray) -> Coefficients:
        """The coefficients of frames `targets`, with the portrait's identity and crop."""
        crop = portrait.coefficients.crop[0]
        return portrait.model.fit(self.landmarks[targets], self.size, portrait.identity, crop)[1]


def read_footage(files: list[CorpusFile], longest: int = 1200) -> Iterator[tuple[CorpusFile, Footage]]:
    """Decode and track clips one after the other, up to `longest` frames of each; clips without faces are left out."""
    for file in files:
        frames, landmarks = [], []
        try:
            with FaceTracker(video=True) as tracker:
                for _, frame in zip(range(longest), VideoReader(file.path), strict=False):
                    face = tracker.follow(frame)
                    if face is not None:
                        frames.append(frame)
                        landmarks.append(face.landmarks)
        except VideoError:
            continue
        if len(frames) >= 10:
            yield file, Footage(frames, np.stack(landmarks))
