"""Train HeadGAN on the corpus: self-reenactment with the losses of Doukas 2021, appendix A.

    python -m pipeline.training.headgan CORPUS OUTPUT --cache CACHE --steps 500000 --mixed-precision bf16

The sound is left out of a third of the lessons (the paper does not), so that the renderer also serves where there is
none. With VGG-19's weights (`--vgg FILE`) the perceptual terms are the paper's; see `pipeline.training.perceptual`.
`--references K` trains the composition from up to K pictures of a person instead (Chen 2020 §4), see
`pipeline.renderers.headgan_references`; the loop is `pipeline.training.renderer_training`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.renderers.headgan import HeadGAN
from pipeline.renderers.headgan_networks import HeadGANConfig
from pipeline.renderers.headgan_references import head_motion, match, spread_out
from pipeline.renderers.neural import to_pictures, to_tensor
from pipeline.training.discriminators import (
    Discriminator,
    discriminator_loss,
    feature_matching,
    generator_loss,
)
from pipeline.training.perceptual import Perceptual
from pipeline.training.renderer_lessons import RendererLesson
from pipeline.training.renderer_training import Course, Sample, Turn, settings_of

if TYPE_CHECKING:
    from typing import Unpack

    from pipeline.training.renderer_command import Arguments

_SILENCED = 0.35  # share of lessons whose sound is left out
_REPEATED = 0.25  # share of lessons with several references in which all are the same picture: one may be all there is


@dataclass(frozen=True)
class Settings:
    """Of training; the weights of the losses are those of eq. 9.

    Attributes:
        learning_rate: of all networks.
        pixels, perceptual, matching, temporal: weights of the losses.
        judge_width: channels of the discriminators' first layer.
    """

    learning_rate: float = 2e-4
    pixels: float = 50
    perceptual: float = 10
    matching: float = 10
    temporal: float = 30
    judge_width: int = 64


class HeadGANCourse(Course):
    """Generator and both discriminators.

    Args:
        network: to be trained.
        settings: see there.
        perceptual: distance for eq. 7.
    """

    def __init__(self, network: HeadGAN, settings: Settings, perceptual: Perceptual) -> None:
        self.network, self.settings, self.perceptual = network, settings, perceptual
        config, width = network.config, settings.judge_width
        self.learning_rate = settings.learning_rate
        self.picture_judge = Discriminator(6, width)
        self.mouth_judge = Discriminator(3 + config.sound_dim, width)
        self.judges = nn.ModuleList([self.picture_judge, self.mouth_judge])
        self.draw = partial(draw, past=config.past, references=config.references, sound_dim=config.sound_dim)
        self.told = settings_of(config, settings)

    @staticmethod
    def of(
        clips: Sequence[RendererLesson],
        config: HeadGANConfig,
        settings: Settings,
        perceptual: Perceptual,
        seed: int = 0,
    ) -> HeadGANCourse:
        """The course of a new network, whose scale of sound is that of the clips."""
        torch.manual_seed(seed)
        network = HeadGAN(config)
        rows = [clip.sound for clip in clips if len(clip.sound)]
        if rows:
            sound = np.concatenate(rows)
            network.sound_mean.copy_(torch.from_numpy(sound.mean(0)))
            network.sound_spread.copy_(torch.from_numpy(sound.std(0) + 1e-2))
        return HeadGANCourse(network, settings, perceptual)

    def turns(self, batch: dict[str, Tensor], done: float) -> Iterator[Turn]:
        """The generator's loss of eq. 9, then the discriminators' of eqs. 4 and 5."""
        network = self.network
        reference, target = pixels(batch["reference"]), pixels(batch["target"])
        reference_face, faces = batch["reference_face"] / 255, batch["faces"] / 255
        now = faces[:, 3:]
        features = network.features(reference, reference_face)
        _, moved, warped = network.moved(reference, features, now)
        _, moved_before, _ = network.moved(reference, features, faces[:, :-3])
        sound = network.heard(batch["sound"], now) * batch["heard"][:, None]
        if network.embedding is None:
            image, truth = network.rendering(now, moved, warped, sound), target
        else:
            gathered = network.gathered(now, features, moved, warped, batch["matched"])
            image = network.rendering.compose(now, gathered, sound)
            # Each reference's flow learns by itself, as the only one's does.
            truth = target[:, None].expand_as(warped).flatten(0, 1)
            warped = warped.flatten(0, 1)

        image, face = image.float(), now[:, -3:]  # losses are not taken in half precision
        mouths = [mouth_crop(pictures, batch["mouth"]) for pictures in (image, target)]
        self.judges.requires_grad_(False)
        made, made_mouth = self.picture_judge(image, face), self.mouth_judge(mouths[0], sound)
        with torch.no_grad():
            real, real_mouth = self.picture_judge(target, face), self.mouth_judge(mouths[1], sound)
        losses = {
            "adversarial": generator_loss(made) + generator_loss(made_mouth),
            "pixels": (image - target).abs().mean(),
            "perceptual": self.perceptual(image, target),
            "matching": feature_matching(real, made) + feature_matching(real_mouth, made_mouth),
            "flow_pixels": (warped - truth).abs().mean(),
            "flow_perceptual": self.perceptual(warped, truth),
            "temporal": torch.stack([(a - b).abs().mean() for a, b in zip(moved_before, moved, strict=True)]).sum(),
        }
        yield Turn("network", self._total(losses), losses)

        self.judges.requires_grad_(True)
        losses = {
            "judge": discriminator_loss(self.picture_judge(target, face), self.picture_judge(image.detach(), face)),
            "mouth_judge": discriminator_loss(
                self.mouth_judge(mouths[1], sound), self.mouth_judge(mouths[0].detach(), sound)
            ),
        }
        yield Turn("judges", losses["judge"] + losses["mouth_judge"], losses)

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

    def sheet(self, network: nn.Module, clip: RendererLesson) -> np.ndarray:
        """Four frames of a clip, see `sheet`."""
        return sheet(network, clip, np.linspace(0, len(clip) - 1, 4).astype(int).tolist())


def pixels(pictures: Tensor) -> Tensor:
    """Pictures (..., S, S, 3) of 0 to 255 as (..., 3, S, S) in -1..1."""
    return pictures.movedim(-1, -3) / 127.5 - 1


def mouth_crop(pictures: Tensor, middle: Tensor) -> Tensor:
    """(B, 3, S / 4, S / 4) around the mouths of pictures (B, 3, S, S): 64 × 64 of 256 × 256 as in the paper."""
    size = pictures.shape[-1]
    side = size // 4
    corners = (middle - side / 2).round().long().clamp(0, size - side).tolist()
    return torch.stack([p[:, y : y + side, x : x + side] for p, (x, y) in zip(pictures, corners, strict=True)])


def draw(clip: RendererLesson, random: np.random.Generator, past: int, references: int, sound_dim: int) -> Sample:
    """One lesson: a frame and other frames of the same clip as its references.

    Args:
        clip: to draw from.
        random: source of chance.
        past: frames before the current one that the generator sees.
        references: K; 1 has no axis of its own.
        sound_dim: D.

    Returns:
        reference (K, S, S, 3), target (S, S, 3) and reference_face (K, 3, S, S) uint8; faces
        (3 (past + 2), S, S) uint8, one frame more than the generator sees, for the loss over time; sound (D,) and
        heard, 0 where it is left out; mouth (2,) in pixels; matched, the nearest reference.
    """
    target = int(random.integers(len(clip)))
    chosen = random.integers(len(clip), size=references)
    if references > 1 and random.random() < _REPEATED:
        chosen[:] = chosen[0]
    before = np.clip(np.arange(target - past - 1, target + 1), 0, None)
    known = len(clip.sound) > 0 and random.random() >= _SILENCED
    motion = head_motion(clip.coefficients, clip.window, clip.picture_size)
    where = int(chosen[0]) if references == 1 else chosen
    return {
        "reference": clip.frames[where],
        "target": clip.frames[target],
        "reference_face": clip.faces[where],
        "faces": clip.faces[before].reshape(-1, *clip.faces.shape[2:]),
        "sound": clip.sound[target] if known else np.zeros(sound_dim, np.float32),
        "heard": np.float32(known),
        "mouth": clip.mouth[target],
        "matched": match(motion[target][None], motion[chosen], random)[0],
    }


@torch.no_grad()
def remade(network: HeadGAN, clip: RendererLesson, target: int, references: Sequence[int]) -> tuple[np.ndarray, ...]:
    """What a network makes of a clip's frame from some of its frames: the matched one moved, and the frame, uint8."""
    device, past = network.sound_mean.device, network.config.past
    chosen = np.array(references)
    motion = head_motion(clip.coefficients, clip.window, clip.picture_size)
    matched = match(motion[target][None], motion[chosen])
    if network.embedding is None:
        chosen = chosen[matched[0]]
    own = to_tensor(clip.frames[chosen])[None].to(device)
    own_face = torch.from_numpy(clip.faces[chosen])[None].to(device) / 255
    before = np.clip(np.arange(target - past, target + 1), 0, None)
    faces = torch.from_numpy(clip.faces[before].reshape(1, -1, *clip.faces.shape[2:])).to(device) / 255
    sound = torch.from_numpy(clip.sound[target])[None].to(device) if len(clip.sound) else None
    made = network(faces, own, own_face, sound, torch.from_numpy(matched).to(device))
    warped = made.warped if network.embedding is None else made.warped[:, matched[0]]
    return to_pictures(warped)[0], to_pictures(made.image)[0]


