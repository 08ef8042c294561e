"""The refiner: what the mesh renderer has drawn of the mouth, corrected by a small network.

The mouth is laid out on a grid on which lips are always at the same place; what the network adds there is laid back and
enlarged to the frame's own pixels, so that the portrait's detail stays. Beyond the mouth, and for the portrait's own
coefficients, frames are the mesh's to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipeline.face.morphable import placement
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

    def _paint(self, batch: list[Drawn]) -> None:
        super()._paint(batch)
        self._mouth.refine(batch)


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
        self._colour = colour_share(shown)

    def _grid(self, points: np.ndarray, to_picture: np.ndarray) -> MouthGrid | None:
        return MouthGrid.of(self._place.openings(points[:, :2].astype(np.float64), to_picture))

    def refine(self, batch: list[Drawn]) -> None:
        """Correct the frames of `batch`, in place; mouths too narrow to be laid out stay as they are."""
        if self._own is None:
            return
        found, pictures, motion, shapes = [], [], [], []
        for drawn in batch:
            to_picture = self._place.to_picture(*drawn.placement)
            grid = self._grid(drawn.points, to_picture)
            if grid is not None:
                found.append((drawn.frame, grid, to_picture))
                pictures.append(grid.take(self._place.cut(drawn.frame, to_picture)))
                motion.append(drawn.motion - self._rest)
                shapes.append(np.concatenate([grid.shape, self._own.shape]))
        if not found:
            return
        with torch.inference_mode(), one_thread():
            mouths = torch.from_numpy(np.stack(pictures)).float() / 255
            portrait = (torch.from_numpy(self._shown).float() / 255).expand_as(mouths)
            rows = [torch.from_numpy(np.stack(part).astype(np.float32)) for part in (motion, shapes)]
            added = 255 * self._network(mouths, portrait, *rows).numpy()
        for (frame, grid, to_picture), values in zip(found, with_colour(added, self._colour), strict=True):
            add_change(frame, np.rint(grid.lay(values)).astype(np.int16), to_picture)
