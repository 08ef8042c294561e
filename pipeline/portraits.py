"""Reading portraits: the part of the pipeline object that looks at pictures, and at further ones of the same person."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.arguments import check_range
from pipeline.face.morphable import MorphableModel
from pipeline.face.portrait import Portrait

if TYPE_CHECKING:
    from PIL.Image import Image

    from pipeline.face.checks import PortraitLook
    from pipeline.face.tracker import FaceTracker

    Picture = str | os.PathLike[str] | np.ndarray | Image

_LEAST_SIDE, _MOST_SIDE = 64, 4096


class PortraitReading:
    """Reads portraits with a model; trackers are each thread's own.

    Attributes:
        model: the morphable model that fits faces.
    """

    model: MorphableModel
    _local: threading.local

    def portrait(self, image: Picture, size: int | None = None, references: Sequence[Picture] = ()) -> Portrait:
        """Read, check, track, cut out and fit a portrait.

        Args:
            image: a file, a (H, W, 3) uint8 RGB array or a PIL image.
            size: pixels of the longer side of the result; None keeps the picture's own, up to 1920.
            references: further pictures of the same person, or short videos, for renderers that take several
                (Chen 2020 §4.2): weights of HeadGAN that were trained so.

        Raises:
            PortraitError: if a picture cannot be read or holds no usable face.
            VideoError: if a video cannot be read or shows no face.
            InputError: if `size` is out of range.
        """
        check_range("size", size, _LEAST_SIDE, _MOST_SIDE)
        read = Portrait.read(image, self._tracker(), self.model, size)
        if not references:
            return read
        from pipeline.references import read_references

        return replace(read, references=read_references(references, self._tracker(), self.model))

    def check(self, image: Picture) -> PortraitLook:
        """Look at a picture: where its face is, and what is wrong with it; quick, and no clip is begun.

        Raises:
            PortraitError: if the picture cannot be read.
        """
        from pipeline.face.checks import look_at

        return look_at(image, self._tracker())

    def _tracker(self) -> FaceTracker:
        """This thread's own tracker: MediaPipe's may not be shared."""
        from pipeline.face.tracker import FaceTracker

        if not hasattr(self._local, "tracker"):
            self._local.tracker = FaceTracker()
        return self._local.tracker
