"""The refiner: what the mesh renderer has drawn of the mouth, corrected by a small network.

The mouth is laid out on a grid on which lips are always at the same place; what the network adds there is laid back and
enlarged to the frame's own pixels, so that the portrait's detail stays. Around the whole head, changes of a single grey
level from frame to frame, which tracking and rounding leave, are held back, so that skin is quieter. The portrait's own
coefficients give what the mesh gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from pipeline.coefficients import Coefficients
from pipeline.face.morphable import placement
from pipeline.face.mouth_inside import mouth_inside
from pipeline.face.portrait import Portrait
from pipeline.hub import Weights
from pipeline.hub_share import HubComponent
from pipeline.network_files import load_network, save_network
from pipeline.renderers.mesh import MeshRenderer
from pipeline.renderers.mouth_grid import CROP, MouthGrid
from pipeline.renderers.patch_painter import Drawn, PatchNetworks, add_change, colour_share, with_colour
from pipeline.renderers.patches import PatchFrame
from pipeline.renderers.refiner_network import RefinerNetwork
from pipeline.renderers.surroundings import Surroundings
from pipeline.threads import one_thread

_UNREST = 1  # grey level of change from frame to frame that tracking and rounding leave


@dataclass(frozen=True)
class Refiner(HubComponent):
    """The network as a component that is saved, loaded and pushed."""

    component = "refiner"

    network: RefinerNetwork

    @staticmethod
    def load(folder: str | Path) -> Refiner:
        """Read what `save` wrote.

        Raises:
            WeightsError: if files are missing or damaged.
        """
        return Refiner(load_network(folder, RefinerNetwork, "The refiner"))

    def save(self, folder: str | Path) -> None:
        """Write `model.safetensors` (half precision) and `config.json`."""
        save_network(self.network, folder, self.network.config)


class RefinerRenderer(MeshRenderer):
    """Draws one portrait as the mesh renderer does and corrects each frame. Not for use by two threads at once.

    Args:
        portrait: what to draw.
        surroundings: how hair, neck and shoulders follow.
        networks: corrections of mouth and eyes that the mesh renderer makes.
        refiner: corrects what comes out.
    """

    def __init__(
        self, portrait: Portrait, surroundings: Surroundings, networks: PatchNetworks, refiner: Refiner
    ) -> None:
        super().__init__(portrait, surroundings, networks)
        self._mouth = _Mouth(PatchFrame(CROP, self.scene.unposed), portrait, refiner.network)

    @staticmethod
    def load(weights: Weights, portrait: Portrait) -> RefinerRenderer:
        """A renderer for `portrait` with the components `mesh`, `patches` and `refiner` of `weights`.

        Raises:
            WeightsError: if they cannot be read.
        """
        surroundings = Surroundings.load(weights.component("mesh"))
        networks = PatchNetworks.load(weights.component("patches"))
        return RefinerRenderer(portrait, surroundings, networks, Refiner.load(weights.component("refiner")))

    def start(self) -> Callable[[Coefficients], Iterator[np.ndarray]]:
        """What draws one run through a clip: each frame is held against the one before it."""
        hold, render = _Hold(self._window), super().render

        def draw(coefficients: Coefficients) -> Iterator[np.ndarray]:
            for frame in render(coefficients):
                yield hold(frame)

        return draw

    def render(self, coefficients: Coefficients) -> Iterator[np.ndarray]:
        """As the mesh renderer's, of a run of its own."""
        return self.start()(coefficients)

    def _finish(self, batch: list[Drawn]) -> None:
        self._mouth.refine(batch)


class _Hold:
    """Holds back the smallest changes of a run's frames within a window (left, top, right, bottom), in place.

    A colour that would change by one grey level stays as it was; it follows as soon as it is two away. Nothing trails,
    and nothing is ever more than a level from where it should be.
    """

    def __init__(self, window: tuple[int, int, int, int]) -> None:
        left, top, right, bottom = window
        self._part = np.s_[top:bottom, left:right]
        self._last: np.ndarray | None = None

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        part = frame[self._part]
        if self._last is not None:
            # By bits, since masked copies of three channels are ten times as slow.
            moved = cv2.threshold(cv2.absdiff(part, self._last), _UNREST, 255, cv2.THRESH_BINARY)[1]
            changes = cv2.bitwise_and(cv2.bitwise_xor(part, self._last), moved)
            part[:] = cv2.bitwise_xor(self._last, changes)
        self._last = part.copy()
        return frame


class _Mouth:
    """One portrait's mouth and the network that corrects it."""

    def __init__(self, place: PatchFrame, portrait: Portrait, network: RefinerNetwork) -> None:
        own = portrait.coefficients
        self._place = place
        self._network = network
        self._rest = np.concatenate([own.expression[0], own.pose[0]])
        to_picture = place.to_picture(*placement(own.pose[0], own.crop[0], portrait.size))
        shown = place.cut(portrait.image, to_picture)
        self._own = self._grid(portrait.landmarks, to_picture)
        self._shown = None if self._own is None else self._own.take(shown)
        self._inside = mouth_inside(portrait.image, portrait.landmarks)
        self._colour = colour_share(shown)

    def _grid(self, points: np.ndarray, to_picture: np.ndarray) -> MouthGrid | None:
        return MouthGrid.of(self._place.openings(points[:, :2].astype(np.float64), to_picture))

    def refine(self, batch: list[Drawn]) -> None:
        """Correct the frames of `batch`, in place; mouths too narrow to be laid out stay as they are."""
        if self._own is None:
            return
        found, pictures, motion, shapes, insides = [], [], [], [], []
        unseen = np.full_like(self._inside, np.nan)
        for drawn in batch:
            to_picture = self._place.to_picture(*drawn.placement)
            grid = self._grid(drawn.points, to_picture)
            if grid is not None:
                found.append((drawn.frame, grid, to_picture))
                pictures.append(grid.take(self._place.cut(drawn.frame, to_picture)))
                motion.append(drawn.motion - self._rest)
                shapes.append(np.concatenate([grid.shape, self._own.shape]))
                insides.append(unseen if drawn.inside is None else drawn.inside)
        if not found:
            return
        with torch.inference_mode(), one_thread():
            mouths = torch.from_numpy(np.stack(pictures)).float() / 255
            portrait = (torch.from_numpy(self._shown).float() / 255).expand_as(mouths)
            parts = (motion, shapes, [self._inside] * len(found), insides)
            rows = [torch.from_numpy(np.stack(part).astype(np.float32)) for part in parts]
            added = 255 * self._network(mouths, portrait, *rows).numpy()
        for (frame, grid, to_picture), values in zip(found, with_colour(added, self._colour), strict=True):
            add_change(frame, grid.lay(values), to_picture)
