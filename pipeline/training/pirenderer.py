"""Train PIRenderer on the corpus, driven by our own coefficients: self-reenactment, warping first (Ren 2021 §3.4).

    python -m pipeline.training.pirenderer CORPUS OUTPUT --cache CACHE --steps 400000 --mixed-precision bf16

Both frames of a pair learn from each other in each step. Losses are perceptual distances of the moved and of the
painted picture at four scales, the latter with a style term, for which VGG-19's weights are needed (`--vgg FILE`);
without them `pipeline.training.perceptual` takes a pyramid instead, and there is no style term. The loop is
`pipeline.training.renderer_training`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.renderers.neural import to_pictures, to_tensor
from pipeline.renderers.pirenderer import PIRendererNetwork, own_rows
from pipeline.renderers.pirenderer_networks import RADIUS, PIRendererConfig
from pipeline.training.headgan import pixels
from pipeline.training.perceptual import Perceptual
from pipeline.training.renderer_lessons import RendererLesson
from pipeline.training.renderer_training import Course, Sample, Turn, settings_of

if TYPE_CHECKING:
    from typing import Unpack

    from pipeline.training.renderer_command import Arguments

_SCALES = 4


@dataclass(frozen=True)
class Settings:
    """Of training; the published ones by default.

    Attributes:
        learning_rate: Adam's.
        warping_share: of the training in which only the warping learns; half in the paper.
        warped, painted, style: weights of the losses.
    """

    learning_rate: float = 1e-4
    warping_share: float = 0.5
    warped: float = 2.5
    painted: float = 4.0
    style: float = 250.0


class PIRendererCourse(Course):
    """The networks and their losses.

    Args:
        network: to be trained.
        settings: see there.
        perceptual: distance of pictures.
    """

    decay = 0.998

    def __init__(self, network: PIRendererNetwork, settings: Settings, perceptual: Perceptual) -> None:
        self.network, self.settings, self.perceptual = network, settings, perceptual
        self.learning_rate = settings.learning_rate
        self.draw = draw
        self.told = settings_of(network.config, settings)

    def turns(self, batch: dict[str, Tensor], done: float) -> Iterator[Turn]:
        """The distance of what was moved; in the second half, of what was painted too."""
        source, target = (pixels(batch[name].flatten(0, 1)) for name in ("source", "target"))
        made = self.network(source, batch["windows"].flatten(0, 1), paint=done >= self.settings.warping_share)
        losses = {"warped": self._distance(made.warped, target)}
        total = self.settings.warped * losses["warped"]
        if made.image is not None:
            losses["painted"] = self._distance(made.image, target)
            losses["style"] = self._style(made.image, target)
            total = total + self.settings.painted * (losses["painted"] + self.settings.style * losses["style"])
        yield Turn("network", total, losses)

    def sheet(self, network: nn.Module, clip: RendererLesson) -> np.ndarray:
        """Four frames of a clip, see `sheet`."""
        return sheet(network, clip, np.linspace(0, len(clip) - 1, 4).astype(int).tolist())

    def _distance(self, made: Tensor, truth: Tensor) -> Tensor:
        """Perceptual distance at four scales, each half the one before."""
        total = made.new_zeros(())
        for scale in range(_SCALES):
            if scale:
                made, truth = (functional.avg_pool2d(pictures, 2) for pictures in (made, truth))
            total = total + self.perceptual(made, truth)
        return total

    def _style(self, made: Tensor, truth: Tensor) -> Tensor:
        """Distance of the features' Gram matrices; 0 without VGG-19."""
        if self.perceptual.network is None:
            return made.new_zeros(())
        pairs = zip(self.perceptual.network(made), self.perceptual.network(truth), strict=True)
        return torch.stack([(_gram(a) - _gram(b.detach())).abs().mean() for a, b in pairs]).sum()


def _gram(features: Tensor) -> Tensor:
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat[0].numel()


def lesson_rows(lesson: RendererLesson) -> np.ndarray:
    """(T, 73) what the network is told of a lesson's frames."""
    return own_rows(lesson.coefficients, lesson.window, lesson.picture_size)


def draw(clip: RendererLesson, random: np.random.Generator) -> Sample:
    """A random pair of frames of a clip, in both directions.

    Returns:
        source and target (2, S, S, 3) uint8, windows (2, 73, 27) of where to go.
    """
    pair, rows = random.integers(len(clip), size=2), lesson_rows(clip)
    frames = clip.frames[pair]
    windows = np.stack([window(rows, target) for target in pair[::-1]])
    return {"source": frames, "windows": windows, "target": np.ascontiguousarray(frames[::-1])}


def window(rows: np.ndarray, middle: int) -> np.ndarray:
    """(73, 27) of rows (T, 73), those at the ends repeated beyond them."""
    return rows[np.clip(np.arange(middle - RADIUS, middle + RADIUS + 1), 0, len(rows) - 1)].T.copy()


@torch.no_grad()
def sheet(network: PIRendererNetwork, lesson: RendererLesson, frames: list[int], reference: int = 0) -> np.ndarray:
    """Reference, moved reference, painted and real frame side by side, a row for each frame: uint8."""
    device = next(network.parameters()).device
    told = lesson_rows(lesson)
    rows = []
    for target in frames:
        around = torch.from_numpy(window(told, target))[None].to(device)
        made = network(to_tensor(lesson.frames[reference])[None].to(device), around)
        pictures = [to_pictures(picture)[0] for picture in (made.warped, made.image)]
        rows.append(np.concatenate([lesson.frames[reference], *pictures, lesson.frames[target]], 1))
    return np.concatenate(rows)


def main(corpus: Path, output: Path, width: int = 64, vgg: Path | None = None, **arguments: Unpack[Arguments]) -> None:
    """Train on `split=train` and write the networks; see `pipeline.training.renderer_command`.

    Args:
        corpus: whose clips are prepared, if they are not yet.
        output: folder for the weights.
        width: the editing network's channels at full size; the warping network has half of them.
        vgg: VGG-19's weights.
        arguments: see `Arguments`.
    """
    from pipeline.training.renderer_command import teach

    config = PIRendererConfig(warping_width=width // 2, editing_width=width, most=4 * width, descriptor=4 * width)

    def course(clips: Sequence[RendererLesson], size: int, seed: int) -> PIRendererCourse:
        torch.manual_seed(seed)
        return PIRendererCourse(PIRendererNetwork(replace(config, size=size)), Settings(), Perceptual(vgg))

    teach("pirenderer", course, corpus, output, batch=arguments.pop("batch", None) or 8, **arguments)


if __name__ == "__main__":
    from pipeline.training.renderer_command import parser, run

    options = parser(__doc__)
    options.add_argument(
        "--width", type=int, default=64, help="channels at full size (default %(default)s, the paper's)"
    )
    options.add_argument("--vgg", type=Path, help="VGG-19's weights as safetensors")
    run(main, options)
