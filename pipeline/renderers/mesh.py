"""The embedded renderer: the portrait is the texture of a mesh that β and p move (Lv 2022 §3.2: sample, never invent).

Mesh and surroundings are rasterised with depth into one sampling map; the foreground is sampled through it and laid
over the background plate; small networks then supply what the portrait does not show of mouth and eyes. Everything
happens in the portrait's own pixels, within a window around the head: there is no crop to paste back, and no seam.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np

from pipeline.coefficients import Coefficients
from pipeline.face.morphable import placement
from pipeline.face.portrait import Portrait
from pipeline.face.raster import rasterise
from pipeline.hub import Weights
from pipeline.postprocess.fusion import Layers, fuse
from pipeline.renderers.patch_painter import Drawn, PatchNetworks, PatchPainter
from pipeline.renderers.scene import Scene
from pipeline.renderers.surroundings import Surroundings

_FAR = np.float32(1e9)
_BATCH = 8
_UNCOVERED = 0.4  # face heights: what a head that turns and leans uncovers behind its edge, and some more


class MeshRenderer:
    """Draws one portrait. Not for use by two threads at once: buffers are kept between frames.

    Args:
        portrait: what to draw.
        surroundings: how hair, neck and shoulders follow.
        networks: corrections of mouth and eyes; None draws the mesh alone.
    """

    def __init__(self, portrait: Portrait, surroundings: Surroundings, networks: PatchNetworks | None = None) -> None:
        self.portrait = portrait
        self.scene = Scene(portrait, surroundings)
        own = placement(portrait.coefficients.pose[0], portrait.coefficients.crop[0], portrait.size)
        self._painter = None if networks is None else PatchPainter(portrait, self.scene.unposed, own, networks)
        # What lies behind the head is filled in while the driver listens to its first window of sound.
        filling = ThreadPoolExecutor(1, "layers")
        self._filled = filling.submit(Layers, portrait.image, portrait.alpha, _UNCOVERED * portrait.scale)
        filling.shutdown(wait=False)
        self._kept = False
        self._window = self._find_window()
        x0, y0, x1, y1 = self._window
        shape = (y1 - y0, x1 - x0)
        columns, rows = np.meshgrid(np.arange(x0, x1, dtype=np.float32), np.arange(y0, y1, dtype=np.float32))
        self._rest = (columns, rows)
        self._map = (np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.float32))

    @staticmethod
    def load(weights: Weights, portrait: Portrait) -> MeshRenderer:
        """A renderer for `portrait` with the components `mesh` and `patches` of `weights`.

        Raises:
            WeightsError: if they cannot be read.
        """
        surroundings = Surroundings.load(weights.component("mesh"))
        return MeshRenderer(portrait, surroundings, PatchNetworks.load(weights.component("patches")))

    def start(self) -> Callable[[Coefficients], Iterator[np.ndarray]]:
        """What draws one run through a clip, called with the coefficients of each part in order: frames stand alone."""
        return self.render

    def render(self, coefficients: Coefficients) -> Iterator[np.ndarray]:
        """Frames (H, W, 3) uint8 RGB of T frames' coefficients, in batches of 8 inside.

        While the networks correct one batch in a thread of their own, this one finishes the batch before it, gives its
        frames out and draws the next.
        """
        self._learn_rest()
        with ThreadPoolExecutor(1, "paint") as painting:
            batch: list[Drawn] = []
            job: Future[None] | None = None
            for first in range(0, len(coefficients), _BATCH):
                part = coefficients[first : first + _BATCH]
                inside = [None] * len(part) if part.inside is None else part.inside
                rows = zip(part.expression, part.pose, part.crop, inside, strict=True)
                drawn = [self._draw(*row) for row in rows]
                following = painting.submit(self._paint, drawn)
                yield from self._painted(batch, job)
                batch, job = drawn, following
            yield from self._painted(batch, job)

    def _painted(self, batch: list[Drawn], job: Future[None] | None) -> Iterator[np.ndarray]:
        if job is not None:
            job.result()
            self._finish(batch)
            yield from (done.frame for done in batch)

    def _finish(self, batch: list[Drawn]) -> None:
        """What a renderer that builds on this one does to painted frames, in place."""

    def _learn_rest(self) -> None:
        """Tell the painter, before its first frame, what the portrait looks like when it is drawn as it is."""
        if self._painter is not None and not self._kept:
            rest = self.portrait.coefficients
            self._painter.keep(self._draw(rest.expression[0], rest.pose[0], rest.crop[0]))
        self._kept = True

    def _paint(self, batch: list[Drawn]) -> None:
        if self._painter is not None:
            self._painter.paint(batch)

    def _draw(
        self, expression: np.ndarray, pose: np.ndarray, crop: np.ndarray, inside: np.ndarray | None = None
    ) -> Drawn:
        x0, y0, x1, y1 = self._window
        layers = self._filled.result()
        target, depth, placed = self.scene.place(expression, pose, crop)
        map_x, map_y, nearest = self._map
        map_x[:], map_y[:] = self._rest
        nearest.fill(_FAR)
        rasterise(self.scene.triangles, target, depth, self.scene.sampled(expression), x0, y0, self._map)
        moved = cv2.remap(layers.foreground, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        frame = self.portrait.image.copy()
        fuse(moved, layers.plate[y0:y1, x0:x1], frame[y0:y1, x0:x1])
        return Drawn(frame, target, placed, np.concatenate([expression, pose]), inside)

    def _find_window(self) -> tuple[int, int, int, int]:
        """The part of the picture that the mesh can reach: its outermost ring stays where it is."""
        width, height = self.portrait.size
        low, high = self.scene.source.min(0), self.scene.source.max(0)
        x0, y0 = np.clip(np.floor(low), 0, (width, height)).astype(int)
        x1, y1 = np.clip(np.ceil(high) + 1, 0, (width, height)).astype(int)
        return int(x0), int(y0), int(x1), int(y1)
