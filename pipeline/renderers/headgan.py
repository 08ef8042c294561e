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
from pipeline.devices import Runtime
from pipeline.face.portrait import Portrait
from pipeline.hub import Weights
from pipeline.hub_share import HubComponent
from pipeline.network_files import load_network, save_network
from pipeline.renderers.headgan_networks import HeadGANConfig, HeadGANNetwork
from pipeline.renderers.headgan_references import head_motion, match, spread_out
from pipeline.renderers.neural import FaceImages, HeadWindow, to_pictures, to_tensor


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
        portrait: what to draw; its references are seen too if the network learned to take several.
        network: the trained generator.
        runtime: where it runs.

    Attributes:
        sound_dim: length of the sound vectors that it hears.
        most_references: pictures of a person that it takes at once.
    """

    def __init__(self, portrait: Portrait, network: HeadGAN, runtime: Runtime | None = None) -> None:
        self.portrait = portrait
        self.runtime = runtime or Runtime.best()
        self.sound_dim, self.most_references = network.config.sound_dim, network.config.references
        self.window = HeadWindow.of(portrait, network.config.size)
        self.faces = FaceImages(portrait, self.window)
        self._network = network.to(self.runtime.device)
        views = [(one, HeadWindow.of(one, network.config.size)) for one in (portrait, *portrait.references)]
        motion = np.concatenate([head_motion(one.coefficients, window, one.size) for one, window in views])
        chosen = spread_out(motion, self.most_references, first=0)  # the portrait itself is always among them
        self._motion = motion[chosen]
        views = [views[index] for index in chosen.tolist()]
        device = self.runtime.device
        reference = to_tensor(np.stack([window.cut(one.image) for one, window in views])).to(device)
        faces = np.concatenate([FaceImages(one, window)(one.coefficients) for one, window in views])
        face = torch.from_numpy(faces).to(device)
        if self.most_references > 1:
            reference, face = reference[None], face[None]
        with torch.inference_mode():
            self._reference, self._features = reference, self._network.features(reference, face)
        pixels = network.config.size**2
        each = 90 * network.config.width * pixels  # measured: 180 MB a frame of 256
        self._bytes = each * len(views)

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
        volume = self._volumes(coefficients, memory)
        device = self.runtime.device
        heard = None if sound is None else torch.from_numpy(np.asarray(sound, np.float32)).to(device)
        motion = head_motion(coefficients, self.window, self.portrait.size)
        nearest = torch.from_numpy(match(motion, self._motion)).to(device)

        def paint(part: slice) -> torch.Tensor:
            faces = torch.from_numpy(volume(part)).to(device)
            known = (self._reference, *self._features)
            reference, *features = (one.expand(len(faces), *one.shape[1:]) for one in known)
            told = None if heard is None else heard[part]
            return self._network.paint(faces, reference, tuple(features), told, nearest[part]).image

        for made in self.runtime.run(len(coefficients), self._bytes, paint):
            for patch in to_pictures(made):
                frame = self.portrait.image.copy()
                self.window.paste(patch, frame)
                yield frame

    def _volumes(self, coefficients: Coefficients, memory: list[np.ndarray]) -> Callable[[slice], np.ndarray]:
        """What draws the faces of a part with those of past frames before them: (T, 3 (past + 1), S, S)."""
        past, count = self._network.config.past, len(coefficients)
        faces = dict(enumerate(memory, -past))

        def volume(part: slice) -> np.ndarray:
            for index in range(part.start, part.stop):
                if index not in faces:  # a part may be asked for again
                    faces[index] = self.faces(coefficients[index : index + 1])[0]
            if part.start == 0 and -1 not in faces:  # before the first frame the face stood still
                faces.update((index, faces[0]) for index in range(-past, 0))
            for index in [index for index in faces if index < part.start - past]:
                del faces[index]
            if part.stop == count:
                memory[:] = [faces[index] for index in range(count - past, count)]
            rows = [[faces[t + i] for t in range(part.start, part.stop)] for i in range(-past, 1)]
            return np.concatenate([np.stack(row) for row in rows], 1)

        return volume
