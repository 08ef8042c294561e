"""HeadGAN's generator: a dense flow network and a rendering network (Doukas 2021 §3.3, tables 2 and 3).

The flow network lays the reference image's features where the driving face wants them; the rendering network turns
drawn faces into a picture, told of appearance by SPADE blocks and of sound by AdaIN blocks. Channel counts follow from
one width (32 in the paper): pixel shuffling by two takes a quarter of them, so scales have w, 4w and 16w. With more
than one reference the rendering network is told of them by `headgan_references`; with one it is the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.renderers.headgan_references import Embedding, Gathered

FACE_CHANNELS = 3


@dataclass(frozen=True)
class HeadGANConfig:
    """Sizes of the generator.

    Attributes:
        size: pixels of the pictures' sides, a multiple of 4.
        width: channels at full size.
        past: frames before the current one whose faces are seen too; the paper has 2.
        sound_dim: length of the sound vector; the paper's is 300.
        hidden: channels inside SPADE's own layers; 128 in Park 2019.
        references: pictures of the person that it learned to take at once (Chen 2020 §4); the paper has 1.
    """

    size: int = 256
    width: int = 32
    past: int = 2
    sound_dim: int = 300
    hidden: int = 128
    references: int = 1

    @property
    def faces(self) -> int:
        """Channels of the faces of the current and the past frames."""
        return FACE_CHANNELS * (self.past + 1)


@dataclass(frozen=True)
class Generated:
    """What the generator makes of B frames.

    Attributes:
        image: (B, 3, S, S) in -1..1.
        warped: (B, 3, S, S) the reference image moved by the flow.
        flow: (B, 2, S, S) pixels, right and down: where in the reference each pixel comes from.
        features: the reference's features moved by the flow, coarse to fine.
        attention: (B, K, C, S / 4, S / 4) how much each of K references counts where; None with one.

    With K references flow, features and the warped image have them as a second axis.
    """

    image: Tensor
    warped: Tensor
    flow: Tensor
    features: tuple[Tensor, ...]
    attention: Tensor | None = None


class SPADE(nn.Module):
    """Instance normalisation whose scale and shift differ from place to place, as a condition says (Park 2019)."""

    def __init__(self, channels: int, condition: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels)
        self.shared = nn.Conv2d(condition, hidden, 3, padding=1)
        self.gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, condition: Tensor, gains: tuple[Tensor, Tensor, Tensor] | None = None) -> Tensor:
        """(B, C, h, w) from x of that shape and a condition of any size; gains (B, channels) of hidden, γ and β."""
        if condition.shape[-2:] != x.shape[-2:]:
            condition = functional.interpolate(condition, x.shape[-2:], mode="nearest")
        hidden = functional.relu(self.shared(condition))
        if gains is None:
            return self.norm(x) * (1 + self.gamma(hidden)) + self.beta(hidden)
        inside, scale, shift = (gain[..., None, None] for gain in gains)
        hidden = inside * hidden
        return self.norm(x) * (1 + scale * self.gamma(hidden)) + shift * self.beta(hidden)


class Composition(nn.Module):
    """Normalisation told by several pictures at once: their scales and shifts add up (Chen 2020 §4.3, figure 6).

    Args:
        channels: of what is normalised.
        conditions: channels of each picture; gains from the references act on the first.
        hidden: channels inside.
    """

    def __init__(self, channels: int, conditions: tuple[int, ...], hidden: int) -> None:
        super().__init__()
        self.spades = nn.ModuleList(SPADE(channels, condition, hidden) for condition in conditions)

    def forward(self, x: Tensor, told: tuple[tuple[Tensor, ...], tuple[Tensor, Tensor, Tensor] | None]) -> Tensor:
        """(B, C, h, w) from x of that shape, the pictures, and the gains (None is 1)."""
        pictures, gains = told
        parts = [spade(x, picture) for spade, picture in zip(self.spades[1:], pictures[1:], strict=True)]
        return torch.stack([self.spades[0](x, pictures[0], gains), *parts]).sum(0)


class AdaIN(nn.Module):
    """Instance normalisation whose scale and shift a vector gives (Huang & Belongie 2017)."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels)
        self.affine = nn.Linear(condition, 2 * channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, C, h, w) from x of that shape and a condition (B, D)."""
        gamma, beta = self.affine(condition)[..., None, None].chunk(2, 1)
        return self.norm(x) * (1 + gamma) + beta


class Block(nn.Module):
    """Twice: normalise as told, leaky ReLU, 3 × 3 convolution; no residual path (figure 7)."""

    def __init__(self, norms: list[nn.Module], channels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(norms)
        self.convolutions = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in norms)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            x = convolution(functional.leaky_relu(norm(x, condition), 0.2))
        return x


def spade_block(channels: int, condition: int, hidden: int) -> Block:
    """A block told by pictures or feature maps."""
    return Block([SPADE(channels, condition, hidden) for _ in range(2)], channels)


def composing_block(channels: int, conditions: tuple[int, ...], hidden: int) -> Block:
    """A block told by several pictures or feature maps."""
    return Block([Composition(channels, conditions, hidden) for _ in range(2)], channels)


def adain_block(channels: int, condition: int) -> Block:
    """A block told by a vector."""
    return Block([AdaIN(channels, condition) for _ in range(2)], channels)


class Encoder(nn.Module):
    """Three convolutions with instance normalisation and ReLU, the last two with stride 2."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        shapes = ((inputs, width, 7, 1), (width, 4 * width, 3, 2), (4 * width, 16 * width, 3, 2))
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, kernel, stride, kernel // 2), nn.InstanceNorm2d(b), nn.ReLU())
            for a, b, kernel, stride in shapes
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features at a quarter, half and full size."""
        fine = self.layers[0](x)
        middle = self.layers[1](fine)
        return self.layers[2](middle), middle, fine


class DenseFlow(nn.Module):
    """F of table 2: where in the reference image each pixel of the frame comes from."""

    def __init__(self, config: HeadGANConfig) -> None:
        super().__init__()
        width = config.width
        self.encoder = Encoder(3 + FACE_CHANNELS, width)
        self.coarse = nn.ModuleList(spade_block(16 * width, config.faces, config.hidden) for _ in range(3))
        self.middle = spade_block(4 * width, config.faces, config.hidden)
        self.leave = nn.Conv2d(width, 2, 7, padding=3)
        # Training starts from the reference image as it is.
        nn.init.normal_(self.leave.weight, std=1e-3)
        nn.init.zeros_(self.leave.bias)

    def forward(self, features: tuple[Tensor, ...], faces: Tensor) -> Tensor:
        """Flow (B, 2, S, S) in pixels, from what `encoder` made of the reference and the faces (B, 9, S, S)."""
        x = features[0]
        for block in self.coarse:
            x = block(x, faces)
        x = self.middle(functional.pixel_shuffle(x, 2), faces)
        return self.leave(functional.pixel_shuffle(x, 2))


class Rendering(nn.Module):
    """R of table 3: from drawn faces to a picture. With several references its SPADE blocks are compositions."""

    def __init__(self, config: HeadGANConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.hidden
        self.encoder = Encoder(config.faces, width)
        scales = (16 * width, 4 * width, width)
        if config.references == 1:
            self.looks = nn.ModuleList(spade_block(channels, channels, hidden) for channels in scales)
            self.last = spade_block(width, 3, hidden)
        else:
            self.looks = nn.ModuleList(composing_block(channels, (channels,) * 3, hidden) for channels in scales)
            self.last = composing_block(width, (3, 3), hidden)
        self.sounds = nn.ModuleList(adain_block(channels, config.sound_dim) for channels in scales)
        self.leave = nn.Conv2d(width, 3, 7, padding=3)

    def forward(self, faces: Tensor, features: tuple[Tensor, ...], warped: Tensor, sound: Tensor) -> Tensor:
        """(B, 3, S, S) in -1..1."""
        return self._decode(self.encoder(faces)[0], features, warped, sound)

    def compose(self, faces: Tensor, gathered: Gathered, sound: Tensor) -> Tensor:
        """The same of several references: driving face, references and the matched one tell of each scale together."""
        encoded = self.encoder(faces)
        pictures = zip(encoded, gathered.features, gathered.matched, strict=True)
        told = [(three, gains) for three, gains in zip(pictures, gathered.gains, strict=True)]
        return self._decode(encoded[0], told, ((gathered.picture, gathered.nearest), None), sound)

    def _decode(self, x: Tensor, told: Sequence[Any], last: Any, sound: Tensor) -> Tensor:
        for scale, (look, hear) in enumerate(zip(self.looks, self.sounds, strict=True)):
            if scale:
                x = functional.pixel_shuffle(x, 2)
            x = hear(look(x, told[scale]), sound)
        return torch.tanh(self.leave(functional.leaky_relu(self.last(x, last), 0.2)))


class HeadGANNetwork(nn.Module):
    """G: both networks; `sound_mean` and `sound_spread` bring the sound vectors to a common scale.

    With `config.references` above 1, pictures of the person have an axis more, (B, K, 3, S, S), for any K.
    """

    def __init__(self, config: HeadGANConfig | None = None) -> None:
        super().__init__()
        self.config = config or HeadGANConfig()
        self.flow = DenseFlow(self.config)
        self.rendering = Rendering(self.config)
        self.embedding: Embedding | None = None
        if self.config.references > 1:
            width = self.config.width
            encoders = (Encoder(FACE_CHANNELS, width) for _ in range(2))
            self.embedding = Embedding(width, self.config.hidden, _Coarse(next(encoders)), next(encoders))
        self.register_buffer("sound_mean", torch.zeros(self.config.sound_dim))
        self.register_buffer("sound_spread", torch.ones(self.config.sound_dim))

    def forward(
        self,
        faces: Tensor,
        reference: Tensor,
        reference_face: Tensor,
        sound: Tensor | None,
        matched: Tensor | None = None,
    ) -> Generated:
        """Frames for drawn faces.

        Args:
            faces: (B, 3 (past + 1), S, S) as `FaceImages` draws them, oldest first.
            reference: (B, 3, S, S) in -1..1, or (B, K, 3, S, S).
            reference_face: of that shape, its drawn face.
            sound: (B, sound_dim), see `pipeline.drivers.sound_window`; None is a sound unknown.
            matched: (B,) which of K references is nearest, see `headgan_references.match`.
        """
        return self.paint(faces, reference, self.features(reference, reference_face), sound, matched)

    def features(self, reference: Tensor, reference_face: Tensor) -> tuple[Tensor, ...]:
        """What `paint` is told of the reference's looks, coarse to fine: the same for all frames of a clip."""
        if self.embedding is None:
            return self.flow.encoder(torch.cat([reference, reference_face], 1))
        pictures, faces = reference.flatten(0, 1), reference_face.flatten(0, 1)
        embedded = self.embedding.embed(self.flow.encoder(torch.cat([pictures, faces], 1)), faces)
        return tuple(one.unflatten(0, reference.shape[:2]) for one in embedded)

    def moved(
        self, reference: Tensor, features: tuple[Tensor, ...], faces: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """Flow, the reference's features moved by it, and the reference image moved by it."""
        if self.embedding is not None:
            lead = reference.shape[:2]
            flat = tuple(one.flatten(0, 1) for one in features[:3])
            flow, moved, warped = self._moved(reference.flatten(0, 1), flat, faces.repeat_interleave(lead[1], 0))
            return flow.unflatten(0, lead), tuple(one.unflatten(0, lead) for one in moved), warped.unflatten(0, lead)
        return self._moved(reference, features, faces)

    def _moved(
        self, reference: Tensor, features: tuple[Tensor, ...], faces: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        flow = self.flow(features, faces)
        fine = flow.float()
        middle = functional.avg_pool2d(fine, 2) / 2  # bilinear halving, and pixels are twice as large
        coarse = functional.avg_pool2d(middle, 2) / 2
        warped = tuple(warp(one, by) for one, by in zip(features, (coarse, middle, fine), strict=True))
        return flow, warped, warp(reference, fine)

    def paint(
        self,
        faces: Tensor,
        reference: Tensor,
        features: tuple[Tensor, ...],
        sound: Tensor | None,
        matched: Tensor | None = None,
    ) -> Generated:
        """`forward` with the reference's features at hand."""
        flow, moved, warped = self.moved(reference, features, faces)
        heard = self.heard(sound, faces)
        if self.embedding is None:
            return Generated(self.rendering(faces, moved, warped, heard), warped, flow, moved)
        gathered = self.gathered(faces, features, moved, warped, matched)
        return Generated(self.rendering.compose(faces, gathered, heard), warped, flow, moved, gathered.attention)

    def gathered(
        self,
        faces: Tensor,
        features: tuple[Tensor, ...],
        moved: tuple[Tensor, ...],
        warped: Tensor,
        matched: Tensor | None,
    ) -> Gathered:
        """What several references have to say of the frames; without a match the first is taken for the nearest."""
        if matched is None:
            matched = torch.zeros(len(faces), dtype=torch.long, device=faces.device)
        return self.embedding(moved, warped, *features[3:], faces[:, -FACE_CHANNELS:], matched)

    def heard(self, sound: Tensor | None, like: Tensor) -> Tensor:
        """The sound vectors at a common scale; zeros, the mean, where there is none."""
        if sound is None:
            return like.new_zeros(len(like), self.config.sound_dim)
        return ((sound - self.sound_mean) / self.sound_spread).clamp(-5, 5)


class _Coarse(nn.Module):
    """An encoder's features at a quarter of the size."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x)[0]


def warp(picture: Tensor, flow: Tensor) -> Tensor:
    """Sample (B, C, h, w) at each pixel's own place plus flow (B, 2, h, w) in pixels; beyond the rim, the rim."""
    height, width = picture.shape[-2:]
    rows, columns = torch.meshgrid(
        torch.arange(height, device=flow.device), torch.arange(width, device=flow.device), indexing="ij"
    )
    x = (2 * (columns + flow[:, 0]) + 1) / width - 1
    y = (2 * (rows + flow[:, 1]) + 1) / height - 1
    # In half precision places would be off by up to half a pixel.
    grid = torch.stack([x, y], -1).float()
    sampled = functional.grid_sample(picture.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled.to(picture.dtype)
