"""HeadGAN's generator: a dense flow network and a rendering network (Doukas 2021 §3.3, tables 2 and 3).

The flow network lays the reference image's features where the driving face wants them; the rendering network turns
drawn faces into a picture, told of appearance by SPADE blocks and of sound by AdaIN blocks. Channel counts follow from
one width (32 in the paper): pixel shuffling by two takes a quarter of them, so scales have w, 4w and 16w.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

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
    """

    size: int = 256
    width: int = 32
    past: int = 2
    sound_dim: int = 300
    hidden: int = 128

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
    """

    image: Tensor
    warped: Tensor
    flow: Tensor
    features: tuple[Tensor, ...]


class SPADE(nn.Module):
    """Instance normalisation whose scale and shift differ from place to place, as a condition says (Park 2019)."""

    def __init__(self, channels: int, condition: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels)
        self.shared = nn.Conv2d(condition, hidden, 3, padding=1)
        self.gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, C, h, w) from x of that shape and a condition of any size."""
        if condition.shape[-2:] != x.shape[-2:]:
            condition = functional.interpolate(condition, x.shape[-2:], mode="nearest")
        hidden = functional.relu(self.shared(condition))
        return self.norm(x) * (1 + self.gamma(hidden)) + self.beta(hidden)


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
    """R of table 3: from drawn faces to a picture."""

    def __init__(self, config: HeadGANConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.hidden
        self.encoder = Encoder(config.faces, width)
        scales = (16 * width, 4 * width, width)
        self.looks = nn.ModuleList(spade_block(channels, channels, hidden) for channels in scales)
        self.sounds = nn.ModuleList(adain_block(channels, config.sound_dim) for channels in scales)
        self.last = spade_block(width, 3, hidden)
        self.leave = nn.Conv2d(width, 3, 7, padding=3)

    def forward(self, faces: Tensor, features: tuple[Tensor, ...], warped: Tensor, sound: Tensor) -> Tensor:
        """(B, 3, S, S) in -1..1."""
        x = self.encoder(faces)[0]
        for scale, (look, hear) in enumerate(zip(self.looks, self.sounds, strict=True)):
            if scale:
                x = functional.pixel_shuffle(x, 2)
            x = hear(look(x, features[scale]), sound)
        return torch.tanh(self.leave(functional.leaky_relu(self.last(x, warped), 0.2)))


class HeadGANNetwork(nn.Module):
    """G: both networks; `sound_mean` and `sound_spread` bring the sound vectors to a common scale."""

    def __init__(self, config: HeadGANConfig | None = None) -> None:
        super().__init__()
        self.config = config or HeadGANConfig()
        self.flow = DenseFlow(self.config)
        self.rendering = Rendering(self.config)
        self.register_buffer("sound_mean", torch.zeros(self.config.sound_dim))
        self.register_buffer("sound_spread", torch.ones(self.config.sound_dim))

    def moved(
        self, reference: Tensor, features: tuple[Tensor, ...], faces: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """Flow, the reference's features moved by it, and the reference image moved by it."""
        flow = self.flow(features, faces)
        fine = flow.float()
        middle = functional.avg_pool2d(fine, 2) / 2  # bilinear halving, and pixels are twice as large
        coarse = functional.avg_pool2d(middle, 2) / 2
        warped = tuple(warp(one, by) for one, by in zip(features, (coarse, middle, fine), strict=True))
        return flow, warped, warp(reference, fine)

    def forward(self, faces: Tensor, reference: Tensor, reference_face: Tensor, sound: Tensor | None) -> Generated:
        """Frames for drawn faces.

        Args:
            faces: (B, 3 (past + 1), S, S) as `FaceImages` draws them, oldest first.
            reference: (B, 3, S, S) in -1..1.
            reference_face: (B, 3, S, S) its drawn face.
            sound: (B, sound_dim), see `pipeline.drivers.sound_window`; None is a sound unknown.
        """
        return self.paint(faces, reference, self.features(reference, reference_face), sound)

    def features(self, reference: Tensor, reference_face: Tensor) -> tuple[Tensor, ...]:
        """What `paint` is told of the reference's looks, coarse to fine: the same for all frames of a clip."""
        return self.flow.encoder(torch.cat([reference, reference_face], 1))

    def paint(self, faces: Tensor, reference: Tensor, features: tuple[Tensor, ...], sound: Tensor | None) -> Generated:
        """`forward` with the reference's features at hand."""
        flow, moved, warped = self.moved(reference, features, faces)
        image = self.rendering(faces, moved, warped, self.heard(sound, faces))
        return Generated(image, warped, flow, moved)

    def heard(self, sound: Tensor | None, like: Tensor) -> Tensor:
        """The sound vectors at a common scale; zeros, the mean, where there is none."""
        if sound is None:
            return like.new_zeros(len(like), self.config.sound_dim)
        return ((sound - self.sound_mean) / self.sound_spread).clamp(-5, 5)


def warp(picture: Tensor, flow: Tensor) -> Tensor:
    """Sample (B, C, h, w) at each pixel's own place plus flow (B, 2, h, w) in pixels; beyond the rim, the rim."""
    height, width = picture.shape[-2:]
    rows, columns = torch.meshgrid(
        torch.arange(height, device=flow.device), torch.arange(width, device=flow.device), indexing="ij"
    )
    x = (2 * (columns + flow[:, 0]) + 1) / width - 1
    y = (2 * (rows + flow[:, 1]) + 1) / height - 1
    grid = torch.stack([x, y], -1).to(picture.dtype)
    return functional.grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=False)
