"""Train PIRenderer on the corpus, driven by our own coefficients: self-reenactment, warping first (Ren 2021 §3.4).

    python -m pipeline.training.pirenderer CORPUS OUTPUT --cache CACHE --minutes 600

Both frames of a pair learn from each other in each step. Losses are perceptual distances of the moved and of the
painted picture at four scales, the latter with a style term, for which VGG-19's weights are needed (`--vgg FILE`);
without them `pipeline.training.perceptual` takes a pyramid instead, and there is no style term.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.errors import InputError
from pipeline.face.morphable import MorphableModel
from pipeline.hub import EMBEDDED
from pipeline.renderers.neural import HeadWindow, to_pictures, to_tensor
from pipeline.renderers.pirenderer import PIRendererNetwork, own_rows
from pipeline.renderers.pirenderer_networks import RADIUS, PIRendererConfig
from pipeline.training.corpus import read_manifest
from pipeline.training.footage import KINDS
from pipeline.training.perceptual import Perceptual
from pipeline.training.renderer_lessons import RendererLesson, clip_sound, prepare

_SCALES = 4


@dataclass(frozen=True)
class Settings:
    """Of training; the published ones by default.

    Attributes:
        batch: pairs a step.
        learning_rate: Adam's.
        warping_share: of the time in which only the warping learns; half in the paper.
        warped, painted, style: weights of the losses.
    """

    batch: int = 8
    learning_rate: float = 1e-4
    warping_share: float = 0.5
    warped: float = 2.5
    painted: float = 4.0
    style: float = 250.0


@dataclass(frozen=True)
class Pairs:
    """B pictures to start from, windows (B, 73, 27) of where to go, and what it looks like there, (B, 3, S, S)."""

    source: Tensor
    windows: Tensor
    target: Tensor


class Trainer:
    """The networks and their optimiser."""

    def __init__(self, network: PIRendererNetwork, settings: Settings, perceptual: Perceptual) -> None:
        self.network, self.settings = network, settings
        self.perceptual = perceptual.to(next(network.parameters()).device)
        self.optimiser = torch.optim.Adam(network.parameters(), settings.learning_rate, betas=(0.5, 0.999))
        self.average = torch.optim.swa_utils.AveragedModel(
            network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
        )

    def step(self, pairs: Pairs, paint: bool) -> dict[str, float]:
        """One step; the value of each loss."""
        made = self.network(pairs.source, pairs.windows, paint)
        losses = {"warped": self._distance(made.warped, pairs.target)}
        total = self.settings.warped * losses["warped"]
        if made.image is not None:
            losses["painted"] = self._distance(made.image, pairs.target)
            losses["style"] = self._style(made.image, pairs.target)
            total = total + self.settings.painted * (losses["painted"] + self.settings.style * losses["style"])
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        self.optimiser.step()
        self.average.update_parameters(self.network)
        return {name: float(value.detach()) for name, value in losses.items()}

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
    left, top, side, width, height = lesson.place.tolist()
    return own_rows(lesson.coefficients, HeadWindow(left, top, side, lesson.frames.shape[1]), (width, height))


def draw_pairs(lessons: list[tuple[RendererLesson, np.ndarray]], count: int, random: np.random.Generator) -> Pairs:
    """Random pairs of frames of random clips, each pair in both directions: 2 `count` rows."""
    sources, windows, targets = [], [], []
    for lesson, rows in (lessons[i] for i in random.integers(len(lessons), size=count)):
        pair = random.integers(len(lesson), size=2)
        for source, target in (pair, pair[::-1]):
            around = np.clip(np.arange(target - RADIUS, target + RADIUS + 1), 0, len(lesson) - 1)
            sources.append(lesson.frames[source])
            windows.append(rows[around].T)
            targets.append(lesson.frames[target])
    return Pairs(to_tensor(np.stack(sources)), torch.from_numpy(np.stack(windows)), to_tensor(np.stack(targets)))


def train(
    lessons: list[RendererLesson],
    config: PIRendererConfig,
    settings: Settings,
    seconds: float,
    perceptual: Perceptual | None = None,
    device: str = "cpu",
    seed: int = 0,
    report: Callable[[int, dict[str, float]], None] = lambda step, losses: None,
) -> PIRendererNetwork:
    """Train for so long and return the moving average of the weights.

    Args:
        lessons: at least one, of `config.size`.
        config: of the networks.
        settings: of training.
        seconds: how long.
        perceptual: the pyramid unless given.
        device: "cpu" or "cuda".
        seed: chooses pairs and first weights.
        report: told of each step's losses.

    Raises:
        InputError: if there is no lesson.
    """
    if not lessons:
        raise InputError("There is no clip with a face to train on; check the corpus.")
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = PIRendererNetwork(config).to(device)
    trainer = Trainer(network, settings, perceptual or Perceptual())
    told = [(lesson, lesson_rows(lesson)) for lesson in lessons]
    begun, step = time.monotonic(), 0
    while (done := (time.monotonic() - begun) / seconds) < 1:
        pairs = draw_pairs(told, settings.batch, random)
        moved = Pairs(**{name: value.to(device) for name, value in vars(pairs).items()})
        report(step, trainer.step(moved, paint=done >= settings.warping_share))
        step += 1
    trained = trainer.average.module if step > 1000 else network  # the average needs so long to forget its start
    return trained.eval().requires_grad_(False)


@torch.no_grad()
def sheet(network: PIRendererNetwork, lesson: RendererLesson, frames: list[int], reference: int = 0) -> np.ndarray:
    """Reference, moved reference, painted and real frame side by side, a row for each frame: uint8."""
    device = next(network.parameters()).device
    told = lesson_rows(lesson)
    rows = []
    for target in frames:
        around = np.clip(np.arange(target - RADIUS, target + RADIUS + 1), 0, len(lesson) - 1)
        window = torch.from_numpy(told[around].T.copy())[None].to(device)
        made = network(to_tensor(lesson.frames[reference])[None].to(device), window)
        pictures = [to_pictures(picture)[0] for picture in (made.warped, made.image)]
        rows.append(np.concatenate([lesson.frames[reference], *pictures, lesson.frames[target]], 1))
    return np.concatenate(rows)


def main(
    corpus: Path,
    output: Path,
    cache: Path = Path("cache"),
    minutes: float = 600,
    size: int = 256,
    clips: int | None = None,
    vgg: Path | None = None,
    device: str | None = None,
    **_: object,
) -> None:
    """Train on `split=train` and write the networks; losses and a sheet of pictures go to the cache."""
    files = [file for file in read_manifest(corpus) if file.split == "train" and file.kind in KINDS][:clips]
    lessons = list(prepare(files, MorphableModel.load(EMBEDDED / "face"), cache, size, clip_sound))
    config, settings = PIRendererConfig(size=size), Settings()
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with (cache / "pirenderer.jsonl").open("w") as log:
        log.write(json.dumps({**asdict(config), **asdict(settings)}) + "\n")

        def report(step: int, losses: dict[str, float]) -> None:
            if step % 50 == 0:
                print(json.dumps({"step": step, **losses}), file=log, flush=True)

        network = train(lessons, config, settings, 60 * minutes, Perceptual(vgg), device, report=report)
    network.save(output)
    picture = sheet(network, lessons[0], np.linspace(0, len(lessons[0]) - 1, 4).astype(int).tolist())
    cv2.imwrite(str(cache / "pirenderer.png"), picture[..., ::-1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="outside the repository")
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--clips", type=int, help="only the first so many")
    parser.add_argument("--vgg", type=Path, help="VGG-19's weights as safetensors")
    parser.add_argument("--device")
    main(**vars(parser.parse_args()))
