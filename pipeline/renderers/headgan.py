"""HeadGAN as a renderer: portrait and coefficients (and sound, if any) to frames (Doukas 2021).

No weights are embedded: `python -m pipeline.training.headgan` makes some. The networks stand in `headgan_networks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from pipeline.coefficients import Coefficients
from pipeline.face.portrait import Portrait
from pipeline.hub import Weights
from pipeline.hub_share import HubComponent
from pipeline.network_files import load_network, save_network
from pipeline.renderers.headgan_networks import HeadGANConfig, HeadGANNetwork
from pipeline.renderers.neural import FaceImages, HeadWindow, Runtime, batches, to_pictures, to_tensor


class HeadGAN(HeadGANNetwork, HubComponent):
    """The generator as a component that is saved, loaded and pushed."""

    component = "headgan"

    def save(self, folder: str | Path) -> None:
        """Write `model.safetensors` (half precision) and `config.json`."""
        save_network(self, folder, asdict(self.config))

    @staticmethod
    def load(folder: str | Path) -> HeadGAN:
        """Read what `save` wrote, ready to use.

        Raises:
            WeightsError: if files are missing or damaged.
        """
        return load_network(folder, lambda **config: HeadGAN(HeadGANConfig(**config)), "HeadGAN's weights")


class HeadGANRenderer:
    """Draws one portrait. Frames depend on those before them: `start` a run for each clip that comes in parts.

    Args:
        portrait: what to draw.
        network: the trained generator.
        runtime: where it runs.
    """

    def __init__(self, portrait: Portrait, network: HeadGAN, runtime: Runtime | None = None) -> None:
        self.portrait = portrait
        self.runtime = runtime or Runtime.best()
        self.window = HeadWindow.of(portrait, network.config.size)
        self.faces = FaceImages(portrait, self.window)
        self._network = network.to(self.runtime.device)
        device = self.runtime.device
        self._reference = to_tensor(self.window.cut(portrait.image))[None].to(device)
        with torch.inference_mode():
            face = torch.from_numpy(self.faces(portrait.coefficients)).to(device)
            self._features = self._network.features(self._reference, face)
        pixels = network.config.size**2
        self._batch = self.runtime.batch(90 * network.config.width * pixels)  # measured: 180 MB a frame of 256

    @staticmethod
    def load(weights: Weights, portrait: Portrait) -> HeadGANRenderer:
        """A renderer for `portrait` with the component `headgan` of `weights`.

        Raises:
            WeightsError: if there is none or it cannot be read.
        """
        return HeadGANRenderer(portrait, HeadGAN.load(weights.component("headgan")))

    def start(self) -> Callable[..., Iterator[np.ndarray]]:
        """What draws one run through a clip, called with the coefficients (and sound) of each part in order."""
        memory: list[np.ndarray] = []  # the faces drawn last
        return lambda coefficients, sound=None: self._render(coefficients, sound, memory)

    def render(self, coefficients: Coefficients, sound: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """Frames (H, W, 3) uint8 RGB of a clip of T frames.

        Args:
            coefficients: of T frames.
            sound: (T, sound_dim) sound vectors, see `pipeline.drivers.sound_window`; the mouth is clearer with them.

        Raises:
            ValueError: if `sound` has another number of rows.
        """
        return self.start()(coefficients, sound)

    def _render(
        self, coefficients: Coefficients, sound: np.ndarray | None, memory: list[np.ndarray]
    ) -> Iterator[np.ndarray]:
        if sound is not None and len(sound) != len(coefficients):
            raise ValueError(f"There are {len(sound)} rows of sound for {len(coefficients)} frames.")
        for part in batches(len(coefficients), self._batch):
            volume = self._volume(self.faces(coefficients[part]), memory)
            heard = None if sound is None else torch.from_numpy(np.asarray(sound[part], np.float32))
            for patch in to_pictures(self._generate(volume, heard)):
                frame = self.portrait.image.copy()
                self.window.paste(patch, frame)
                yield frame

    def _volume(self, faces: np.ndarray, memory: list[np.ndarray]) -> np.ndarray:
        """Faces (T, 3, S, S) with those of past frames before them: (T, 3 (past + 1), S, S)."""
        past = self._network.config.past
        before = memory or [faces[0]] * past  # before the first frame the face stood still
        line = np.stack([*before, *faces])
        memory[:] = line[len(line) - past :]
        return np.concatenate([line[i : i + len(faces)] for i in range(past + 1)], 1)

    def _generate(self, volume: np.ndarray, sound: torch.Tensor | None) -> torch.Tensor:
        device, count = self.runtime.device, len(volume)
        faces = torch.from_numpy(volume).to(device)
        heard = None if sound is None else sound.to(device)
        reference, *features = (one.expand(count, -1, -1, -1) for one in (self._reference, *self._features))
        return self.runtime.run(lambda: self._network.paint(faces, reference, tuple(features), heard).image)
