"""Train HeadGAN on the corpus: self-reenactment with the losses of Doukas 2021, appendix A.

    python -m pipeline.training.headgan CORPUS OUTPUT --cache CACHE --minutes 600

The sound is left out of a third of the lessons (the paper does not), so that the renderer also serves where there is
none. With VGG-19's weights (`--vgg FILE`) the perceptual terms are the paper's; see `pipeline.training.perceptual`.
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

from pipeline.errors import InputError
from pipeline.face.morphable import MorphableModel
from pipeline.hub import EMBEDDED
from pipeline.renderers.headgan import HeadGAN
from pipeline.renderers.headgan_networks import HeadGANConfig
from pipeline.renderers.neural import to_pictures, to_tensor
from pipeline.training.corpus import read_manifest
from pipeline.training.discriminators import (
    Discriminator,
    discriminator_loss,
    feature_matching,
    generator_loss,
)
from pipeline.training.footage import KINDS
from pipeline.training.perceptual import Perceptual
from pipeline.training.renderer_lessons import RendererLesson, clip_sound, prepare

_SILENCED = 0.35  # share of lessons whose sound is left out


@dataclass(frozen=True)
class Settings:
    """Of training; the weights of the losses are those of eq. 9.

    Attributes:
        batch: lessons a step; 6 in the paper.
        learning_rate: of all networks.
        pixels, perceptual, matching, temporal: weights of the losses.
        judge_width: channels of the discriminators' first layer.
    """

    batch: int = 6
    learning_rate: float = 2e-4
    pixels: float = 50
    perceptual: float = 10
    matching: float = 10
    temporal: float = 30
    judge_width: int = 64


@dataclass(frozen=True)
class Batch:
    """B lessons: reference and frame of the same clip.

    Attributes:
        reference, target: (B, 3, S, S) in -1..1.
        reference_face: (B, 3, S, S).
        faces: (B, 3 (past + 2), S, S): one frame more than the generator sees, for the loss over time.
        sound: (B, D).
        mouth: (B, 2) where the frame's mouth is, in pixels.
    """

    reference: Tensor
    target: Tensor
    reference_face: Tensor
    faces: Tensor
    sound: Tensor
    mouth: Tensor


class Trainer:
    """Generator, both discriminators and their optimisers.

    Args:
        network: to be trained, on its device.
        settings: see there.
        perceptual: distance for eq. 7.
    """

    def __init__(self, network: HeadGAN, settings: Settings, perceptual: Perceptual) -> None:
        self.network, self.settings = network, settings
        device = network.sound_mean.device
        self.perceptual = perceptual.to(device)
        config = network.config
        self.judge = Discriminator(6, settings.judge_width).to(device)
        self.mouth_judge = Discriminator(3 + config.sound_dim, settings.judge_width).to(device)
        self.average = torch.optim.swa_utils.AveragedModel(
            network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.999), use_buffers=True
        )
        judges = [*self.judge.parameters(), *self.mouth_judge.parameters()]
        self.optimiser, self.judging = (
            torch.optim.Adam(part, settings.learning_rate, betas=(0.5, 0.999))
            for part in (list(network.parameters()), judges)
        )

    def step(self, batch: Batch) -> dict[str, float]:
        """One step of the generator and one of the discriminators; the value of each loss."""
        network = self.network
        now = batch.faces[:, 3:]
        features = network.features(batch.reference, batch.reference_face)
        _, moved, warped = network.moved(batch.reference, features, now)
        _, moved_before, _ = network.moved(batch.reference, features, batch.faces[:, :-3])
        sound = network.heard(batch.sound, now)
        image = network.rendering(now, moved, warped, sound)

        face = now[:, -3:]
        mouths = [mouth_crop(pictures, batch.mouth) for pictures in (image, batch.target)]
        for judge in (self.judge, self.mouth_judge):
            judge.requires_grad_(False)
        made, made_mouth = self.judge(image, face), self.mouth_judge(mouths[0], sound)
        with torch.no_grad():
            real, real_mouth = self.judge(batch.target, face), self.mouth_judge(mouths[1], sound)
        losses = {
            "adversarial": generator_loss(made) + generator_loss(made_mouth),
            "pixels": (image - batch.target).abs().mean(),
            "perceptual": self.perceptual(image, batch.target),
            "matching": feature_matching(real, made) + feature_matching(real_mouth, made_mouth),
            "flow_pixels": (warped - batch.target).abs().mean(),
            "flow_perceptual": self.perceptual(warped, batch.target),
            "temporal": torch.stack([(a - b).abs().mean() for a, b in zip(moved_before, moved, strict=True)]).sum(),
        }
        _descend(self.optimiser, self._total(losses))
        self.average.update_parameters(network)

        for judge in (self.judge, self.mouth_judge):
            judge.requires_grad_(True)
        losses["judge"] = discriminator_loss(self.judge(batch.target, face), self.judge(image.detach(), face))
        losses["mouth_judge"] = discriminator_loss(
            self.mouth_judge(mouths[1], sound), self.mouth_judge(mouths[0].detach(), sound)
        )
        _descend(self.judging, losses["judge"] + losses["mouth_judge"])
        return {name: float(value.detach()) for name, value in losses.items()}

    def _total(self, losses: dict[str, Tensor]) -> Tensor:
        """Eq. 9."""
        weights = self.settings
        return (
            losses["adversarial"]
            + weights.pixels * (losses["pixels"] + losses["flow_pixels"])
            + weights.perceptual * (losses["perceptual"] + losses["flow_perceptual"])
            + weights.matching * losses["matching"]
            + weights.temporal * losses["temporal"]
        )


def mouth_crop(pictures: Tensor, middle: Tensor) -> Tensor:
    """(B, 3, S / 4, S / 4) around the mouths of pictures (B, 3, S, S): 64 × 64 of 256 × 256 as in the paper."""
    size = pictures.shape[-1]
    side = size // 4
    corners = (middle - side / 2).round().long().clamp(0, size - side).tolist()
    return torch.stack([p[:, y : y + side, x : x + side] for p, (x, y) in zip(pictures, corners, strict=True)])


def draw_batch(
    lessons: list[RendererLesson], past: int, count: int, random: np.random.Generator, unknown: np.ndarray
) -> Batch:
    """Random references and frames of random clips, long clips not oftener than short ones.

    Args:
        lessons: to draw from.
        past: frames before the current one that the generator sees.
        count: B.
        random: source of chance.
        unknown: (D,) stands for a sound that is not there or left out.
    """
    parts: list[tuple[np.ndarray, ...]] = []
    for lesson in (lessons[i] for i in random.integers(len(lessons), size=count)):
        reference, target = random.integers(len(lesson), size=2)
        before = np.clip(np.arange(target - past - 1, target + 1), 0, None)
        known = len(lesson.sound) and random.random() >= _SILENCED
        sound = lesson.sound[target] if known else unknown
        faces = lesson.faces[before].reshape(-1, *lesson.faces.shape[2:])
        parts.append(
            (
                lesson.frames[reference],
                lesson.frames[target],
                lesson.faces[reference],
                faces,
                sound,
                lesson.mouth[target],
            )
        )
    reference, target, face, faces, sound, mouth = (np.stack(column) for column in zip(*parts, strict=True))
    floats = [torch.from_numpy(array).float() for array in (face, faces)]
    return Batch(
        to_tensor(reference), to_tensor(target), floats[0] / 255, floats[1] / 255, torch.from_numpy(sound),
        torch.from_numpy(mouth),
    )  # fmt: skip


def train(
    lessons: list[RendererLesson],
    config: HeadGANConfig,
    settings: Settings,
    seconds: float,
    perceptual: Perceptual | None = None,
    device: str = "cpu",
    seed: int = 0,
    report: Callable[[int, dict[str, float]], None] = lambda step, losses: None,
) -> HeadGAN:
    """Train for so long and return the moving average of the weights.

    Args:
        lessons: at least one, of `config.size`.
        config: of the generator.
        settings: of training.
        seconds: how long.
        perceptual: see `Trainer`; the pyramid unless given.
        device: "cpu" or "cuda".
        seed: chooses lessons and first weights.
        report: told of each step's losses.

    Raises:
        InputError: if there is no lesson.
    """
    if not lessons:
        raise InputError("There is no clip with a face to train on; check the corpus.")
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = HeadGAN(config)
    rows = np.concatenate([lesson.sound for lesson in lessons])
    if len(rows):
        network.sound_mean.copy_(torch.from_numpy(rows.mean(0)))
        network.sound_spread.copy_(torch.from_numpy(rows.std(0) + 1e-2))
    unknown = network.sound_mean.numpy().copy()
    trainer = Trainer(network.to(device), settings, perceptual or Perceptual())
    begun, step = time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        batch = draw_batch(lessons, config.past, settings.batch, random, unknown)
        report(step, trainer.step(Batch(**{name: value.to(device) for name, value in vars(batch).items()})))
        step += 1
    trained = trainer.average.module if step > 1000 else network  # the average needs so long to forget its start
    return trained.eval().requires_grad_(False)


@torch.no_grad()
def sheet(network: HeadGAN, lesson: RendererLesson, frames: list[int], reference: int = 0) -> np.ndarray:
    """Reference, drawn face, warped reference, made and real frame side by side, a row for each frame: uint8."""
    device, past = network.sound_mean.device, network.config.past
    rows = []
    for target in frames:
        before = np.clip(np.arange(target - past, target + 1), 0, None)
        faces = torch.from_numpy(lesson.faces[before].reshape(1, -1, *lesson.faces.shape[2:])).float() / 255
        own = to_tensor(lesson.frames[reference])[None]
        own_face = torch.from_numpy(lesson.faces[reference])[None].float() / 255
        sound = torch.from_numpy(lesson.sound[target])[None].to(device) if len(lesson.sound) else None
        made = network(faces.to(device), own.to(device), own_face.to(device), sound)
        drawn = np.moveaxis(lesson.faces[target], 0, -1)
        pictures = [to_pictures(picture)[0] for picture in (made.warped, made.image)]
        rows.append(np.concatenate([lesson.frames[reference], drawn, *pictures, lesson.frames[target]], 1))
    return np.concatenate(rows)


def main(
    corpus: Path,
    output: Path,
    cache: Path = Path("cache"),
    minutes: float = 600,
    size: int = 256,
    width: int = 32,
    clips: int | None = None,
    vgg: Path | None = None,
    device: str | None = None,
    **_: object,
) -> None:
    """Train on `split=train` and write the generator; losses and a sheet of pictures go to the cache."""
    from pipeline.drivers.sound_window import SOUND_VECTOR_DIM

    files = [file for file in read_manifest(corpus) if file.split == "train" and file.kind in KINDS][:clips]
    lessons = list(prepare(files, MorphableModel.load(EMBEDDED / "face"), cache, size, clip_sound))
    config, settings = HeadGANConfig(size=size, width=width, sound_dim=SOUND_VECTOR_DIM), Settings()
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with (cache / "headgan.jsonl").open("w") as log:
        log.write(json.dumps({**asdict(config), **asdict(settings)}) + "\n")

        def report(step: int, losses: dict[str, float]) -> None:
            if step % 50 == 0:
                print(json.dumps({"step": step, **losses}), file=log, flush=True)

        network = train(lessons, config, settings, 60 * minutes, Perceptual(vgg), device, report=report)
    network.save(output)
    picture = sheet(network, lessons[0], np.linspace(0, len(lessons[0]) - 1, 4).astype(int).tolist())
    cv2.imwrite(str(cache / "headgan.png"), picture[..., ::-1])


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="outside the repository")
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--clips", type=int, help="only the first so many")
    parser.add_argument("--vgg", type=Path, help="VGG-19's weights as safetensors")
    parser.add_argument("--device")
    main(**vars(parser.parse_args()))