def sheet(network: HeadGAN, clip: RendererLesson, frames: list[int]) -> np.ndarray:
    """References, drawn face, moved reference, made and real frame side by side, a row for each frame: uint8."""
    motion = head_motion(clip.coefficients, clip.window, clip.picture_size)
    references = [0] if network.config.references == 1 else spread_out(motion, network.config.references).tolist()
    rows = []
    for target in frames:
        own = [clip.frames[reference] for reference in references]
        drawn = np.moveaxis(clip.faces[target], 0, -1)
        rows.append(np.concatenate([*own, drawn, *remade(network, clip, target, references), clip.frames[target]], 1))
    return np.concatenate(rows)


def main(
    corpus: Path,
    output: Path,
    width: int = 32,
    references: int = 1,
    vgg: Path | None = None,
    **arguments: Unpack[Arguments],
) -> None:
    """Train on `split=train` and write the generator; see `pipeline.training.renderer_command`.

    Args:
        corpus: whose clips are prepared, if they are not yet.
        output: folder for the weights.
        width: channels at full size.
        references: pictures of a person at once.
        vgg: VGG-19's weights.
        arguments: see `Arguments`.
    """
    from pipeline.drivers.sound_window import SOUND_VECTOR_DIM
    from pipeline.training.renderer_command import teach

    config = HeadGANConfig(width=width, references=references, sound_dim=SOUND_VECTOR_DIM)

    def course(clips: Sequence[RendererLesson], size: int, seed: int) -> HeadGANCourse:
        return HeadGANCourse.of(clips, replace(config, size=size), Settings(), Perceptual(vgg), seed)

    teach("headgan", course, corpus, output, batch=arguments.pop("batch", None) or 6, **arguments)


if __name__ == "__main__":
    from pipeline.training.renderer_command import parser, run

    options = parser(__doc__)
    options.add_argument(
        "--width", type=int, default=32, help="channels at full size (default %(default)s, the paper's)"
    )
    options.add_argument("--references", type=int, default=1, metavar="K", help="pictures of a person at once")
    options.add_argument("--vgg", type=Path, help="VGG-19's weights as safetensors")
    run(main, options)
