"""PIRenderer as a renderer: portrait and coefficients to frames (Ren 2021; Huang 2022 §4.3).

No weights are embedded. `python -m pipeline.training.pirenderer` trains some on our own coefficients;
`pipeline.converters.pirenderer` converts the published checkpoint, which is driven by Basel-based ones and so needs a
bridge (`pipeline.renderers.basel`) beside it, solved from a Basel model that the user has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from pipeline.coefficients import Coefficients
from pipeline.devices import Runtime
from pipeline.errors import WeightsError
from pipeline.face.portrait import Portrait
from pipeline.hub import Weights
from pipeline.hub_share import HubComponent
from pipeline.network_files import load_network, save_network
from pipeline.renderers.basel import BaselBridge
from pipeline.renderers.neural import HeadWindow, to_pictures, to_tensor
from pipeline.renderers.pirenderer_networks import FRAMES, RADIUS, PIRendererConfig, PIRendererNetworks

BRIDGE = "basel.safetensors"
_POSE_GAIN = 10.0  # brings radians and face heights to about the spread of β


class PIRendererNetwork(PIRendererNetworks, HubComponent):
    """The networks as a component that is saved, loaded and pushed.

    Attributes:
        bridge: from our coefficients to Basel's, which the published checkpoint needs; None if there is none.
    """

    component = "pirenderer"
    bridge: BaselBridge | None = None

    def save(self, folder: str | Path) -> None:
        """Write `model.safetensors` (half precision), `config.json` and the bridge, if there is one."""
        save_network(self, folder, asdict(self.config))
        if self.bridge is not None:
            self.bridge.save(Path(folder) / BRIDGE)

    @staticmethod
    def load(folder: str | Path) -> PIRendererNetwork:
        """Read what `save` wrote, ready to use.

        Raises:
            WeightsError: if files are missing or damaged.
        """
        network = load_network(
            folder, lambda **config: PIRendererNetwork(PIRendererConfig(**config)), "PIRenderer's weights"
        )
        if (Path(folder) / BRIDGE).is_file():
            network.bridge = BaselBridge.load(Path(folder) / BRIDGE)
        return network


class PIRenderer:
    """Draws one portrait. A frame depends on 13 frames to each side: `start` a run for each clip that comes in parts.

    Args:
        portrait: what to draw.
        network: trained or converted.
        runtime: where it runs.

    Raises:
        WeightsError: if the network is driven by Basel's coefficients and there is no bridge to them.
    """

    def __init__(self, portrait: Portrait, network: PIRendererNetwork, runtime: Runtime | None = None) -> None:
        if network.config.basis == "basel" and network.bridge is None:
            raise WeightsError(
                "These PIRenderer weights are driven by the Basel model's coefficients; solve the bridge to them from "
                "your copy of it with python -m pipeline.renderers.basel, or train PIRenderer on ours."
            )
        self.portrait = portrait
        self.runtime = runtime or Runtime.best()
        self.window = HeadWindow.of(portrait, network.config.size)
        self._network = network.to(self.runtime.device)
        self._portrait = to_tensor(self.window.cut(portrait.image))[None].to(self.runtime.device)
        pixels = network.config.size**2
        self._bytes = 40 * network.config.editing_width * pixels  # measured: 150 MB a frame of 256

    @staticmethod
    def load(weights: Weights, portrait: Portrait) -> PIRenderer:
        """A renderer for `portrait` with the component `pirenderer` of `weights`.

        Raises:
            WeightsError: if there is none or it cannot be read.
        """
        return PIRenderer(portrait, PIRendererNetwork.load(weights.component("pirenderer")))

    def start(self) -> Callable[[Coefficients], Iterator[np.ndarray]]:
        """What draws one run through a clip, called with the coefficients of each part in order.

        What comes after a part is not known when it is drawn, and taken to stand still.
        """
        memory: list[np.ndarray] = []  # the rows of the last 13 frames
        return lambda coefficients: self._render(coefficients, memory)

    def render(self, coefficients: Coefficients) -> Iterator[np.ndarray]:
        """Frames (H, W, 3) uint8 RGB of a clip of T frames."""
        return self.start()(coefficients)

    def _render(self, coefficients: Coefficients, memory: list[np.ndarray]) -> Iterator[np.ndarray]:
        if len(coefficients) == 0:
            return
        rows = self.rows(coefficients)
        line = np.stack([*(memory or [rows[0]] * RADIUS), *rows, *[rows[-1]] * RADIUS])
        memory[:] = line[len(rows) : len(rows) + RADIUS]
        windows = torch.from_numpy(np.stack([line[i : i + FRAMES].T for i in range(len(rows))]))

        def paint(part: slice) -> torch.Tensor:
            chosen = windows[part].to(self.runtime.device)
            return self._network(self._portrait.expand(len(chosen), -1, -1, -1), chosen).image

        for made in self.runtime.run(len(rows), self._bytes, paint):
            for patch in to_pictures(made):
                frame = self.portrait.image.copy()
                self.window.paste(patch, frame)
                yield frame

    def rows(self, coefficients: Coefficients) -> np.ndarray:
        """(T, 73) float32 as the network knows them."""
        if self._network.config.basis == "basel":
            portrait = self.portrait
            return self._network.bridge.to_basel(coefficients, self.window, portrait.size)
        return own_rows(coefficients, self.window, self.portrait.size)


def own_rows(coefficients: Coefficients, window: HeadWindow, size: tuple[int, int]) -> np.ndarray:
    """(T, 73) float32: our coefficients with the crop as in the window, pose at the scale of β.

    Args:
        coefficients: of T frames of a picture.
        window: what the network sees of it.
        size: the picture's width and height.
    """
    width, height = size
    crop = coefficients.crop.astype(np.float64)
    middle = (crop[:, :2] * (width, height) - (window.left, window.top)) / window.side
    placed = np.concatenate([middle, crop[:, 2:] * height / window.side], 1)
    return np.concatenate([coefficients.expression, _POSE_GAIN * coefficients.pose, placed], 1).astype(np.float32)
